package testenv

import (
	"os/exec"
	"syscall"
)

// dieWithParent has the kernel kill the process when the thread that started it
// ends, hence a goroutine that is locked to its thread must start it and wait
// for it.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
