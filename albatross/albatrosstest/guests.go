package albatrosstest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"mollymawk.dev/operator/albatross/solo5"
	"mollymawk.dev/operator/albatross/wire"
)

// exit is how a unikernel ended.
type exit struct {
	code int
	// signal says that it was killed, so that code means nothing.
	signal bool
}

const (
	// bootTime passes between the start of a unikernel and its exit at the least.
	bootTime = 10 * time.Millisecond
	// tickTime is that of test_tick.
	tickTime = time.Second
)

// start is what a simulated tender is given.
type start struct {
	image  *image
	memory int64
	cpuIDs []int64
	cpus   int
	argv   []string
	macs   []wire.MAC
	// bridges are the unikernel's network devices, in the order of macs.
	bridges []string
}

// behaviour is what a unikernel is going to do.
type behaviour struct {
	lines []string
	// ticks has it print a line each second; lastTick is the one it exits after.
	ticks    bool
	lastTick int
	// code is that of the exit after some time, or runsOn.
	code  int
	after time.Duration
}

const runsOn = -1

// guest is a unikernel that runs.
type guest struct {
	timers *scheduler
	output func(string)
	exited func(exit)

	mu     sync.Mutex
	ended  bool
	target solo5.Target
	// stopTick and stops are of the timers that may still run.
	stopTick func()
	stops    []func()
}

// run starts a unikernel. It gives nil when the tender has failed with code 1
// before the unikernel began. exited is called once, by another goroutine.
func run(timers *scheduler, s start, output func(string), exited func(exit)) *guest {
	if line, fails := s.tenderFails(); fails {
		output(line)
		return nil
	}
	g := &guest{timers: timers, output: output, exited: exited, target: s.image.manifest.Target}
	b := s.behaviour()
	for _, line := range b.lines {
		output(line)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if b.ticks {
		g.tick(1, b)
	}
	if b.code != runsOn && b.lastTick == 0 {
		g.later(max(b.after, bootTime), func() { g.exit(b.code) })
	}
	return g
}

// later must be called with the lock held.
func (g *guest) later(d time.Duration, f func()) {
	g.stops = append(g.stops, g.timers.after(d, f))
}

// tick prints line n in a second, and so on. It must be called with the lock held.
func (g *guest) tick(n int, b behaviour) {
	if g.ended {
		return
	}
	g.stopTick = g.timers.after(tickTime, func() {
		g.say(fmt.Sprintf("tick %d", n))
		if n == b.lastTick {
			g.exit(b.code)
			return
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		g.tick(n+1, b)
	})
}

// exit ends the unikernel by its own will, or by the tender's when code is 1.
func (g *guest) exit(code int) {
	if code != 1 {
		g.say(fmt.Sprintf("Solo5: solo5_exit(%d) called", code))
	}
	g.end(exit{code: code})
}

// say prints unless the unikernel has ended.
func (g *guest) say(line string) {
	g.mu.Lock()
	ended := g.ended
	g.mu.Unlock()
	if !ended {
		g.output(line)
	}
}

// terminate asks the unikernel to end, as SIGTERM does.
func (g *guest) terminate(stopTime time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.later(stopTime, func() {
		if g.target == solo5.HVT {
			g.say("solo5-hvt: Exiting on signal 15")
		}
		g.end(exit{signal: true})
	})
}

// leave has it exit with a code.
func (g *guest) leave(code int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.later(0, func() { g.exit(code) })
}

// kill ends it without a word.
func (g *guest) kill() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.later(0, func() { g.end(exit{signal: true}) })
}

func (g *guest) end(e exit) {
	if g.drop() {
		g.exited(e)
	}
}

// drop ends the unikernel without telling anybody.
func (g *guest) drop() (ran bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended {
		return false
	}
	g.ended = true
	if g.stopTick != nil {
		g.stops = append(g.stops, g.stopTick)
	}
	for _, stop := range g.stops {
		stop()
	}
	g.stops, g.stopTick = nil, nil
	return true
}

// behaviour is chosen by arguments, image and resources.
func (s start) behaviour() behaviour {
	b := behaviour{lines: s.banner(), code: runsOn}
	switch s.image.program {
	case "test_tick", "test_blktick":
		s.tick(&b)
	case "test_net", "test_net_2if":
		b.lines = append(b.lines, "**** Solo5 standalone "+s.image.program+" ****")
		for i, device := range s.bridges {
			b.lines = append(b.lines, fmt.Sprintf("[%s] Serving ping on 10.%d.0.2, with MAC: %s", device, i, strings.ReplaceAll(s.macs[i].String(), ":", "")))
		}
	case "test_blk":
		b.lines = append(b.lines, "**** Solo5 standalone test_blk ****", "SUCCESS")
		b.code = 0
	}
	s.simulate(&b)
	return b
}

// tenderFails tells when the tender, or what pins it to CPUs, ends before the
// unikernel runs (memory-too-small, limits-cpu-bridge).
func (s start) tenderFails() (line string, fails bool) {
	exists := func(id int64) bool { return id >= 0 && id < int64(s.cpus) }
	switch {
	case len(s.cpuIDs) == 0:
		return "taskset: failed to parse CPU list: ", true
	case !slices.ContainsFunc(s.cpuIDs, exists):
		return "taskset: failed to set pid 0's affinity: Invalid argument", true
	case s.memory <= 0:
		return fmt.Sprintf("solo5-%s: Malformed argument to --mem", s.image.manifest.Target), true
	}
	return "", false
}

// banner is what Solo5 prints (console-running).
func (s start) banner() []string {
	return []string{
		`            |      ___|`,
		`  __|  _ \  |  _ \ __ \`,
		`\__ \ (   | | (   |  ) |`,
		`____/\___/ _|\___/____/`,
		`Solo5: Bindings version v0.12.1-7-g469c1a8`,
		fmt.Sprintf("Solo5: Memory map: %d MB addressable:", s.memory),
		`Solo5:   reserved @ (0x0 - 0xfffff)`,
		`Solo5:       text @ (0x100000 - 0x104fff)`,
		`Solo5:     rodata @ (0x105000 - 0x106fff)`,
		`Solo5:       data @ (0x107000 - 0x30bfff)`,
		fmt.Sprintf("Solo5:       heap >= 0x30c000 < stack < %#x", s.memory<<20),
	}
}

// tick reads the arguments of test_tick (exit-*).
func (s start) tick(b *behaviour) {
	b.lines = append(b.lines, fmt.Sprintf("test_tick cmdline: '%s'", strings.Join(s.argv, " ")))
	b.ticks = true
	code := 0
	for _, arg := range s.argv {
		key, value, _ := strings.Cut(arg, "=")
		n, err := strconv.Atoi(value)
		if err != nil {
			continue
		}
		switch key {
		case "after":
			b.code, b.lastTick = 0, max(n, 0)
		case "exit":
			code = n & 0xff
		}
	}
	if b.code != runsOn {
		b.code = code
	}
}

// simulate reads the arguments that every image understands here.
func (s start) simulate(b *behaviour) {
	named := false
	for _, arg := range s.argv {
		key, value, _ := strings.Cut(arg, "=")
		switch key {
		case "--name":
			named = true
		case "--sim-print":
			b.lines = append(b.lines, value)
		case "--sim-exit":
			if code, err := strconv.Atoi(value); err == nil {
				b.code = code & 0xff
			}
		case "--sim-after":
			if after, err := time.ParseDuration(value); err == nil {
				b.code, b.after, b.lastTick = max(b.code, 0), after, 0
			}
		case "--sim-no-name":
			if named {
				b.code, b.after, b.lastTick = 64, 0, 0
				return
			}
		}
	}
}
