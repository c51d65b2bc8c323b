//go:build !linux

package bundle

import (
	"path/filepath"

	"golang.org/x/sys/unix"
)

// isMount reports whether a folder is a file system of its own.
func isMount(dir string) bool {
	var own, parent unix.Stat_t
	return unix.Stat(dir, &own) == nil && unix.Stat(filepath.Dir(dir), &parent) == nil && own.Dev != parent.Dev
}
