// Package rbac has manifests of rights that programs install which do not install
// all of this folder.
package rbac

import _ "embed"

// NamePrefix is put before the names of all that is installed, as in a cluster.
const NamePrefix = "mollymawk-"

// TenantRole is the ClusterRole of a user of the HTTP API, without the prefix.
//
//go:embed tenant_role.yaml
var TenantRole []byte

// NamespaceProvisionerRole is what the operator needs to make namespaces for users,
// without the prefix.
//
//go:embed namespace_provisioner_role.yaml
var NamespaceProvisionerRole []byte

// AdminRole is the ClusterRole of administrators of the HTTP API and its binding,
// without the prefix.
//
//go:embed api_admin_role.yaml
var AdminRole []byte
