package site

import (
	"os/exec"
	"syscall"
)

// endWithThisProcess has the kernel kill the program when the test process ends, even when that is killed.
func endWithThisProcess(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
