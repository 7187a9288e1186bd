package controlplane

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"syscall"

	"github.com/google/renameio/v2"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// contextName is the name of the cluster and context of the kubeconfig.
const contextName = "mollymawk"

// newKubeconfig describes the administrator's way to the API server, with all
// certificates in it, so that a copy of it works anywhere.
func newKubeconfig(address *net.TCPAddr, p *pki) (*clientcmdapi.Config, error) {
	key, err := p.admin.keyPEM()
	if err != nil {
		return nil, err
	}
	config := clientcmdapi.NewConfig()
	config.Clusters[contextName] = &clientcmdapi.Cluster{
		Server:                   "https://" + reachable(address),
		CertificateAuthorityData: p.ca.certificatePEM(),
	}
	config.AuthInfos["admin"] = &clientcmdapi.AuthInfo{
		ClientCertificateData: p.admin.certificatePEM(),
		ClientKeyData:         key,
	}
	config.Contexts[contextName] = &clientcmdapi.Context{Cluster: contextName, AuthInfo: "admin", Namespace: "default"}
	config.CurrentContext = contextName
	return config, nil
}

// reachable is an address at which a listener is reached from this machine.
func reachable(address *net.TCPAddr) string {
	host := address.IP.String()
	if address.IP.IsUnspecified() {
		host = DefaultBindAddress
	}
	return net.JoinHostPort(host, strconv.Itoa(address.Port))
}

func writeKubeconfig(path string, config *clientcmdapi.Config) error {
	content, err := clientcmd.Write(*config)
	if err != nil {
		return fmt.Errorf("encoding kubeconfig: %w", err)
	}
	if err := renameio.WriteFile(path, content, 0o600); err != nil {
		return fmt.Errorf("writing kubeconfig: %w", err)
	}
	return nil
}

// keptPort is the port of the kubeconfig that an earlier start wrote, 0 if
// there is none that can be read.
func keptPort(path string) int {
	config, err := clientcmd.LoadFromFile(path)
	if err != nil || config.Clusters[contextName] == nil {
		return 0
	}
	server, err := url.Parse(config.Clusters[contextName].Server)
	if err != nil {
		return 0
	}
	port, err := strconv.Atoi(server.Port())
	if err != nil {
		return 0
	}
	return port
}

// listen opens the API server's port: the wanted one, or else the kept one, or
// else, also when the kept one is taken, any free one.
func listen(bindAddress string, wanted, kept int) (net.Listener, error) {
	port := wanted
	if port == 0 {
		port = kept
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(bindAddress, strconv.Itoa(port)))
	if wanted == 0 && kept != 0 && errors.Is(err, syscall.EADDRINUSE) {
		listener, err = net.Listen("tcp", net.JoinHostPort(bindAddress, "0"))
	}
	if err != nil {
		return nil, fmt.Errorf("opening the API server's port: %w", err)
	}
	return listener, nil
}
