package rig

import "syscall"

// attributes put a child into a process group of its own, so that a terminal's
// Ctrl-C reaches the harness alone, and have the kernel end it when the harness
// is gone, however that came about.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
