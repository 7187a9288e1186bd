// Package openapi has the description of the HTTP API: of all faces in one document,
// in OpenAPI 3.1.
package openapi

import (
	_ "embed" // the description of the API
)

// Document is the description, in YAML.
//
//go:embed openapi.yaml
var Document []byte
