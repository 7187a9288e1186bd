// Package mollymawk runs the requests that the document of the Mollymawk API shows, with the real curl, against the built program
// standalone and a simulated host. MOLLYMAWK_STANDALONE_BIN names the program; without it, it is built into the folder bin.
package mollymawk
