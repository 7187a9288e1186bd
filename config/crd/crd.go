// Package crd has the generated CustomResourceDefinitions, for programs that
// install them.
package crd

import "embed"

// Files are the manifests in bases/.
//
//go:embed bases/*.yaml
var Files embed.FS
