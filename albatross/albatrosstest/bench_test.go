package albatrosstest_test

import (
	"sync"
	"testing"

	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/albatross/wire"
)

// BenchmarkCommands measures what a host and a sender cost together.
func BenchmarkCommands(b *testing.B) {
	r := newRig(b, albatrosstest.Options{})
	r.create("web")
	for b.Loop() {
		r.ask("web", wire.UnikernelInfo{})
	}
}

// BenchmarkUpload fills a block device.
func BenchmarkUpload(b *testing.B) {
	r := newRig(b, albatrosstest.Options{})
	r.domain = ""
	r.expect("added block device", "data", wire.BlockAdd{Size: 64})
	data := noise(64 << 20)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		r.expect("set block device", "data", wire.BlockSet{}, upload{data: data, chunk: 64 << 10})
	}
}

// BenchmarkManyUnikernels creates and ends a hundred at a time.
func BenchmarkManyUnikernels(b *testing.B) {
	r := newRig(b, albatrosstest.Options{})
	r.domain = ""
	image := standIn(b, "test")
	names := make([]string, 100)
	for i := range names {
		names[i] = "u" + string(rune('a'+i/26)) + string(rune('a'+i%26))
	}
	all := func(c wire.Command) {
		var running sync.WaitGroup
		for _, name := range names {
			running.Go(func() { r.ask(name, c) })
		}
		running.Wait()
	}
	for b.Loop() {
		all(wire.UnikernelCreate{Config: config(image)})
		all(wire.UnikernelDestroy{})
	}
}
