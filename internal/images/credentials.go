package images

import (
	"encoding/json"
	"fmt"
	"path"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
)

// Credentials are those for a registry, to be put into an [OCI].
type Credentials struct {
	Username, Password, IdentityToken, RegistryToken string
}

// WithCredentials gives the source with credentials.
func (o OCI) WithCredentials(c Credentials) OCI {
	o.Username, o.Password, o.IdentityToken, o.RegistryToken = c.Username, c.Password, c.IdentityToken, c.RegistryToken
	return o
}

// PullCredentials finds the credentials for a reference in the content of a Secret
// of type kubernetes.io/dockerconfigjson, by the rules of Kubernetes: an entry
// names a registry and perhaps the beginning of a repository, and may have the
// wildcard * in parts of the host; the longest that fits is used. It fails with
// [ErrForbidden] when none does. No error quotes the content.
func PullCredentials(dockerconfigjson []byte, reference string) (Credentials, error) {
	var config struct {
		Auths map[string]json.RawMessage `json:"auths"`
	}
	if err := json.Unmarshal(dockerconfigjson, &config); err != nil {
		return Credentials{}, fmt.Errorf("%w: the pull secret is no Docker configuration in JSON", ErrInvalid)
	}
	repository := repositoryOf(reference)
	best, found := "", false
	for entry := range config.Auths {
		if longer := len(entryPath(entry)) > len(entryPath(best)) || len(entryPath(entry)) == len(entryPath(best)) && entry < best; covers(entry, repository) && (!found || longer) {
			best, found = entry, true
		}
	}
	if !found {
		return Credentials{}, fmt.Errorf("%w: the pull secret has nothing for %s", ErrForbidden, Registry(reference))
	}
	var auth authn.AuthConfig
	if err := json.Unmarshal(config.Auths[best], &auth); err != nil {
		return Credentials{}, fmt.Errorf("%w: the pull secret's entry for %s is damaged", ErrInvalid, Registry(reference))
	}
	return Credentials{Username: auth.Username, Password: auth.Password, IdentityToken: auth.IdentityToken, RegistryToken: auth.RegistryToken}, nil
}

// entryPath gives the registry and repository that an entry names; tools also
// write it as an address.
func entryPath(entry string) string {
	entry = strings.TrimPrefix(strings.TrimPrefix(entry, "https://"), "http://")
	host, repository, _ := strings.Cut(entry, "/")
	if host == "docker.io" || host == "index.docker.io" {
		host = "index.docker.io" // the registry's own name, whatever it is called
	}
	switch repository = strings.Trim(repository, "/"); repository {
	case "", "v1", "v2":
		return host
	}
	return host + "/" + repository
}

// covers tells whether an entry is about a repository.
func covers(entry, repository string) bool {
	pattern, prefix, _ := strings.Cut(entryPath(entry), "/")
	host, rest, _ := strings.Cut(repository, "/")
	return hostMatches(pattern, host) && (prefix == "" || rest == prefix || strings.HasPrefix(rest, prefix+"/"))
}

// hostMatches compares part by part: a wildcard never stands for a dot.
func hostMatches(pattern, host string) bool {
	patterns, parts := strings.Split(pattern, "."), strings.Split(host, ".")
	if len(patterns) != len(parts) {
		return false
	}
	for i, p := range patterns {
		if match, err := path.Match(p, parts[i]); err != nil || !match {
			return false
		}
	}
	return true
}
