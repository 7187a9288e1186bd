package albatrosstest_test

import (
	"encoding/binary"
	"io"
	"runtime"
	"sync"
	"testing"
	"time"

	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/albatross/wire"
)

// peakHeap gives how much the heap grew at the most while f ran, in MiB.
func peakHeap(f func()) int {
	heap := func() int {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc >> 20)
	}
	runtime.GC()
	before, peak := heap(), 0
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(5 * time.Millisecond):
				peak = max(peak, heap()-before)
			}
		}
	})
	f()
	close(done)
	running.Wait()
	return peak
}

// TestConstantMemory moves 128 MiB each way and keeps little of it.
func TestConstantMemory(t *testing.T) {
	const size, limit = 128, 24 // MiB
	r := newRig(t, albatrosstest.Options{})
	r.domain = ""
	r.patience = time.Minute
	r.expect("added block device", "data", wire.BlockAdd{Size: size})
	chunk := append([]byte{0, 1, 0, 0}, noise(64<<10)...)
	up := peakHeap(func() {
		conn, err := r.dial(r.request("data"), wire.BlockSet{})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for range size << 20 / (64 << 10) {
			if _, err := conn.Write(chunk); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := conn.Write(make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
		if frame, err := readFrame(conn); err != nil || say(frame.Payload) != "set block device" {
			t.Fatalf("%+v, %v", frame, err)
		}
	})
	down := peakHeap(func() {
		conn, err := r.dial(r.request("data"), wire.BlockDump{})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		var length [4]byte
		for total := 0; total < size<<20; {
			if _, err := io.ReadFull(conn, length[:]); err != nil {
				t.Fatal(err)
			}
			n, err := io.CopyN(io.Discard, conn, int64(binary.BigEndian.Uint32(length[:])))
			if err != nil {
				t.Fatal(err)
			}
			total += int(n)
		}
	})
	t.Logf("heap grew by %d MiB for an upload and %d MiB for a download of %d MiB", up, down, size)
	if up > limit || down > limit {
		t.Errorf("heap grew by %d and %d MiB, want at most %d", up, down, limit)
	}
}
