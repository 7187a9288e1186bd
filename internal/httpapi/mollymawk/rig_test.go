package mollymawk_test

import (
	"context"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"

	"mollymawk.dev/operator/internal/httpapi"
	"mollymawk.dev/operator/internal/httpapi/apitest"
	"mollymawk.dev/operator/internal/httpapi/mollymawk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is the face behind the real server, with accounts and hosts in memory.
type rig struct {
	t      testing.TB
	people *people
	world  *world
	url    string
	log    *logged
	client *http.Client
	// user and admin are bearer tokens, the cookies are the same people's.
	user, admin, userCookie, adminCookie string
}

func newRig(t testing.TB, change ...func(*mollymawk.Options)) *rig {
	t.Helper()
	g := &rig{t: t, people: newPeople(), world: newWorld(), log: &logged{}, client: &http.Client{Transport: &http.Transport{}}}
	g.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	g.user, g.userCookie = g.people.add("user", true, false)
	g.admin, g.adminCookie = g.people.add("root", true, true)
	options := mollymawk.Options{
		Gate: g.people, Account: g.people, Tokens: g.people, Users: g.people,
		Unikernels: g.world, Volumes: g.world, Instances: g.world, Policies: g.world, Updates: g.world, Log: g.log.logger(),
	}
	options.Limits.SpoolDir = t.TempDir()
	for _, c := range change {
		c(&options)
	}
	server, err := httpapi.Listen(t.Context(), httpapi.Options{Address: "127.0.0.1:0", Handler: mollymawk.New(options), Log: g.log.logger()})
	if err != nil {
		t.Fatal(err)
	}
	g.url = "http://" + server.Addr()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Start(ctx) }()
	t.Cleanup(func() {
		g.client.CloseIdleConnections()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		g.world.viewers.Wait()
	})
	return g
}

// Requests and replies in short.
type (
	ask   = apitest.Ask
	part  = apitest.Part
	heard = apitest.Reply
)

// send asks and demands that the reply is as the description of the API says.
func (g *rig) send(t testing.TB, a ask) heard {
	t.Helper()
	return apitest.Send(t, g.client, g.url, a)
}

// logged keeps what was logged.
type logged struct {
	mu    sync.Mutex
	lines []string
}

func (l *logged) logger() logr.Logger { return logr.New(&sink{to: l}) }

func (l *logged) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n")
}

type sink struct{ to *logged }

func (s *sink) Init(logr.RuntimeInfo)              {}
func (s *sink) Enabled(int) bool                   { return true }
func (s *sink) WithValues(...any) logr.LogSink     { return s }
func (s *sink) WithName(string) logr.LogSink       { return s }
func (s *sink) Info(_ int, m string, kv ...any)    { s.add(m, nil, kv) }
func (s *sink) Error(e error, m string, kv ...any) { s.add(m, e, kv) }

func (s *sink) add(message string, err error, keysAndValues []any) {
	line := message
	if err != nil {
		line += " error=" + err.Error()
	}
	for i := 0; i+1 < len(keysAndValues); i += 2 {
		value, _ := json.Marshal(keysAndValues[i+1])
		line += " " + keysAndValues[i].(string) + "=" + string(value)
	}
	s.to.mu.Lock()
	defer s.to.mu.Unlock()
	s.to.lines = append(s.to.lines, line)
}

var (
	requestID  = regexp.MustCompile(`\(request [0-9a-f-]{36}\)`)
	freshToken = regexp.MustCompile(`("data":\{"token_type":"Bearer","value":")[0-9a-f-]{36}(","expires_in":400000)`)
	sessions   = regexp.MustCompile(`"cookies":\[[^\]]+\]`)
)

// masked hides what is another at each time.
func masked(body string) string {
	body = requestID.ReplaceAllString(body, "(request …)")
	body = freshToken.ReplaceAllString(body, "$1…$2")
	return sessions.ReplaceAllString(body, `"cookies":[…]`)
}

var quote = apitest.Quote
