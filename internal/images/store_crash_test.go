package images

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// crashDir names the folder of the store in which a process writes until it is
// killed.
const crashDir = "MOLLYMAWK_TEST_STORE"

// Ends of the process that writes, besides being killed.
const (
	exitBroken = 3 // the store fails
	exitBad    = 4 // the store gave content that is not what its name says
)

// writeUntilKilled puts content, each time of another kind, tells what the store
// has acknowledged, and reads what was there before.
func writeUntilKilled(dir string) {
	end := func(code int, why ...any) {
		fmt.Fprintln(os.Stderr, why...)
		os.Exit(code)
	}
	ctx := context.Background()
	s, err := OpenStore(ctx, dir)
	if err != nil {
		end(exitBroken, err)
	}
	earlier, err := s.bucket.list(ctx, blobPrefix)
	if err != nil {
		end(exitBroken, err)
	}
	for i := 0; ; i++ {
		content := make([]byte, 50_000+rand.IntN(200_000))
		for j := range content {
			content[j] = byte(rand.Uint32())
		}
		var blob Blob
		if i%2 == 0 {
			blob, err = s.Put(ctx, bytes.NewReader(content), digestOf(string(content)), 1<<20)
		} else {
			blob, err = s.Add(ctx, bytes.NewReader(content), 1<<20)
		}
		if err == nil {
			err = s.Grant(ctx, blob.Digest, Provenance{1})
		}
		if err != nil {
			end(exitBroken, err)
		}
		fmt.Println(blob.Digest)
		if len(earlier) > 0 {
			if err := use(ctx, s, earlier[rand.IntN(len(earlier))].name); err != nil {
				end(exitBad, err)
			}
		}
	}
}

// use reads content as those do who send it to a host.
func use(ctx context.Context, s *Store, digest string) error {
	blob, found, err := s.Get(ctx, digest)
	if err != nil || !found {
		return err
	}
	r, err := blob.Open(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	content, err := io.ReadAll(r)
	if err == nil && digestOf(string(content)) != digest {
		err = errors.New("bad content was given")
	}
	return err
}

// TestKilledWhileWriting kills processes that write into the same folder, at any
// time from their start on. Nothing that they acknowledged is lost, nothing bad is
// under a digest's name, and what they left unfinished is cleared in the end.
func TestKilledWhileWriting(t *testing.T) {
	const kills, atATime = 200, 2
	dir := t.TempDir()
	acknowledged := map[string]bool{}
	for range kills / atATime {
		if rand.IntN(4) == 0 { // something of an earlier version, to be taken over
			old := newID()
			write(t, filepath.Join(dir, digestOf(old)), old)
			acknowledged[digestOf(old)] = true
		}
		var processes []*writingProcess
		for range atATime {
			processes = append(processes, startWriting(t, dir))
		}
		// One is killed between starting and having written a few.
		if rand.IntN(4) > 0 {
			processes[0].waitForOne(t)
		}
		time.Sleep(rand.N(10 * time.Millisecond))
		for _, p := range processes {
			for _, digest := range p.kill(t) {
				acknowledged[digest] = true
			}
		}
	}
	if len(acknowledged) < kills/2 {
		t.Errorf("only %d were acknowledged", len(acknowledged))
	}
	t.Logf("%d acknowledged, %d unfinished", len(acknowledged), len(names(t, newStore(t, dir), incomingPrefix)))
	checkCrashed(t, dir, acknowledged)
}

func checkCrashed(t *testing.T, dir string, acknowledged map[string]bool) {
	t.Helper()
	s := newStore(t, dir)
	for _, name := range names(t, s, blobPrefix) {
		content, err := os.ReadFile(filepath.Join(dir, blobPrefix, name))
		if err != nil || digestOf(string(content)) != name {
			t.Errorf("%s is bad: %v", name, err)
		}
	}
	for digest := range acknowledged {
		if _, found, err := s.Get(t.Context(), digest); !found || err != nil {
			t.Errorf("%s was acknowledged and is lost: %v", digest, err)
		}
	}
	for _, name := range names(t, s, incomingPrefix) {
		age(t, filepath.Join(dir, incomingPrefix, name), abandoned+time.Minute)
	}
	if left := names(t, newStore(t, dir), incomingPrefix); len(left) > 0 {
		t.Errorf("not cleared: %v", left)
	}
}

// writingProcess is one that runs writeUntilKilled.
type writingProcess struct {
	command *exec.Cmd
	out     *bufio.Reader
	errors  bytes.Buffer
	said    []string
}

func startWriting(t *testing.T, dir string) *writingProcess {
	t.Helper()
	p := &writingProcess{command: exec.Command(os.Args[0])} //nolint:noctx // it is killed in any case
	p.command.Env = append(os.Environ(), crashDir+"="+dir)
	p.command.Stderr = &p.errors
	out, err := p.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewReader(out)
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// waitForOne waits until something was acknowledged.
func (p *writingProcess) waitForOne(t *testing.T) {
	t.Helper()
	line, err := p.out.ReadString('\n')
	if err != nil {
		_ = p.command.Wait()
		t.Fatalf("it ended by itself: %v; %s", err, p.errors.String())
	}
	p.said = append(p.said, strings.TrimSpace(line))
}

// kill gives what was acknowledged until then.
func (p *writingProcess) kill(t *testing.T) []string {
	t.Helper()
	_ = p.command.Process.Kill() // fails when it has ended, which is seen below
	for {
		line, err := p.out.ReadString('\n')
		if err != nil {
			break // what is not a whole line was not said
		}
		p.said = append(p.said, strings.TrimSpace(line))
	}
	_ = p.command.Wait()
	if code := p.command.ProcessState.ExitCode(); code != -1 {
		t.Fatalf("it ended by itself with %d: %s", code, p.errors.String())
	}
	return p.said
}
