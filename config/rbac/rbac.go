// Package rbac has the roles of people who use the HTTP API, for programs that
// install them.
package rbac

import "embed"

// Prefix is what kustomize puts before the names in the manifests.
const Prefix = "mollymawk-"

// Files are the manifests of the roles for users and administrators.
//
//go:embed tenant_role.yaml api_admin_role.yaml
var Files embed.FS
