package controlplane

import (
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
)

// DefaultBindAddress is where the API server listens unless Options say
// otherwise: only programs of the same machine reach it.
const DefaultBindAddress = "127.0.0.1"

// Options say where a control plane keeps its data and where it listens.
type Options struct {
	// DataDir is the folder that holds everything the control plane keeps; see
	// the package's documentation. It is created when it does not exist. An
	// existing folder must be empty or an earlier control plane's.
	DataDir string

	// BindAddress is the IP address of the API server, 127.0.0.1 by default.
	// With an unspecified one (0.0.0.0 or ::) the kubeconfig names the loopback
	// address.
	BindAddress string

	// Port is the TCP port of the API server. With 0, the port of the earlier
	// start is used again, so that copies of the kubeconfig stay valid; when
	// there is none, or when it is taken by now, the system chooses a free one.
	Port int

	// Log receives what Kubernetes and etcd log, which is plenty. When it is
	// nil, they log to the file control-plane.log of the data folder.
	Log io.Writer
}

// complete checks the options and fills in defaults.
func (o Options) complete() (Options, error) {
	if o.DataDir == "" {
		return o, errors.New("no data folder given")
	}
	dir, err := filepath.Abs(o.DataDir)
	if err != nil {
		return o, fmt.Errorf("data folder %s: %w", o.DataDir, err)
	}
	o.DataDir = dir
	if o.BindAddress == "" {
		o.BindAddress = DefaultBindAddress
	}
	if net.ParseIP(o.BindAddress) == nil {
		return o, fmt.Errorf("bind address %q is not an IP address", o.BindAddress)
	}
	if o.Port < 0 || o.Port > 65535 {
		return o, fmt.Errorf("port %d is not between 0 and 65535", o.Port)
	}
	return o, nil
}
