package hosts

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"mollymawk.dev/operator/albatross"
)

// Snapshot is what a host told at one time. It is shared and must not be changed.
// The keys are names below the credential's path as [albatross.Name.String]
// gives them, such as "alice:web" or, at that path itself, ":web"; those of
// policies are paths, "" being the credential's own.
type Snapshot struct {
	// At is when the look began.
	At         time.Time
	Unikernels map[string]albatross.Unikernel
	Blocks     map[string]albatross.Block
	Policies   map[string]albatross.Policy
}

// Scope gives the path with the policies in force, which a command for it must
// carry, and the first path on the way that has none.
func (s *Snapshot) Scope(path albatross.Path) (scope albatross.Scope, missing albatross.Path) {
	for i, label := range path {
		policy, ok := s.Policies[path[:i+1].String()]
		if !ok {
			return nil, path[:i+1]
		}
		scope = append(scope, albatross.Level{Label: label, Policy: policy})
	}
	return scope, nil
}

// look asks a host for everything, the three questions at a time.
func look(ctx context.Context, client *albatross.Client, now time.Time) (*Snapshot, error) {
	s := &Snapshot{At: now}
	var unikernels []albatross.Unikernel
	var blocks []albatross.Block
	var policies []albatross.PathPolicy
	err := inParallel(
		func() (err error) { unikernels, err = twice(ctx, client.Unikernels); return err },
		func() (err error) { blocks, err = twice(ctx, client.Blocks); return err },
		func() (err error) { policies, err = twice(ctx, client.Policies); return err },
	)
	if err != nil {
		return nil, err
	}
	s.Unikernels = keyed(unikernels, func(u albatross.Unikernel) string { return u.Name.String() })
	s.Blocks = keyed(blocks, func(b albatross.Block) string { return b.Name.String() })
	s.Policies = make(map[string]albatross.Policy, len(policies))
	for _, p := range policies {
		s.Policies[p.Name.Path.String()] = p.Policy
	}
	return s, nil
}

// twice asks again once, so that a single lost packet does not make a look fail.
func twice[T any](ctx context.Context, ask func(context.Context, albatross.Scope) (T, error)) (T, error) {
	answer, err := ask(ctx, nil)
	if err == nil || ctx.Err() != nil {
		return answer, err
	}
	return ask(ctx, nil)
}

// inParallel gives the first error in the order of the functions.
func inParallel(ask ...func() error) error {
	errs := make([]error, len(ask))
	var wait sync.WaitGroup
	for i, f := range ask {
		wait.Go(func() { errs[i] = f() })
	}
	wait.Wait()
	i := slices.IndexFunc(errs, func(err error) bool { return err != nil })
	if i < 0 {
		return nil
	}
	return errs[i]
}

func keyed[T any](all []T, key func(T) string) map[string]T {
	m := make(map[string]T, len(all))
	for _, v := range all {
		m[key(v)] = v
	}
	return m
}

// changed gives the names of unikernels and blocks that differ between two
// snapshots, and whether a policy does.
func changed(before, after *Snapshot) (names map[string]bool, policies bool) {
	names = map[string]bool{}
	differing(names, before.Unikernels, after.Unikernels)
	differing(names, before.Blocks, after.Blocks)
	return names, !maps.EqualFunc(before.Policies, after.Policies, albatross.Policy.Equal)
}

func differing[T any](names map[string]bool, before, after map[string]T) {
	for name, v := range after {
		if old, ok := before[name]; !ok || !reflect.DeepEqual(old, v) {
			names[name] = true
		}
	}
	for name := range before {
		if _, ok := after[name]; !ok {
			names[name] = true
		}
	}
}

// AllowsBlock tells why the policy of a path has no room for another block device
// of a size in MiB, or gives nil.
func (s *Snapshot) AllowsBlock(name albatross.Name, policy albatross.Policy, size int64) error {
	if policy.Block == nil {
		return errors.New("no block devices are allowed by policy")
	}
	var used int64
	for _, b := range s.Blocks {
		if b.Name.Path.HasPrefix(name.Path) {
			used += b.Size
		}
	}
	if size > *policy.Block-used {
		return fmt.Errorf("block device policy limit of %d MB (used %d MB) would be exceeded by the request (%d MB)", *policy.Block, used, size)
	}
	return nil
}

// Allows tells why the policy of a path has no room for a unikernel with these
// arguments, or gives nil. What runs under the same name is not counted, since
// it would end. It looks at the same things in the same order as a host does,
// where only the policy of the unikernel's own path counts.
func (s *Snapshot) Allows(name albatross.Name, policy albatross.Policy, a albatross.Arguments) error {
	var unikernels, memory int64
	for other, u := range s.Unikernels {
		if other != name.String() && u.Name.Path.HasPrefix(name.Path) {
			unikernels++
			memory += u.Info.Memory
		}
	}
	if unikernels+1 > policy.Unikernels {
		return fmt.Errorf("maximum amount of unikernels (%d) reached", policy.Unikernels)
	}
	if a.Memory > policy.Memory-memory {
		return fmt.Errorf("maximum allowed memory (%d, used %d) would be exceeded (requesting %d)", policy.Memory, memory, a.Memory)
	}
	return policy.Allows(a)
}
