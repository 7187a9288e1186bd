package httpapi

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/albatross/solo5"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/httpapi/apitest"
)

// person has an account.
type person struct {
	name, email, password, uid string
	// bearer is a token, cookie a session, csrf what its writes need, session what it is called.
	bearer, cookie, csrf, session string
}

const csrfHeader = "X-MOLLY-CSRF"

// newPerson gives somebody whose account there is not yet.
func newPerson(email string) *person {
	name, _, _ := strings.Cut(email, "@")
	return &person{name: name, email: email, password: "password of " + name}
}

// secrets are what nobody else may be shown.
func (p *person) secrets() []string {
	return []string{p.bearer, p.cookie, p.session, p.csrf, p.password, "private of " + p.name}
}

// data reads what an answer has.
func (w *world) data(reply apitest.Reply, into any) {
	w.Helper()
	if err := json.Unmarshal([]byte(reply.Data(w.TB)), into); err != nil {
		w.Fatalf("%v in %s", err, reply.Body)
	}
}

// register makes an account, which is not active.
func (w *world) register(p *person) {
	w.Helper()
	var made struct{ UUID string }
	w.data(w.must(apitest.Ask{
		Path: "/api/register", Headers: map[string]string{"Cookie": "molly_csrf=form"},
		JSON: map[string]any{"name": p.name, "email": p.email, "password": p.password, "form_csrf": "form"},
	}), &made)
	p.uid = made.UUID
}

// admit has the administrator activate an account, and waits for its namespace.
func (w *world) admit(p *person) {
	w.Helper()
	w.must(apitest.Ask{Path: "/api/admin/user/activate/toggle", Bearer: w.root.bearer, JSON: map[string]any{"uuid": p.uid}})
	w.wait(p.name+" has a namespace", func() (bool, string) { return w.hasNamespace(p) })
}

// hasNamespace tells whether the operator knows whose a namespace is. What a replica knows of it lags a little behind.
func (w *world) hasNamespace(p *person) (bool, string) {
	reply := w.send(apitest.Ask{Path: "/api/unikernel/console?instance=nowhere&unikernel=x", Bearer: w.login(p).bearer})
	return reply.Status == http.StatusNotFound, reply.Body
}

// login begins a session and makes a token with it, once.
func (w *world) login(p *person) *person {
	w.Helper()
	if p.bearer != "" {
		return p
	}
	w.beginSession(p)
	p.bearer = w.newToken(p)
	return p
}

// beginSession logs in.
func (w *world) beginSession(p *person) {
	w.Helper()
	reply := w.must(apitest.Ask{Path: "/api/login", JSON: map[string]any{"email": p.email, "password": p.password}})
	p.take(w, reply)
}

// take keeps the session that an answer hands out.
func (p *person) take(w *world, reply apitest.Reply) {
	w.Helper()
	var profile struct {
		UUID    string
		Cookies []struct{ Value string }
	}
	w.data(reply, &profile)
	p.uid, p.session = profile.UUID, profile.Cookies[0].Value
	cookie, err := http.ParseSetCookie(reply.Header.Get("Set-Cookie"))
	if err != nil {
		w.Fatal(err)
	}
	p.cookie = cookie.Value
	p.csrf = w.must(apitest.Ask{Path: "/api/account/csrf", Cookie: p.cookie}).Header.Get(csrfHeader)
}

// newToken makes one in a browser's way.
func (w *world) newToken(p *person) string {
	w.Helper()
	var token struct{ Value string }
	w.data(w.must(apitest.Ask{
		Path: "/api/tokens/create", Cookie: p.cookie, Headers: map[string]string{csrfHeader: p.csrf}, JSON: map[string]any{"token_name": "ci", "token_expiry": 86400},
	}), &token)
	return token.Value
}

// signInFirst logs the administrator in as soon as the operator has made the account. Tries before that would count.
func (w *world) signInFirst(p *person) {
	w.Helper()
	w.wait("the administrator has an account", func() (bool, string) {
		var all corev1.SecretList
		err := w.List(w.Context(), &all, client.InNamespace(w.system), client.MatchingLabels{v1alpha1.LabelUser: p.name})
		return err == nil && len(all.Items) == 1, fmt.Sprint(err)
	})
	w.wait("the administrator can log in", func() (bool, string) {
		reply := w.send(apitest.Ask{Path: "/api/login", JSON: map[string]any{"email": p.email, "password": p.password}})
		return reply.Status == http.StatusOK, reply.Body
	})
	w.wait("the administrator has a namespace", func() (bool, string) { return w.hasNamespace(p) })
	w.untilPolicy(p)
}

// untilPolicy waits until the host has the policy of somebody's namespace.
func (w *world) untilPolicy(p *person) {
	w.Helper()
	w.wait("the host has the policy of "+p.name, func() (bool, string) {
		_, has := w.host.Policy(p.name)
		return has && strings.Contains(w.send(apitest.Ask{Path: "/api/unikernels", Bearer: p.bearer}).Body, `"errors":[]`), "none"
	})
}

// newUser makes an account that is admitted, with a namespace and a place on the host.
func (w *world) newUser(name string) *person {
	w.Helper()
	p := newPerson(unique(name) + "@example.com")
	w.register(p)
	w.admit(p)
	w.untilPolicy(p)
	w.untilReady(p.name)
	return p
}

// untilReady waits until a user has rights in its namespace.
func (w *world) untilReady(name string) {
	w.Helper()
	w.wait(name+" is ready", func() (bool, string) {
		ready := apimeta.FindStatusCondition(w.user(name).Status.Conditions, v1alpha1.ConditionReady)
		return ready != nil && ready.Reason == v1alpha1.ReasonSucceeded, fmt.Sprint(ready)
	})
}

// user reads a User.
func (w *world) user(name string) *v1alpha1.User {
	w.Helper()
	user := &v1alpha1.User{}
	if err := w.Get(w.Context(), client.ObjectKey{Name: name}, user); err != nil {
		w.Fatal(err)
	}
	return user
}

// newImage makes one that prints nothing by itself and is another for each variant.
func newImage(t testing.TB, variant string) string {
	t.Helper()
	content, err := solo5.Build(solo5.Image{Target: solo5.HVT, ABIVersion: 2}, []byte(variant))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// aBuild is the one build that there is.
const aBuild = "11111111-1111-4111-8111-111111111111"

// buildServer has one build of each job.
type buildServer struct{ *httptest.Server }

func newBuildServer(t testing.TB) *buildServer {
	binary := newImage(t, "built")
	mux := http.NewServeMux()
	mux.HandleFunc("GET /job/{job}/build/"+aBuild+"/{$}", func(rw http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(rw).Encode(map[string]any{"job": r.PathValue("job"), "uuid": aBuild, "main_binary": true, "main_binary_size": len(binary)})
	})
	mux.HandleFunc("GET /job/{job}/build/"+aBuild+"/main-binary", func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, binary) })
	mux.HandleFunc("GET /image/{variant}", func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(rw, newImage(t, r.PathValue("variant")))
	})
	mux.HandleFunc("GET /hash", func(rw http.ResponseWriter, r *http.Request) {
		http.Redirect(rw, r, "/job/hello/build/"+aBuild+"/", http.StatusSeeOther)
	})
	b := &buildServer{httptest.NewServer(mux)}
	t.Cleanup(b.Close)
	return b
}
