package demo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/api/v1alpha1"
)

// server keeps what is applied to it, and refuses one kind.
type server struct {
	applied map[string]map[string]any
	refuse  string
}

func (s *server) client() client.Client {
	s.applied = map[string]map[string]any{}
	return fake.NewClientBuilder().WithInterceptorFuncs(interceptor.Funcs{
		Apply: func(_ context.Context, _ client.WithWatch, o runtime.ApplyConfiguration, _ ...client.ApplyOption) error {
			object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
			if err != nil {
				return err
			}
			kind := (&unstructured.Unstructured{Object: object}).GetKind()
			if kind == s.refuse {
				return errors.New(kind + " refused")
			}
			s.applied[kind] = object
			return nil
		},
	}).Build()
}

func field(t *testing.T, o map[string]any, path ...string) any {
	t.Helper()
	v, found, err := unstructured.NestedFieldNoCopy(o, path...)
	if err != nil || !found {
		t.Errorf("no %v: %v", path, err)
	}
	return v
}

// TestStart applies samples that fit what runs: the address of the host, its
// credentials, and an image that is where they say with the digest that they say.
func TestStart(t *testing.T) {
	s := &server{}
	dir := t.TempDir()
	options := Options{Client: s.client(), DataDir: dir, Namespace: "system"}
	d, err := Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(d.host.Addr())
	instance, uk, secret := s.applied["AlbatrossInstance"], s.applied["Unikernel"], s.applied["Secret"]
	if got := field(t, instance, "spec", "endpoint", "host"); got != host {
		t.Errorf("host %v, want %s", got, host)
	}
	if got, ok := field(t, instance, "spec", "endpoint", "port").(int64); !ok || net.JoinHostPort(host, port) != d.host.Addr() || got == 0 {
		t.Errorf("port %v of %s", got, d.host.Addr())
	}
	if ref, name := field(t, instance, "spec", "credentialsSecretRef", "name"), field(t, secret, "metadata", "name"); ref != name || field(t, secret, "metadata", "namespace") != "system" {
		t.Errorf("the instance refers to %v, and the secret is %v in %v", ref, name, field(t, secret, "metadata", "namespace"))
	}
	for _, key := range []string{"tls.crt", "tls.key", "ca.crt"} {
		if field(t, secret, "data", key) == "" {
			t.Errorf("no %s", key)
		}
	}
	url := field(t, uk, "spec", "image", "url").(string)
	sum := sha256.Sum256(get(t, url))
	if got := field(t, uk, "spec", "image", "sha256"); got != hex.EncodeToString(sum[:]) {
		t.Errorf("the digest in the sample is %v, of the image served %x", got, sum)
	}
	if response, err := http.Get(strings.TrimSuffix(url, imagePath)); err != nil || response.StatusCode != http.StatusNotFound {
		t.Errorf("%+v, %v", response, err)
	} else {
		response.Body.Close()
	}
	// The folder is in use, and free again after the end.
	if _, err := Start(t.Context(), options); !errors.Is(err, albatrosstest.ErrInUse) || !strings.HasPrefix(err.Error(), "simulated host: ") {
		t.Errorf("a second one: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	for _, addr := range []string{d.webAddr, d.host.Addr()} {
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			t.Errorf("%s still answers", addr)
		}
	}
	again, err := Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	if data := field(t, s.applied["Secret"], "data", "tls.key"); data != field(t, secret, "data", "tls.key") {
		t.Error("the host has other credentials at the next start")
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

func get(t *testing.T, url string) []byte {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", url, response.Status, err)
	}
	return body
}

// TestStartThatFails leaves nothing running.
func TestStartThatFails(t *testing.T) {
	for _, kind := range []string{"Secret", "AlbatrossInstance", "Unikernel"} {
		dir := t.TempDir()
		s := &server{refuse: kind}
		if _, err := Start(t.Context(), Options{Client: s.client(), DataDir: dir, Namespace: "system"}); err == nil || !strings.Contains(err.Error(), kind+" refused") {
			t.Errorf("%s: %v", kind, err)
		}
		h, err := albatrosstest.New(albatrosstest.Options{Dir: filepath.Join(dir, "host")})
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		h.Close()
	}
	if _, err := Start(t.Context(), Options{Client: (&server{}).client(), DataDir: "/dev/null"}); err == nil || !strings.Contains(err.Error(), "simulated host: folder of the host") {
		t.Errorf("no folder: %v", err)
	}
}

// TestWaitReady waits for the status of what is there now, and says what was last
// seen.
func TestWaitReady(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	uk := func(observed int64, status metav1.ConditionStatus) *v1alpha1.Unikernel {
		u := &v1alpha1.Unikernel{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "hello", Generation: 2}}
		u.Status.ObservedGeneration = observed
		apimeta.SetStatusCondition(&u.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionReady, Status: status, Reason: "Told", Message: "by the test"})
		return u
	}
	for what, tt := range map[string]struct {
		object client.Object
		want   []string
	}{
		"ready":           {uk(2, metav1.ConditionTrue), nil},
		"not ready":       {uk(2, metav1.ConditionFalse), []string{"context deadline exceeded", "by the test"}},
		"of an older one": {uk(1, metav1.ConditionTrue), []string{"context deadline exceeded", "by the test"}},
		"not there":       {&v1alpha1.Unikernel{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "other"}}, []string{`"hello" not found`}},
	} {
		c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(tt.object).Build()
		ctx, cancel := context.WithTimeout(t.Context(), 3*readyPoll)
		err := (&Demo{options: Options{Client: c}}).WaitReady(ctx)
		cancel()
		if (err == nil) != (tt.want == nil) {
			t.Errorf("%s: %v", what, err)
		}
		for _, want := range tt.want {
			if err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q does not say %q", what, err, want)
			}
		}
	}
}

// TestPrintTable prints the columns that the server makes, but those for the wide
// form.
func TestPrintTable(t *testing.T) {
	const columns = `"columnDefinitions":[{"name":"Name","type":"string"},{"name":"Ready","type":"string"},{"name":"Node","type":"string","priority":1},{"name":"Memory","type":"integer"}]`
	const head = `{"kind":"Table","apiVersion":"meta.k8s.io/v1",` + columns
	for _, tt := range []struct {
		what   string
		status int
		body   string
		want   string
		err    string
	}{
		{"rows", 200, head + `,"rows":[{"cells":["hello","True","x",32]},{"cells":["a-longer-name",null,null,5]}]}`,
			"NAME            READY   MEMORY\nhello           True    32\na-longer-name           5\n", ""},
		{"no rows", 200, head + `,"rows":[]}`, "NAME   READY   MEMORY\n", ""},
		{"refused", 403, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"not for you","reason":"Forbidden","code":403}`, "", "list unikernels: not for you"},
		{"no table", 200, `<html>`, "", "list unikernels: "},
	} {
		web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/apis/mollymawk.dev/v1alpha1/unikernels" || !strings.Contains(r.Header.Get("Accept"), "as=Table") {
				t.Errorf("%s: %s, %q", tt.what, r.URL, r.Header.Get("Accept"))
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(tt.status)
			_, _ = io.WriteString(w, tt.body)
		}))
		config := &rest.Config{Host: web.URL}
		var out bytes.Buffer
		err := PrintTable(t.Context(), &out, config, "unikernels")
		web.Close()
		if out.String() != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.HasPrefix(err.Error(), tt.err) {
			t.Errorf("%s: %v\n%q\nwant\n%q", tt.what, err, out.String(), tt.want)
		}
		if config.APIPath != "" {
			t.Errorf("%s: the caller's configuration changed", tt.what)
		}
	}
}

func TestExplain(t *testing.T) {
	var out bytes.Buffer
	if err := Explain(&out, "/a/kubeconfig"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"export KUBECONFIG=/a/kubeconfig\n", "kubectl get unikernels", "kubectl delete unikernel hello", "Ctrl-C"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}
