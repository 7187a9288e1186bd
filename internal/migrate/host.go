package migrate

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"mollymawk.dev/operator/albatross"
)

// Host is an Albatross host with the credential for it.
type Host struct {
	// Name becomes that of the AlbatrossInstance.
	Name    string
	Address string
	Port    int
	// Certificate, Key and ServerCA are PEM.
	Certificate, Key, ServerCA []byte
	// Seen is what the host told. It is nil when the host was not asked, or when it
	// did not answer; then Problem says why.
	Seen    *Seen
	Problem error
}

// Seen is what is below the path of a credential. All names are relative to it.
type Seen struct {
	// Path is that of the credential; it is empty for a host's own CA.
	Path       albatross.Path
	Unikernels []albatross.Unikernel
	Blocks     []albatross.Block
	// Policies are those in force, by their path.
	Policies map[string]albatross.Policy
}

// newClient makes a client of the host.
func (h *Host) newClient(timeout time.Duration) (*albatross.Client, *albatross.Credential, error) {
	credential, err := albatross.ParseCredential(h.Certificate, h.Key)
	if err != nil {
		return nil, nil, fmt.Errorf("the credential: %w", err)
	}
	serverCAs, err := albatross.ParseServerCA(h.ServerCA)
	if err != nil {
		return nil, nil, fmt.Errorf("the certificates to verify the host with: %w", err)
	}
	client, err := albatross.New(albatross.Options{
		Addr: net.JoinHostPort(h.Address, strconv.Itoa(h.Port)), Credential: credential, ServerCAs: serverCAs, Timeout: timeout, MaxReply: maxImage,
	})
	return client, credential, err
}

// look asks the host what there is. It changes nothing there.
func look(ctx context.Context, client *albatross.Client, path albatross.Path) (*Seen, error) {
	seen := &Seen{Path: path, Policies: map[string]albatross.Policy{}}
	var err error
	if seen.Unikernels, err = client.Unikernels(ctx, nil); err != nil {
		return nil, err
	}
	if seen.Blocks, err = client.Blocks(ctx, nil); err != nil {
		return nil, err
	}
	policies, err := client.Policies(ctx, nil)
	if err != nil {
		return nil, err
	}
	for _, p := range policies {
		if p.Name.IsPath() && !p.Name.Path.IsRoot() {
			seen.Policies[p.Name.Path.String()] = p.Policy
		}
	}
	return seen, nil
}

// scope gives a path with the policies in force, and false when one has none: a
// command for it would set a policy that nobody has decided on.
func (s *Seen) scope(path albatross.Path) (scope albatross.Scope, missing albatross.Path) {
	for i, label := range path {
		policy, found := s.Policies[path[:i+1].String()]
		if !found {
			return nil, path[:i+1]
		}
		scope = append(scope, albatross.Level{Label: label, Policy: policy})
	}
	return scope, nil
}
