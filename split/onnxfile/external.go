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
type DataFolder struct {
	root  *os.Root
	mutex sync.Mutex
	files map[string]*os.File
}

// OpenDataFolder opens the folder dir.
func OpenDataFolder(dir string) (*DataFolder, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &DataFolder{root: root, files: map[string]*os.File{}}, nil
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
		case info.Mode()&fs.ModeSymlink != 0:
			return nil, fmt.Errorf("%s is a symbolic link, which may lead out of the model's folder; put the file itself there", location)
		}
	}
	f, err := d.root.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
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
