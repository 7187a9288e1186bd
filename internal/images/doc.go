// Package images brings the binaries of unikernels to where the operator can
// send them from: it fetches them, checks their digest, keeps them under it, and
// reads what devices they need. Fetching never holds up a reconcile for long;
// who asked is told when it is done.
package images
