package main

import (
	"os"
	"os/signal"
	"syscall"
)

// outliveReaders has writing to a pipe whose reader is gone be an error, and not the end of
// this process: a server goes on when nobody reads its log. Commands that print results end.
func outliveReaders() {
	// Nobody receives: that the signal is asked for is enough. One that is ignored would be
	// so in child processes too.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
}
