package services

import "mollymawk.dev/operator/internal/accounts"

// impersonationPrefix marks the users of Kubernetes that accounts stand for.
const impersonationPrefix = "mollymawk:"

// Identity is an authenticated caller.
type Identity = accounts.Identity

// The ways to authenticate.
const (
	Bearer  = accounts.ViaBearer
	Session = accounts.ViaSession
)
