package controllers

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
)

func TestRetries(t *testing.T) {
	retries := NewRetries()
	one := ctrl.Request{NamespacedName: types.NamespacedName{Namespace: "a", Name: "one"}}
	other := ctrl.Request{NamespacedName: types.NamespacedName{Namespace: "a", Name: "other"}}
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300} {
		if got := retries.When(one); got != want*time.Second {
			t.Errorf("pause %d is %v, not %v", i, got, want*time.Second)
		}
	}
	if got := retries.When(other); got != time.Second {
		t.Errorf("the first pause of another object is %v", got)
	}
	retries.Forget(one)
	if got := retries.When(one); got != time.Second {
		t.Errorf("the first pause after a success is %v", got)
	}
}

func TestComebacks(t *testing.T) {
	comebacks := NewComebacks()
	for i, want := range []time.Duration{10, 20, 40, 80, 160, 300, 300} {
		comebacks.Next("one", time.Now())
		if got := comebacks.Get("one"); got != want*time.Second {
			t.Errorf("pause %d is %v, not %v", i, got, want*time.Second)
		}
	}
	if got := comebacks.Get("other"); got != 0 {
		t.Errorf("a unikernel that did not end waits %v", got)
	}
}
