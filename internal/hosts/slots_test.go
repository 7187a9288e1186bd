package hosts

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// places is a rig for slots: it says what is wanted and complains.
type places struct {
	*slots
	t   *testing.T
	now time.Time
}

func (p *places) acquire(key string, want bool, granted ...string) {
	p.t.Helper()
	ok, got := p.tryAcquire(key, p.now)
	if ok != want || !slices.Equal(got, granted) {
		p.t.Errorf("acquire %s: %v and granted %v, want %v and %v", key, ok, got, want, granted)
	}
}

func (p *places) free1(granted ...string) {
	p.t.Helper()
	if got := p.release(); !slices.Equal(got, granted) {
		p.t.Errorf("release: granted %v, want %v", got, granted)
	}
}

func newPlaces(t *testing.T, limit int) *places { return &places{newSlots(limit), t, noon} }

func TestFirstComeFirstServed(t *testing.T) {
	p := newPlaces(t, 2)
	p.acquire("a", true)
	p.acquire("b", true)
	p.acquire("c", false)
	p.acquire("d", false)
	p.acquire("d", false) // asking again moves nobody
	p.free1("c")
	p.acquire("e", false) // the place is c's
	p.acquire("d", false)
	p.free1("d") // c was told already
	p.acquire("d", true)
	p.acquire("e", false)
	p.acquire("c", true)
	p.free1("e")
	p.acquire("e", true)
	p.free1()
	p.acquire("f", true)
}

func TestOneKeyMayHaveTwoPlaces(t *testing.T) {
	p := newPlaces(t, 2)
	p.acquire("a", true)
	p.acquire("a", true)
	p.acquire("a", false)
	p.free1("a")
	p.acquire("a", true)
}

func TestThoseWhoNeverReturn(t *testing.T) {
	p := newPlaces(t, 1)
	p.acquire("a", true)
	p.acquire("gone", false)
	p.acquire("b", false)
	p.free1("gone")
	p.now = p.now.Add(patience)
	p.acquire("b", false) // to the last moment
	p.now = p.now.Add(1)
	p.acquire("b", true)
	p.acquire("gone", false) // comes late, and last
	p.acquire("c", false)
	p.free1("gone")
}

// Whoever notices that somebody does not come back has the next one told.
func TestExpiryTellsTheNext(t *testing.T) {
	for what, notice := range map[string]func(*places, ...string){
		"look":  func(p *places, want ...string) { expectGranted(p, want) },
		"asker": func(p *places, want ...string) { p.acquire("c", false, want...) },
	} {
		t.Run(what, func(t *testing.T) {
			p := newPlaces(t, 1)
			p.acquire("a", true)
			p.acquire("gone", false)
			p.acquire("b", false)
			p.free1("gone")
			p.now = p.now.Add(patience / 2)
			p.acquire("b", false)
			p.now = p.now.Add(patience/2 + 1)
			notice(p, "b")
			notice(p) // once
			p.acquire("b", true)
		})
	}
}

func expectGranted(p *places, want []string) {
	p.t.Helper()
	if got := p.expire(p.now); !slices.Equal(got, want) {
		p.t.Errorf("expiry: granted %v, want %v", got, want)
	}
}

// model is slots as one would explain them: a line, in which who asked first
// comes first, and who is silent for too long leaves.
type model struct {
	limit int
	used  []string
	line  []string
	asked map[string]time.Time
}

func (m *model) forgetAbsent(now time.Time) {
	m.line = slices.DeleteFunc(m.line, func(key string) bool { return now.Sub(m.asked[key]) > patience })
}

func (m *model) acquire(key string, now time.Time) bool {
	if !slices.Contains(m.line, key) {
		m.line = append(m.line, key)
	}
	m.asked[key] = now
	m.forgetAbsent(now)
	at := slices.Index(m.line, key)
	if at >= m.limit-len(m.used) {
		return false
	}
	m.line = slices.Delete(m.line, at, at+1)
	m.used = append(m.used, key)
	return true
}

// Random operations agree with the model; who is told may take a place, and
// nobody whose turn it is is left untold.
func TestSlotsAgainstModel(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		m := &model{limit: 1 + random.IntN(4), asked: map[string]time.Time{}}
		s, now, told := newSlots(m.limit), noon, map[string]bool{}
		for range 300 {
			var granted []string
			switch random.IntN(4) {
			case 0, 1:
				key := fmt.Sprint("k", random.IntN(8))
				var ok bool
				if ok, granted = s.tryAcquire(key, now); ok != m.acquire(key, now) {
					t.Fatalf("seed %d: %s acquires: %v", seed, key, ok)
				} else if ok {
					delete(told, key)
				} else if told[key] {
					t.Fatalf("seed %d: %s was told and got nothing", seed, key)
				}
			case 2:
				if len(m.used) == 0 {
					continue
				}
				m.used = m.used[1:]
				granted = s.release()
			case 3:
				now = now.Add(time.Duration(random.Int64N(int64(patience))))
				m.forgetAbsent(now)
				granted = s.expire(now)
			}
			checkTold(t, seed, m, told, granted)
			if s.used != len(m.used) || s.used > s.limit || len(s.line) != len(m.line) {
				t.Fatalf("seed %d: %d of %d used, %d wait; want %d and %d", seed, s.used, s.limit, len(s.line), len(m.used), len(m.line))
			}
		}
	}
}

func checkTold(t *testing.T, seed uint64, m *model, told map[string]bool, granted []string) {
	t.Helper()
	for key := range told { // who left the line must be told again another time
		if !slices.Contains(m.line, key) {
			delete(told, key)
		}
	}
	for _, key := range granted {
		if told[key] {
			t.Fatalf("seed %d: %s told twice", seed, key)
		}
		told[key] = true
	}
	turn := m.line[:min(len(m.line), m.limit-len(m.used))]
	for _, key := range turn {
		if !told[key] {
			t.Fatalf("seed %d: it is the turn of %s, and nobody said so", seed, key)
		}
	}
	for key := range told {
		if !slices.Contains(turn, key) {
			t.Fatalf("seed %d: %s was told, and it is the turn of %v", seed, key, turn)
		}
	}
}

func TestEverybodyIsServedOnce(t *testing.T) {
	s := newSlots(3)
	var served []string
	waiting, running := []string{}, []string{}
	for i := range 100 {
		waiting = append(waiting, fmt.Sprint("k", i))
	}
	want := slices.Clone(waiting)
	for _, key := range waiting {
		if ok, _ := s.tryAcquire(key, noon); ok {
			served, running = append(served, key), append(running, key)
		}
	}
	for len(running) > 0 { // each release wakes those who then ask
		running = running[1:]
		for _, key := range s.release() {
			if ok, _ := s.tryAcquire(key, noon); ok {
				served, running = append(served, key), append(running, key)
			}
		}
	}
	if !reflect.DeepEqual(served, want) {
		t.Errorf("served %v", served)
	}
}
