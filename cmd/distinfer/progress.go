package main

import (
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progressBar shows on a terminal how many of total bytes are done; -1 is not known.
func progressBar(what string, total int64) *progressbar.ProgressBar {
	return progressbar.NewOptions64(total, progressbar.OptionSetWriter(os.Stderr), progressbar.OptionSetDescription(what),
		progressbar.OptionShowBytes(true), progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(100*time.Millisecond))
}

// clearProgress removes what a bar left on the terminal's line when the work failed, so that the
// error does not follow it there.
func clearProgress() {
	if term.IsTerminal(int(os.Stderr.Fd())) {
		_, _ = os.Stderr.WriteString("\r\x1b[K")
	}
}

// showing shows on a terminal how much of something has been done; elsewhere it is nil.
func showing(what string) func(done, total int64) {
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return nil
	}
	var bar *progressbar.ProgressBar
	return func(done, total int64) {
		if bar == nil {
			bar = progressBar(what, total)
		}
		_ = bar.Set64(done)
	}
}

// reading shows on a terminal how much of a file was read: in bytes of all, or of a stream
// without an end in bytes.
func reading(file io.Reader) (counted io.Reader, end func()) {
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return file, func() {}
	}
	total := int64(-1)
	if f, ok := file.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			total = info.Size()
		}
	}
	bar := progressBar("labelling", total)
	reader := progressbar.NewReader(file, bar)
	return &reader, func() { _ = bar.Finish() }
}
