package httpapi

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/httpapi/apitest"
	"mollymawk.dev/operator/internal/httpapi/mollymawk/documented"
)

// notReal are situations that real parts do not get into: what the list of unikernels is made from is in memory, and cannot fail.
var notReal = []documented.Situation{documented.CacheBroken}

// site is a world with the document's user.
type site struct {
	*world
	user *person
}

// TestDocumented has all that the document says answered by the real parts.
func TestDocumented(t *testing.T) {
	w := newWorld(t, unique("root")+"@example.com")
	s := &site{w, &person{name: "user", email: "user@example.com", password: "password123"}}
	s.wait("nobody has the namespace any more", func() (bool, string) {
		err := w.Get(t.Context(), client.ObjectKey{Name: s.user.name}, &corev1.Namespace{})
		return apierrors.IsNotFound(err), fmt.Sprint(err)
	})
	s.register(s.user)
	s.admit(s.user)
	s.untilPolicy(s.user)
	passed, all := 0, documented.Cases()
	for _, given := range situations() {
		undo := s.bringAbout(given)
		for _, c := range all {
			if c.Given == given && t.Run(strings.ReplaceAll(c.Key(), "/", "_"), func(t *testing.T) { s.in(t).run(c) }) {
				passed++
			}
		}
		undo()
	}
	left := 0
	for _, c := range all {
		if slices.Contains(notReal, c.Given) {
			left++
		}
	}
	fmt.Printf("documented cases of the Mollymawk API that pass with real parts: %d of %d, of which %d cannot be brought about\n", passed, len(all), left)
}

func (s *site) in(t *testing.T) *site { return &site{s.world.in(t), s.user} }

// situations are in an order in which what is broken stays so for all cases that need it.
func situations() (all []documented.Situation) {
	for given := documented.Ordinary; given < documented.CacheBroken; given++ {
		all = append(all, given)
	}
	return all
}

// bringAbout does what is for all cases of a situation.
func (s *site) bringAbout(given documented.Situation) (undo func()) {
	s.Helper()
	switch given {
	case documented.Inactive:
		s.activate(false)
		return func() { s.activate(true) }
	case documented.HostAway:
		return s.breakHost(albatrosstest.Refuse)
	case documented.HostGarbled:
		return s.breakHost(albatrosstest.Garbage)
	case documented.StoreBroken:
		return s.breakStore()
	}
	return func() {}
}

// activate admits the user, or keeps the user out.
func (s *site) activate(active bool) {
	s.Helper()
	s.must(apitest.Ask{Path: "/api/admin/user/activate/toggle", Bearer: s.root.bearer, JSON: map[string]any{"uuid": s.user.uid}})
	s.wait(fmt.Sprintf("active: %t", active), func() (bool, string) {
		reply := s.send(apitest.Ask{Path: "/api/unikernel/console?instance=nowhere&unikernel=x", Bearer: s.user.bearer})
		return (reply.Status == 404) == active, reply.Body
	})
}

// breakHost has the host fail. Three looks have to fail before it is lost; a retry is one.
func (s *site) breakHost(kind albatrosstest.FaultKind) (undo func()) {
	s.Helper()
	lift := s.host.Inject(albatrosstest.Fault{Kind: kind})
	s.untilHost("lost", true)
	return func() {
		lift()
		s.untilHost("back", false)
	}
}

func (s *site) untilHost(what string, lost bool) {
	s.Helper()
	s.wait("the host is "+what, func() (bool, string) {
		s.send(apitest.Ask{Path: "/api/admin/albatross/retry?instance=" + instance, Bearer: s.root.bearer})
		reply := s.send(apitest.Ask{Path: "/api/unikernels", Bearer: s.user.bearer})
		return strings.Contains(reply.Body, `"errors":[{`) == lost, reply.Body
	})
}

// breakStore takes the operator's right to write Secrets, where accounts are.
func (s *site) breakStore() (undo func()) {
	s.Helper()
	before := map[*rbacv1.Role][]rbacv1.PolicyRule{}
	for _, o := range s.rights {
		if role, isRole := o.(*rbacv1.Role); isRole {
			before[role] = role.DeepCopy().Rules
			for i := range role.Rules {
				if slices.Contains(role.Rules[i].Resources, "secrets") {
					role.Rules[i].Verbs = []string{"get", "list", "watch"}
				}
			}
		}
	}
	update := func() {
		s.Helper()
		for role := range before {
			if err := s.Update(s.Context(), role); err != nil {
				s.Fatal(err)
			}
		}
	}
	update()
	s.untilMayWrite(false)
	return func() {
		for role, rules := range before {
			role.Rules = rules
		}
		update()
		s.untilMayWrite(true)
	}
}

func (s *site) untilMayWrite(want bool) {
	s.Helper()
	s.wait(fmt.Sprintf("the operator may write: %t", want), func() (bool, string) {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User:               "system:serviceaccount:" + s.system + ":" + account,
			ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: s.system, Verb: "patch", Resource: "secrets"},
		}}
		err := s.Create(s.Context(), review)
		return err == nil && review.Status.Allowed == want, fmt.Sprint(err)
	})
}

// run answers one case, and then takes away what it made.
func (s *site) run(c documented.Case) {
	s.prepare(c)
	defer s.sweep()
	c = c.With(documented.Values{UserToken: s.user.bearer, AdminToken: s.root.bearer, UserUID: s.user.uid})
	if last := documented.Printout[len(documented.Printout)-1]; c.Given == documented.Printed {
		c.Ask.Until = apitest.Quote(last) + "}\n\n"
	}
	reply := s.send(c.Ask)
	want := c.Stream
	if want == "" {
		want = c.Envelope()
	}
	if !like(want, c.Given == documented.Printed).MatchString(reply.Body) || reply.Status != c.Status {
		s.Errorf("%d, got  %.1000s\nwant %.1000s", reply.Status, reply.Body, want)
	}
}

// prepare makes what a single case needs.
func (s *site) prepare(c documented.Case) {
	s.Helper()
	if strings.Contains(c.Ask.Path, "/tokens/") && c.Given == documented.Ordinary {
		s.user.bearer = s.newToken(s.user)
	}
	switch c.Given {
	case documented.Running, documented.Printed:
		s.must(apitest.Ask{Path: "/api/unikernel/create", Bearer: s.user.bearer, Form: documented.CreateForm(nil)})
	case documented.WithVolume:
		s.must(apitest.Ask{Path: "/api/volume/create", Bearer: s.user.bearer, Form: documented.VolumeForm(map[string]any{"block_data": "undefined"})})
	case documented.WithData:
		s.must(apitest.Ask{Path: "/api/volume/create", Bearer: s.user.bearer, Form: documented.VolumeForm(map[string]any{
			"json_data": `{"block_name":"vol1","block_size":1,"block_compressed":false}`,
		})})
	}
	if c.Given == documented.Printed {
		for _, line := range documented.Printout {
			s.host.Print("user:hello-world", line)
		}
	}
}

// sweep takes everything of the user's away.
func (s *site) sweep() {
	s.Helper()
	s.wait("nothing is left", func() (bool, string) {
		left := []client.Object{}
		var unikernels v1alpha1.UnikernelList
		var volumes v1alpha1.VolumeList
		for _, list := range []client.ObjectList{&unikernels, &volumes} {
			if err := s.List(s.Context(), list, client.InNamespace(s.user.name)); err != nil {
				return false, err.Error()
			}
		}
		for i := range unikernels.Items {
			left = append(left, &unikernels.Items[i])
		}
		for i := range volumes.Items {
			left = append(left, &volumes.Items[i])
		}
		for _, o := range left {
			_ = s.Delete(s.Context(), o) // it may be gone
		}
		return len(left) == 0, fmt.Sprint(len(left), " objects")
	})
}

// variable is what is another each time, as the table has it, and the form that it has.
var variable = []struct{ shown, form string }{
	{"2025-12-09 05:12:11-00:00", `\d{4}-\d\d-\d\d \d\d:\d\d:\d\d-00:00`},
	{"2023-10-27T10:05:00-00:00", `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d-00:00`},
	{"2025-12-08T17:45:30-00:00", `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d-00:00`},
	{"[…]", `\[[^\]]*\]`},
	{"…", `[^"]*`},
	// What is said of a failure inside is for the log; how a host cannot be reached is for it to say.
	{"an internal error", `[^"]+`},
	{"connection refused", `[^"]+`},
	// Another token than that of the table may have been used already.
	{`"usage_count":0`, `"usage_count":\d+`},
}

// like makes a pattern of what the table has. The end of a stream may come after what the image itself prints.
func like(want string, end bool) *regexp.Regexp {
	pattern := regexp.QuoteMeta(want)
	for _, v := range variable {
		pattern = strings.ReplaceAll(pattern, regexp.QuoteMeta(v.shown), v.form)
	}
	if !end {
		pattern = "^" + pattern
	}
	return regexp.MustCompile(`(?s)` + pattern + "$")
}
