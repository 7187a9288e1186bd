// Package docs proves the documentation: what it names exists, what exists is named, and its manifests are accepted by an API server.
package docs
