package controllers

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
)

// namespaces tells what is known about the namespaces that are looked after.
type namespaces struct {
	client client.Reader
	// only are all of them; none means those that the cluster has. To name them
	// spares the right to read Namespaces, whose labels are not known then.
	only []string
}

// labels gives those of a namespace; nil when they are not known.
func (n namespaces) labels(ctx context.Context, name string) (labels.Set, error) {
	if len(n.only) > 0 {
		return nil, nil
	}
	var ns corev1.Namespace
	if err := n.client.Get(ctx, client.ObjectKey{Name: name}, &ns); err != nil {
		return nil, err
	}
	return known(ns.Labels), nil
}

// all gives the labels of each namespace; nil where they are not known.
func (n namespaces) all(ctx context.Context) (map[string]labels.Set, error) {
	all := map[string]labels.Set{}
	for _, name := range n.only {
		all[name] = nil
	}
	if len(n.only) > 0 {
		return all, nil
	}
	var list corev1.NamespaceList
	if err := n.client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	for i := range list.Items {
		all[list.Items[i].Name] = known(list.Items[i].Labels)
	}
	return all, nil
}

func known(set labels.Set) labels.Set {
	if set == nil {
		return labels.Set{}
	}
	return set
}

// watchNamespaces wakes what a change of a namespace's labels concerns.
func watchNamespaces(b *builder.Builder, config Config, concerned handler.MapFunc) *builder.Builder {
	if len(config.WatchNamespaces) > 0 {
		return b
	}
	return b.Watches(&corev1.Namespace{}, handler.EnqueueRequestsFromMapFunc(concerned), builder.WithPredicates(predicate.LabelChangedPredicate{}))
}
