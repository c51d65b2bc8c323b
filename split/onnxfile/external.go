package onnxfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"google.golang.org/protobuf/encoding/protowire"
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

// A DataFolder opens the files of external data in a model's folder, and nothing
// outside of it: no absolute path, no way up, no link, regular files only.
type DataFolder struct {
	root  *os.Root
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
		return nil, fmt.Errorf("external data of initializer %q: %s ends before byte %d", t.Name, e.Location, e.Offset+want)
	}
	return io.NewSectionReader(f, e.Offset, want), nil
}

func (d *DataFolder) file(location string) (*os.File, error) {
	name := filepath.Clean(filepath.FromSlash(location))
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

// An extent is the place of an initializer's data in a file of external data.
type extent struct {
	initializer    int
	offset, length int64
}

// Data of at least mapped bytes begins at a page, so that a runtime can map it.
const (
	mapped    = 64 << 10
	pageAlign = 4096
	wordAlign = 64
)

// extents lays out the external data of a subgraph, in the order of its
// initializers.
func (g *Graph) extents(s Subgraph) []extent {
	var list []extent
	var end int64
	for _, i := range s.Initializers {
		t := g.Initializers[i]
		if t.External == nil {
			continue
		}
		align := int64(wordAlign)
		if t.Bytes() >= mapped {
			align = pageAlign
		}
		offset := (end + align - 1) / align * align
		list = append(list, extent{i, offset, t.Bytes()})
		end = offset + t.Bytes()
	}
	return list
}

// HasExternal reports whether some initializer of the subgraph has its data in
// another file.
func (m *Model) HasExternal(s Subgraph) bool { return len(m.Graph.extents(s)) > 0 }

// WriteData writes the external data of a subgraph as one file. The subgraph's
// Data has to name that file when the subgraph itself is written.
func (m *Model) WriteData(w io.Writer, s Subgraph, from *DataFolder) error {
	var at int64
	for _, x := range m.Graph.extents(s) {
		if _, err := w.Write(make([]byte, x.offset-at)); err != nil {
			return fmt.Errorf("write external data: %w", err)
		}
		data, err := from.Data(m.Graph.Initializers[x.initializer])
		if err != nil {
			return err
		}
		if _, err := io.Copy(w, data); err != nil {
			return fmt.Errorf("copy external data: %w", err)
		}
		at = x.offset + x.length
	}
	return nil
}

// without is the initializer's TensorProto but for the given fields.
func (t Initializer) without(nums ...protowire.Number) []byte {
	var kept []byte
	_, _, n := protowire.ConsumeTag(t.raw)
	body, _ := protowire.ConsumeBytes(t.raw[n:])
	_ = fields(body, func(f field) error { // it was read before
		if !slices.Contains(nums, f.num) {
			kept = append(kept, f.raw...)
		}
		return nil
	})
	return kept
}

// relocated is an initializer's field with its data at another place: all that it
// holds, but the entries of external_data.
func (t Initializer) relocated(location string, x extent) []byte {
	kept := t.without(13)
	for _, e := range [][2]string{{"location", location}, {"offset", strconv.FormatInt(x.offset, 10)}, {"length", strconv.FormatInt(x.length, 10)}} {
		var entry []byte
		entry = protowire.AppendString(protowire.AppendTag(entry, 1, protowire.BytesType), e[0])
		entry = protowire.AppendString(protowire.AppendTag(entry, 2, protowire.BytesType), e[1])
		kept = appendMessage(kept, 13, entry)
	}
	return appendMessage(nil, 5, kept)
}

// inlined is an initializer's field with its data in it.
func (t Initializer) inlined(data []byte) []byte {
	kept := protowire.AppendTag(t.without(9, 13, 14), 9, protowire.BytesType)
	return appendMessage(nil, 5, protowire.AppendBytes(kept, data))
}
