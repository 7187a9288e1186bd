package services

import "k8s.io/apimachinery/pkg/types"

// Via is how a caller proved who they are.
type Via int

// The ways to authenticate.
const (
	ViaBearer Via = iota + 1
	ViaSession
)

// Identity is an authenticated caller.
type Identity struct {
	// Name is that of the User object.
	Name string
	UID  types.UID
	// Email is for people to read.
	Email string
	// Namespace is where the caller's objects are; empty while there is none.
	Namespace string
	SuperUser bool
	Via       Via
	// TokenName or SessionID is set, depending on Via.
	TokenName string
	SessionID string
}

// Impersonate gives the user of Kubernetes that writes are made as.
func (i Identity) Impersonate() string { return "mollymawk:" + i.Name }
