package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/status/statusrules"
)

// observer looks at every state that the objects of a world go through.
type observer struct {
	w *world
	// neverStalled has Stalled reported as an error.
	neverStalled atomic.Bool

	mu  sync.Mutex
	all map[types.UID]client.Object
}

// observe begins to watch.
func (w *world) observe() {
	w.Helper()
	w.seen = &observer{w: w, all: map[types.UID]client.Object{}}
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	for list, options := range map[client.ObjectList][]client.ListOption{
		&v1alpha1.UnikernelList{}:         {client.InNamespace(w.namespace)},
		&v1alpha1.VolumeList{}:            {client.InNamespace(w.namespace)},
		&v1alpha1.AlbatrossInstanceList{}: {client.MatchingLabels{worldLabel: w.instance}},
	} {
		changes, err := w.Watch(ctx, list, options...)
		if err != nil {
			w.Fatal(err)
		}
		done.Go(func() {
			w.seen.follow(changes)
			// An API server that was killed ended the watch.
			for ctx.Err() == nil {
				if changes, err := w.Watch(ctx, list, options...); err == nil {
					w.seen.follow(changes)
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	w.Cleanup(func() {
		cancel()
		done.Wait()
	})
}

// follow looks at what a watch tells, to its end.
func (s *observer) follow(changes watch.Interface) {
	defer changes.Stop()
	for change := range changes.ResultChan() {
		if o, ok := change.Object.(client.Object); ok && change.Type != watch.Deleted {
			s.see(o)
		}
	}
}

func (s *observer) see(o client.Object) {
	s.mu.Lock()
	before := s.all[o.GetUID()]
	s.all[o.GetUID()] = o
	s.mu.Unlock()
	problems := statusrules.Check(o)
	if before != nil {
		problems = append(problems, statusrules.CheckChange(before, o)...)
	}
	if c := condition(o, v1alpha1.ConditionStalled); s.neverStalled.Load() && c.Status == metav1.ConditionTrue {
		problems = append(problems, "is stalled: "+c.Reason+": "+c.Message)
	}
	for _, problem := range problems {
		s.w.Errorf("%T %s: %s", o, o.GetName(), problem)
	}
	s.w.checkSecrets("the status of "+o.GetName(), statusText(o))
}

// objects gives those that were seen.
func (s *observer) objects() []client.Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.all))
}

func statusText(o client.Object) string {
	var text []byte
	switch o := o.(type) {
	case *v1alpha1.Unikernel:
		text, _ = json.Marshal(o.Status) // plain data
	case *v1alpha1.Volume:
		text, _ = json.Marshal(o.Status)
	case *v1alpha1.AlbatrossInstance:
		text, _ = json.Marshal(o.Status)
	}
	return string(text)
}

// logBuffer keeps what operators log.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logBuffer) add(prefix, args string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.WriteString(prefix + " " + args + "\n")
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// checkSecrets looks for the canary and for keys of hosts in a text.
func (w *world) checkSecrets(where, text string) {
	w.Helper()
	secrets := []string{canary, "PRIVATE KEY"}
	for _, m := range w.allMachines() {
		for line := range strings.Lines(string(m.Credentials().Key)) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "--") {
				secrets = append(secrets, line)
			}
		}
	}
	for _, secret := range secrets {
		if i := strings.Index(text, secret); i >= 0 {
			w.Errorf("%s has a secret in it: …%s…", where, text[max(0, i-200):min(len(text), i+len(secret))])
		}
	}
}

// checkTexts looks for secrets in the operator's logs, events and metrics.
func (w *world) checkTexts() {
	text := w.log.String()
	if w.operator != nil && len(text) == 0 {
		w.Error("nothing was logged")
	}
	w.checkSecrets("the log", text)
	for _, namespace := range []string{w.namespace, w.system, metav1.NamespaceDefault} {
		var events eventsv1.EventList
		if err := w.List(context.Background(), &events, client.InNamespace(namespace)); err != nil {
			w.Error(err)
		}
		for i := range events.Items {
			w.checkSecrets("an event", events.Items[i].Reason+" "+events.Items[i].Note)
		}
	}
	families, err := ctrlmetrics.Registry.Gather()
	if err != nil {
		w.Error(err)
	}
	for _, family := range families {
		w.checkSecrets("a metric", family.String())
	}
}
