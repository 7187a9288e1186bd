package cert_test

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"mollymawk.dev/operator/albatross/cert"
	"mollymawk.dev/operator/albatross/internal/vectors"
	"mollymawk.dev/operator/albatross/wire"
)

type expectation struct {
	Name         string
	ValidateAt   time.Time `json:"validate_at"`
	Certificates []struct {
		SubjectCN *string `json:"subject_cn"`
		Extension *struct {
			Critical bool
			Decoded  json.RawMessage
		} `json:"albatross_extension"`
	}
	Validation struct {
		OK           bool
		Error        string
		VerifiedPath []*string `json:"verified_path_subject_cns"`
	}
	Handle struct {
		OK       bool
		Error    string
		Name     vectors.Name
		Policies []struct {
			Path   string
			Policy vectors.Policy
		}
		Command vectors.Command
	}
}

// TestVectors judges every recorded chain as the original did: Vectors/chains/<name>.
func TestVectors(t *testing.T) {
	t.Run("chains", func(t *testing.T) {
		for _, dir := range vectors.Chains(t) {
			t.Run(dir, func(t *testing.T) { testChain(t, dir) })
		}
	})
}

func testChain(t *testing.T, dir string) {
	want := vectors.Load[expectation](t, "chains", dir, "expect.json")
	chain := certificates(t, dir, "chain.pem")
	ca := certificates(t, dir, "ca.pem")[0]
	path, err := cert.VerifyChain(chain, ca, want.ValidateAt)
	if !want.Validation.OK {
		if err == nil || err.Error() != want.Validation.Error {
			t.Fatalf("validation: %v, want %q", err, want.Validation.Error)
		}
		return
	}
	if err != nil {
		t.Fatalf("validation: %v", err)
	}
	var cns, wantCNs []string
	for _, c := range path {
		cns = append(cns, c.Subject.CommonName)
	}
	for _, cn := range want.Validation.VerifiedPath {
		wantCNs = append(wantCNs, text(cn))
	}
	if !slices.Equal(cns, wantCNs) {
		t.Errorf("verified path %q, want %q", cns, wantCNs)
	}
	checkHandle(t, path, want)
}

func checkHandle(t *testing.T, path []*x509.Certificate, want expectation) {
	t.Helper()
	request, err := cert.Handle(path)
	if !want.Handle.OK {
		if err == nil {
			t.Fatalf("accepted as %+v, want %q", request, want.Handle.Error)
		}
		if !undecodable(path) && err.Error() != want.Handle.Error {
			t.Fatalf("error %q, want %q", err, want.Handle.Error)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if !request.Name.Equal(want.Handle.Name.Wire()) {
		t.Errorf("name %s, want %s", request.Name, want.Handle.Name.String)
	}
	if len(request.Policies) != len(want.Handle.Policies) {
		t.Fatalf("%d policies, want %d", len(request.Policies), len(want.Handle.Policies))
	}
	for i, p := range want.Handle.Policies {
		if got := request.Policies[i]; got.Path.String() != p.Path || !got.Policy.Equal(p.Policy.Wire()) {
			t.Errorf("policy %d is %+v, want %+v", i, got, p)
		}
	}
	if got, want := encoded(t, request.Command), want.Handle.Command; want.Config.Image.Known() && !slices.Equal(got, encoded(t, want.Wire())) {
		t.Errorf("command %#v, want %#v", request.Command, want)
	}
	if got, want := reflect.TypeOf(request.Command), reflect.TypeOf(want.Handle.Command.Wire()); got != want {
		t.Errorf("command %v, want %v", got, want)
	}
}

// undecodable tells whether the refusal is about the bytes of an extension, for
// which the texts of the original's parser need not be matched.
func undecodable(path []*x509.Certificate) bool {
	for _, c := range path {
		if der, ok := cert.Extension(c); ok {
			if _, err := wire.DecodeExtension(der); err != nil {
				return true
			}
		}
	}
	return false
}

func encoded(t *testing.T, c wire.Command) []byte {
	t.Helper()
	der, err := wire.EncodeExtension(c)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func certificates(t *testing.T, dir, file string) (all []*x509.Certificate) {
	t.Helper()
	rest, err := os.ReadFile(filepath.Join(vectors.Dir(), "chains", dir, file))
	if err != nil {
		t.Fatal(err)
	}
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		t.Fatal(errors.New("no certificates in " + file))
	}
	return all
}
