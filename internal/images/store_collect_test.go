package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
)

// Graces: anything is older than the first and younger than the second.
const (
	noGrace   = -time.Hour
	longGrace = time.Hour
)

func nothing(string) bool { return false }

// only says that these contents are needed.
func only(contents ...string) func(string) bool {
	return func(digest string) bool {
		for _, content := range contents {
			if digestOf(content) == digest {
				return true
			}
		}
		return false
	}
}

func grantTo(t *testing.T, s *Store, content string, by byte) {
	t.Helper()
	if err := s.Grant(t.Context(), digestOf(content), Provenance{by}); err != nil {
		t.Fatal(err)
	}
}

func TestCollect(t *testing.T) {
	onEach(t, func(t *testing.T, open func() *Store) {
		s := open()
		for _, content := range []string{"needed", "surplus", "more surplus"} {
			put(t, s, content)
			grantTo(t, s, content, 1)
			grantTo(t, s, content, 2)
		}
		grantTo(t, s, "left over", 1)
		for what, try := range map[string]struct {
			needed func(string) bool
			grace  time.Duration
		}{
			"all is younger than the grace": {nothing, longGrace},
			"all is needed":                 {func(string) bool { return true }, noGrace},
		} {
			if got, err := s.Collect(t.Context(), try.needed, try.grace); got != (Collected{}) || err != nil {
				t.Errorf("%s: %+v, %v", what, got, err)
			}
			holds(t, s, "needed", "surplus", "more surplus")
		}
		got, err := s.Collect(t.Context(), only("needed"), noGrace)
		if want := (Collected{2, int64(len("surplus" + "more surplus"))}); got != want || err != nil {
			t.Errorf("%+v, %v", got, err)
		}
		holds(t, s, "needed")
		if left := names(t, s, grantPrefix); len(left) != 2 {
			t.Errorf("grants: %v", left)
		}
		for content, want := range map[string]bool{"needed": true, "surplus": false, "left over": false} {
			for what, store := range map[string]*Store{"the same": s, "another": open()} {
				if granted, err := store.Granted(t.Context(), digestOf(content), Provenance{1}); granted != want || err != nil {
					t.Errorf("%s, %s store: %v, %v", content, what, granted, err)
				}
				if _, found, err := store.Get(t.Context(), digestOf(content)); found != want || err != nil {
					t.Errorf("%s, %s store: %v, %v", content, what, found, err)
				}
			}
		}
		if _, known := s.Known(digestOf("surplus")); known {
			t.Error("still known")
		}
	})
}

// A grant that is younger than the grace keeps content that is older, and the
// other way round.
func TestGraceCountsFromTheLatest(t *testing.T) {
	dir := t.TempDir()
	s := newStore(t, dir)
	for _, content := range []string{"old", "granted again", "put again"} {
		put(t, s, content)
		grantTo(t, s, content, 1)
		age(t, filepath.Join(dir, blobKey(digestOf(content))), 2*longGrace)
		age(t, filepath.Join(dir, grant{digestOf(content), Provenance{1}}.key()), 2*longGrace)
	}
	grantTo(t, s, "granted again", 2)
	put(t, s, "put again")
	if got, err := s.Collect(t.Context(), nothing, longGrace); got.Blobs != 1 || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
	holds(t, s, "granted again", "put again")
	if exists(dir, grantsOf(digestOf("old"))) {
		t.Error("the folder of the grants is left")
	}
}

// An object that needs content may come while others are collected.
func TestNeededInTheLastMoment(t *testing.T) {
	onEach(t, func(t *testing.T, open func() *Store) {
		s := open()
		put(t, s, "x")
		asked := 0
		got, err := s.Collect(t.Context(), func(string) bool { asked++; return asked > 1 }, noGrace)
		if got.Blobs != 0 || err != nil || asked != 2 {
			t.Errorf("%+v, %v, asked %d times", got, err, asked)
		}
		holds(t, s, "x")
	})
}

// Content that is being written, by whomever, is left alone.
func TestNotWhileItIsWritten(t *testing.T) {
	onEach(t, func(t *testing.T, open func() *Store) {
		collector, writer := open(), open()
		put(t, writer, "x")
		_, withdraw, err := writer.announce(t.Context(), digestOf("x"))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := collector.Collect(t.Context(), nothing, noGrace); got.Blobs != 0 || err != nil {
			t.Errorf("%+v, %v", got, err)
		}
		withdraw()
		holds(t, collector, "x")

		// The same with a source that is in the middle of it.
		from, to := io.Pipe()
		done := make(chan error, 1)
		go func() {
			_, err := writer.Put(t.Context(), from, digestOf("long"), 10)
			done <- err
		}()
		_, _ = to.Write([]byte("lo"))
		if _, err := collector.Collect(t.Context(), nothing, noGrace); err != nil {
			t.Error(err)
		}
		_, _ = to.Write([]byte("ng"))
		to.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, found, err := collector.Get(t.Context(), digestOf("long")); !found || err != nil {
			t.Errorf("%v, %v", found, err)
		}
	})
}

// Who comes to write when the collector has made its mark waits until it is gone.
func TestWriterWaitsForTheCollector(t *testing.T) {
	onEach(t, func(t *testing.T, open func() *Store) {
		collector, writer := open(), open()
		put(t, collector, "x")
		grantTo(t, collector, "x", 1)
		digest, done := digestOf("x"), make(chan error, 1)
		asked := 0
		got, err := collector.Collect(t.Context(), func(string) bool {
			if asked++; asked == 2 { // the mark is made and nobody was seen
				go func() {
					_, err := writer.Put(t.Context(), strings.NewReader("x"), digest, 10)
					if err == nil {
						err = writer.Grant(t.Context(), digest, Provenance{1})
					}
					done <- err
				}()
				eventually(t, "it is announced", func() bool {
					for _, name := range names(t, writer, incomingPrefix) {
						if strings.HasPrefix(name, digest) {
							return true
						}
					}
					return false
				})
				select {
				case err := <-done:
					t.Errorf("it did not wait: %v", err)
					done <- err
				case <-time.After(3 * markInterval):
				}
			}
			return false
		}, noGrace)
		if got.Blobs != 1 || err != nil {
			t.Errorf("%+v, %v", got, err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		holds(t, collector, "x")
		if granted, err := open().Granted(t.Context(), digest, Provenance{1}); !granted || err != nil {
			t.Errorf("granted: %v, %v", granted, err)
		}
	})
}

// What comes between the look for what is old and the collector's mark is new.
func TestWrittenBeforeTheMark(t *testing.T) {
	for what, come := range map[string]func(s *Store){
		"content": func(s *Store) { put(t, s, "x") },
		"a grant": func(s *Store) { grantTo(t, s, "x", 1) },
	} {
		dir := t.TempDir()
		collector, writer := newStore(t, dir), newStore(t, dir)
		put(t, writer, "x")
		grantTo(t, writer, "x", 1)
		age(t, filepath.Join(dir, blobKey(digestOf("x"))), 2*longGrace)
		age(t, filepath.Join(dir, grant{digestOf("x"), Provenance{1}}.key()), 2*longGrace)
		asked := 0
		got, err := collector.Collect(t.Context(), func(string) bool {
			if asked++; asked == 1 {
				come(writer)
			}
			return false
		}, longGrace)
		if got.Blobs != 0 || err != nil || asked == 0 {
			t.Errorf("%s: %+v, %v", what, got, err)
		}
		holds(t, collector, "x")
	}
}

// The mark of a collector that was killed holds up nobody for ever.
func TestMarkOfTheKilled(t *testing.T) {
	dir := t.TempDir()
	s := newStore(t, dir)
	mark := filepath.Join(dir, collectingPrefix, digestOf("x"))
	write(t, mark, "")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	if _, err := s.Put(ctx, strings.NewReader("x"), digestOf("x"), 10); err == nil {
		t.Error("it did not wait")
	}
	age(t, mark, markAbandoned+time.Minute)
	put(t, s, "x")
	if _, err := s.Collect(t.Context(), func(string) bool { return true }, noGrace); err != nil || exists(dir, collectingPrefix+digestOf("x")) {
		t.Errorf("the mark is left: %v", err)
	}
	holds(t, s, "x")
}

// TestCollectorAndWriters has two processes write and collect the same content at
// the same time, very often: what was acknowledged is there.
func TestCollectorAndWriters(t *testing.T) {
	dir := t.TempDir()
	collector, writer := newStore(t, dir), newStore(t, dir)
	digest := digestOf("x")
	// At least so many rounds, and more until each of the two was first once.
	const rounds, most = 150, 1000
	removed, i := 0, 0
	for ; i < rounds || i < most && (removed == 0 || removed == i); i++ {
		put(t, writer, "x")
		grantTo(t, writer, "x", 1)
		age(t, filepath.Join(dir, blobKey(digest)), 2*longGrace)
		age(t, filepath.Join(dir, grant{digest, Provenance{1}}.key()), 2*longGrace)
		// They take turns in being late, by more each time.
		late := time.Duration(i) * 10 * time.Microsecond
		var both sync.WaitGroup
		both.Go(func() {
			time.Sleep(late * time.Duration(i%2))
			got, err := collector.Collect(t.Context(), nothing, longGrace)
			if err != nil {
				t.Error(err)
			}
			removed += got.Blobs
		})
		both.Go(func() {
			time.Sleep(late * time.Duration(1-i%2))
			put(t, writer, "x")
			grantTo(t, writer, "x", 1)
		})
		both.Wait()
		if _, found, err := collector.Get(t.Context(), digest); !found || err != nil {
			t.Fatalf("round %d: acknowledged and lost: %v", i, err)
		}
		if !exists(dir, grant{digest, Provenance{1}}.key()) {
			t.Fatalf("round %d: granted and lost", i)
		}
	}
	if removed == 0 || removed == i {
		t.Errorf("%d of %d were removed: the two never met", removed, i)
	}
}

// One that cannot be removed does not keep the others.
func TestCollectGoesOn(t *testing.T) {
	dir := t.TempDir()
	s := newStore(t, dir)
	put(t, s, "x")
	put(t, s, "y")
	write(t, filepath.Join(dir, collectingPrefix, digestOf("x"), "in the way"), "")
	got, err := s.Collect(t.Context(), nothing, noGrace)
	if got.Blobs != 1 || err == nil || !strings.Contains(err.Error(), "1 of 2") {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestCollector(t *testing.T) {
	open := memory(t)
	s := open()
	for _, content := range []string{"needed", "new", "surplus"} {
		put(t, s, content)
	}
	var mu sync.Mutex
	asked := 0
	ctx, cancel := context.WithCancel(t.Context())
	collector := &Collector{Store: s, Every: 10 * time.Millisecond, Grace: noGrace, Log: logr.Discard(), Needed: func(context.Context) (func(string) bool, error) {
		mu.Lock()
		defer mu.Unlock()
		switch asked++; asked {
		case 1:
			return nil, errors.New("not known yet")
		case 2:
			return only("needed"), nil // the object that needs the other one comes now
		}
		return only("needed", "new"), nil
	}}
	if !collector.NeedLeaderElection() {
		t.Error("every replica collects")
	}
	ended := make(chan error, 1)
	go func() { ended <- collector.Start(ctx) }()
	eventually(t, "the surplus is gone", func() bool { return len(names(t, s, blobPrefix)) == 2 })
	eventually(t, "it goes on", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return asked > 10
	})
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	holds(t, s, "needed", "new")
}

// Without knowing what is needed nothing is removed, be it at the beginning or in
// the middle.
func TestCollectorWithoutKnowledge(t *testing.T) {
	for failing := range 2 {
		t.Run(fmt.Sprint(failing), func(t *testing.T) {
			s := memory(t)()
			put(t, s, "x")
			asked := 0
			collector := &Collector{Store: s, Every: time.Minute, Grace: noGrace, Log: logr.Discard(), Needed: func(context.Context) (func(string) bool, error) {
				if asked++; asked > failing {
					return nil, errors.New("the caches are not filled")
				}
				return nothing, nil
			}}
			collector.collect(t.Context())
			if asked != failing+1 {
				t.Errorf("asked %d times", asked)
			}
			holds(t, s, "x")
		})
	}
}
