package perf

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mollymawk.dev/operator/albatross"
)

// BenchmarkConsole has five hundred viewers of one console, which prints lines in bursts. Each viewer must get every line, in order, from
// one subscription at the host.
func BenchmarkConsole(b *testing.B) {
	const (
		viewers      = 500
		lines, burst = 2000, 50
		pause        = 100 * time.Millisecond
	)
	a := newAPI(b, 0, false)
	a.fillHost(1)
	a.untilListed(1)
	name := albatross.Name{Path: albatross.Path{apiUser}, Label: "web0"}.String()
	before := a.hosts[0].Received("console subscribe", name)
	var complete atomic.Int64
	var joined, wait sync.WaitGroup
	joined.Add(viewers)
	for range viewers {
		wait.Go(func() {
			if err := a.view("web0", lines, joined.Done); err != nil {
				a.Error(err)
				return
			}
			complete.Add(1)
		})
	}
	joined.Wait()
	began := time.Now()
	for i := range lines {
		a.hosts[0].Print(name, fmt.Sprintf("line %d", i))
		if i%burst == burst-1 {
			time.Sleep(pause)
		}
	}
	wait.Wait()
	b.Logf("%d lines at %d viewers after %v", lines, viewers, time.Since(began).Round(time.Millisecond))
	a.report("console-viewers", float64(complete.Load()))
	a.report("console-subscriptions", float64(a.hosts[0].Received("console subscribe", name)-before))
}

// view reads a console until so many lines have come, each in its turn. joined is called when the viewer is one.
func (a *api) view(unikernel string, lines int, joined func()) error {
	request, err := a.request(a.Context(), http.MethodGet, "/api/unikernel/console?instance=host&unikernel="+unikernel, nil)
	if err != nil {
		joined()
		return err
	}
	response, err := a.client.Do(request)
	joined()
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(response.Body)
		return fmt.Errorf("%s: %s", response.Status, text)
	}
	from := bufio.NewReader(response.Body)
	for next := 0; next < lines; {
		text, err := from.ReadString('\n')
		if err != nil {
			return fmt.Errorf("before line %d: %w", next, err)
		}
		if !strings.HasPrefix(text, "data:") || next == 0 && !strings.Contains(text, `"line 0"`) {
			continue // what was printed before
		}
		if !strings.Contains(text, fmt.Sprintf(`"line %d"`, next)) {
			return fmt.Errorf("instead of line %d: %s", next, text)
		}
		next++
	}
	return nil
}
