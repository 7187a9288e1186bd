package albatrosstest_test

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/albatross/internal/vectors"
	"mollymawk.dev/operator/albatross/wire"
)

// TestBehaviour performs every recorded scenario in order and compares what the
// host answers and how it closes with what the original did. The host is a
// simulated one, or a real one when ALBATROSS_ADDR, ALBATROSS_CREDENTIALS and
// ALBATROSS_IMAGES are set; scenarios that break their host are for a simulated
// one only. They run at the same time, each in a domain of its own, and when
// simulated on a host and in a time of its own.
func TestBehaviour(t *testing.T) {
	given := realTarget(t)
	slots := make(chan struct{}, 8)
	var running sync.WaitGroup
	defer running.Wait()
	for _, scenario := range vectors.Behaviour(t) {
		target := given
		if target == nil {
			target = simulatedTarget(t)
		} else if scenario.FreshServer {
			continue
		}
		r := &replay{scenario: scenario, target: target, blocks: map[string][]byte{}, known: map[string]string{}}
		finished := make(chan struct{})
		running.Go(func() {
			defer close(finished)
			slots <- struct{}{}
			defer func() { <-slots }()
			r.run()
		})
		defer t.Run(scenario.Name, func(t *testing.T) {
			<-finished
			for _, problem := range r.problems {
				t.Error(problem)
			}
		})
	}
}

func simulatedTarget(t *testing.T) *target {
	clock := newClock()
	h := albatrosstest.Start(t, albatrosstest.Options{
		StatsPeriod: 200 * time.Millisecond, StopTime: 20 * time.Millisecond, Quirks: albatrosstest.AllQuirks, Now: clock.Now, After: clock.After,
	})
	credentials := h.Credentials()
	target := newTarget(t, h.Addr(), credentials.Cert, credentials.Key, standIns(t), 30*time.Second)
	target.clock = clock
	target.enlarge = h.Enlarge
	return target
}

// realTarget is nil unless a real host is given.
func realTarget(t *testing.T) *target {
	addr, credentials, folder := os.Getenv("ALBATROSS_ADDR"), os.Getenv("ALBATROSS_CREDENTIALS"), os.Getenv("ALBATROSS_IMAGES")
	if addr == "" {
		return nil
	}
	read := func(file string) []byte {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	images := map[string][]byte{}
	for _, image := range vectors.TestImages(t) {
		images[image.File] = read(filepath.Join(folder, image.File))
	}
	return newTarget(t, addr, read(filepath.Join(credentials, albatrosstest.CACertFile)),
		read(filepath.Join(credentials, albatrosstest.CAKeyFile)), images, 40*time.Second)
}

// standIns are images with the manifests and the lengths of the recorded ones.
func standIns(t testing.TB) map[string][]byte {
	images := map[string][]byte{}
	for _, image := range vectors.TestImages(t) {
		program, _, _ := strings.Cut(image.File, ".")
		made, err := albatrosstest.StandIn(program, solo5Image(image), int(image.Length))
		if err != nil || int64(len(made)) != image.Length {
			t.Fatalf("stand-in for %s: %d bytes, want %d: %v", image.File, len(made), image.Length, err)
		}
		images[image.File] = made
	}
	return images
}

func newTarget(t testing.TB, addr string, cert, key []byte, images map[string][]byte, patience time.Duration) *target {
	certBlock, _ := pem.Decode(cert)
	keyBlock, _ := pem.Decode(key)
	if certBlock == nil || keyBlock == nil {
		t.Fatal("credentials are no PEM")
	}
	ca, err := x509.ParseCertificate(certBlock.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := x509.ParsePKCS8PrivateKey(keyBlock.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return &target{addr: addr, ca: ca, key: signer, images: images, patience: patience}
}

// replay is one scenario being performed.
type replay struct {
	scenario vectors.Scenario
	target   *target
	problems []string
	step     int
	mu       sync.Mutex
	// blocks is what the block devices must contain by now.
	blocks map[string][]byte
	// known maps recorded digests of uploads to those of what was sent instead.
	known map[string]string
	// infos are the last two answers about running unikernels.
	infos [2][]wire.NamedInfo
}

func (r *replay) problem(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.problems = append(r.problems, fmt.Sprintf("step %d: ", r.step)+fmt.Sprintf(format, args...))
}

func (r *replay) run() {
	for i, step := range r.scenario.Steps {
		r.step = i
		switch {
		case step.Request != nil:
			r.check(step, r.exchange(r.target, *step.Request, step.Reply))
		case len(step.AtTheSameTime) > 0:
			r.together(step.AtTheSameTime)
		case step.WaitMS > 0:
			r.target.wait(time.Duration(step.WaitMS) * time.Millisecond)
		case step.Observation != "":
			r.observe(step)
		default:
			r.problem("a step of an unknown kind")
		}
	}
}

func (r *replay) exchange(to *target, request vectors.Request, want vectors.Reply) seen {
	got, err := to.perform(request, want)
	if err != nil {
		r.problem("%v", err)
	}
	return got
}

// together performs requests at the same time; the answers may come to any, so
// each waits for one.
func (r *replay) together(exchanges []vectors.Exchange) {
	impatient := *r.target
	impatient.patience = min(impatient.patience, 5*time.Second)
	results := make([]seen, len(exchanges))
	var running sync.WaitGroup
	for i, e := range exchanges {
		running.Go(func() { results[i] = r.exchange(&impatient, *e.Request, vectors.Reply{}) })
	}
	running.Wait()
	left := results
	for _, e := range exchanges {
		at := -1
		var differences []string
		for i, got := range left {
			if differences = r.differences(e, got); len(differences) == 0 {
				at = i
				break
			}
		}
		if at < 0 {
			r.problem("none of %d answers at the same time is the recorded one: %s", len(left), strings.Join(differences, "; "))
			return
		}
		r.remember(e, left[at])
		left = append(left[:at:at], left[at+1:]...)
	}
}

var quoted = regexp.MustCompile(`'([^']+)'`)

func (r *replay) check(step vectors.Step, got seen) {
	if strings.Contains(step.Note, "a race") {
		for _, text := range quoted.FindAllStringSubmatch(step.Note, -1) {
			if len(got.frames) > 0 && got.frames[0].Payload == (wire.Failure{Text: text[1]}) {
				return
			}
		}
	}
	for _, difference := range r.differences(step.Exchange, got) {
		r.problem("%s about %s: %s", step.Request.Command.Cmd, deref(step.Request.CN), difference)
	}
	r.remember(step.Exchange, got)
}

func deref(s *string) string {
	if s == nil {
		return "(no name)"
	}
	return *s
}

// observe checks what the recorder noted besides the replies, and does what it
// says a client did.
func (r *replay) observe(step vectors.Step) {
	before, last := r.infos[0], r.infos[1]
	switch {
	case strings.HasPrefix(step.Observation, "a client sent"):
		r.disconnect(step.Observation)
	case strings.Contains(step.Observation, "restarted after"):
		restarted := len(before) > 0 && len(last) > 0 && last[0].Info.Started.After(before[0].Info.Started)
		if restarted != step.Value {
			r.problem("%s: %v, want %v", step.Observation, restarted, step.Value)
		}
	case strings.Contains(step.Observation, "running after"):
		if running := len(last) > 0; running != step.Value {
			r.problem("%s: %v, want %v", step.Observation, running, step.Value)
		}
	}
}

// disconnect sends a create as the next request's tenant and goes away, before
// the reply or in the middle of the upload.
func (r *replay) disconnect(how string) {
	for _, next := range r.scenario.Steps[r.step+1:] {
		if next.Request == nil {
			continue
		}
		request := *next.Request
		image := r.target.images["test_tick.hvt"]
		config := wire.Config{Arguments: wire.Arguments{CPUIDs: []int64{0}, Memory: 16, NumCPUs: 1}}
		var upload []byte
		if strings.Contains(how, "in the certificate") {
			config.Image = image
		} else {
			upload = image[:len(image)/2]
		}
		if err := r.target.sendAndLeave(request, wire.UnikernelCreate{Config: config}, upload); err != nil {
			r.problem("%v", err)
		}
		return
	}
	r.problem("%s: no request after it says whose", how)
}
