//go:build !linux

package supervisor

import "syscall"

// attributes put a child into a process group of its own, so that a terminal's
// Ctrl-C reaches the supervisor alone.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
