package accounts

import (
	"context"
	"errors"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"mollymawk.dev/operator/api/v1alpha1"
)

const (
	// usageInterval is the least time between two writes of how a token was used,
	// by all replicas together.
	usageInterval = 10 * time.Second
	// usageTick is how often is looked for what is due.
	usageTick = time.Second
	// usageWriters is how many users' Secrets are written at a time.
	usageWriters = 8
)

// usageKey is a token or session of a user.
type usageKey struct {
	uid types.UID
	id  string
}

// uses is what was counted and is not written yet.
type uses struct {
	count     int64
	first     time.Time
	last      time.Time
	userAgent string
}

// usage counts authenticated calls until they are written.
type usage struct {
	mu      sync.Mutex
	pending map[usageKey]uses
	// flushing has one write at a time, since two would count what is pending twice.
	flushing sync.Mutex
}

func newUsage() *usage { return &usage{pending: map[usageKey]uses{}} }

func (u *usage) add(key usageKey, userAgent string, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	p, known := u.pending[key]
	if !known {
		p.first = now
	}
	p.count++
	if now.After(p.last) {
		p.last = now
	}
	if userAgent != "" {
		p.userAgent = userAgent
	}
	u.pending[key] = p
}

func (u *usage) of(key usageKey) uses {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.pending[key]
}

// take back what was written. What was counted meanwhile stays.
func (u *usage) written(key usageKey, done uses, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	p := u.pending[key]
	p.count -= done.count
	p.first = now
	if p.count <= 0 {
		delete(u.pending, key)
		return
	}
	u.pending[key] = p
}

func (u *usage) forget(key usageKey) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.pending, key)
}

// due gives, by user, what has waited long enough.
func (u *usage) due(before time.Time) map[types.UID]map[string]uses {
	u.mu.Lock()
	defer u.mu.Unlock()
	all := map[types.UID]map[string]uses{}
	for key, p := range u.pending {
		if p.first.After(before) {
			continue
		}
		if all[key.uid] == nil {
			all[key.uid] = map[string]uses{}
		}
		all[key.uid][key.id] = p
	}
	return all
}

// count writes what is due until the context ends.
func (a *Accounts) count(ctx context.Context) {
	ticker := time.NewTicker(usageTick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if err := a.writeUsage(ctx, false); err != nil && ctx.Err() == nil {
				a.options.Log.Error(err, "cannot write how tokens are used; it is tried again")
			}
		}
	}
}

// Flush writes all that was counted. It is for the end of a server: what is
// authenticated after it is not counted.
func (a *Accounts) Flush(ctx context.Context) error { return a.writeUsage(ctx, true) }

// writeUsage writes what is due, or everything.
func (a *Accounts) writeUsage(ctx context.Context, everything bool) error {
	a.usage.flushing.Lock()
	defer a.usage.flushing.Unlock()
	now := a.now()
	before := now.Add(-usageInterval)
	if everything {
		before = now
	}
	var (
		mu      sync.Mutex
		failed  []error
		writers sync.WaitGroup
		slots   = make(chan struct{}, usageWriters)
	)
	for uid, used := range a.usage.due(before) {
		slots <- struct{}{}
		writers.Go(func() {
			defer func() { <-slots }()
			if err := a.writeUsageOf(ctx, uid, used, everything); err != nil {
				mu.Lock()
				failed = append(failed, err)
				mu.Unlock()
			}
		})
	}
	writers.Wait()
	return errors.Join(failed...)
}

// writeUsageOf writes what was counted for one user, all tokens at once.
func (a *Accounts) writeUsageOf(ctx context.Context, uid types.UID, used map[string]uses, everything bool) error {
	found, ok := a.index.byUID(uid)
	if !ok {
		a.forgetUsage(uid, used)
		return nil
	}
	now := a.now()
	var written, gone map[string]uses
	err := a.change(ctx, found.user, func(d *draft) error {
		written, gone = map[string]uses{}, map[string]uses{}
		for id, u := range used {
			switch stored := d.usage[id]; {
			case !d.has(id):
				gone[id] = u
			case everything || !recent(stored.WrittenAt, now):
				written[id] = u
				if err := d.putUsage(id, stored.plus(u, now)); err != nil {
					return err
				}
			}
		}
		if len(written) == 0 {
			return errNotDue
		}
		return nil
	})
	if err != nil {
		return err
	}
	a.forgetUsage(uid, gone)
	for id, u := range written {
		a.usage.written(usageKey{uid, id}, u, now)
	}
	return nil
}

func (a *Accounts) forgetUsage(uid types.UID, used map[string]uses) {
	for id := range used {
		a.usage.forget(usageKey{uid, id})
	}
}

// recent tells whether some replica has written just now. Clocks may differ.
func recent(written, now time.Time) bool { return now.Sub(written).Abs() < usageInterval }

func (d *draft) has(id string) bool {
	_, isToken := d.tokens[id]
	_, isSession := d.sessions[id]
	return isToken || isSession
}

// plus adds what was counted to what is stored.
func (s storedUsage) plus(u uses, now time.Time) storedUsage {
	s.Count += u.count
	s.WrittenAt = now
	if u.last.After(s.LastAccess) {
		s.LastAccess = u.last
	}
	if u.userAgent != "" {
		s.UserAgent = u.userAgent
	}
	return s
}

// usageOf is what is stored together with what this replica counted since.
func (a *Accounts) usageOf(user *v1alpha1.User, r record, id string) storedUsage {
	return r.usage[id].plus(a.usage.of(usageKey{user.UID, id}), time.Time{})
}
