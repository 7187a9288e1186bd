package command

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"mollymawk.dev/operator/internal/options"
)

// addressFile in the data folder has the address of the HTTP API.
const addressFile = "api-address"

// addAPIFlags adds the flags of the HTTP API that make sense on one machine.
func addAPIFlags(flags *pflag.FlagSet, o *options.Options) {
	o.API.Address = "127.0.0.1:0"
	all := pflag.NewFlagSet("", pflag.ContinueOnError)
	o.AddFlags(all)
	all.VisitAll(func(f *pflag.Flag) {
		if strings.HasPrefix(f.Name, "api-") || strings.HasPrefix(f.Name, "panel-") || f.Name == "trusted-proxies" || f.Name == "bootstrap-admin-password-file" {
			flags.AddFlag(f)
		}
	})
}

// prepareAPI chooses the address of the HTTP API, unless one is given or was chosen
// before.
func prepareAPI(dataDir string, o *options.Options) error {
	if o.API.Off() {
		return nil
	}
	address, err := apiAddress(filepath.Join(dataDir, addressFile), o.API.Address)
	if err != nil {
		return err
	}
	o.API.Address = address
	return nil
}

// apiAddress gives the wanted address. For port 0 it is the one of the last start
// if that is free, or else any free one.
func apiAddress(file, wanted string) (string, error) {
	host, port, err := net.SplitHostPort(wanted)
	if err != nil {
		return "", fmt.Errorf("--api-bind-address: %w", err)
	}
	if port != "0" {
		return wanted, nil
	}
	kept, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	candidates := []string{net.JoinHostPort(host, "0")}
	if keptHost, _, err := net.SplitHostPort(string(kept)); err == nil && keptHost == host {
		candidates = []string{string(kept), candidates[0]}
	}
	for _, candidate := range candidates {
		listener, listenErr := net.Listen("tcp", candidate) //nolint:noctx // it is closed at once
		if err = listenErr; err == nil {
			address := listener.Addr().String()
			return address, errors.Join(listener.Close(), os.WriteFile(file, []byte(address), 0o600))
		}
	}
	return "", fmt.Errorf("--api-bind-address: %w", err)
}
