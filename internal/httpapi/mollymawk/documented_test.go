package mollymawk_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"mollymawk.dev/operator/internal/httpapi/mollymawk/documented"
	"mollymawk.dev/operator/internal/services"
)

const (
	labelText = documented.LabelText
	unknown   = documented.Unknown
)

// Forms of the document.
var (
	createForm = documented.CreateForm
	volumeForm = documented.VolumeForm
)

func named(name, instance string) map[string]any {
	return map[string]any{"name": name, "albatross_instance": instance}
}

func download(name, instance string, level any) map[string]any {
	return map[string]any{"block_name": name, "albatross_instance": instance, "compression_level": level}
}

// Preparations.
func hello(g *rig) {
	form := createForm(nil)
	h, err := g.client.Do(ask{Path: "/api/unikernel/create", Bearer: g.user, Form: form}.Request(g.t, g.url))
	if err != nil || h.StatusCode != 200 {
		g.t.Fatal("prepare a unikernel", err)
	}
	h.Body.Close()
}

func offline(g *rig) { g.world.instances["eu-west-2"].online = false }

// situations bring about what the table supposes.
var situations = map[documented.Situation]func(g *rig){
	documented.Ordinary: func(*rig) {},
	documented.Running:  hello,
	documented.Printed: func(g *rig) {
		hello(g)
		g.world.lines = []services.Line{
			{Time: time.Date(2023, 10, 27, 10, 5, 0, 0, time.UTC), Text: documented.Printout[0]}, {Time: clock, Text: documented.Printout[1]},
		}
		close(g.world.live)
	},
	documented.WithVolume: func(g *rig) { g.world.volumes["eu-west-2/user:data-vol-1"] = &volume{size: 1024} },
	documented.WithData: func(g *rig) {
		g.world.volumes["eu-west-2/user:vol1"] = &volume{size: 1, content: []byte("hello block")}
	},
	documented.Inactive: func(g *rig) { g.people.users["user"].Active = false },
	documented.HostAway: offline,
	documented.HostGarbled: func(g *rig) {
		g.world.failure = &services.Unreachable{Instance: "eu-west-2", Problem: documented.NotUnderstood}
	},
	documented.StoreBroken: func(g *rig) { g.people.failure = errors.New("etcd: secret details") },
	documented.CacheBroken: func(g *rig) { g.world.failure = errors.New("the cache is on fire") },
}

// TestDocumented has all that the document says answered by the face, with doubles
// behind it. The package test/httpapi has it answered by the real parts.
func TestDocumented(t *testing.T) {
	want := documented.Statements()
	if len(want) < 80 {
		t.Fatal("only", len(want), "statements")
	}
	passed := 0
	for _, c := range documented.Cases() {
		key := c.Key()
		if !want[key] {
			t.Errorf("the document says nothing like %q", key)
		}
		delete(want, key)
		if t.Run(strings.ReplaceAll(key, "/", "_"), func(t *testing.T) { runDocumented(t, c) }) {
			passed++
		}
	}
	for key := range want {
		t.Errorf("there is no case for %q", key)
	}
	fmt.Printf("documented cases of the Mollymawk API that pass: %d of %d\n", passed, passed+len(want))
}

func runDocumented(t *testing.T, c documented.Case) {
	g := newRig(t)
	situations[c.Given](g)
	c = c.With(documented.Values{UserToken: g.user, AdminToken: g.admin, UserUID: string(g.people.users["user"].UID)})
	h := g.send(t, c.Ask)
	if h.Status != c.Status {
		t.Fatalf("status %d, body %s", h.Status, h.Body)
	}
	if c.Stream != "" {
		if h.Body != c.Stream {
			t.Errorf("got %q", h.Body)
		}
		return
	}
	if got, want := masked(h.Body), c.Envelope(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if h.Header.Get("Content-Type") != "application/json" || h.Header.Get("X-Frame-Options") != "DENY" || h.Header.Get("Content-Security-Policy") != "frame-ancestors 'none'" {
		t.Errorf("headers %v", h.Header)
	}
}
