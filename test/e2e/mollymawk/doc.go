// Package mollymawk runs the requests that the document of the Mollymawk API shows, with the real curl, against a running site.
package mollymawk
