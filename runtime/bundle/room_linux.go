package bundle

import "golang.org/x/sys/unix"

// room is how many bytes this process may add to the file system of a folder.
func room(dir string) (uint64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return s.Bavail * uint64(s.Frsize), nil
}
