package perf

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"time"
)

const miB = 1 << 20

// residentLine is what the system tells of a process's memory.
var residentLine = regexp.MustCompile(`(?m)^VmRSS:\s+(\d+) kB$`)

// resident is the operator's memory now, in bytes, as the system has it: to ask the operator itself would cost some.
func (m *manager) resident() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", m.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	found := residentLine.FindSubmatch(text)
	if found == nil {
		return 0, fmt.Errorf("process %d tells no memory", m.cmd.Process.Pid)
	}
	kib, err := strconv.ParseInt(string(found[1]), 10, 64)
	return kib << 10, err
}

// idleMemory waits until the operator's memory no longer falls, and gives it.
func (m *manager) idleMemory() (least int64) {
	m.Helper()
	for still := 0; still < 10; time.Sleep(200 * time.Millisecond) {
		now, err := m.resident()
		if err != nil {
			m.Fatal(err)
		}
		still++
		if least == 0 || now < least-miB/4 {
			least, still = now, 0
		}
	}
	return least
}

// moreMemory runs a function and gives how much more memory the operator had meanwhile than idle, at most.
func (m *manager) moreMemory(idle int64, run func()) int64 {
	m.Helper()
	stop, most := make(chan struct{}), make(chan int64)
	go func() {
		ticker := time.NewTicker(5 * time.Millisecond)
		defer ticker.Stop()
		found := int64(0)
		for {
			select {
			case <-ticker.C:
				if now, err := m.resident(); err == nil { // else the operator has ended, which shows
					found = max(found, now-idle)
				}
			case <-stop:
				most <- found
				return
			}
		}
	}()
	run()
	close(stop)
	return <-most
}
