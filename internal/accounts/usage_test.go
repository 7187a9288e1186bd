package accounts

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func TestUsageIsCounted(t *testing.T) {
	u, key := newUsage(), usageKey{"1", "a"}
	u.add(key, "", when)
	u.add(key, browser, when.Add(2*time.Second))
	// A call that began earlier may be counted later.
	u.add(key, "", when.Add(time.Second))
	if p := u.of(key); p.count != 3 || !p.last.Equal(when.Add(2*time.Second)) || !p.first.Equal(when) || p.userAgent != browser {
		t.Errorf("%+v", p)
	}
	if due := u.due(when.Add(-time.Nanosecond)); len(due) != 0 {
		t.Errorf("due too early: %+v", due)
	}
	due := u.due(when)["1"]["a"]
	if due.count != 3 {
		t.Fatalf("%+v", due)
	}
	u.add(key, "", when.Add(3*time.Second))
	u.written(key, due, when.Add(4*time.Second))
	if p := u.of(key); p.count != 1 || !p.first.Equal(when.Add(4*time.Second)) {
		t.Errorf("what was counted meanwhile: %+v", p)
	}
	u.written(key, u.of(key), when)
	if u.size() != 0 {
		t.Errorf("%+v", u.pending)
	}
}

func (u *usage) size() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.pending)
}

func TestRecent(t *testing.T) {
	for written, want := range map[time.Time]bool{
		{}: false, when: true, when.Add(-usageInterval): false, when.Add(-usageInterval + time.Nanosecond): true,
		// By a clock that is ahead.
		when.Add(time.Second): true, when.Add(usageInterval): false,
	} {
		if got := recent(written, when); got != want {
			t.Errorf("written at %s: %v", written, got)
		}
	}
}

// TestCountingLooksEachSecond lets time pass as fast as it can. Nobody is known, so
// that what is due is forgotten.
func TestCountingLooksEachSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := New(Options{Argon2id: cheap, Log: logr.Discard()})
		ctx, cancel := context.WithCancel(t.Context())
		var ended sync.WaitGroup
		ended.Go(func() { a.count(ctx) })
		a.usage.add(usageKey{"1", "a"}, "", a.now())
		time.Sleep(usageInterval - time.Millisecond)
		synctest.Wait()
		if a.usage.size() != 1 {
			t.Error("looked at too early")
		}
		time.Sleep(usageTick + time.Millisecond)
		synctest.Wait()
		if a.usage.size() != 0 {
			t.Error("not looked at")
		}
		cancel()
		ended.Wait()
	})
}

// TestUsageOfReplicas has two replicas count the same token, with time that a test
// moves; no write of one loses what the other wrote.
func TestUsageOfReplicas(t *testing.T) {
	w := newWorld(t)
	a, b := w.start(Options{}), w.start(Options{})
	alice := w.user("alice", a, b)
	token := w.token(alice, "ci", time.Hour, a, b)
	use := func(r *replica, times int) {
		t.Helper()
		for range times {
			_, err := r.Authenticate(t.Context(), bearer(token))
			w.must(err)
		}
	}
	version := func() string { return w.secret(alice).ResourceVersion }
	start := version()
	use(a, 3)
	use(b, 2)
	w.must(a.writeUsage(t.Context(), false))
	if version() != start {
		t.Error("written before ten seconds had passed")
	}
	w.clock.advance(usageInterval)
	// The loops of both replicas may be writing at this moment too.
	w.must(a.writeUsage(t.Context(), false))
	w.must(b.writeUsage(t.Context(), false))
	if used := w.stored(alice, token); used.Count != 3 && used.Count != 2 {
		t.Errorf("%d are written: one replica writes within ten seconds", used.Count)
	}
	w.clock.advance(usageInterval)
	w.must(a.writeUsage(t.Context(), false))
	w.must(b.writeUsage(t.Context(), false))
	used := w.stored(alice, token)
	if used.Count != 5 || used.LastAccess.Before(token.CreatedAt) {
		t.Errorf("%+v", used)
	}
	steady := version()
	w.clock.advance(usageInterval)
	w.must(a.writeUsage(t.Context(), true))
	if version() != steady {
		t.Error("written without a use")
	}
	use(b, 1)
	for _, r := range []*replica{a, b} {
		w.until("shown", func() bool {
			all, err := r.Tokens(t.Context(), alice)
			return err == nil && all[0].UsageCount >= 5
		})
	}
	if all, err := b.Tokens(t.Context(), alice); err != nil || all[0].UsageCount != 6 || !all[0].LastAccess.After(used.LastAccess) {
		t.Errorf("%+v, %v", all, err)
	}
}

// TestUsageIsNotLost has calls counted by two replicas, flushed at any time, while
// people edit the Secret and both replicas change tokens.
func TestUsageIsNotLost(t *testing.T) {
	w := newWorld(t)
	a, b := w.start(Options{}), w.start(Options{})
	alice := w.user("alice", a, b)
	token := w.token(alice, "ci", time.Hour, a, b)
	const rounds, calls = 8, 25
	var group sync.WaitGroup
	for i, r := range []*replica{a, b} {
		group.Go(func() {
			for range rounds {
				for range calls {
					if _, err := r.Authenticate(t.Context(), bearer(token)); err != nil {
						t.Error(err)
					}
				}
				if err := r.Flush(t.Context()); err != nil {
					t.Errorf("flush: %v", err)
				}
			}
		})
		group.Go(func() {
			for n := range rounds {
				if _, err := r.CreateToken(t.Context(), alice, fmt.Sprint("more ", i, n), time.Hour); err != nil {
					t.Errorf("token: %v", err)
				}
			}
		})
	}
	group.Go(func() {
		for n := range rounds {
			note := fmt.Sprintf(`{"metadata":{"annotations":{"note":"%d"}},"data":{"note-%d":"eA=="}}`, n, n)
			if err := w.Patch(t.Context(), w.secret(alice), client.RawPatch("application/merge-patch+json", []byte(note))); err != nil {
				t.Errorf("edit: %v", err)
			}
		}
	})
	group.Wait()
	w.must(a.Flush(t.Context()))
	w.must(b.Flush(t.Context()))
	if used := w.stored(alice, token); used.Count != 2*rounds*calls {
		t.Errorf("%d calls are counted, %d were made", used.Count, 2*rounds*calls)
	}
	secret := w.secret(alice)
	if r := parseRecord(secret.Data); len(r.tokens) != 1+2*rounds || r.unreadable != 0 {
		t.Errorf("%d tokens, %d entries not readable", len(r.tokens), r.unreadable)
	}
	for n := range rounds {
		if string(secret.Data[fmt.Sprint("note-", n)]) != "x" {
			t.Errorf("note %d is lost", n)
		}
	}
}

// TestUsageIsWrittenAtTheEnd has a replica end with calls that are not written.
func TestUsageIsWrittenAtTheEnd(t *testing.T) {
	w := newWorld(t)
	a := w.start(Options{})
	alice := w.user("alice", a)
	token := w.token(alice, "ci", time.Hour, a)
	_, session, err := a.Login(t.Context(), w.email("alice"), password, address, browser)
	w.must(err)
	for range 7 {
		_, err := a.Authenticate(t.Context(), bearer(token))
		w.must(err)
	}
	_, err = a.Authenticate(t.Context(), Credential{Session: session.Value, UserAgent: "curl/8"})
	w.must(err)
	a.stop()
	if used := w.stored(alice, token); used.Count != 7 {
		t.Errorf("%+v", used)
	}
	if used := parseRecord(w.secret(alice).Data).usage[session.ID]; used.UserAgent != "curl/8" || used.Count != 1 {
		t.Errorf("%+v", used)
	}
	next := w.start(Options{})
	all, err := next.Tokens(t.Context(), alice)
	if err != nil || len(all) != 1 || all[0].UsageCount != 7 || all[0].LastAccess.Equal(all[0].CreatedAt) {
		t.Errorf("after a start: %+v, %v", all, err)
	}
}

// TestUsageOfWhatIsGone is dropped, and a failed write is made up for.
func TestUsageOfWhatIsGone(t *testing.T) {
	w := newWorld(t)
	a := w.start(Options{})
	alice := w.user("alice", a)
	gone, kept := w.token(alice, "gone", time.Hour, a), w.token(alice, "kept", time.Hour, a)
	for _, token := range []Token{gone, kept} {
		_, err := a.Authenticate(t.Context(), bearer(token))
		w.must(err)
	}
	w.must(a.DeleteToken(t.Context(), alice, gone.Value))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	// A change of the base makes the write need the API server, which it cannot ask.
	if err := a.Flush(ended); err == nil || !errors.Is(err, context.Canceled) {
		t.Errorf("flush without a context: %v", err)
	}
	w.must(a.Flush(t.Context()))
	r := parseRecord(w.secret(alice).Data)
	if len(r.usage) != 1 || w.stored(alice, kept).Count != 1 || a.usage.size() != 0 {
		t.Errorf("%+v, pending %+v", r.usage, a.usage.size())
	}
	_, err := a.Authenticate(t.Context(), bearer(kept))
	w.must(err)
	w.must(a.DeleteUser(t.Context(), alice))
	w.must(a.Flush(t.Context()))
	if a.usage.size() != 0 {
		t.Errorf("of a deleted user: %d", a.usage.size())
	}
}
