package onnxfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/distinfer/distinfer/runtime/tensor"
)

// External is where the data of a tensor is when it is in another file.
type External struct {
	Location string // a path, relative to the model's folder
	Offset   int64  // in bytes
	Length   int64  // in bytes; -1 when the file does not say
}

// parseExternal reads the entries of external_data, each a pair of strings.
func parseExternal(entries []field) (*External, error) {
	e := &External{Length: -1}
	for _, f := range entries {
		if err := f.wantBytes(); err != nil {
			return nil, err
		}
		var key, value string
		err := fields(f.bytes, func(f field) error {
			switch f.num {
			case 1:
				return f.str(&key)
			case 2:
				return f.str(&value)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		switch key {
		case "location":
			e.Location = value
		case "offset", "length":
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil || n < 0 {
				return nil, fmt.Errorf("the %s of its external data is %q", key, value)
			}
			if key == "offset" {
				e.Offset = n
			} else {
				e.Length = n
			}
		}
	}
	if e.Location == "" {
		return nil, errors.New("its external data names no file")
	}
	return e, nil
}

// checkExternal fails when the size of external data cannot be told.
func (t Initializer) checkExternal() error {
	if t.DType == tensor.String || !t.DType.Known() && t.External.Length < 0 {
		return fmt.Errorf("it has external data of type %s, whose size cannot be told", t.DType)
	}
	return nil
}

// A DataFolder opens the files of external data in a model's folder, and nothing
// outside of it: no absolute path, no way up, no link, regular files only. It is safe
// for concurrent use.
//
// In the cache of a Hub files are links: out of models--ORG--NAME/snapshots/… into that folder's
// blobs. Those are followed, and no others.
type DataFolder struct {
	root  *os.Root
	dir   string
	mutex sync.Mutex
	files map[string]*os.File
}

// OpenDataFolder opens the folder dir.
func OpenDataFolder(dir string) (*DataFolder, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &DataFolder{root: root, dir: dir, files: map[string]*os.File{}}, nil
}

// Close closes the folder and its files.
func (d *DataFolder) Close() error {
	err := d.root.Close()
	for _, f := range d.files {
		err = errors.Join(err, f.Close())
	}
	return err
}

// Data returns the data of an initializer whose data is external, and fails
// unless the file has exactly the bytes that its type and dimensions ask for.
func (d *DataFolder) Data(t Initializer) (*io.SectionReader, error) {
	e := t.External
	want := t.Bytes()
	if e.Length >= 0 && e.Length != want {
		return nil, fmt.Errorf("initializer %q needs %d bytes, but its external data has %d", t.Name, want, e.Length)
	}
	f, err := d.file(e.Location)
	if err != nil {
		return nil, fmt.Errorf("external data of initializer %q: %w", t.Name, err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if e.Offset > info.Size() || want > info.Size()-e.Offset {
		return nil, fmt.Errorf("external data of initializer %q: %s has %d bytes, and %d are to be there from byte %d on", t.Name, e.Location, info.Size(), want, e.Offset)
	}
	return io.NewSectionReader(f, e.Offset, want), nil
}

func (d *DataFolder) file(location string) (*os.File, error) {
	name := filepath.Clean(filepath.FromSlash(location))
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if f := d.files[name]; f != nil {
		return f, nil
	}
	f, err := d.open(name, location)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = ordinary(location, info)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	d.files[name] = f
	return f, nil
}

// open opens a file, for what messages are to call it.
func (d *DataFolder) open(name, location string) (*os.File, error) {
	if !filepath.IsLocal(name) {
		return nil, fmt.Errorf("%q is outside of the model's folder", location)
	}
	// No part of the way may be a link, not even to a place inside.
	parts := strings.Split(name, string(filepath.Separator))
	for i := range parts {
		info, err := d.root.Lstat(filepath.Join(parts[:i+1]...))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("%s is missing; it belongs beside the model", location)
		case err != nil:
			return nil, err
		case info.Mode()&fs.ModeSymlink == 0:
		case i+1 == len(parts) && d.blobs() != "":
			return d.openBlob(name, location)
		default:
			return nil, linkError(location)
		}
	}
	return d.root.OpenFile(name, readPlain, 0)
}

// readPlain opens for reading what is no link, and does not wait for pipes.
const readPlain = os.O_RDONLY | syscall.O_NOFOLLOW | syscall.O_NONBLOCK

func linkError(location string) error {
	return fmt.Errorf("%s is a symbolic link, which may lead out of the model's folder; put the file itself there", location)
}

// blobs is the folder of the files' contents, if the model is in a Hub's cache; else "".
func (d *DataFolder) blobs() string {
	dir, err := filepath.Abs(d.dir)
	if err != nil {
		return ""
	}
	for range maxSnapshotDepth {
		above := filepath.Dir(dir)
		repository := filepath.Dir(above)
		if filepath.Base(above) == "snapshots" && strings.HasPrefix(filepath.Base(repository), "models--") {
			return filepath.Join(repository, "blobs")
		}
		dir = above
	}
	return ""
}

// maxSnapshotDepth is how many folders deep a model may be in a snapshot, itself included.
const maxSnapshotDepth = 4

// openBlob opens what a link of a Hub's cache leads to, which has to be a file right in the folder
// of blobs. That may be no link out of the repository's folder.
func (d *DataFolder) openBlob(name, location string) (f *os.File, err error) {
	target, err := d.root.Readlink(name)
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(d.dir)
	if err != nil {
		return nil, err
	}
	blobs, leads := d.blobs(), filepath.Join(dir, filepath.Dir(name), target)
	if filepath.IsAbs(target) {
		leads = filepath.Clean(target)
	}
	if filepath.Dir(leads) != blobs {
		return nil, linkError(location)
	}
	root, err := os.OpenRoot(filepath.Dir(blobs)) // the folder of blobs may be no link out of it
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	return root.OpenFile(filepath.Join(filepath.Base(blobs), filepath.Base(leads)), readPlain, 0)
}

// ordinary fails for anything but a regular file with one name.
func ordinary(location string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", location)
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok && s.Nlink > 1 {
		return fmt.Errorf("%s is a hard link, which may be a file of somebody else's; make a copy of it", location)
	}
	return nil
}
