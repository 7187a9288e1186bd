package accounts

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/api/v1alpha1"
)

// stranger is a user whom another system knows, and nobody else has anything of.
func (w *world) stranger(name string) NewUser {
	return NewUser{DisplayName: w.prefix + name, ExternalID: uuid.NewString(), Email: w.email(name), Password: "pw", Active: true, Distinct: true, ShortPassword: true}
}

func TestExternalIDs(t *testing.T) {
	w := newWorld(t)
	r := w.start(Options{})
	wanted := w.stranger("ann")
	ann, err := r.CreateUser(t.Context(), wanted)
	w.must(err)
	if ann.ExternalID != wanted.ExternalID || ann.DisplayName != wanted.DisplayName || !strings.HasPrefix(ann.Name, "user-") || len(ann.Name) != 15 {
		t.Errorf("%+v", ann)
	}
	var stored v1alpha1.User
	w.must(w.Get(t.Context(), client.ObjectKey{Name: ann.Name}, &stored))
	if stored.Spec.ExternalID != wanted.ExternalID || stored.Spec.Namespace != "" || !stored.IsActive() {
		t.Errorf("%+v", stored.Spec)
	}
	for name, tt := range map[string]struct {
		change func(*NewUser)
		want   error
	}{
		"again":           {func(n *NewUser) { *n = wanted }, ErrNameTaken},
		"id":              {func(n *NewUser) { n.ExternalID = wanted.ExternalID }, ErrExternalIDTaken},
		"id by uid":       {func(n *NewUser) { n.ExternalID, n.Name = string(stored.UID), "x" }, nil},
		"name":            {func(n *NewUser) { n.DisplayName = wanted.DisplayName }, ErrDisplayNameTaken},
		"other case":      {func(n *NewUser) { n.DisplayName = strings.ToUpper(wanted.DisplayName) }, nil},
		"not distinct":    {func(n *NewUser) { n.DisplayName, n.Distinct = wanted.DisplayName, false }, nil},
		"e-mail":          {func(n *NewUser) { n.Email = strings.ToUpper(wanted.Email) }, ErrEmailTaken},
		"a text too long": {func(n *NewUser) { n.ExternalID = strings.Repeat("x", 129) }, ErrInvalidText},
		"no plain text":   {func(n *NewUser) { n.ExternalID = "a\nb" }, ErrInvalidText},
		"short password":  {func(n *NewUser) { n.ShortPassword = false }, ErrWeakPassword},
		"no password":     {func(n *NewUser) { n.Password = "" }, ErrWeakPassword},
		"nothing":         {func(n *NewUser) { n.ExternalID = "" }, ErrInvalidName},
	} {
		n := w.stranger(strings.ReplaceAll(name, " ", "-"))
		if tt.change(&n); n.Name == "x" {
			n.Name = w.prefix + "-by-uid"
		}
		if _, err := r.CreateUser(t.Context(), n); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A short password is none to log in with.
	if _, _, err := r.Login(t.Context(), wanted.Email, wanted.Password, address, browser); !errors.Is(err, ErrWeakPassword) {
		t.Error(err)
	}
	w.must(r.SetPassword(t.Context(), ann.Name, password))
	if _, _, err := r.Login(t.Context(), wanted.Email, password, address, browser); err != nil {
		t.Error(err)
	}
}

// TestOneOfMany has several replicas make users with the same name, or the same id,
// at the same time.
func TestOneOfMany(t *testing.T) {
	w := newWorld(t)
	replicas := []*replica{w.start(Options{}), w.start(Options{}), w.start(Options{})}
	for what, same := range map[string]func(n *NewUser, of NewUser){
		"name": func(n *NewUser, of NewUser) { n.DisplayName = of.DisplayName },
		"id":   func(n *NewUser, of NewUser) { n.ExternalID = of.ExternalID },
	} {
		first := w.stranger("same-" + what)
		results := make([]error, 2*len(replicas))
		var all sync.WaitGroup
		for i := range results {
			n := w.stranger(what + "-" + string(rune('a'+i)))
			same(&n, first)
			all.Go(func() { _, results[i] = replicas[i%len(replicas)].CreateUser(t.Context(), n) })
		}
		all.Wait()
		made := 0
		for _, err := range results {
			switch {
			case err == nil:
				made++
			case !errors.Is(err, ErrDisplayNameTaken) && !errors.Is(err, ErrNameTaken) && !errors.Is(err, ErrExternalIDTaken):
				t.Errorf("%s: %v", what, err)
			}
		}
		if made != 1 {
			t.Errorf("%d users with the same %s", made, what)
		}
	}
}

func TestLookups(t *testing.T) {
	w := newWorld(t)
	r := w.start(Options{})
	wanted := w.stranger("ann")
	ann, err := r.CreateUser(t.Context(), wanted)
	w.must(err)
	plain, err := r.Profile(t.Context(), w.user("bob", r))
	w.must(err)
	ctx := t.Context()
	for name, tt := range map[string]struct {
		find func() (Profile, error)
		want string
	}{
		"e-mail":                   {func() (Profile, error) { return r.ProfileByEmail(ctx, strings.ToUpper(wanted.Email)) }, ann.Name},
		"e-mail of nobody":         {func() (Profile, error) { return r.ProfileByEmail(ctx, "nobody@example.org") }, ""},
		"display name":             {func() (Profile, error) { return r.ProfileByDisplayName(ctx, wanted.DisplayName) }, ann.Name},
		"display name, other case": {func() (Profile, error) { return r.ProfileByDisplayName(ctx, strings.ToUpper(wanted.DisplayName)) }, ""},
		"name without another":     {func() (Profile, error) { return r.ProfileByDisplayName(ctx, plain.Name) }, plain.Name},
		"id":                       {func() (Profile, error) { return r.ProfileByExternalID(ctx, wanted.ExternalID) }, ann.Name},
		"uid beside an id":         {func() (Profile, error) { return r.ProfileByExternalID(ctx, string(ann.UID)) }, ""},
		"uid":                      {func() (Profile, error) { return r.ProfileByExternalID(ctx, string(plain.UID)) }, plain.Name},
		"namespace of nobody":      {func() (Profile, error) { return r.ProfileByNamespace(ctx, w.system) }, ""},
		"no namespace":             {func() (Profile, error) { return r.ProfileByNamespace(ctx, "none-of-that-name") }, ""},
	} {
		found, err := tt.find()
		if found.Name != tt.want || (tt.want == "") != errors.Is(err, ErrUnknownAccount) {
			t.Errorf("%s: %q, %v", name, found.Name, err)
		}
	}
	unready := New(Options{})
	for _, err := range []error{second(unready.ProfileByEmail(ctx, "")), second(unready.ProfileByNamespace(ctx, "")), second(unready.AwaitNamespace(ctx, ""))} {
		if !errors.Is(err, ErrNotReady) {
			t.Error(err)
		}
	}
	if found, err := r.ProfileByExternalID(ctx, wanted.ExternalID); err != nil || found.UID != ann.UID {
		t.Errorf("%+v, %v", found, err)
	}
}

func second(_ Profile, err error) error { return err }

// TestAwaitNamespace waits for one that is being made, and not where none will come.
func TestAwaitNamespace(t *testing.T) {
	w := newWorld(t)
	r := w.start(Options{})
	ann, err := r.CreateUser(t.Context(), w.stranger("ann"))
	w.must(err)
	found := make(chan Profile, 1)
	go func() {
		p, err := r.AwaitNamespace(t.Context(), ann.Name)
		if err != nil {
			t.Error(err)
		}
		found <- p
	}()
	w.namespace(ann.Name, ann.UID)
	if p := <-found; p.Namespace != ann.Name {
		t.Errorf("%+v", p)
	}
	if p, err := r.ProfileByNamespace(t.Context(), ann.Name); err != nil || p.UID != ann.UID {
		t.Errorf("%+v, %v", p, err)
	}

	bob, err := r.CreateUser(t.Context(), w.stranger("bob"))
	w.must(err)
	w.setReady(bob.Name, metav1.Condition{Type: v1alpha1.ConditionStalled, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonNamespaceMissing})
	if p, err := r.AwaitNamespace(t.Context(), bob.Name); err != nil || p.Name != bob.Name || p.Namespace != "" {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := r.AwaitNamespace(t.Context(), "nobody"); !errors.Is(err, ErrUnknownAccount) {
		t.Error(err)
	}
	carol, err := r.CreateUser(t.Context(), w.stranger("carol"))
	w.must(err)
	ended, end := context.WithCancel(t.Context())
	end()
	if p, err := r.AwaitNamespace(ended, carol.Name); p.Namespace != "" || !errors.Is(err, context.Canceled) {
		t.Errorf("%+v, %v", p, err)
	}
}

// TestExpectsNamespace has it expected until the controller has said otherwise.
func TestExpectsNamespace(t *testing.T) {
	ready := func(reason string) metav1.Condition {
		return metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: reason}
	}
	for name, tt := range map[string]struct {
		observed   int64
		conditions []metav1.Condition
		want       bool
	}{
		"new":      {-1, nil, true},
		"earlier":  {1, []metav1.Condition{{Type: v1alpha1.ConditionStalled, Status: metav1.ConditionTrue}}, true},
		"being":    {2, []metav1.Condition{ready(v1alpha1.ReasonProgressing)}, true},
		"stalled":  {2, []metav1.Condition{{Type: v1alpha1.ConditionStalled, Status: metav1.ConditionTrue}}, false},
		"inactive": {2, []metav1.Condition{ready(v1alpha1.ReasonInactive)}, false},
	} {
		user := &v1alpha1.User{ObjectMeta: metav1.ObjectMeta{Generation: 2}}
		user.Status.ObservedGeneration, user.Status.Conditions = tt.observed, tt.conditions
		if got := expectsNamespace(user); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// namespace makes one that is a user's.
func (w *world) namespace(name string, owner types.UID) {
	w.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{v1alpha1.AnnotationUserUID: string(owner)}}}
	w.must(w.Create(w.Context(), namespace))
	w.Cleanup(func() { _ = w.Delete(context.Background(), namespace) })
}

// setReady has the controller have seen a user.
func (w *world) setReady(name string, condition metav1.Condition) {
	w.Helper()
	var user v1alpha1.User
	w.must(w.Get(w.Context(), client.ObjectKey{Name: name}, &user))
	condition.LastTransitionTime, condition.Message = metav1.Now(), "said by the test"
	user.Status.ObservedGeneration, user.Status.Conditions = user.Generation, []metav1.Condition{condition}
	w.must(w.Status().Update(w.Context(), &user))
}
