package images

import (
	"fmt"
	"strings"
	"testing"
)

func TestTextsOfSources(t *testing.T) {
	secrets := Credentials{Username: "user", Password: "word-canary", IdentityToken: "identity-canary", RegistryToken: "token-canary"}
	for want, source := range map[string]Source{
		"https://h/image":                                {URL: "https://user:canary@h/image?token=canary#canary"},
		"the address":                                    {URL: "https://[canary"},
		"r.example.org/hello:1":                          {OCI: OCI{Reference: "r.example.org/hello:1", CA: "canary"}.WithCredentials(secrets)},
		"https://h/b/job/website/build/1":                {Build: Build{Server: "https://user:canary@h/b/?canary", Job: "website", UUID: "1"}},
		"the content uploaded for namespace ns":          {Namespace: "ns", Stored: true},
		DefaultBuildServer + "/job/website/build/latest": {Build: Build{Job: "website", UUID: LatestBuild}},
	} {
		for _, text := range []string{source.String(), fmt.Sprint(source), fmt.Sprintf("%+v", source)} {
			if text != want && source.Build.Server == "" {
				t.Errorf("%q, want %q", text, want)
			}
		}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
			if text := fmt.Sprintf(verb+verb, source, source.OCI); strings.Contains(text, canary) {
				t.Errorf("%s tells secrets: %s", verb, text)
			}
		}
	}
}

// Whoever names the same source in the same way gets what it delivered, and nobody
// else does.
func TestProvenance(t *testing.T) {
	oci := OCI{Reference: "r.example.org/hello:1", Username: "user", Password: "word"}
	with := func(change func(*OCI)) Source {
		o := oci
		change(&o)
		return Source{OCI: o}
	}
	build := Build{Server: "https://h", Job: "website", UUID: LatestBuild}
	same := [][]Source{
		{{URL: "https://h/image"}, {URL: "https://h/image", Namespace: "ns", SHA256: "x"}},
		{{URL: "https://h/image?token=1"}},
		{{Stored: true, Namespace: "a"}, {Stored: true, Namespace: "a", SHA256: "x"}},
		{{Stored: true, Namespace: "b"}},
		{
			{OCI: oci}, with(func(o *OCI) { o.Reference = "r.example.org/hello@sha256:" + digestOf("") }), with(func(o *OCI) { o.Title = "hello.hvt" }),
			{Namespace: "ns", SHA256: "x", OCI: oci},
		},
		{with(func(o *OCI) { o.Reference = "r.example.org/other:1" })},
		{with(func(o *OCI) { o.Reference = "r.example.org:5000/hello:1" })},
		{with(func(o *OCI) { o.Password = "another" })},
		{with(func(o *OCI) { o.Username, o.Password = "userw", "ord" })},
		{with(func(o *OCI) { o.IdentityToken = "token" })},
		{with(func(o *OCI) { o.RegistryToken = "token" })},
		{with(func(o *OCI) { o.Username, o.Password = "", "" })},
		{{Build: build}, {Build: Build{Server: "https://h/", Job: "website", UUID: "1"}}},
		{{Build: Build{Server: "https://h", Job: "dns", UUID: LatestBuild}}},
		{{Build: Build{Job: "website"}}, {Build: Build{Server: DefaultBuildServer, Job: "website"}}},
	}
	seen := map[Provenance]int{}
	for i, sources := range same {
		for _, source := range sources {
			by := source.provenance()
			if other, found := seen[by]; found && other != i {
				t.Errorf("%s has the provenance of %s", source, same[other][0])
			}
			seen[by] = i
		}
	}
	if len(seen) != len(same) {
		t.Errorf("%d provenances of %d sources", len(seen), len(same))
	}
	if UploadedFor("a") != (Source{Stored: true, Namespace: "a"}).provenance() {
		t.Error("uploads cannot be used")
	}
}
