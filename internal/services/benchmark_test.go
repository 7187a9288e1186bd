package services_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/hosts"
	"mollymawk.dev/operator/internal/operator"
	"mollymawk.dev/operator/internal/services"
)

// BenchmarkList1000 lists a thousand unikernels of a user on one host.
func BenchmarkList1000(b *testing.B) {
	const unikernels = 1000
	host := albatrosstest.Start(b, albatrosstest.Options{})
	pool := hosts.New(hosts.Options{})
	go func() { _ = pool.Start(b.Context()) }()
	credentials := host.Credentials()
	target := hosts.Target{Addr: host.Addr(), Certificate: string(credentials.Cert), Key: string(credentials.Key), ServerCA: string(credentials.ServerCA)}
	if err := pool.Set("host", target); err != nil {
		b.Fatal(err)
	}
	snapshot, err := pool.Refresh(b.Context(), "host")
	if err != nil {
		b.Fatal(err)
	}
	// What the host tells is as good as made up here: a list costs the same.
	for i := range unikernels {
		name := albatross.Name{Path: albatross.Path{"alice"}, Label: fmt.Sprintf("web%04d", i)}
		snapshot.Unikernels[name.String()] = albatross.Unikernel{Name: name, Info: albatross.Info{Memory: 32}}
	}
	scheme, err := operator.Scheme()
	if err != nil {
		b.Fatal(err)
	}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "alice"}},
		&v1alpha1.AlbatrossInstance{ObjectMeta: metav1.ObjectMeta{Name: "host"}, Spec: v1alpha1.AlbatrossInstanceSpec{Tenants: []v1alpha1.Tenant{{Namespace: "alice"}}}},
	).Build()
	s, err := services.New(services.Options{Config: &rest.Config{Host: "127.0.0.1:1"}, Client: c, Live: c, Hosts: pool})
	if err != nil {
		b.Fatal(err)
	}
	alice := services.Identity{Name: "alice", Namespace: "alice"}
	b.ReportAllocs()
	for b.Loop() {
		list, problems, err := s.Unikernels(b.Context(), alice)
		if err != nil || len(problems) != 0 || len(list) != 1 || len(list[0].Unikernels) != unikernels {
			b.Fatalf("%d instances, %v, %v", len(list), problems, err)
		}
	}
}

// BenchmarkCreate creates unikernels and destroys them, with all that is between a
// caller and a host; the median of the creates is reported.
func BenchmarkCreate(b *testing.B) {
	w := newWorld(b)
	w.mustRun("warm")
	var took []time.Duration
	n := 0
	for b.Loop() {
		name := fmt.Sprintf("web%d", n)
		n++
		began := time.Now()
		w.mustRun(name)
		took = append(took, time.Since(began))
		if err := w.DestroyUnikernel(b.Context(), w.user, w.instance, name); err != nil {
			b.Fatal(err)
		}
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms/create")
}
