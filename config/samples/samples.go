// Package samples has the sample objects, for programs that apply them.
package samples

import "embed"

// Files are the manifests of this folder.
//
//go:embed mollymawk_*.yaml
var Files embed.FS

// The samples by what they show.
const (
	Instance  = "mollymawk_v1alpha1_albatrossinstance.yaml"
	Unikernel = "mollymawk_v1alpha1_unikernel.yaml"
	Volume    = "mollymawk_v1alpha1_volume.yaml"
)
