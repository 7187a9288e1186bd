// Package httpapi proves the HTTP API on top of all that stands behind it: an API server, the operator with the rights that the manifests
// give it, and a simulated host. Who reaches what is a matrix of routes, credentials and things; what the document says is a table.
package httpapi
