package services

import "mollymawk.dev/operator/internal/accounts"

// Identity is an authenticated caller.
type Identity = accounts.Identity

// The ways to authenticate.
const (
	ViaBearer  = accounts.ViaBearer
	ViaSession = accounts.ViaSession
)
