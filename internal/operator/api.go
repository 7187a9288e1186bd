package operator

import (
	"context"
	"net/http"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"mollymawk.dev/operator/internal/accounts"
	"mollymawk.dev/operator/internal/hosts"
	"mollymawk.dev/operator/internal/httpapi"
	"mollymawk.dev/operator/internal/httpapi/mollymawk"
	"mollymawk.dev/operator/internal/httpapi/panel"
	"mollymawk.dev/operator/internal/images"
	"mollymawk.dev/operator/internal/options"
	"mollymawk.dev/operator/internal/services"
)

// behind is what stands behind the HTTP API.
type behind struct {
	users *accounts.Accounts
	pool  *hosts.Pool
	store *images.Store
}

// newAPI gives the HTTP server and its services as parts to run; none when the API
// is off.
func newAPI(ctx context.Context, mgr ctrl.Manager, o options.Options, b behind, log logr.Logger) ([]manager.Runnable, error) {
	if o.API.Off() {
		return nil, nil
	}
	done, err := services.New(services.Options{
		Config: mgr.GetConfig(), Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Cache: mgr.GetCache(), Hosts: b.pool,
		Store: b.store, Namespace: o.Namespace, WatchNamespaces: o.WatchNamespaces, Log: log.WithName("services"),
	})
	if err != nil {
		return nil, err
	}
	proxies, err := o.API.Proxies()
	if err != nil {
		return nil, err
	}
	server, err := httpapi.Listen(ctx, httpapi.Options{
		Address: o.API.Address, TLSCertDir: o.API.TLSCertDir, TrustedProxies: proxies, MaxHeaderBytes: o.API.MaxHeaderSize << 10,
		StallTimeout: o.API.StallTimeout, ShutdownTimeout: o.ShutdownTimeout, Log: log.WithName("httpapi"), Handler: newFaces(o, b.users, done, log),
	})
	if err != nil {
		return nil, err
	}
	return []manager.Runnable{done, server}, nil
}

// faces are the APIs on one server.
type faces struct {
	mollymawk *mollymawk.Face
	panel     *panel.Face
}

func newFaces(o options.Options, users *accounts.Accounts, done *services.Services, log logr.Logger) *faces {
	limiter := httpapi.NewLimiter(o.API.Rate, o.API.Burst, nil)
	return &faces{mollymawk: newMollymawk(o, users, done, limiter, log), panel: panel.New(panel.Options{
		Gate: users, Users: users, Namespaces: users, Unikernels: done, Nodes: done, Images: done,
		Profile: panel.Profile(o.API.Panel.Profile), Name: o.API.Panel.Name, NodeCredentials: o.API.Panel.NodeCredentials,
		PostRate: o.API.Panel.PostRate, Limiter: limiter, Log: log.WithName("panel"),
	})}
}

func newMollymawk(o options.Options, users *accounts.Accounts, done *services.Services, limiter *httpapi.Limiter, log logr.Logger) *mollymawk.Face {
	return mollymawk.New(mollymawk.Options{
		Gate: users, Account: users, Tokens: users, Users: users,
		Unikernels: done, Volumes: done, Instances: done, Policies: done, Updates: done,
		BuildServer: o.API.BuildServer, Limiter: limiter, Log: log.WithName("mollymawk"),
		Limits: mollymawk.Limits{
			Document: o.API.MaxBodySize << 20, Fields: o.API.MaxBodySize << 20, Parts: o.API.MaxParts, Image: o.MaxImageSize << 20,
			Volume: o.API.MaxVolumeSize << 20, Spool: o.API.SpoolSize << 20, SpoolDir: o.API.SpoolDir,
		},
	})
}

// ServeHTTP leaves each path to the face that it is of.
func (f *faces) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if f.isForPanel(r) {
		f.panel.ServeHTTP(w, r)
		return
	}
	f.mollymawk.ServeHTTP(w, r)
}

// isForPanel decides by the credential where the path does not: both faces have
// /api/instances, and none has what is not there. Who brings none is answered about
// /api/instances as the Panel API's documents say.
func (f *faces) isForPanel(r *http.Request) bool {
	if panel.Authenticates(r) && !f.mollymawk.Serves(r.URL.Path) {
		return true
	}
	_, bearer := httpapi.Bearer(r)
	shared := f.mollymawk.Serves(r.URL.Path) && !panel.Authenticates(r) && (bearer || httpapi.Session(r) != "")
	return f.panel.Serves(r.URL.Path) && !shared
}
