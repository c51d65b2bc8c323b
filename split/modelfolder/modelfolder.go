// Package modelfolder finds what belongs to a model as it lies on a disk: the model's file, the
// folders that its text files come from, and its name.
//
// It knows what optimum, save_pretrained, sentence-transformers and downloads from a Hub leave
// behind, and nothing of what the files mean. What they name is untrusted: nothing is read outside
// of the model's folder, and sizes are bounded.
package modelfolder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/distinfer/distinfer/runtime/bundle"
)

// A Model is a model that was found.
type Model struct {
	Path string // of its file
	Name string // of its repository's folder
	// Others are the other ONNX files of the folder that was given, relative to it; none when
	// the file itself was given.
	Others []string

	// The folders that text files may be in, the nearest first. The last is the repository's.
	folders []string
	bounds  string // the folder that no link may lead out of
	given   string // the folder that was given, which Others are in
}

// Find finds the model at a path, which is its file or a folder. Of the files in a folder it takes
// the one named file, or without that name the first in the order of [Compare].
func Find(path, file string) (*Model, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no file %s", path)
	case err != nil:
		return nil, err
	case !info.IsDir() && file != "":
		return nil, &FolderError{path}
	case !info.IsDir():
		return newModel(path, ""), nil
	}
	folder, err := snapshot(path)
	if err != nil {
		return nil, err
	}
	if isBundle(folder) {
		return nil, &BundleError{folder}
	}
	files, err := list(folder)
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, &NoModelError{folder, weights(folder)}
	}
	at := 0
	if file != "" {
		if at, err = named(folder, files, file); err != nil {
			return nil, err
		}
	}
	m := newModel(filepath.Join(folder, files[at]), folder)
	m.given, m.Others = folder, slices.Delete(files, at, at+1)
	return m, nil
}

// named is the place of the file with a name, which may leave out the folders before it.
func named(folder string, files []string, name string) (int, error) {
	clean := filepath.Clean(name)
	if i := slices.Index(files, clean); i >= 0 {
		return i, nil
	}
	at, found := 0, 0
	for i, f := range files {
		if filepath.Base(f) == clean {
			at, found = i, found+1
		}
	}
	if found != 1 {
		return 0, &FileError{folder, name, files, found > 1}
	}
	return at, nil
}

// newModel is the model in a file, below the folder that was given if any was.
func newModel(path, given string) *Model {
	own := filepath.Dir(path)
	m := &Model{Path: path, folders: []string{own}}
	root := own
	if given != "" {
		root = given
	}
	hub := hubOf(own)
	switch {
	case hub != nil:
		root = hub.snapshot
	case isONNX(root):
		root = filepath.Join(root, "..")
	case isONNX(filepath.Join(root, "..")) && holdsTexts(filepath.Join(root, "..", "..")):
		root = filepath.Join(root, "..", "..")
	}
	if above := filepath.Join(root, ".."); hub == nil && names(above, filepath.Base(absolute(root))) {
		root = above
	}
	for dir := own; absolute(dir) != absolute(root) && len(m.folders) <= maxDepth+2; {
		dir = filepath.Join(dir, "..")
		m.folders = append(m.folders, dir)
	}
	m.bounds = root
	if hub != nil {
		m.bounds = hub.repository
	}
	m.Name = nameOf(path, root, given != "")
	if hub != nil {
		m.Name = hub.name
	}
	return m
}

// Root is the folder of the model's repository.
func (m *Model) Root() string { return m.folders[len(m.folders)-1] }

// nameOf is the model's name: that of the repository's folder, or of the file where exporters do
// not name files like that.
func nameOf(path, root string, given bool) string {
	base := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	if !given && !usual.MatchString(base) {
		return base
	}
	for _, dir := range []string{root, filepath.Dir(path)} {
		if name := filepath.Base(absolute(dir)); name != string(filepath.Separator) {
			return name
		}
	}
	return base
}

// usual are the names that exporters give to files of a model.
var usual = regexp.MustCompile(`^(model|encoder_model|decoder_model|decoder_with_past_model)([_.-].*)?$`)

// isONNX reports whether a folder is one that repositories have for ONNX files.
func isONNX(dir string) bool { return strings.EqualFold(filepath.Base(absolute(dir)), "onnx") }

// absolute resolves relative paths. Links are left as they are: those of a Hub's cache lead to
// where nothing has a name.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return filepath.Clean(path)
}

// A hub is a place in the cache of a Hub, models--ORG--NAME/snapshots/HASH.
type hub struct{ repository, snapshot, name string }

// hubOf is the place in a Hub's cache that a folder is below; nil if it is not.
func hubOf(dir string) *hub {
	dir = absolute(dir)
	for range maxDepth + 1 {
		above := filepath.Dir(dir)
		repository := filepath.Dir(above)
		if name, ok := hubName(repository); ok && filepath.Base(above) == snapshots {
			return &hub{repository, dir, name}
		}
		dir = above
	}
	return nil
}

const snapshots = "snapshots"

// hubName is the model's name in the name of a Hub's folder for it.
func hubName(dir string) (name string, ok bool) {
	name, ok = strings.CutPrefix(filepath.Base(absolute(dir)), "models--")
	if i := strings.LastIndex(name, "--"); i >= 0 {
		name = name[i+2:]
	}
	return name, ok && name != ""
}

// snapshot is the folder itself, or of a Hub's folder for a model the snapshot that was downloaded:
// that of the branch main, or the only one.
func snapshot(dir string) (string, error) {
	if _, ok := hubName(dir); !ok {
		return dir, nil
	}
	entries, err := os.ReadDir(filepath.Join(dir, snapshots))
	if err != nil || len(entries) == 0 {
		return dir, nil //nolint:nilerr // a folder that is only named like that
	}
	if len(entries) == 1 {
		return filepath.Join(dir, snapshots, entries[0].Name()), nil
	}
	main, _ := os.ReadFile(filepath.Join(dir, "refs", "main"))
	for _, e := range entries {
		if e.Name() == strings.TrimSpace(string(main)) {
			return filepath.Join(dir, snapshots, e.Name()), nil
		}
	}
	return "", fmt.Errorf("%s has %d snapshots and none is that of main; give one of the folders in %s", dir, len(entries), filepath.Join(dir, snapshots))
}

// isBundle reports whether a folder holds a model that was split.
func isBundle(dir string) bool {
	_, err := bundle.Open(dir)
	return err == nil
}

// weights is a file of weights that no exporter has made an ONNX file of, or "".
func weights(dir string) string {
	for _, name := range []string{"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json", "tf_model.h5"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return name
		}
	}
	return ""
}
