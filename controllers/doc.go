// Package controllers makes Albatross hosts match the declared objects. Each kind
// has four files: _controller.go is the flow, _steps.go what it is made of,
// _plan.go the decision what to do (pure), and _status.go the conditions (pure).
package controllers
