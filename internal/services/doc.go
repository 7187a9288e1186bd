// Package services is what people's interfaces (the Mollymawk API, and others
// later) do to objects and hosts, whatever their protocol. All calls take the
// [Identity] of the caller, from whom the namespace comes: reading what belongs
// to another tenant is impossible by construction, and writing too, since every
// write is made as the caller by impersonation.
//
// What a call writes is an ordinary object afterwards. After a write it waits for
// the controllers' verdict on just that. What was refused is taken back: a create
// leaves no object, and a change leaves what was declared before.
//
// What runs on a host at the caller's path and belongs to no object is listed too,
// and can be destroyed, restarted, filled, read and removed by a direct command.
// It is not adopted: an object would say that it shall run, which nobody said.
package services
