// Package site runs the built program standalone for tests that use its HTTP API as people do: by curl, at a name with a certificate, and
// with an administrator. MOLLYMAWK_STANDALONE_BIN names the program; without it, it is built into the folder bin.
package site
