package panel

import (
	"context"

	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/accounts"
	"mollymawk.dev/operator/internal/services"
)

// Gate knows who asks.
type Gate interface {
	Authenticate(ctx context.Context, credential accounts.Credential) (accounts.Identity, error)
}

// Users are all accounts.
type Users interface {
	Users(ctx context.Context) ([]accounts.Profile, error)
	ProfileByEmail(ctx context.Context, email string) (accounts.Profile, error)
	ProfileByDisplayName(ctx context.Context, name string) (accounts.Profile, error)
	ProfileByExternalID(ctx context.Context, id string) (accounts.Profile, error)
	CreateUser(ctx context.Context, wanted accounts.NewUser) (accounts.Profile, error)
}

// Namespaces say whose a namespace is.
type Namespaces interface {
	ProfileByNamespace(ctx context.Context, namespace string) (accounts.Profile, error)
	// AwaitNamespace gives the account of a user and waits a moment for the namespace
	// of a new one.
	AwaitNamespace(ctx context.Context, user string) (accounts.Profile, error)
}

// Unikernels are those of all users.
type Unikernels interface {
	// DeclaredUnikernels gives those of a namespace, or all.
	DeclaredUnikernels(ctx context.Context, id accounts.Identity, namespace string) ([]v1alpha1.Unikernel, error)
	DeployUnikernel(ctx context.Context, id accounts.Identity, deployment services.Deployment) (*v1alpha1.Unikernel, error)
	SuspendUnikernel(ctx context.Context, id accounts.Identity, uk *v1alpha1.Unikernel, suspended bool) (*v1alpha1.Unikernel, error)
	RemoveUnikernel(ctx context.Context, id accounts.Identity, uk *v1alpha1.Unikernel) error
}

// Nodes are the hosts.
type Nodes interface {
	DeclaredInstances(ctx context.Context, id accounts.Identity) ([]services.DeclaredInstance, error)
	// DeclareInstance may use the credentials of the Secret fallback.
	DeclareInstance(ctx context.Context, id accounts.Identity, wanted *v1alpha1.AlbatrossInstance, fallback string) (services.DeclaredInstance, error)
	DeleteInstance(ctx context.Context, id accounts.Identity, name string) error
	// DeleteInstanceWithUnikernels is refused while a volume is there, or a unikernel
	// that moves away.
	DeleteInstanceWithUnikernels(ctx context.Context, id accounts.Identity, name string) error
}

// Images are the entries of the catalogue.
type Images interface {
	CatalogImages(ctx context.Context, id accounts.Identity) ([]v1alpha1.UnikernelImage, error)
}
