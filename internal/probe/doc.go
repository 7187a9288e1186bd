// Package probe finds out whether running unikernels work, by asking them over
// HTTP, TCP or DNS from time to time. A [Prober] does it for thousands of them
// with few goroutines and without holding up a reconcile: what it found out is at
// hand at once, and who is interested is told when it changes.
package probe
