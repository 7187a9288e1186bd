// Package argocd has the health checks of the kinds for Argo CD: in the form of
// its own repository, and as a ConfigMap for those who run it.
package argocd

import (
	_ "embed" // for the script
)

// HealthLua tells how an object of any of the kinds is.
//
//go:embed resource_customizations/mollymawk.dev/Unikernel/health.lua
var HealthLua string
