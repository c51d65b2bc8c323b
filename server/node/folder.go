package node

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// The temporary folders of `up`, and the file in each that its process holds a lock on. The
// system takes the lock back however the process ends.
const (
	folderPrefix = "distinfer-up-"
	lockName     = "lock"
)

// TempFolder makes a temporary folder for a local pipeline's bundle, which is this process's until
// remove. It first removes those of processes that were killed.
func TempFolder(log *slog.Logger) (dir string, remove func(), err error) {
	removeLeft(log)
	// It has its name once it is locked: until then it would look as if it was left.
	dir, err = os.MkdirTemp("", "."+folderPrefix)
	if err != nil {
		return "", nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		if err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
			named := filepath.Join(filepath.Dir(dir), strings.TrimPrefix(filepath.Base(dir), "."))
			if err = os.Rename(dir, named); err == nil {
				return named, func() { _ = os.RemoveAll(named); _ = lock.Close() }, nil
			}
		}
		_ = lock.Close()
	}
	_ = os.RemoveAll(dir)
	return "", nil, err
}

// removeLeft removes folders of this user that nobody holds. What cannot be checked or
// removed stays.
func removeLeft(log *slog.Logger) {
	entries, err := os.ReadDir(os.TempDir())
	if err != nil {
		return
	}
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), folderPrefix) { // a link is no folder
			continue
		}
		dir := filepath.Join(os.TempDir(), e.Name())
		info, err := e.Info()
		if err != nil {
			continue
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); !ok || int(stat.Uid) != os.Getuid() {
			continue
		}
		lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		if err != nil {
			continue // it is not one of these, or it is being removed
		}
		if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil && os.RemoveAll(dir) == nil {
			log.Info("removed what an `up` left that was killed", "folder", dir)
		}
		_ = lock.Close()
	}
}
