package panel

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/services"
)

func TestPorts(t *testing.T) {
	for text, want := range map[string][]mapping{
		"25565:25565": {{25565, 25565}}, "8080:80, 443:8443": {{8080, 80}, {443, 8443}}, " 53 : 5353 ": {{53, 5353}}, "80": {{80, 80}}, "1:1,2:1": {{1, 1}, {2, 1}}, "65535:1": {{65535, 1}},
		"": nil, ",": nil, "80,": nil, "0:80": nil, "80:0": nil, "80:": nil, ":80": nil, "65536:1": nil, "-1:1": nil, "a:b": nil, "80:80:80": nil, "80:80,80:81": nil, "1-9:1": nil,
	} {
		got, err := parsePorts(text)
		if (err != nil) != (want == nil) || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	all := []mapping{{8080, 80}, {443, 8443}}
	for text, want := range map[string]mapping{"": {8080, 80}, " ": {8080, 80}, "443": {443, 8443}, "80": {8080, 80}, "8443": {443, 8443}, "9": {9, 9}, "http": {}, "0": {}, "70000": {}} {
		got, err := primary(all, text)
		if got != want || (err != nil) != (want == mapping{}) {
			t.Errorf("primary %q: %v, %v", text, got, err)
		}
	}
}

func TestVariables(t *testing.T) {
	for text, want := range map[string]map[string]string{
		`{}`: {}, `{"variables":null}`: {}, `{"variables":""}`: {}, `{"variables":[]}`: {}, `{"variables":"[]"}`: {}, `{"variables":{}}`: {},
		`{"variables":{"a":"b","n":1.50,"t":true,"x":null}}`:       {"a": "b", "n": "1.5", "t": "true"},
		`{"variables":"{\"a\":\"b\",\"n\":12345678901234567890}"}`: {"a": "b", "n": "12345678901234567890"},
		`{"variables":["a=b=c","d="]}`:                             {"a": "b=c", "d": ""},
		`{"variables":["a"]}`:                                      nil, `{"variables":[1]}`: nil, `{"variables":{"a":{}}}`: nil, `{"variables":"a"}`: nil, `{"variables":1}`: nil, `{"variables":true}`: nil,
	} {
		d, err := parse([]byte(text), "application/json")
		if err != nil {
			t.Fatal(err)
		}
		got, err := d.variables()
		if (err != nil) != (want == nil) || err == nil && !maps.Equal(got, want) {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
}

func TestArguments(t *testing.T) {
	entry := v1alpha1.UnikernelImageSpec{
		Arguments: []string{"--hello=World", "-v", "--hello=again", "--port=1"},
		Variables: []v1alpha1.ImageVariable{
			{Name: "HELLO", Argument: "--hello={value}"}, {Name: "Log_Level"}, {Name: "TWICE", Argument: "{value}:{value}"}, {Name: "DEFAULT", Default: "d"},
			{Name: "PRIMARY_PORT", Argument: "--port={value}"},
		},
	}
	for name, tt := range map[string]struct {
		said         map[string]string
		want, values string
	}{
		"nothing":   {nil, "--hello=World -v --hello=again --default=d --port=80", "DEFAULT=d PRIMARY_PORT=80"},
		"something": {map[string]string{"HELLO": "you", "Log_Level": "info", "DEFAULT": "", "PRIMARY_PORT": "7"}, "--hello=you -v --log_level=info --default=d --port=7", "DEFAULT=d HELLO=you Log_Level=info PRIMARY_PORT=7"},
		"a value":   {map[string]string{"TWICE": "{value}"}, "--hello=World -v --hello=again {value}:{value} --default=d --port=80", "DEFAULT=d PRIMARY_PORT=80 TWICE={value}"},
	} {
		args, values, err := arguments(&entry, tt.said, mapping{8080, 80})
		// The order of variables is that of the declaration, but for those that replace.
		if got := strings.Join(args, " "); err != nil || sortedWords(got) != sortedWords(tt.want) {
			t.Errorf("%s: %s, %v", name, got, err)
		}
		encoded, _ := json.Marshal(values)
		if got := strings.Join(envOf(string(encoded)), " "); got != tt.values {
			t.Errorf("%s: %s", name, got)
		}
	}
	if args, _, err := arguments(&entry, map[string]string{"HELLO": "you"}, mapping{8080, 80}); err != nil || args[0] != "--hello=you" || args[2] != "--port=80" {
		t.Errorf("not in their places: %q, %v", args, err)
	}
	if _, _, err := arguments(&entry, map[string]string{"hello": "you"}, mapping{}); err == nil || !strings.Contains(err.Error(), `"hello"`) {
		t.Errorf("undeclared: %v", err)
	}
	needy := v1alpha1.UnikernelImageSpec{Arguments: []string{"-v"}, Variables: []v1alpha1.ImageVariable{{Name: "KEY", Required: true}}}
	if _, _, err := arguments(&needy, map[string]string{"KEY": ""}, mapping{}); !errors.Is(err, errMissing) {
		t.Errorf("required: %v", err)
	}
	needy.Variables[0].Required = false
	if args, values, err := arguments(&needy, nil, mapping{}); err != nil || args != nil || len(values) > 0 {
		t.Errorf("nothing to say: %q %v, %v", args, values, err)
	}
	if env := envOf("not JSON"); env == nil || len(env) > 0 {
		t.Errorf("%q", env)
	}
}

func sortedWords(text string) string {
	words := strings.Fields(text)
	slices.Sort(words)
	return strings.Join(words, " ")
}

func TestScalars(t *testing.T) {
	d, err := parse([]byte(`{"s":"x","n":5,"big":815162342108481516,"f":1.50,"e":5e2,"huge":1e400,"max":1e21,"t":true,"f0":false,"z":0,"zz":0.0,"zs":"0","l":[],"o":{},"nil":null,"m":"512MB","d":2.9,"sp":" 7 ","neg":"-1","long":"99999999999999999999"}`), "")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"s": "x", "n": "5", "big": "815162342108481516", "f": "1.5", "e": "500", "huge": "1e400", "max": "1e21", "t": "true", "z": "0"} {
		if got, plain := d.text(name); !plain || got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	for name, want := range map[string]bool{"s": true, "n": true, "zs": true, "l": true, "o": true, "t": true, "huge": true, "f0": false, "z": false, "zz": false, "nil": false, "none": false} {
		if d.has(name) != want {
			t.Errorf("has %s: %v", name, !want)
		}
	}
	for name, want := range map[string]int64{"n": 5, "m": 512, "d": 2, "e": 500, "sp": 7, "z": 0} {
		if got, fine := d.integer(name); !fine || got != want {
			t.Errorf("%s: %d", name, got)
		}
	}
	for _, name := range []string{"s", "neg", "long", "l", "none"} {
		if got, fine := d.integer(name); fine {
			t.Errorf("%s: %d", name, got)
		}
	}
	for _, name := range []string{"l", "o", "nil", "none"} {
		if got, plain := d.text(name); plain {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestUnescape(t *testing.T) {
	for text, want := range map[string]string{"a+b": "a b", "%41": "A", "100%": "100%", "%zz%4": "%zz%4", "%": "%", "%e4%bd%a0": "你", "%ff": "\ufffd", "a;b": "a;b", "%2B%25": "+%"} {
		if got := unescape(text); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}

func TestStem(t *testing.T) {
	for name, want := range map[string]string{"My Server": "my-server", "--a--b--": "a-b", "": "x", "---": "x", "你好": "x", "A.B_c": "a-b-c", "K": "k"} {
		if got := stem(name, "x"); got != want {
			t.Errorf("%q: %q", name, got)
		}
	}
	one, other := objectName("a", "x"), objectName("a", "x")
	if one == other || len(one) != len("a-")+8 {
		t.Errorf("%s, %s", one, other)
	}
}

func TestFindImage(t *testing.T) {
	entry := func(name, uid, reference string) v1alpha1.UnikernelImage {
		e := v1alpha1.UnikernelImage{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("u-" + uid)}}
		e.Spec.Image.OCI = &v1alpha1.OCISource{Reference: reference}
		return e
	}
	all := []v1alpha1.UnikernelImage{entry("a", "1", "r/x:1"), entry("b", "2", "r/x:1"), entry("c", "3", "r/y:1")}
	for _, tt := range []struct{ image, name, want string }{
		{"a", "", "a"}, {"b", "a", "b"}, {"u-3", "", "c"}, {"r/x:1", "", "a"}, {"r/x:1", "b", "b"}, {"r/x:1", "c", "a"}, {"r/y:1", "", "c"}, {"", "", ""}, {"", "a", ""}, {"A", "", ""},
	} {
		found := findImage(all, tt.image, tt.name)
		if found == nil && tt.want != "" || found != nil && found.Name != tt.want {
			t.Errorf("%q, %q: %v", tt.image, tt.name, found)
		}
	}
}

func TestSourceOf(t *testing.T) {
	for want, image := range map[string]*v1alpha1.ImageSource{
		"":           nil,
		"hello":      {Catalog: &v1alpha1.CatalogReference{Name: "hello"}},
		"r/x:1":      {ContentSource: v1alpha1.ContentSource{OCI: &v1alpha1.OCISource{Reference: "r/x:1"}}},
		"job":        {ContentSource: v1alpha1.ContentSource{Build: &v1alpha1.BuildSource{Job: "job"}}},
		"sha256:00":  {ContentSource: v1alpha1.ContentSource{Stored: &v1alpha1.StoredSource{SHA256: "00"}}},
		"https://x/": {ContentSource: v1alpha1.ContentSource{URL: "https://x/"}},
	} {
		if got := sourceOf(image); got != want {
			t.Errorf("%q instead of %q", got, want)
		}
	}
}

func condition(kind string, status metav1.ConditionStatus, reason string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: status, Reason: reason}
}

func TestStates(t *testing.T) {
	yes, no, dunno := metav1.ConditionTrue, metav1.ConditionFalse, metav1.ConditionUnknown
	for name, tt := range map[string]struct {
		ready    metav1.ConditionStatus
		reason   string
		stalled  bool
		runs     bool
		deployed bool
		want     string
	}{
		"not looked at":          {"", "", false, false, false, installing},
		"fetching":               {no, v1alpha1.ReasonFetching, false, false, false, installing},
		"waits for the node":     {no, v1alpha1.ReasonInstanceNotReady, false, false, false, installing},
		"node gone, never there": {dunno, v1alpha1.ReasonHostUnreachable, false, false, false, installing},
		"node gone":              {dunno, v1alpha1.ReasonHostUnreachable, false, true, true, unknown},
		"runs":                   {yes, v1alpha1.ReasonSucceeded, false, true, true, ready},
		"suspended":              {yes, v1alpha1.ReasonSuspended, false, false, true, ready},
		"stopping":               {no, v1alpha1.ReasonStopping, false, true, true, ready},
		"comes back":             {no, v1alpha1.ReasonRestarting, false, false, true, ready},
		"policy":                 {no, v1alpha1.ReasonPolicyExceeded, true, false, false, failed},
		"bad image":              {no, v1alpha1.ReasonImageInvalid, true, false, false, failed},
		"a bad change":           {no, v1alpha1.ReasonImageInvalid, true, true, true, ready},
		"never healthy":          {no, v1alpha1.ReasonProgressDeadlineExceeded, true, true, true, failed},
		"exited":                 {no, v1alpha1.ReasonExited, true, false, true, ready},
	} {
		uk := &v1alpha1.Unikernel{}
		if tt.ready != "" {
			uk.Status.Conditions = append(uk.Status.Conditions, condition(v1alpha1.ConditionReady, tt.ready, tt.reason))
		}
		if tt.stalled {
			uk.Status.Conditions = append(uk.Status.Conditions, condition(v1alpha1.ConditionStalled, yes, tt.reason))
		}
		if tt.runs {
			uk.Status.Conditions = append(uk.Status.Conditions, condition(v1alpha1.ConditionRunning, yes, v1alpha1.ReasonSucceeded))
		}
		if tt.deployed {
			uk.Status.History = []v1alpha1.Revision{{Revision: 1}}
		}
		if got := stateOf(uk); got != tt.want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestNodes(t *testing.T) {
	for name, tt := range map[string]struct {
		configured bool
		connected  metav1.ConditionStatus
		want       string
	}{
		"no credentials": {false, metav1.ConditionFalse, unconfigured},
		"new":            {true, "", neverAsked},
		"being asked":    {true, metav1.ConditionUnknown, neverAsked},
		"answers":        {true, metav1.ConditionTrue, online},
		"does not":       {true, metav1.ConditionFalse, offline},
	} {
		o := services.DeclaredInstance{AlbatrossInstance: &v1alpha1.AlbatrossInstance{}, Configured: tt.configured}
		if tt.connected != "" {
			o.Status.Conditions = []metav1.Condition{condition(v1alpha1.ConditionConnected, tt.connected, "X")}
		}
		if got := nodeStatus(o); got != tt.want {
			t.Errorf("%s: %s", name, got)
		}
	}
	o := &v1alpha1.AlbatrossInstance{ObjectMeta: metav1.ObjectMeta{Name: "rack1", Annotations: map[string]string{v1alpha1.AnnotationPanelTags: "not JSON"}}}
	o.Status.Capacity = &v1alpha1.Capacity{CPUIDs: []v1alpha1.CPUID{0, 1}, Memory: new(v1alpha1.FromMiB(4096)), Storage: new(v1alpha1.FromMiB(1024))}
	view := showNode(services.DeclaredInstance{AlbatrossInstance: o})
	if view.Name != "rack1" || string(view.Tags) != `""` || view.RAM != "4Gi" || view.Disk != "1Gi" || view.Processor != "2 CPUs" || view.Port != "1025" {
		t.Errorf("%+v", view)
	}
}

// TestContainerID is there once a unikernel has run, and tells nothing.
func TestContainerID(t *testing.T) {
	uk := &v1alpha1.Unikernel{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "b", UID: "0a1b2c3d-0000-4000-8000-000000000001"}}
	s := &surroundings{owners: map[string]string{"a": "42"}}
	before, err := s.show(uk)
	if err != nil || before.ContainerID != "" || before.Node != nil {
		t.Errorf("%+v, %v", before, err)
	}
	uk.Status.History = []v1alpha1.Revision{{Revision: 1}}
	after, err := s.show(uk)
	if err != nil || len(after.ContainerID) != 64 || strings.Contains(after.ContainerID, "0a1b2c3d") {
		t.Errorf("%+v, %v", after, err)
	}
}

// TestProfiles has a code of both profiles for each outcome.
func TestProfiles(t *testing.T) {
	for o := range statuses {
		if documented, source := Documented.status(outcome(o)), Source.status(outcome(o)); documented < 200 || source < 200 {
			t.Errorf("outcome %d: %d and %d", o, documented, source)
		}
	}
}

// TestWindow counts each address, and remembers no more than it may.
func TestWindow(t *testing.T) {
	w, now := newWindow(2, time.Now), time.Now()
	for i, want := range []int{1, 0, -1, -2} {
		if left, ends := w.count("a", now.Add(time.Duration(i)*time.Second)); left != want || ends != now.Add(PostWindow) {
			t.Errorf("%d: %d left until %v", i, left, ends)
		}
	}
	if left, _ := w.count("b", now); left != 1 {
		t.Errorf("of another address: %d left", left)
	}
	if left, _ := w.count("a", now.Add(PostWindow)); left != 1 {
		t.Errorf("afterwards: %d left", left)
	}
	for i := range 2 * windowSize {
		w.count(string(rune(i)), now)
	}
	if n := w.addresses.Len(); n > windowSize {
		t.Errorf("%d addresses are remembered", n)
	}
}
