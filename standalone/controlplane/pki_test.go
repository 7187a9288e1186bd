package controlplane

import (
	"bytes"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var loopback = net.IPv4(127, 0, 0, 1)

func mustEnsurePKI(t *testing.T, dir string, bind net.IP, now time.Time) *pki {
	t.Helper()
	p, err := ensurePKI(dir, bind, now)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPKIIsMadeOnce(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	first := mustEnsurePKI(t, dir, loopback, now)
	key, err := os.ReadFile(first.serviceAccountKey)
	if err != nil {
		t.Fatal(err)
	}
	again := mustEnsurePKI(t, dir, loopback, now.Add(time.Hour))
	for name, pair := range map[string][2]*credential{
		"ca": {first.ca, again.ca}, "serving": {first.serving, again.serving}, "admin": {first.admin, again.admin},
	} {
		if !pair[0].leaf.Equal(pair[1].leaf) {
			t.Errorf("%s was made anew", name)
		}
		info, err := os.Stat(pair[0].path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", name, info.Mode(), err)
		}
	}
	if after, err := os.ReadFile(first.serviceAccountKey); err != nil || !bytes.Equal(key, after) {
		t.Errorf("the service account key was made anew (%v)", err)
	}
}

func TestPKIVerifies(t *testing.T) {
	p := mustEnsurePKI(t, t.TempDir(), net.IPv4(192, 0, 2, 7), time.Now())
	roots := x509.NewCertPool()
	roots.AddCert(p.ca.leaf)
	for _, name := range []string{"localhost", "127.0.0.1", "::1", "192.0.2.7", "kubernetes.default.svc"} {
		if _, err := p.serving.leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); err != nil {
			t.Errorf("serving certificate for %s: %v", name, err)
		}
	}
	clientAuth := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if _, err := p.admin.leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: clientAuth}); err != nil {
		t.Errorf("administrator's certificate: %v", err)
	}
	if _, err := p.serving.leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: clientAuth}); err == nil {
		t.Error("the serving certificate is good for a client")
	}
	if groups := p.admin.leaf.Subject.Organization; len(groups) != 1 || groups[0] != "system:masters" {
		t.Errorf("the administrator's groups are %v", groups)
	}
}

func TestPKIIsRenewedBeforeItEnds(t *testing.T) {
	made := time.Now()
	for _, test := range []struct {
		name    string
		later   time.Duration
		newLeaf bool
		newCA   bool
	}{
		{name: "soon", later: year},
		{name: "leaf outlives the next run", later: leafLife - longestRun - time.Hour},
		{name: "leaf would end during the next run", later: leafLife - longestRun + time.Hour, newLeaf: true},
		{name: "leaf has ended", later: caLife - caMinimum - time.Hour, newLeaf: true},
		{name: "authority would end before a new leaf", later: caLife - caMinimum + time.Hour, newLeaf: true, newCA: true},
		{name: "all have ended", later: 2 * caLife, newLeaf: true, newCA: true},
		{name: "the clock is set back", later: -2 * time.Hour, newLeaf: true, newCA: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			before := mustEnsurePKI(t, dir, loopback, made)
			now := made.Add(test.later)
			after := mustEnsurePKI(t, dir, loopback, now)
			if renewed := !before.ca.leaf.Equal(after.ca.leaf); renewed != test.newCA {
				t.Errorf("authority renewed: %v", renewed)
			}
			for _, pair := range [][2]*credential{{before.serving, after.serving}, {before.admin, after.admin}} {
				if renewed := !pair[0].leaf.Equal(pair[1].leaf); renewed != test.newLeaf {
					t.Errorf("%s renewed: %v", filepath.Base(pair[0].path), renewed)
				}
				roots := x509.NewCertPool()
				roots.AddCert(after.ca.leaf)
				for _, at := range []time.Time{now, now.Add(longestRun)} {
					_, err := pair[1].leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
					if err != nil {
						t.Errorf("%s at %v: %v", filepath.Base(pair[1].path), at, err)
					}
				}
			}
		})
	}
}

func TestServingCertificateFollowsTheAddress(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	first := mustEnsurePKI(t, dir, loopback, now)
	for _, bind := range []net.IP{net.IPv4zero, net.IPv6loopback} {
		if p := mustEnsurePKI(t, dir, bind, now); !p.serving.leaf.Equal(first.serving.leaf) {
			t.Errorf("renewed for %v", bind)
		}
	}
	other := mustEnsurePKI(t, dir, net.IPv4(192, 0, 2, 7), now)
	if other.serving.leaf.Equal(first.serving.leaf) || other.serving.leaf.VerifyHostname("192.0.2.7") != nil {
		t.Errorf("not renewed for another address: %v", other.serving.leaf.IPAddresses)
	}
	if !other.admin.leaf.Equal(first.admin.leaf) {
		t.Error("the administrator's certificate was renewed too")
	}
}

func TestDamagedFilesAreReported(t *testing.T) {
	for _, name := range []string{"ca.pem", "serving.pem", "admin.pem"} {
		dir := t.TempDir()
		mustEnsurePKI(t, dir, loopback, time.Now())
		path := filepath.Join(dir, name)
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, damaged := range [][]byte{{}, []byte("nonsense"), content[:len(content)/2]} {
			if err := os.WriteFile(path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := ensurePKI(dir, loopback, time.Now())
			if err == nil || !strings.Contains(err.Error(), path+" is damaged") {
				t.Errorf("%d bytes of %s: %v", len(damaged), name, err)
			}
		}
	}
}

func TestPKINeedsItsFolder(t *testing.T) {
	if _, err := ensurePKI(filepath.Join(t.TempDir(), "none"), loopback, time.Now()); err == nil {
		t.Error("no error")
	}
}
