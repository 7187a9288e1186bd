package controlplane

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"time"

	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/client-go/rest"
	"k8s.io/kubernetes/pkg/controlplane/apiserver/options"
	generic "k8s.io/kubernetes/pkg/controlplane/apiserver/samples/generic/server"
)

const (
	// accountIssuer names the issuer of service account tokens. It does not hold
	// the port, else tokens would end when that changes.
	accountIssuer = "https://kubernetes.default.svc"

	// watchGrace is how long a stopping API server waits for its watches to
	// end. Without it their connections are cut.
	watchGrace = time.Second
)

// apiServer is a configured API server that does not run yet.
type apiServer struct {
	run     func(context.Context) error
	address *net.TCPAddr
	// loopback is the API server's own, unlimited access to itself.
	loopback *rest.Config
}

// newAPIServer prepares the chain of API servers (aggregation, built-in kinds,
// custom kinds) that Kubernetes' own sample of a generic control plane has.
func newAPIServer(ctx context.Context, listener net.Listener, folder *dataFolder, p *pki) (*apiServer, error) {
	address, ok := listener.Addr().(*net.TCPAddr)
	if !ok {
		return nil, fmt.Errorf("%s is not a TCP address", listener.Addr())
	}
	opts, err := apiServerOptions(listener, address, folder, p)
	if err != nil {
		return nil, err
	}
	completed, err := opts.Complete(ctx, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("completing the API server's options: %w", err)
	}
	if errs := completed.Validate(); len(errs) > 0 {
		return nil, fmt.Errorf("the API server's options: %w", utilerrors.NewAggregate(errs))
	}
	config, err := generic.NewConfig(completed)
	if err != nil {
		return nil, fmt.Errorf("configuring the API server: %w", err)
	}
	// With more than one API server each would wait 5 s before it serves a new
	// CustomResourceDefinition, so that the others see it too.
	config.APIExtensions.ExtraConfig.MasterCount = 1
	complete, err := config.Complete()
	if err != nil {
		return nil, fmt.Errorf("configuring the API server: %w", err)
	}
	chain, err := generic.CreateServerChain(complete)
	if err != nil {
		return nil, fmt.Errorf("creating the API server: %w", err)
	}
	prepared, err := chain.PrepareRun()
	if err != nil {
		return nil, fmt.Errorf("preparing the API server: %w", err)
	}
	return &apiServer{
		run:      prepared.Run,
		address:  address,
		loopback: config.ControlPlane.Generic.LoopbackClientConfig,
	}, nil
}

func apiServerOptions(listener net.Listener, address *net.TCPAddr, folder *dataFolder, p *pki) (*options.Options, error) {
	opts := generic.NewOptions()
	opts.Etcd.StorageConfig.Transport.ServerList = []string{(&url.URL{Scheme: "unix", Path: folder.socket()}).String()}

	opts.SecureServing.Listener = listener
	opts.SecureServing.BindAddress, opts.SecureServing.BindPort = address.IP, address.Port
	opts.SecureServing.ServerCert.CertKey.CertFile = p.serving.path
	opts.SecureServing.ServerCert.CertKey.KeyFile = p.serving.path

	run := opts.GenericServerRunOptions
	run.AdvertiseAddress = address.IP
	if address.IP.IsUnspecified() {
		run.AdvertiseAddress = net.ParseIP(DefaultBindAddress)
	}
	run.ShutdownSendRetryAfter = true
	run.ShutdownWatchTerminationGracePeriod = watchGrace

	if err := authenticate(opts, p); err != nil {
		return nil, err
	}
	opts.Authorization.Modes = []string{"RBAC"}
	opts.Features.EnableProfiling = false
	return opts, nil
}

// authenticate admits client certificates and service account tokens, and
// nobody without either.
func authenticate(opts *options.Options, p *pki) error {
	clientCA, err := dynamiccertificates.NewStaticCAContent("client-ca", p.ca.certificatePEM())
	if err != nil {
		return fmt.Errorf("reading certificate authority: %w", err)
	}
	opts.Authentication.ClientCert.CAContentProvider = clientCA
	opts.Authentication.Anonymous.Allow = false
	opts.Authentication.ServiceAccounts.Issuers = []string{accountIssuer}
	opts.Authentication.ServiceAccounts.KeyFiles = []string{p.serviceAccountKey}
	opts.ServiceAccountSigningKeyFile = p.serviceAccountKey
	return nil
}
