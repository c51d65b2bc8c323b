package bundle

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// A bundle is made in a hidden folder beside its place, and put there with one rename. Where a
// volume is mounted at the place, or nothing can be written beside it, the hidden folder is within
// it, and the files are moved one by one, the manifest last. A folder without a manifest is no
// bundle, so that nobody opens half of one. Whoever has the old files open keeps them.

// within reports whether the bundle at dir has to be made within it.
func within(dir string) bool {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return false
	}
	return isMount(dir) || unix.Access(filepath.Dir(dir), unix.W_OK) != nil
}

// The names that are not a bundle's in a folder that one is made in: what begins with one of
// these, and the folder that ext4 makes.
const (
	fetchPrefix = ".fetch-"
	tempPrefix  = ".tmp-"
	puttingName = ".fetch-putting" // whole, and on its way into the folder around it
	oldManifest = ".old.json"      // in that folder, of the bundle to be removed first
	lostFound   = "lost+found"
)

// passing reports whether a name in a folder that a bundle is made in is not the bundle's.
func passing(name string) bool {
	return strings.HasPrefix(name, fetchPrefix) || strings.HasPrefix(name, tempPrefix) || name == lostFound
}

// putWithin moves the bundle of a hidden folder within dir into dir. When the process is killed,
// finishPut goes on.
func putWithin(from, dir string) error {
	if err := os.Rename(from, filepath.Join(dir, puttingName)); err != nil {
		return fmt.Errorf("put the bundle in its place: %w", err)
	}
	return finishPut(dir)
}

// finishPut does what is left of putWithin.
func finishPut(dir string) error {
	putting := filepath.Join(dir, puttingName)
	if _, err := os.Lstat(putting); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := errors.Join(removeOld(putting, dir), moveFiles(putting, dir)); err != nil {
		return fmt.Errorf("put the bundle in its place: %w", err)
	}
	return os.RemoveAll(putting)
}

// removeOld removes the bundle in dir, unless that is the one that is being put there.
func removeOld(putting, dir string) error {
	old, manifest := filepath.Join(putting, oldManifest), filepath.Join(dir, ManifestName)
	if _, err := os.Lstat(filepath.Join(putting, ManifestName)); err != nil {
		return nil //nolint:nilerr // it is there already: the manifest goes last
	}
	if err := os.Rename(manifest, old); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	data, err := os.ReadFile(old)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	m, err := Decode(data)
	if err != nil {
		return err
	}
	for _, f := range m.files() {
		if err := os.Remove(filepath.Join(dir, f.Name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return os.Remove(old)
}

// moveFiles moves files from one folder to another, the manifest last.
func moveFiles(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	var names []string
	for _, e := range entries {
		if e.Name() != ManifestName {
			names = append(names, e.Name())
		}
	}
	for _, name := range append(names, ManifestName) {
		err := os.Rename(filepath.Join(from, name), filepath.Join(to, name))
		if err != nil && (name != ManifestName || !errors.Is(err, fs.ErrNotExist)) {
			return err
		}
	}
	return nil
}
