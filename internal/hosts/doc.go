// Package hosts owns the connections to Albatross hosts. It looks at each host
// once a poll, whatever the number of objects on it, and shares what it saw as a
// [Snapshot]. Everybody else gets a [Host] at once or [ErrNotConnected], and is
// told when something changed; nobody but this package waits for a host that
// does not answer.
package hosts
