// Package apitest makes requests of the HTTP API for tests, and compares what is
// answered with the description of the API.
package apitest
