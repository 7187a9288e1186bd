package perf

import (
	"syscall"
	"time"
)

// spending is what something costs, from begin to end.
type spending struct {
	w *world
	m *manager
	// began is when it began.
	began time.Time
	// cpu is the operator's, in seconds, and cpuOfAll that of API server, hosts and benchmark too.
	cpu, cpuOfAll float64
	// writes are all of the operator's, ownWrites those for Unikernels and events.
	writes, ownWrites float64
	// commands are those that change something on hosts, looks are at hosts.
	commands, looks float64
}

// begin waits until the operator is quiet.
func (w *world) begin(m *manager) *spending {
	w.Helper()
	m.quiet(nil)
	s := &spending{w: w, m: m}
	s.add(-1)
	s.began = time.Now()
	return s
}

// end waits until nothing more comes. What is sent while it waits counts.
func (s *spending) end() {
	s.w.Helper()
	s.m.quiet(nil)
	s.add(1)
}

func (s *spending) add(sign float64) {
	s.w.Helper()
	operator, server := s.m.read(), s.w.readServer()
	s.cpu += sign * operator.cpuSeconds()
	s.cpuOfAll += sign * (operator.cpuSeconds() + server.cpuSeconds() + s.w.ownCPUSeconds())
	s.writes += sign * operator.writes()
	s.ownWrites += sign * server.ownWrites()
	s.commands += sign * float64(s.w.commands())
	s.looks += sign * operator.looks()
}

// ownCPUSeconds is what this process has used.
func (w *world) ownCPUSeconds() float64 {
	w.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		w.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}
