// Package crd proves the CustomResourceDefinitions at a real API server: every sample and every valid example of the folder hack
// is accepted and kept as it was applied, every invalid one is refused with the text that its first line names.
package crd
