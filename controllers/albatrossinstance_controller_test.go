package controllers_test

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/api/v1alpha1"
)

// theInstance is the world's instance, to be read.
func (w *world) theInstance() *v1alpha1.AlbatrossInstance {
	return &v1alpha1.AlbatrossInstance{ObjectMeta: metav1.ObjectMeta{Name: w.instance}}
}

func (w *world) theSecret() *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: w.instance, Namespace: w.system}}
}

func TestInstanceStatus(t *testing.T) {
	w := newWorld(t)
	if err := w.host.SetPolicy("elsewhere", albatross.Policy{Unikernels: 1, CPUIDs: []int64{0}, Memory: 64}); err != nil {
		t.Fatal(err)
	}
	instance := w.theInstance()
	w.untilReady(instance)
	for _, condition := range []string{v1alpha1.ConditionConnected, v1alpha1.ConditionCredentialsValid, v1alpha1.ConditionPoliciesApplied} {
		if !apimeta.IsStatusConditionTrue(instance.Status.Conditions, condition) {
			t.Errorf("%s is not True: %s", condition, describe(instance))
		}
	}
	st := instance.Status
	if st.Capacity == nil || st.Capacity.Unikernels != nil || len(st.Capacity.CPUIDs) != 2 || !slices.Equal(st.Capacity.Bridges, []string{"service"}) || st.CredentialsNotAfter == nil {
		t.Errorf("capacity %+v", st.Capacity)
	}
	uk, v := w.newUnikernel("one"), w.newVolume("disk", 3)
	w.create(uk)
	w.create(v)
	w.untilReady(uk)
	w.untilReady(v)
	w.until("counted", instance, func() bool {
		tenants := instance.Status.Tenants
		return len(tenants) == 1 && tenants[0].Used.Unikernels == 1 && tenants[0].Used.Volumes == 1 && v1alpha1.MiB(tenants[0].Used.Storage) == 3
	})
	if tenant := instance.Status.Tenants[0]; tenant.Path != w.namespace || tenant.Policy.Unikernels != 10 || v1alpha1.MiB(tenant.Used.Memory) != v1alpha1.DefaultMemoryMiB {
		t.Errorf("tenant %+v", tenant)
	}
	// What is left on the host without an object is named.
	change(w, uk, func(uk *v1alpha1.Unikernel) { uk.Spec.DeletionPolicy = v1alpha1.DeletionPolicyOrphan })
	w.delete(uk)
	w.until("unowned named", instance, func() bool {
		return instance.Status.Unowned != nil && slices.Equal(instance.Status.Unowned.UnikernelNames, []string{w.hostName(uk)})
	})
}

// TestCredentials goes through what can be wrong with a Secret, and a rotation.
func TestCredentials(t *testing.T) {
	w := newSilentWorld(t)
	w.create(w.newInstance(w.instance, w.host))
	instance := w.theInstance()
	w.untilReason(instance, metav1.ConditionFalse, v1alpha1.ReasonCredentialsMissing)

	secret := w.newSecret(w.instance, w.host)
	key := secret.Data["tls.key"]
	delete(secret.Data, "tls.key")
	w.create(secret)
	w.until("told what is missing", instance, func() bool {
		c := apimeta.FindStatusCondition(instance.Status.Conditions, v1alpha1.ConditionCredentialsValid)
		return c != nil && strings.Contains(c.Message, `"tls.key"`)
	})
	change(w, secret, func(s *corev1.Secret) { s.Data["tls.key"] = key })
	w.untilReady(instance)

	// A broken new pair leaves the last good one in use.
	stranger := albatrosstest.Start(t, albatrosstest.Options{})
	change(w, secret, func(s *corev1.Secret) { s.Data["tls.key"] = stranger.Credentials().Key })
	w.untilReason(instance, metav1.ConditionFalse, v1alpha1.ReasonCredentialsInvalid)
	if strings.Contains(describe(instance), "PRIVATE KEY") {
		t.Error("the status has a key in it")
	}
	uk := w.newUnikernel("meanwhile")
	w.create(uk)
	w.untilReady(uk)
	change(w, secret, func(s *corev1.Secret) { s.Data["tls.key"] = key })
	w.untilReady(instance)

	// The credentials of another host's CA are whole, but not accepted.
	change(w, secret, func(s *corev1.Secret) {
		s.Data["tls.key"], s.Data["tls.crt"] = stranger.Credentials().Key, stranger.Credentials().Cert
	})
	w.untilReason(instance, metav1.ConditionUnknown, v1alpha1.ReasonHostUnreachable)
	w.untilReason(uk, metav1.ConditionUnknown, v1alpha1.ReasonHostUnreachable)
	change(w, secret, func(s *corev1.Secret) { s.Data = w.newSecret(w.instance, w.host).Data })
	w.untilReady(instance)
	w.untilReady(uk)

	change(w, secret, func(s *corev1.Secret) { s.Data["ca.crt"] = stranger.Credentials().ServerCA })
	w.untilReason(instance, metav1.ConditionUnknown, v1alpha1.ReasonHostCertificateInvalid)
	change(w, secret, func(s *corev1.Secret) { s.Data = w.newSecret(w.instance, w.host).Data })
	w.untilReady(instance)
}

// shortened gives a host's certificate authority with another end.
func shortened(t *testing.T, credentials albatrosstest.Credentials, end time.Time) []byte {
	t.Helper()
	pair, err := tls.X509KeyPair(credentials.Cert, credentials.Key)
	if err != nil {
		t.Fatal(err)
	}
	again := *pair.Leaf
	again.NotAfter = end
	der, err := x509.CreateCertificate(rand.Reader, &again, &again, pair.Leaf.PublicKey, pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// TestCredentialsExpiring warns seven days before the end, when nothing else
// happens for long.
func TestCredentialsExpiring(t *testing.T) {
	w := newSilentWorld(t)
	secret, instance := w.newSecret(w.instance, w.host), w.newInstance(w.instance, w.host)
	warned := time.Now().Add(5 * time.Second)
	secret.Data["tls.crt"] = shortened(t, w.host.Credentials(), warned.Add(7*24*time.Hour))
	instance.Spec.PollInterval.Duration = time.Hour
	w.create(secret)
	w.create(instance)
	w.untilReady(instance)
	w.until("warned", instance, func() bool {
		return reason(instance, v1alpha1.ConditionCredentialsValid, metav1.ConditionTrue) == v1alpha1.ReasonCredentialsExpiring
	})
	if early := time.Until(warned); early > 0 || !isReady(instance) {
		t.Errorf("%s early, or not ready any more: %s", early, describe(instance))
	}
	w.wait("told", func() (bool, string) {
		var all eventsv1.EventList
		if err := w.List(t.Context(), &all); err != nil {
			return false, err.Error()
		}
		return slices.ContainsFunc(all.Items, func(e eventsv1.Event) bool {
			return e.Regarding.Name == instance.Name && e.Reason == v1alpha1.ReasonCredentialsExpiring && e.Type == corev1.EventTypeWarning
		}), fmt.Sprint(len(all.Items), " events")
	})
	// A longer one ends the warning.
	change(w, secret, func(s *corev1.Secret) { s.Data["tls.crt"] = w.host.Credentials().Cert })
	w.until("renewed", instance, func() bool {
		return reason(instance, v1alpha1.ConditionCredentialsValid, metav1.ConditionTrue) == v1alpha1.ReasonSucceeded
	})
}

// TestPolicies has the declared policies in force, and the accepted one stay when
// a new one is refused.
func TestPolicies(t *testing.T) {
	w := newWorld(t)
	uk := w.newUnikernel("tenant")
	uk.Spec.Memory = new(v1alpha1.FromMiB(100))
	w.create(uk)
	w.untilReady(uk)
	instance := w.theInstance()
	memory := func(mib int64) func(*v1alpha1.AlbatrossInstance) {
		return func(i *v1alpha1.AlbatrossInstance) { i.Spec.Tenants[0].Policy.Memory = v1alpha1.FromMiB(mib) }
	}
	change(w, instance, memory(50)) // less than is in use
	w.untilReason(instance, metav1.ConditionFalse, v1alpha1.ReasonPolicyRefused)
	if refused := instance.Status.Tenants[0].Refused; !strings.Contains(refused, "running memory limit set by policy to 50 MB, used 100 MB") {
		t.Errorf("the host's text is not told: %q", refused)
	}
	if policy, _ := w.host.Policy(w.namespace); policy.Memory != 512 {
		t.Errorf("in force: %+v", policy)
	}
	change(w, uk, func(uk *v1alpha1.Unikernel) { uk.Spec.Arguments = []string{"goes on"} })
	w.untilReady(uk)
	if policy, _ := w.host.Policy(w.namespace); policy.Memory != 512 {
		t.Errorf("a command changed the policy to %+v", policy)
	}
	change(w, instance, memory(200))
	w.untilReady(instance)
	if policy, _ := w.host.Policy(w.namespace); policy.Memory != 200 {
		t.Errorf("in force: %+v", policy)
	}
}

// TestNamespaceComesLate names a namespace that is made later.
func TestNamespaceComesLate(t *testing.T) {
	w := newWorld(t)
	instance := w.theInstance()
	w.untilReady(instance)
	late := w.namespace + "-late"
	change(w, instance, func(i *v1alpha1.AlbatrossInstance) {
		tenant := *i.Spec.Tenants[0].DeepCopy()
		tenant.Namespace = late
		i.Spec.Tenants = append(i.Spec.Tenants, tenant)
	})
	w.untilReady(instance)
	w.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: late}})
	w.until("admitted", instance, func() bool { return len(instance.Status.Tenants) == 2 })
	if _, ok := w.host.Policy(late); !ok {
		t.Error("the host has no policy for it")
	}
}

// TestNestedPaths never sends a policy below a parent that has none, or one that
// is larger than its parent's: either locks tenants out.
func TestNestedPaths(t *testing.T) {
	w := newWorld(t)
	instance := w.theInstance()
	w.untilReady(instance)
	change(w, instance, func(i *v1alpha1.AlbatrossInstance) {
		i.Spec.Tenants[0].Path = v1alpha1.Path("customers:" + w.namespace)
	})
	w.untilReason(instance, metav1.ConditionFalse, v1alpha1.ReasonPolicyRefused)
	if err := w.host.SetPolicy("customers", albatross.Policy{Unikernels: 1, CPUIDs: []int64{0, 1}, Memory: 1024, Block: new(int64(1000)), Bridges: []string{"service"}}); err != nil {
		t.Fatal(err)
	}
	w.until("compared", instance, func() bool { return strings.Contains(describe(instance), "policy above allows 1 unikernels") })
	if _, ok := w.host.Policy("customers:" + w.namespace); ok {
		t.Error("a policy was sent that its parent does not allow")
	}
	change(w, instance, func(i *v1alpha1.AlbatrossInstance) { i.Spec.Tenants[0].Policy.Unikernels = 1 })
	w.untilReady(instance)
	uk := w.newUnikernel("nested")
	w.create(uk)
	w.untilReady(uk)
	if uk.Status.HostName != "customers:"+w.hostName(uk) {
		t.Errorf("it is %s", uk.Status.HostName)
	}
}

func (w *world) secretIsKept() bool {
	secret := w.theSecret()
	if err := w.Get(w.Context(), client.ObjectKeyFromObject(secret), secret); err != nil {
		w.Fatal(err)
	}
	return slices.Contains(secret.Finalizers, v1alpha1.Finalizer)
}

// TestAllDeletedInEveryOrder is the commonest story of a stuck deletion.
func TestAllDeletedInEveryOrder(t *testing.T) {
	for _, order := range [][3]string{
		{"secret", "instance", "unikernel"}, {"secret", "unikernel", "instance"}, {"instance", "secret", "unikernel"},
		{"instance", "unikernel", "secret"}, {"unikernel", "secret", "instance"}, {"unikernel", "instance", "secret"},
	} {
		t.Run(strings.Join(order[:], " "), func(t *testing.T) {
			w := newWorld(t)
			uk, v := w.newUnikernel("last"), w.newVolume("last", 1)
			w.create(uk)
			w.create(v)
			w.untilReady(uk)
			w.untilReady(v)
			w.until("kept", w.theSecret(), func() bool { return w.secretIsKept() })
			all := map[string][]client.Object{"secret": {w.theSecret()}, "instance": {w.theInstance()}, "unikernel": {uk, v}}
			for _, what := range order {
				for _, o := range all[what] {
					w.delete(o)
				}
			}
			// Not even an operator that starts now has lost the credentials.
			w.stop()
			w.start()
			for _, objects := range all {
				for _, o := range objects {
					w.untilGone(o)
				}
			}
			if left := len(w.host.Unikernels(w.namespace)) + len(w.host.Blocks(w.namespace)); left != 0 {
				t.Errorf("%d things left on the host", left)
			}
		})
	}
}
