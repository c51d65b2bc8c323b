package bundle

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// A process may be killed at any step of putting a bundle into the folder around it.
func TestAPutWithinThatWasKilledIsTakenUp(t *testing.T) {
	t.Parallel()
	putting := func(dir, name string) string { return filepath.Join(dir, puttingName, name) }
	for _, c := range []struct {
		what string
		old  bool // a bundle stands there
		done func(dir string, old, next *Bundle) error
	}{
		{"nothing stood there", false, func(string, *Bundle, *Bundle) error { return nil }},
		{"before the old manifest is moved", true, func(string, *Bundle, *Bundle) error { return nil }},
		{"after the old manifest is moved", true, func(dir string, _, _ *Bundle) error {
			return os.Rename(filepath.Join(dir, ManifestName), putting(dir, oldManifest))
		}},
		{"after the first old file is removed", true, func(dir string, old, _ *Bundle) error {
			return errors.Join(os.Rename(filepath.Join(dir, ManifestName), putting(dir, oldManifest)), os.Remove(filepath.Join(dir, old.files()[0].Name)))
		}},
		{"after the first new file is moved", false, func(dir string, _, next *Bundle) error {
			name := next.files()[0].Name
			return os.Rename(putting(dir, name), filepath.Join(dir, name))
		}},
		{"after all are moved", false, func(dir string, _, _ *Bundle) error { return moveFiles(filepath.Join(dir, puttingName), dir) }},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "volume")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			var old *Bundle
			if c.old {
				old = make2(t, dir, "old", false)
			}
			next := make2(t, filepath.Join(dir, puttingName), "new", false)
			if err := c.done(dir, old, next); err != nil {
				t.Fatal(err)
			}
			if b, err := Open(dir); err == nil && b.ID == next.ID {
				if _, err := b.Check(); err != nil {
					t.Errorf("half of a bundle can be opened: %v", err)
				}
			}
			if err := finishPut(dir); err != nil {
				t.Fatal(err)
			}
			b, err := Open(dir)
			if err != nil || b.ID != next.ID {
				t.Fatal(err)
			}
			if extra, err := b.Check(); err != nil || len(extra) > 0 {
				t.Errorf("%v, %v", extra, err)
			}
		})
	}
}

// What is on its way in a volume is no reason to leave it alone, and strangers' files are.
func TestWhatAVolumeMayHold(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{lostFound, ".fetch-0123456789ab", ".tmp-1"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if s, _, err := stateOf(dir, passing); err != nil || s != absent {
		t.Errorf("%v, %v", s, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "notes.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if s, _, err := stateOf(dir, passing); err != nil || s != holdsOther {
		t.Errorf("%v, %v", s, err)
	}
}
