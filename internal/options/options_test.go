package options_test

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"mollymawk.dev/operator/internal/egress"
	"mollymawk.dev/operator/internal/options"
)

func TestFlags(t *testing.T) {
	t.Setenv("POD_NAMESPACE", "mollymawk-system")
	o := options.Default()
	flags := pflag.NewFlagSet("manager", pflag.ContinueOnError)
	o.AddFlags(flags)
	err := flags.Parse([]string{"--workers=3", "--leader-elect=false", "--image-store=/images", "--image-store-grace=1h", "--shutdown-timeout=5s", "--pprof-bind-address=127.0.0.1:6060", "--watch-namespaces=alice,bob"})
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Validate(); err != nil {
		t.Errorf("refused: %v", err)
	}
	if o.Namespace != "mollymawk-system" || o.Workers != 3 || o.LeaderElection || o.ImageStore != "/images" || o.ImageStoreGrace != time.Hour ||
		o.ShutdownTimeout != 5*time.Second || o.PprofAddress == "" || !slices.Equal(o.WatchNamespaces, []string{"alice", "bob"}) {
		t.Errorf("%+v", o)
	}
}

func TestValidate(t *testing.T) {
	for flag, change := range map[string]func(*options.Options){
		"--namespace":              func(o *options.Options) { o.Namespace = "" },
		"--watch-namespaces":       func(o *options.Options) { o.WatchNamespaces = []string{"alice", ""} },
		"--api-bind-address":       func(o *options.Options) { o.WatchNamespaces, o.API.Address = []string{"alice"}, ":8443" },
		"--image-store":            func(o *options.Options) { o.ImageStore = "" },
		"--image-store-grace":      func(o *options.Options) { o.ImageStoreGrace = time.Second },
		"--max-image-size":         func(o *options.Options) { o.MaxImageSize = 0 },
		"--workers":                func(o *options.Options) { o.Workers = 0 },
		"--host-commands":          func(o *options.Options) { o.HostCommands = -1 },
		"--unikernel-metrics":      func(o *options.Options) { o.UnikernelMetrics = -1 },
		"--bootstrap-admin":        func(o *options.Options) { o.BootstrapAdminPasswordFile = "password" },
		"--shutdown-timeout":       func(o *options.Options) { o.ShutdownTimeout = -1 },
		"--api-rate":               func(o *options.Options) { o.API.Rate = -1 },
		"--api-burst":              func(o *options.Options) { o.API.Burst = 0 },
		"--api-max-header-size":    func(o *options.Options) { o.API.MaxHeaderSize = 1 },
		"--api-max-body-size":      func(o *options.Options) { o.API.MaxBodySize = 0 },
		"--api-max-parts":          func(o *options.Options) { o.API.MaxParts = 7 },
		"--api-max-volume-size":    func(o *options.Options) { o.API.MaxVolumeSize = 0 },
		"--api-spool-size":         func(o *options.Options) { o.API.SpoolSize = 0 },
		"--api-stall-timeout":      func(o *options.Options) { o.API.StallTimeout = time.Millisecond },
		"--panel-profile":          func(o *options.Options) { o.API.Panel.Profile = "original" },
		"--panel-name":             func(o *options.Options) { o.API.Panel.Name = "" },
		"--panel-post-rate":        func(o *options.Options) { o.API.Panel.PostRate = -1 },
		"--panel-node-credentials": func(o *options.Options) { o.API.Panel.NodeCredentials = "Not a name" },
		"--trusted-proxies":        func(o *options.Options) { o.API.TrustedProxies = []string{"10.0.0.0/8", "proxy"} },
		"--allow-egress":           func(o *options.Options) { o.AllowEgress = []string{"10.0.0.0/8", "10.0.0.0/33"} },
	} {
		o := options.Default()
		o.Namespace = "mollymawk-system"
		change(&o)
		if err := o.Validate(); err == nil || !strings.Contains(err.Error(), flag) {
			t.Errorf("%s: %v", flag, err)
		}
	}
}

// TestUsersAreMadeByAdministrators has nobody become a user by himself, and no
// password on the command line.
func TestUsersAreMadeByAdministrators(t *testing.T) {
	o := options.Default()
	if o.Registration || o.ProvisionNamespaces || o.BootstrapAdmin != "" {
		t.Errorf("%+v", o)
	}
	flags := pflag.NewFlagSet("manager", pflag.ContinueOnError)
	o.AddFlags(flags)
	flags.VisitAll(func(f *pflag.Flag) {
		if strings.Contains(f.Name, "password") && !strings.HasSuffix(f.Name, "-file") {
			t.Errorf("--%s takes a password", f.Name)
		}
	})
}

func TestEgress(t *testing.T) {
	o := options.Default()
	flags := pflag.NewFlagSet("manager", pflag.ContinueOnError)
	o.AddFlags(flags)
	if got, err := o.Egress(); err != nil || !reflect.DeepEqual(got, egress.Policy{}) {
		t.Errorf("by default: %+v, %v", got, err)
	}
	if err := flags.Parse([]string{"--allow-egress=169.254.7.0/24", "--allow-egress", "fe80::1,Metadata.example.org", "--allow-loopback-sources"}); err != nil {
		t.Fatal(err)
	}
	want := egress.Policy{
		AllowLoopback: true, AllowHosts: []string{"metadata.example.org"},
		AllowNetworks: []netip.Prefix{netip.MustParsePrefix("169.254.7.0/24"), netip.MustParsePrefix("fe80::1/128")},
	}
	if got, err := o.Egress(); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestProfilingIsOffByDefault(t *testing.T) {
	if o := options.Default(); o.PprofAddress != "" || o.AllowLoopbackSources {
		t.Errorf("%+v", o)
	}
}

func TestAPI(t *testing.T) {
	o := options.Default()
	if !o.API.Off() {
		t.Error("the HTTP API is on by default")
	}
	flags := pflag.NewFlagSet("manager", pflag.ContinueOnError)
	o.AddFlags(flags)
	if err := flags.Parse([]string{"--api-bind-address=:8443", "--trusted-proxies=10.1.2.3/8,192.0.2.7", "--trusted-proxies=::1"}); err != nil {
		t.Fatal(err)
	}
	want := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.7/32"), netip.MustParsePrefix("::1/128")}
	if got, err := o.API.Proxies(); err != nil || !slices.Equal(got, want) || o.API.Off() {
		t.Errorf("%v, %v", got, err)
	}
}

func TestPanel(t *testing.T) {
	o := options.Default()
	o.Namespace = "mollymawk-system"
	if o.API.Panel != (options.Panel{Profile: "documented", Name: "Mollymawk"}) {
		t.Errorf("by default %+v", o.API.Panel)
	}
	flags := pflag.NewFlagSet("manager", pflag.ContinueOnError)
	o.AddFlags(flags)
	if err := flags.Parse([]string{"--panel-profile=source", "--panel-name=Skyport", "--panel-post-rate=6", "--panel-node-credentials=hosts"}); err != nil {
		t.Fatal(err)
	}
	if err := o.Validate(); err != nil || o.API.Panel != (options.Panel{Profile: "source", NodeCredentials: "hosts", Name: "Skyport", PostRate: 6}) {
		t.Errorf("%+v, %v", o.API.Panel, err)
	}
}
