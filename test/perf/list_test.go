package perf

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/albatross/solo5"
)

const (
	// ceilingVariable is the file that a child of this process serves, and nothing else; its address goes to standard output.
	ceilingVariable = "MOLLYMAWK_PERF_CEILING"
	// askers is how many ask at a time, asking is how long they do.
	askers = 8
	asking = 3 * time.Second
)

// BenchmarkList lists a thousand unikernels over the HTTP API, from the operator's process, and the same bytes from a process that does
// nothing but serve them with net/http. They take turns, and the best rounds of each are compared: what else the machine does only slows.
func BenchmarkList(b *testing.B) {
	const unikernels, rounds = 1000, 5
	a := newAPI(b, 0, false)
	a.fillHost(unikernels)
	body := a.untilListed(unikernels)
	ceiling, end := startCeiling(b, a.file("body", body))
	defer end()

	var ours, theirs []float64
	for range rounds {
		theirs = append(theirs, a.askAll("http://"+ceiling, len(body)))
		ours = append(ours, a.askAll(a.url+"/api/unikernels", len(body)))
	}
	b.Logf("%d bytes; a second: %.0f, net/http alone: %.0f", len(body), ours, theirs)
	a.report("list-requests/s", slices.Max(ours))
	a.report("list-ratio-to-ceiling", slices.Max(ours)/slices.Max(theirs))
}

// fillHost has the host run so many unikernels of the user, without objects: a list costs the same.
func (a *api) fillHost(unikernels int) {
	a.Helper()
	client, scope := a.direct()
	image, err := albatrosstest.StandIn("", solo5.Image{}, 0)
	a.must(err)
	names := make([]int, unikernels)
	for i := range names {
		names[i] = i
	}
	inParallel(names, func(i int) {
		config := albatross.Config{Arguments: albatross.Arguments{CPUIDs: []int64{0}, Memory: 16, NumCPUs: 1, Argv: []string{"--ipv4=10.0.0.2/24", fmt.Sprintf("--name=web%d", i)}}}
		if _, err := client.Create(a.Context(), scope, fmt.Sprintf("web%d", i), config, albatross.Image{Reader: bytes.NewReader(image), Size: int64(len(image))}); err != nil {
			a.Error(err)
		}
	})
}

// untilListed waits for a look at the host, and gives the reply.
func (a *api) untilListed(unikernels int) (body []byte) {
	a.Helper()
	a.m.wait("listed", func() (bool, string) {
		request, err := a.request(a.Context(), http.MethodGet, "/api/unikernels", nil)
		a.must(err)
		response, err := a.client.Do(request)
		a.must(err)
		defer response.Body.Close()
		body, err = io.ReadAll(response.Body)
		a.must(err)
		var list struct {
			Data struct{ Data [][]json.RawMessage }
		}
		a.must(json.Unmarshal(body, &list))
		listed := 0
		for _, instance := range list.Data.Data {
			listed += len(instance)
		}
		return listed == unikernels, fmt.Sprintf("%d are listed", listed)
	})
	return body
}

// askAll asks as often as possible for a while, and tells how many answers there were a second.
func (a *api) askAll(url string, size int) float64 {
	a.Helper()
	var answers atomic.Int64
	var wait sync.WaitGroup
	began := time.Now()
	for range askers {
		wait.Go(func() {
			buffer := make([]byte, 256<<10)
			for time.Since(began) < asking {
				if err := a.ask(url, size, buffer); err != nil {
					a.Error(err)
					return
				}
				answers.Add(1)
			}
		})
	}
	wait.Wait()
	return float64(answers.Load()) / time.Since(began).Seconds()
}

func (a *api) ask(url string, size int, buffer []byte) error {
	request, err := http.NewRequestWithContext(a.Context(), http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+a.token)
	response, err := a.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, response.Body, buffer)
	if err == nil && (response.StatusCode != http.StatusOK || n != int64(size)) {
		return fmt.Errorf("%s with %d bytes, want %d", response.Status, n, size)
	}
	return err
}

// startCeiling has a process of its own serve a file's content with net/http alone.
func startCeiling(b *testing.B, body string) (address string, end func()) {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env, cmd.Stderr = append(os.Environ(), ceilingVariable+"="+body), os.Stderr
	endWithThisProcess(cmd)
	output, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	// The kernel takes the end of the thread that started a process for the end of its parent.
	runtime.LockOSThread()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	if _, err := fmt.Fscanln(output, &address); err != nil {
		b.Fatal(err)
	}
	return address, func() {
		_ = cmd.Process.Kill() // it has nothing to tidy
		_ = cmd.Wait()         // says that it was killed
		runtime.UnlockOSThread()
	}
}

// serveCeiling is the whole of that process.
func serveCeiling(file string) {
	body, err := os.ReadFile(file)
	if err != nil {
		panic(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(listener.Addr())
	panic(http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		_, _ = w.Write(body) // whoever has gone need not be told
	})))
}
