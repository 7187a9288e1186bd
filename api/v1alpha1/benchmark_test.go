package v1alpha1_test

import "testing"

// BenchmarkAdmit measures what the rules of the largest examples cost an API server at each write, be it to spec or to status.
func BenchmarkAdmit(b *testing.B) {
	for _, name := range []string{"albatrossinstance-many-tenants", "unikernel-many-devices", "unikernel-smallest", "volume-smallest"} {
		b.Run(name, func(b *testing.B) {
			doc := loadExample(b, root+"/hack/valid-examples/"+name+".yaml").docs[0]
			for b.Loop() {
				if errs := admit(doc, doc); len(errs) != 0 {
					b.Fatal(errs.ToAggregate())
				}
			}
		})
	}
}
