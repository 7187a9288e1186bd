package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Selector gives the selector in the form that matches label sets. A nil NamespaceSelector matches nothing, an empty one
// everything. It fails when a requirement names an impossible label.
func (s *NamespaceSelector) Selector() (labels.Selector, error) {
	if s == nil {
		return labels.Nothing(), nil
	}
	out := &metav1.LabelSelector{MatchLabels: make(map[string]string, len(s.MatchLabels))}
	for k, v := range s.MatchLabels {
		out.MatchLabels[k] = string(v)
	}
	for _, r := range s.MatchExpressions {
		values := make([]string, len(r.Values))
		for i, v := range r.Values {
			values[i] = string(v)
		}
		out.MatchExpressions = append(out.MatchExpressions,
			metav1.LabelSelectorRequirement{Key: r.Key, Operator: r.Operator, Values: values})
	}
	return metav1.LabelSelectorAsSelector(out)
}
