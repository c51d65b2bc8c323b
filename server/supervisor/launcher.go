package supervisor

import (
	"os/exec"
	"runtime"
)

// A Launcher starts processes from one thread that lives as long as they do: the
// kernel ends a child whose parent thread is gone (see attributes).
type Launcher chan func()

// NewLauncher makes one; close it once the processes have ended.
func NewLauncher() Launcher {
	l := make(Launcher)
	go func() {
		runtime.LockOSThread()
		for start := range l {
			start()
		}
	}()
	return l
}

// Start starts a program, such that it ends with this one.
func (l Launcher) Start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = attributes()
	err := make(chan error)
	l <- func() { err <- cmd.Start() }
	return <-err
}
