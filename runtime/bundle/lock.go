package bundle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// lockTime is the interval of tries to get a lock that another process has.
const lockTime = 100 * time.Millisecond

// lock makes the file at path and locks it, as soon as no other process has it.
func lock(ctx context.Context, path string, waiting func()) (*os.File, error) {
	for first := true; ; {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o644)
		if err != nil {
			return nil, fmt.Errorf("cannot write to folder %s: %w; name another place", filepath.Dir(path), reason(err))
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && sameFile(f, path) {
			return f, nil
		}
		_ = f.Close()
		switch {
		case err == nil:
			continue // whoever had the lock has removed the file
		case errors.Is(err, unix.EINTR):
			continue
		case !errors.Is(err, unix.EWOULDBLOCK):
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if first {
			waiting()
			first = false
		}
		select {
		case <-time.After(lockTime):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// sameFile reports whether path still is the name of an open file.
func sameFile(f *os.File, path string) bool {
	open, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(path)
	return err == nil && os.SameFile(open, named)
}
