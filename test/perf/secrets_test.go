package perf

import (
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mollymawk.dev/operator/internal/testenv"
)

// BenchmarkSecrets has two thousand Secrets of 10 kB in another namespace than the operator's. Whoever kept them would need twenty
// megabytes at the least. The operator is looked at while they come and after a start with them.
func BenchmarkSecrets(b *testing.B) {
	const count, size, miB = 2000, 10_000, 1 << 20
	w := newWorld(b, 1, time.Second)
	m := w.startManager()
	w.seen.untilConnected()
	without, _ := m.quiet(nil)

	namespace := testenv.Namespace(b, w)
	var all []*corev1.Secret
	for i := range count {
		content := make([]byte, size)
		_, _ = rand.Read(content) // never fails
		all = append(all, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("secret%d", i), Namespace: namespace},
			Data:       map[string][]byte{"content": content},
		})
	}
	inParallel(all, func(s *corev1.Secret) { w.create(s) })
	with, _ := m.quiet(nil)
	m.stop()
	m = w.startManager()
	restarted, _ := m.quiet(func(r reading) bool { return r.connected() == 1 })
	b.Logf("%.1f MiB without, %.1f with, %.1f after a restart", without.resident()/miB, with.resident()/miB, restarted.resident()/miB)
	w.report("secrets-rss-mib", (max(with.resident(), restarted.resident())-without.resident())/miB)
}
