// Package migrate turns what Albatross hosts run, and what Mollymawk has stored,
// into manifests for a person to look through and apply.
//
// It only reads. What it writes is adopted by the operator as it is: a thing that
// cannot be declared just as it runs is in the manifests as a comment, with the
// reason. [Convert] decides all of that and is a pure function; the rest asks hosts,
// reads files, and is the command line.
package migrate
