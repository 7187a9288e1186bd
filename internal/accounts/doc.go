// Package accounts knows who uses the HTTP API: users, their passwords, tokens
// and sessions. A user is a User object. What is secret of it is in one Secret of
// the operator's namespace, which is named by the UID of the User, so that a
// namesake of a deleted user inherits nothing.
//
// Every replica has an index of all of them in memory, which a watch keeps
// up to date: to authenticate a call asks nobody.
package accounts
