// Package hosttest makes file systems for tests of what reads the machine's.
package hosttest

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/distinfer/distinfer/runtime/host"
)

// FileSystem makes one that holds the given files.
func FileSystem(t *testing.T, files map[string]string) host.Root {
	t.Helper()
	root := t.TempDir()
	for name, data := range files {
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(data), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return host.Root(root)
}
