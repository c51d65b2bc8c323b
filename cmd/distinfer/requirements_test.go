package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/distinfer/distinfer/runtime/testkit"
)

// What scripts install from a package registry is what was there when it was pinned: every
// version that a list names has hashes.
func TestEveryPackageThatScriptsInstallHasHashes(t *testing.T) {
	t.Parallel()
	lists := 0
	hashed := regexp.MustCompile(`--hash=sha256:| [0-9a-f]{64}$`) // as pip has it, and as those of Debian
	err := filepath.WalkDir(filepath.Join(testkit.Root(t), "scripts"), func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".txt" || strings.HasSuffix(path, ".go.txt") {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		lists++
		text := strings.ReplaceAll(string(data), "\\\n", " ")
		for line := range strings.Lines(text) {
			line = strings.TrimSpace(line)
			if line != "" && line[0] != '#' && !hashed.MatchString(line) {
				t.Errorf("%s: %q has no hash", path, line)
			}
		}
		return nil
	})
	if err != nil || lists < 10 {
		t.Errorf("%d lists were read: %v", lists, err)
	}
}
