// Package panel proves the Panel API from outside, against a running site in both profiles: what its facts demand line by line, what real
// clients do, what its document shows, and that its objects are those of kubectl.
package panel
