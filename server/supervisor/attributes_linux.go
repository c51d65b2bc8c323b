package supervisor

import "syscall"

// attributes put a child into a process group of its own, so that a terminal's
// Ctrl-C reaches the supervisor alone, and have the kernel end it when the
// supervisor dies without having had a chance to.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
