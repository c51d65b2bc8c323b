package load

import (
	"syscall"
	"time"
)

// sleep waits for a time, to within a tenth of a millisecond, or less when a signal
// comes.
func sleep(d time.Duration) {
	t := syscall.NsecToTimespec(d.Nanoseconds())
	_ = syscall.Nanosleep(&t, nil)
}
