//go:build !linux

package testenv

import "os/exec"

// dieWithParent does nothing where the system offers nothing of that kind: a
// test process that is killed leaves its control plane running there.
func dieWithParent(*exec.Cmd) {}
