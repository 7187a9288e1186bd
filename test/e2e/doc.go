// Package e2e runs the built program standalone as a user does: a process with a folder, a kubeconfig, and kubectl. TestDemo goes
// through what `make run` offers. TestHost has the program manage a host of its own, or a real one when ALBATROSS_ADDR (host:port),
// ALBATROSS_CREDENTIALS (a folder with cacert.pem and ca.key) and ALBATROSS_IMAGES (a folder with test_tick.hvt) are set.
//
// MOLLYMAWK_STANDALONE_BIN names the program; without it, it is built into the folder bin.
package e2e
