package controllers_test

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/config/rbac"
	"mollymawk.dev/operator/internal/testenv"
)

// newUser has a name that nobody else has.
func (w *world) newUser(name string) *v1alpha1.User {
	name += "-" + rand.String(6)
	w.Cleanup(func() {
		_ = w.Delete(context.Background(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	})
	return &v1alpha1.User{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.UserSpec{Email: v1alpha1.Email(name + "@example.org")}}
}

// binding reads what gives a user rights; ok is false when there is none.
func (w *world) binding(namespace string) (binding rbacv1.RoleBinding, ok bool) {
	w.Helper()
	err := w.Get(w.Context(), client.ObjectKey{Namespace: namespace, Name: "mollymawk-user"}, &binding)
	if client.IgnoreNotFound(err) != nil {
		w.Fatal(err)
	}
	return binding, err == nil
}

func (w *world) readNamespace(name string) *corev1.Namespace {
	w.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if err := w.Get(w.Context(), client.ObjectKeyFromObject(namespace), namespace); err != nil {
		w.Fatal(err)
	}
	return namespace
}

func (w *world) makeNamespace(name string, annotations map[string]string) {
	w.Helper()
	w.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations}})
	w.Cleanup(func() {
		_ = w.Delete(context.Background(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	})
}

// give makes a namespace a user's own, as an administrator does.
func (w *world) give(namespace string, user *v1alpha1.User) {
	w.Helper()
	change(w, w.readNamespace(namespace), func(n *corev1.Namespace) {
		if n.Annotations == nil {
			n.Annotations = map[string]string{}
		}
		n.Annotations[v1alpha1.AnnotationUserUID] = string(user.UID)
	})
}

func TestUserGetsANamespace(t *testing.T) {
	w := newSilentWorld(t)
	alice := w.newUser("alice")
	w.create(alice)
	w.untilReady(alice)
	namespace := w.readNamespace(alice.Name)
	if namespace.Annotations[v1alpha1.AnnotationUserUID] != string(alice.UID) || namespace.Labels[v1alpha1.LabelUser] != alice.Name || alice.Status.Namespace != alice.Name {
		t.Errorf("%+v, status %+v", namespace.ObjectMeta, alice.Status)
	}
	binding, ok := w.binding(alice.Name)
	if !ok || binding.RoleRef.Name != "mollymawk-tenant" || len(binding.Subjects) != 1 || binding.Subjects[0].Name != "mollymawk:"+alice.Name ||
		binding.Subjects[0].Kind != rbacv1.UserKind || !metav1.IsControlledBy(&binding, alice) {
		t.Errorf("%+v", binding)
	}
	// Nothing is written when nothing changes.
	version := binding.ResourceVersion
	change(w, alice, func(u *v1alpha1.User) { u.Spec.DisplayName = "Alice" })
	w.untilReady(alice)
	if binding, _ = w.binding(alice.Name); binding.ResourceVersion != version {
		t.Error("the binding was written again")
	}
	// Rights that somebody changed are mended with the next look.
	binding.Subjects = append(binding.Subjects, rbacv1.Subject{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "mallory"})
	if err := w.Update(t.Context(), &binding); err != nil {
		t.Fatal(err)
	}
	change(w, alice, func(u *v1alpha1.User) { u.Spec.DisplayName = "A." })
	w.wait("mended", func() (bool, string) { b, _ := w.binding(alice.Name); return len(b.Subjects) == 1, b.String() })
}

// TestUserWithRightsOfTheTenant has the API server decide what the user may do.
func TestUserWithRightsOfTheTenant(t *testing.T) {
	w := newSilentWorld(t)
	w.createRole(rbac.TenantRole)
	alice, bob := w.newUser("alice"), w.newUser("bob")
	w.create(alice)
	w.create(bob)
	w.untilReady(alice)
	w.untilReady(bob)
	as := w.impersonating("mollymawk:" + alice.Name)
	try := func(namespace string) error {
		uk := w.newUnikernel("hello")
		uk.Namespace = namespace
		return as.Create(t.Context(), uk)
	}
	w.wait("allowed", func() (bool, string) {
		err := try(alice.Name)
		return err == nil || apierrors.IsAlreadyExists(err), errorText(err)
	})
	if err := try(bob.Name); !apierrors.IsForbidden(err) {
		t.Errorf("in another's namespace: %v", err)
	}
	if err := as.List(t.Context(), &v1alpha1.UserList{}); !apierrors.IsForbidden(err) {
		t.Errorf("the users: %v", err)
	}
	if err := as.List(t.Context(), &corev1.SecretList{}, client.InNamespace(alice.Name)); !apierrors.IsForbidden(err) {
		t.Errorf("Secrets of its own namespace: %v", err)
	}

	change(w, alice, func(u *v1alpha1.User) { u.Spec.Active = new(false) })
	w.untilReason(alice, metav1.ConditionTrue, v1alpha1.ReasonInactive)
	if alice.Status.Namespace != "" {
		t.Errorf("status.namespace %q of a user who is kept out", alice.Status.Namespace)
	}
	w.wait("forbidden", func() (bool, string) { err := try(alice.Name); return apierrors.IsForbidden(err), errorText(err) })
	var left v1alpha1.UnikernelList
	if err := w.List(t.Context(), &left, client.InNamespace(alice.Name)); err != nil || len(left.Items) != 1 {
		t.Errorf("%d unikernels are left, %v", len(left.Items), err)
	}
	change(w, alice, func(u *v1alpha1.User) { u.Spec.Active = nil })
	w.untilReady(alice)
	w.wait("allowed again", func() (bool, string) { err := try(alice.Name); return apierrors.IsAlreadyExists(err), errorText(err) })
}

// createRole makes a ClusterRole as it is installed, until the test ends.
func (w *world) createRole(manifest []byte) *rbacv1.ClusterRole {
	w.Helper()
	role := &rbacv1.ClusterRole{}
	if err := yaml.UnmarshalStrict(manifest, role); err != nil {
		w.Fatal(err)
	}
	role.Name = rbac.NamePrefix + role.Name
	w.create(role)
	w.Cleanup(func() { _ = w.Delete(context.Background(), role) })
	return role
}

// TestRightsOfTheProvisioner has the role that lets the operator make namespaces be
// enough for that, and for nothing more.
func TestRightsOfTheProvisioner(t *testing.T) {
	w := newSilentWorld(t)
	w.createRole(rbac.TenantRole)
	role := w.createRole(rbac.NamespaceProvisionerRole)
	name := "provisioner-" + rand.String(6)
	w.create(&rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}},
	})
	w.Cleanup(func() {
		_ = w.Delete(context.Background(), &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name}})
	})
	as, namespace := w.impersonating(name), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	w.wait("allowed", func() (bool, string) { err := as.Create(t.Context(), namespace); return err == nil, errorText(err) })
	binding := func(object, role string) *rbacv1.RoleBinding {
		return &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: object, Namespace: name},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "mollymawk:alice"}},
		}
	}
	ours, foreign := binding("mollymawk-user", "mollymawk-tenant"), binding("foreign", "mollymawk-tenant")
	w.create(foreign)
	if err := as.Create(t.Context(), ours); err != nil {
		t.Errorf("bind the tenant's role: %v", err)
	}
	ours.Labels = map[string]string{v1alpha1.LabelUser: "alice"}
	if err := as.Update(t.Context(), ours); err != nil {
		t.Errorf("change the binding: %v", err)
	}
	if err := as.Delete(t.Context(), ours); err != nil {
		t.Errorf("delete the binding: %v", err)
	}
	for what, forbidden := range map[string]func() error{
		"bind an administrator's role": func() error { return as.Create(t.Context(), binding("mollymawk-user", "cluster-admin")) },
		"read another binding":         func() error { return as.Get(t.Context(), client.ObjectKeyFromObject(foreign), &rbacv1.RoleBinding{}) },
		"delete another binding":       func() error { return as.Delete(t.Context(), foreign) },
		"delete a namespace":           func() error { return as.Delete(t.Context(), namespace) },
		"give a namespace away":        func() error { return as.Update(t.Context(), namespace) },
		"read Secrets":                 func() error { return as.List(t.Context(), &corev1.SecretList{}, client.InNamespace(name)) },
	} {
		if err := forbidden(); !apierrors.IsForbidden(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	w.delete(namespace)
}

func (w *world) impersonating(name string) client.Client {
	w.Helper()
	config := testenv.Config(w.T)
	config.Impersonate.UserName = name
	c, err := client.New(config, client.Options{Scheme: w.Scheme()})
	if err != nil {
		w.Fatal(err)
	}
	return c
}

func errorText(err error) string {
	if err == nil {
		return "no error"
	}
	return err.Error()
}

// TestInactiveUserHasNoNamespace has who only registered fill nothing.
func TestInactiveUserHasNoNamespace(t *testing.T) {
	w := newSilentWorld(t)
	user := w.newUser("registered")
	user.Spec.Active = new(false)
	w.create(user)
	w.untilReason(user, metav1.ConditionTrue, v1alpha1.ReasonInactive)
	if err := w.Get(t.Context(), client.ObjectKey{Name: user.Name}, &corev1.Namespace{}); !apierrors.IsNotFound(err) {
		t.Errorf("namespace: %v", err)
	}
	change(w, user, func(u *v1alpha1.User) { u.Spec.Active = new(true) })
	w.untilReady(user)
	w.readNamespace(user.Name)
}

// TestNamesakeInheritsNoNamespace has a user be deleted and made anew.
func TestNamesakeInheritsNoNamespace(t *testing.T) {
	w := newSilentWorld(t)
	first := w.newUser("alice")
	w.create(first)
	w.untilReady(first)
	w.delete(first)
	w.untilGone(first)
	if namespace := w.readNamespace(first.Name); namespace.Annotations[v1alpha1.AnnotationUserUID] != string(first.UID) || !namespace.DeletionTimestamp.IsZero() {
		t.Errorf("%+v", namespace.ObjectMeta)
	}
	second := w.newUser("x")
	second.Name, second.Spec.Email = first.Name, "other@example.org"
	w.create(second)
	w.untilReason(second, metav1.ConditionFalse, v1alpha1.ReasonNamespaceTaken)
	if second.Status.Namespace != "" || !strings.Contains(describe(second), string(second.UID)) || reason(second, v1alpha1.ConditionNamespaceReady, metav1.ConditionFalse) != v1alpha1.ReasonNamespaceTaken {
		t.Errorf("status %+v: %s", second.Status, describe(second))
	}
	w.wait("without rights", func() (bool, string) { b, ok := w.binding(first.Name); return !ok, b.String() })
	// An administrator may want it otherwise.
	w.give(second.Name, second)
	w.untilReady(second)
	if binding, ok := w.binding(second.Name); !ok || !metav1.IsControlledBy(&binding, second) {
		t.Errorf("%+v", binding)
	}
}

// TestNamespaceOfTheCluster has nobody get a namespace by being called like it.
func TestNamespaceOfTheCluster(t *testing.T) {
	w := newSilentWorld(t)
	user := w.newUser("curious")
	user.Spec.Namespace = w.system
	w.create(user)
	w.untilReason(user, metav1.ConditionFalse, v1alpha1.ReasonNamespaceTaken)
	if _, ok := w.binding(w.system); ok {
		t.Error("the user has rights in the operator's namespace")
	}
}

// TestUserMoves has a user be given another namespace, and lose the first.
func TestUserMoves(t *testing.T) {
	w := newSilentWorld(t)
	alice := w.newUser("alice")
	w.create(alice)
	w.untilReady(alice)
	change(w, alice, func(u *v1alpha1.User) { u.Spec.Namespace = u.Name + "-2" })
	w.Cleanup(func() {
		_ = w.Delete(context.Background(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: alice.Name + "-2"}})
	})
	w.untilReady(alice)
	if alice.Status.Namespace != alice.Name+"-2" {
		t.Errorf("status.namespace %q", alice.Status.Namespace)
	}
	if _, ok := w.binding(alice.Name); ok {
		t.Error("rights in the first namespace stay")
	}
	if _, ok := w.binding(alice.Name + "-2"); !ok {
		t.Error("no rights in the second namespace")
	}
	// Given to somebody else, it is not the user's any more.
	bob := w.newUser("bob")
	w.create(bob)
	w.untilReady(bob)
	w.give(alice.Name+"-2", bob)
	w.untilReason(alice, metav1.ConditionFalse, v1alpha1.ReasonNamespaceTaken)
	w.wait("without rights", func() (bool, string) { b, ok := w.binding(alice.Name + "-2"); return !ok, b.String() })
}

// TestEmailOfTwo has the address be the first one's, until that one gives it up.
func TestEmailOfTwo(t *testing.T) {
	w := newSilentWorld(t)
	first, second := w.newUser("first"), w.newUser("second")
	w.create(first)
	w.untilReady(first)
	// Creation times have whole seconds.
	w.wait("a second later", func() (bool, string) { return metav1.Now().Unix() > first.CreationTimestamp.Unix(), "" })
	second.Spec.Email = v1alpha1.Email(strings.ToUpper(string(first.Spec.Email)))
	w.create(second)
	w.untilReason(second, metav1.ConditionFalse, v1alpha1.ReasonEmailTaken)
	if !isReady(first) {
		t.Errorf("the first: %s", describe(first))
	}
	change(w, first, func(u *v1alpha1.User) { u.Spec.Email = "elsewhere@example.org" })
	w.untilReady(second)
	w.untilReady(first)
	change(w, second, func(u *v1alpha1.User) { u.Spec.Email = "Elsewhere@example.org" })
	w.untilReason(second, metav1.ConditionFalse, v1alpha1.ReasonEmailTaken)
	w.delete(first)
	w.untilReady(second)
}

// TestNamespacesByHand has an administrator make what the operator may not.
func TestNamespacesByHand(t *testing.T) {
	w := newSilentWorld(t)
	w.stop()
	w.byHand = true
	w.start()
	user := w.newUser("alice")
	w.create(user)
	w.untilReason(user, metav1.ConditionFalse, v1alpha1.ReasonNamespaceMissing)
	if !strings.Contains(describe(user), string(user.UID)) {
		t.Error(describe(user))
	}
	w.makeNamespace(user.Name, nil)
	w.untilReason(user, metav1.ConditionFalse, v1alpha1.ReasonNamespaceTaken)
	w.give(user.Name, user)
	w.untilReady(user)
	if _, ok := w.binding(user.Name); ok {
		t.Error("the operator gave rights that it was not to give")
	}
}
