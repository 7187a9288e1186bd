package mollymawk

import (
	"context"
	"io"
	"iter"
	"time"

	"mollymawk.dev/operator/internal/accounts"
	"mollymawk.dev/operator/internal/services"
)

// Gate knows who asks.
type Gate interface {
	Login(ctx context.Context, email, password, remoteAddr, userAgent string) (accounts.Profile, accounts.Session, error)
	Register(ctx context.Context, name, email, password, remoteAddr, userAgent string) (accounts.Profile, accounts.Session, error)
	Authenticate(ctx context.Context, credential accounts.Credential) (accounts.Identity, error)
	NewCSRF(ctx context.Context, id accounts.Identity) (string, error)
	CheckCSRF(ctx context.Context, id accounts.Identity, token string) error
}

// Account is what users do to their own.
type Account interface {
	Profile(ctx context.Context, name string) (accounts.Profile, error)
	ChangePassword(ctx context.Context, id accounts.Identity, current, password, remoteAddr string) error
	Logout(ctx context.Context, id accounts.Identity) error
	LogoutOthers(ctx context.Context, id accounts.Identity) error
	EndSession(ctx context.Context, name, session string) error
}

// Tokens are the keys of a user for programs.
type Tokens interface {
	Tokens(ctx context.Context, user string) ([]accounts.Token, error)
	CreateToken(ctx context.Context, user, name string, expiry time.Duration) (accounts.Token, error)
	UpdateToken(ctx context.Context, user, value, name string, expiry time.Duration) (accounts.Token, error)
	DeleteToken(ctx context.Context, user, value string) error
}

// Users is for administrators.
type Users interface {
	Users(ctx context.Context) ([]accounts.Profile, error)
	SetActive(ctx context.Context, name string, active bool) error
	SetSuperUser(ctx context.Context, name string, superUser bool) error
	DeleteUser(ctx context.Context, name string) error
}

// Unikernels are those of the user who asks, and of nobody else.
type Unikernels interface {
	Unikernels(ctx context.Context, id accounts.Identity) ([]services.InstanceUnikernels, []services.InstanceError, error)
	Upload(ctx context.Context, id accounts.Identity, content io.Reader, limit int64) (digest string, size int64, err error)
	CreateUnikernel(ctx context.Context, id accounts.Identity, request services.CreateRequest) error
	DestroyUnikernel(ctx context.Context, id accounts.Identity, instance, name string) error
	RestartUnikernel(ctx context.Context, id accounts.Identity, request services.RestartRequest) error
	Console(ctx context.Context, id accounts.Identity, instance, name string) (iter.Seq2[services.Line, error], error)
}

// Volumes are those of the user who asks.
type Volumes interface {
	Volumes(ctx context.Context, id accounts.Identity) ([]services.Volume, []services.InstanceError, error)
	CreateVolume(ctx context.Context, id accounts.Identity, request services.VolumeRequest) error
	DeleteVolume(ctx context.Context, id accounts.Identity, instance, name string) error
	UploadVolume(ctx context.Context, id accounts.Identity, request services.VolumeRequest) error
	DownloadVolume(ctx context.Context, id accounts.Identity, instance, name string, level int) (io.ReadCloser, error)
}

// Instances are the hosts. All but the list is for administrators.
type Instances interface {
	Instances(ctx context.Context, id accounts.Identity) ([]services.Instance, error)
	RetryInstance(ctx context.Context, id accounts.Identity, name string) error
	CreateInstance(ctx context.Context, id accounts.Identity, request services.InstanceRequest) error
	UpdateInstance(ctx context.Context, id accounts.Identity, request services.InstanceRequest) error
	DeleteInstance(ctx context.Context, id accounts.Identity, name string) error
}

// Policies say what a user may use of an instance.
type Policies interface {
	Policies(ctx context.Context, id accounts.Identity) ([]services.Policy, error)
	SetPolicy(ctx context.Context, id accounts.Identity, policy services.Policy) error
}

// Updates replace the image of a unikernel by another build.
type Updates interface {
	UpdateUnikernel(ctx context.Context, id accounts.Identity, request services.UpdateRequest) error
	RollbackUnikernel(ctx context.Context, id accounts.Identity, instance, name string) (build string, err error)
}
