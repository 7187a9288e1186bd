package migrate_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/albatross/cert"
	"mollymawk.dev/operator/albatross/wire"
)

// TestRefusals has a clear error for each mistake, and no output.
func TestRefusals(t *testing.T) {
	h, dir := newHost(t), t.TempDir()
	file := func(name, content string) string { return writeFile(t, filepath.Join(dir, name), content) }
	good, junk := file("storage.json", storage(t, nil, []any{h.asStored("rack1")})), file("junk", "junk")
	full := filepath.Join(dir, "full")
	if err := os.Mkdir(full, 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(full, "mine"), "mine")
	flags := h.flags("rack1")
	users := func(content string) string { return file("users-"+hex.EncodeToString([]byte(content))[:20], content) }
	for want, args := range map[string][]string{
		"nothing to import": {},
		"--instance, --address, --tls-cert and --tls-key":     {"--instance", "rack1"},
		"--ca-cert goes with":                                 {"--mollymawk", good, "--ca-cert", junk},
		"--users goes with":                                   append([]string{"--users", junk}, flags...),
		"--passwords goes with":                               {"--mollymawk", good, "--passwords", filepath.Join(dir, "p")},
		"--images does not go with":                           {"--mollymawk", good, "--images", dir, "--image-store", dir},
		"--offline does not go with":                          {"--mollymawk", good, "--images", dir, "--offline"},
		"--timeout must be":                                   {"--mollymawk", good, "--timeout", "0s"},
		"--namespace must be":                                 {"--mollymawk", good, "--namespace", ""},
		"--mollymawk: open ":                                  {"--mollymawk", filepath.Join(dir, "missing")},
		"there is no JSON document":                           {"--mollymawk", junk},
		"the folder is not empty":                             {"--mollymawk", good, "--output", full},
		"two hosts have the names":                            append([]string{"--mollymawk", good}, flags...),
		`"Rack_1" cannot be the name`:                         append(flags, "--instance", "Rack_1"),
		`"host:0" is not host:port`:                           append(flags, "--address", "host:0"),
		`":1025" is not host:port`:                            append(flags, "--address", ":1025"),
		"--tls-key: open ":                                    append(flags, "--tls-key", filepath.Join(dir, "missing")),
		"--tls-cert, --tls-key and --ca-cert: the credential": append(flags, "--tls-key", junk),
		"the certificates to verify the host with":            append(flags, "--ca-cert", junk),
		"is not a list of Users":                              {"--mollymawk", good, "--users", junk},
		"list of Users":                                       {"--mollymawk", good, "--users", users(`{"items":[]}`)},
		"has a User without name, UID or e-mail":              {"--mollymawk", good, "--users", users(`{"kind":"UserList","items":[{"metadata":{"name":"alice"}}]}`)},
		`unknown command "now" for "import"`:                  {"now"},
		"1 of 1 hosts could not be asked":                     append(flags, "--address", "127.0.0.1:1", "--timeout", "5s"),
	} {
		stdout, _, err := imported(t, args...)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
		if stdout != "" && !strings.Contains(want, "could not be asked") {
			t.Errorf("%s: there is output", want)
		}
	}
	if n := h.host.Received("", ""); n != 0 {
		t.Errorf("the host was asked %d times", n)
	}
}

// TestDeadHost writes what is known of the others, and says what is missing.
func TestDeadHost(t *testing.T) {
	alive, dead := newHost(t), newHost(t)
	alive.run(scope("alice"), "web", albatross.Arguments{CPUIDs: []int64{0}, Memory: 16})
	dead.host.Inject(albatrosstest.Fault{Kind: albatrosstest.Stall})
	file := writeFile(t, filepath.Join(t.TempDir(), "storage.json"), storage(t, nil, []any{alive.asStored("alive"), dead.asStored("dead")}))
	stdout, stderr, err := imported(t, "--mollymawk", file, "--timeout", "300ms")
	if err == nil || !strings.Contains(err.Error(), "1 of 2 hosts could not be asked") || !strings.Contains(stderr, "dead: ") {
		t.Errorf("%v, %s", err, stderr)
	}
	all := objectsIn(t, stdout)
	if named(all, "Unikernel", "web") == nil || named(all, "AlbatrossInstance", "alive") == nil || named(all, "AlbatrossInstance", "dead") != nil || !strings.Contains(stdout, "the host could not be asked") {
		t.Error(stdout)
	}
}

// TestOffline asks nobody.
func TestOffline(t *testing.T) {
	h := newHost(t)
	stored := storage(t, []any{map[string]any{"name": "alice", "email": "alice@example.org", "active": true}}, []any{h.asStored("rack1")})
	stdout, stderr, err := imported(t, "--mollymawk", writeFile(t, filepath.Join(t.TempDir(), "storage.json"), stored), "--offline")
	if err != nil || !strings.Contains(stderr, "no user has a password") {
		t.Fatalf("%v, %s", err, stderr)
	}
	if all := objectsIn(t, stdout); len(all) != 3 || named(all, "User", "alice") == nil || named(all, "AlbatrossInstance", "rack1") == nil {
		t.Errorf("%v", all)
	}
	if n := h.host.Received("", ""); n != 0 {
		t.Errorf("the host was asked %d times", n)
	}
}

// TestImages puts copies of what runs into a folder, once each, and says of the rest
// why there are none.
func TestImages(t *testing.T) {
	h, dir := newHost(t), filepath.Join(t.TempDir(), "images")
	content := h.run(scope("alice"), "web", albatross.Arguments{CPUIDs: []int64{0}, Memory: 16})
	h.run(nil, "rooted", albatross.Arguments{CPUIDs: []int64{0}, Memory: 16})
	before := h.state()
	sum := sha256.Sum256(content)
	file := filepath.Join(dir, hex.EncodeToString(sum[:]))
	for range 2 {
		stdout, _, err := imported(t, append(h.flags("rack1"), "--images", dir)...)
		if err != nil || !strings.Contains(strings.ReplaceAll(stdout, "\n#  ", ""), "a copy from the host is in "+file) {
			t.Fatalf("%v\n%s", err, stdout)
		}
		if read(t, file) != string(content) {
			t.Error("the copy differs")
		}
	}
	if files := must(os.ReadDir(dir))(t); len(files) != 1 {
		t.Errorf("%v", files)
	}
	writeFile(t, file, "damaged")
	if _, _, err := imported(t, append(h.flags("rack1"), "--images", dir)...); err != nil || read(t, file) != string(content) {
		t.Errorf("a damaged copy stays: %v", err)
	}
	h.host.Inject(albatrosstest.Fault{Kind: albatrosstest.Fail, Command: "unikernel get", Text: "out of order"})
	if stdout, _, err := imported(t, append(h.flags("rack1"), "--images", dir)...); err != nil || !strings.Contains(stdout, "the host does not give it (") {
		t.Errorf("%v\n%s", err, stdout)
	}
	if after := h.state(); len(after) != len(before) || after["commands that change something"] != before["commands that change something"] {
		t.Errorf("%v, then %v", before, after)
	}
}

// TestPasswords are made for users who exist, and never written over.
func TestPasswords(t *testing.T) {
	dir := t.TempDir()
	stored := writeFile(t, filepath.Join(dir, "storage.json"), storage(t, []any{
		map[string]any{"name": "alice", "email": "alice@example.org"}, map[string]any{"name": "bob", "email": "bob@example.org"},
	}, nil))
	users := writeFile(t, filepath.Join(dir, "users.json"), `{"kind":"List","items":[{"metadata":{"name":"alice","uid":"1"},"spec":{"email":"alice@example.org"}},`+
		`{"metadata":{"name":"bob","uid":"2"},"spec":{"email":"other@example.org"}}]}`)
	passwords := filepath.Join(dir, "passwords")
	stdout, _, err := imported(t, "--mollymawk", stored, "--users", users, "--passwords", passwords)
	if err != nil {
		t.Fatal(err)
	}
	email, password, _ := strings.Cut(strings.TrimSpace(read(t, passwords)), " ")
	if email != "alice@example.org" || len(password) < 20 || strings.Contains(stdout, password) {
		t.Errorf("%s has a password of %d characters", email, len(password))
	}
	if all := objectsIn(t, stdout); named(all, "Secret", "mollymawk-account-1") == nil || named(all, "Secret", "mollymawk-account-2") != nil {
		t.Errorf("%v", all)
	}
	if _, _, err := imported(t, "--mollymawk", stored, "--users", users, "--passwords", passwords); err == nil || !strings.Contains(err.Error(), "--passwords") {
		t.Errorf("passwords are written over: %v", err)
	}
}

// TestHelp tells the program's own name.
func TestHelp(t *testing.T) {
	stdout, _, err := imported(t, "--help")
	if err != nil || !strings.Contains(stdout, "manager import --mollymawk") || !strings.Contains(stdout, "Nothing is changed") {
		t.Errorf("%v, %s", err, stdout)
	}
}

// TestDelegatedCredential sees what is below the path that was delegated, and no
// more. Its names are relative there, but addresses are of the full names.
func TestDelegatedCredential(t *testing.T) {
	h, dir := newHost(t), t.TempDir()
	arguments := albatross.Arguments{CPUIDs: []int64{0}, Memory: 16, Bridges: []albatross.Bridge{{Name: "service"}}}
	h.run(scope("customers", "carol"), "web", arguments)
	h.run(scope("alice"), "web", arguments)
	credentials := h.host.Credentials()
	ca := must(tls.X509KeyPair(credentials.Cert, credentials.Key))(t)
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der := must(x509.CreateCertificate(rand.Reader, &x509.Certificate{
		Subject: pkix.Name{CommonName: "customers"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtraExtensions: []pkix.Extension{{Id: cert.OID, Value: must(wire.EncodeExtension(wire.PolicyAdd{Policy: policy()}))(t)}},
	}, ca.Leaf, key.Public(), ca.PrivateKey))(t)
	file := func(name, kind string, content []byte) string {
		return writeFile(t, filepath.Join(dir, name), string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content})))
	}
	before := h.state()
	stdout, _, err := imported(t, "--instance", "rack1", "--address", h.host.Addr(), "--tls-cert", file("tls.crt", "CERTIFICATE", der),
		"--tls-key", file("tls.key", "PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key))(t)),
		"--ca-cert", writeFile(t, filepath.Join(dir, "ca.crt"), string(credentials.ServerCA)))
	if err != nil || !strings.Contains(stdout, "The credential is for the path customers of the host") {
		t.Fatalf("%v\n%s", err, stdout)
	}
	all := objectsIn(t, stdout)
	if named(all, "Namespace", "carol") == nil || named(all, "Namespace", "alice") != nil || named(all, "Unikernel", "web").GetNamespace() != "carol" {
		t.Errorf("%s", stdout)
	}
	networks, _, _ := unstructured.NestedSlice(named(all, "Unikernel", "web").Object, "spec", "networkInterfaces")
	if mac := albatross.DeriveMAC(at("customers:carol:web"), "service").String(); networks[0].(map[string]any)["mac"] != mac {
		t.Errorf("%v, not %s", networks, mac)
	}
	if after := h.state(); !reflect.DeepEqual(after, before) {
		t.Errorf("%v, then %v", before, after)
	}
}
