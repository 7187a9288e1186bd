// Package faults has the operator go through what may go wrong around it, with a real API server and simulated hosts: it is killed
// at every boundary between a command and what is saved of it, hosts fail in every way that they know, the API server is away or
// full of conflicts. Afterwards the world must be as declared, nothing may be left on a host, and no host may have been sent what
// breaks it. docs/reliability.md lists what was tried.
package faults
