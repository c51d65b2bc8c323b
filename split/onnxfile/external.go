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
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protowire"

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

// Data of at least mapped bytes begins at a page, so that a runtime can map it.
const (
	mapped    = 64 << 10
	pageAlign = 4096
	wordAlign = 64
)

// A layout lays out a file of external data.
type layout struct {
	name  string // of the file
	parts []datum
	end   int64
	at    map[External]int64 // where data that several tensors share is
}

// A datum is a tensor in a file of external data, at the given offset. Its data is
// its payload, or else where its External says.
type datum struct {
	offset int64
	tensor Initializer
}

// place gives a tensor a place in the file, and returns the fields that a
// TensorProto tells it with.
func (l *layout) place(t Initializer) []byte {
	size := t.Bytes()
	align := int64(wordAlign)
	if size >= mapped {
		align = pageAlign
	}
	offset := (l.end + align - 1) / align * align
	shared, known := int64(0), false
	if t.External != nil {
		source := *t.External
		source.Length = size
		if shared, known = l.at[source]; !known {
			l.at[source] = offset
		}
	}
	if known {
		offset = shared
	} else {
		l.parts = append(l.parts, datum{offset, t})
		l.end = offset + size
	}
	var b []byte
	for _, e := range [][2]string{{"location", l.name}, {"offset", strconv.FormatInt(offset, 10)}, {"length", strconv.FormatInt(size, 10)}} {
		var entry []byte
		entry = protowire.AppendString(protowire.AppendTag(entry, 1, protowire.BytesType), e[0])
		entry = protowire.AppendString(protowire.AppendTag(entry, 2, protowire.BytesType), e[1])
		b = appendMessage(b, 13, entry)
	}
	return protowire.AppendVarint(protowire.AppendTag(b, 14, protowire.VarintType), 1)
}

// message is a kind of message that tensors can be in.
type message uint8

const (
	tensorMessage message = iota
	sparseMessage
	attributeMessage
	nodeMessage
	graphMessage
	functionMessage
	trainingMessage
	modelMessage
)

// inside tells by which fields of a message tensors are reached.
func inside(m message, num protowire.Number) (message, bool) {
	switch m {
	case sparseMessage:
		return tensorMessage, num == 1 || num == 2
	case attributeMessage:
		switch num {
		case 5, 10:
			return tensorMessage, true
		case 6, 11:
			return graphMessage, true
		case 22, 23:
			return sparseMessage, true
		}
	case nodeMessage:
		return attributeMessage, num == 5
	case graphMessage:
		switch num {
		case 1:
			return nodeMessage, true
		case 5:
			return tensorMessage, true
		case 15:
			return sparseMessage, true
		}
	case functionMessage:
		switch num {
		case 7:
			return nodeMessage, true
		case 11:
			return attributeMessage, true
		}
	case trainingMessage:
		return graphMessage, num == 1 || num == 2
	case modelMessage:
		switch num {
		case 7:
			return graphMessage, true
		case 20:
			return trainingMessage, true
		case 25:
			return functionMessage, true
		}
	}
	return 0, false
}

// edit copies a field that holds message m, with every tensor in it that change
// gives other fields for. Everything else is kept as it stands.
func edit(raw []byte, m message, change func(Initializer) (fields []byte, drop []protowire.Number)) []byte {
	num, _, n := protowire.ConsumeTag(raw)
	body, _ := protowire.ConsumeBytes(raw[n:])
	var kept, added []byte
	var drop []protowire.Number
	if m == tensorMessage {
		t, _ := parseTensor(field{num: num, typ: protowire.BytesType, bytes: body, raw: raw}) // it was read before
		added, drop = change(t)
		if added == nil {
			return raw
		}
	}
	_ = fields(body, func(f field) error {
		if slices.Contains(drop, f.num) {
			return nil
		}
		if sub, ok := inside(m, f.num); ok && f.typ == protowire.BytesType {
			kept = append(kept, edit(f.raw, sub, change)...)
			return nil
		}
		kept = append(kept, f.raw...)
		return nil
	})
	return appendMessage(nil, num, append(kept, added...))
}

// relocate gives external data its place in the layout's file.
func (l *layout) relocate(t Initializer) ([]byte, []protowire.Number) {
	if t.External == nil {
		return nil, nil
	}
	return l.place(t), []protowire.Number{13, 14}
}

// moveOut gives data that stands in the model a place in the layout's file.
func (l *layout) moveOut(t Initializer) ([]byte, []protowire.Number) {
	return l.place(t), []protowire.Number{4, 9, 10, 13, 14}
}

// takeIn is an initializer's field with external data in it.
func (t Initializer) takeIn(data []byte) []byte {
	return edit(t.raw, tensorMessage, func(Initializer) ([]byte, []protowire.Number) {
		return protowire.AppendBytes(protowire.AppendTag(nil, 9, protowire.BytesType), data), []protowire.Number{9, 13, 14}
	})
}

// CheckExternal fails when a tensor anywhere in the model file at path may have its
// data in another file than the one named data in the same folder; with data "",
// when it may have it in any. A runtime that loads the model then opens no others.
//
// It does not read the model as Parse does, since the runtime might read a malformed
// one in another way: what looks like a reference is taken for one, whether or not
// the tensor says that its data is external, and however often a field is there.
func CheckExternal(path, data string) error {
	b, err := mapFile(path)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Munmap(b) }()
	if err := checkExternal(b, data); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func checkExternal(model []byte, data string) error {
	return tensors(model, modelMessage, 0, func(tensor []byte) error {
		err := fields(tensor, func(f field) error {
			if f.num != 13 || f.typ != protowire.BytesType { // external_data
				return nil
			}
			key, value, err := entry(f.bytes)
			switch {
			case err != nil:
				return err
			case key != "location" || value == data && data != "":
				return nil
			case data == "":
				return fmt.Errorf("its data is in the file %q, but the model should need no other file", value)
			}
			return fmt.Errorf("its data is in the file %q; the model's data may be in %q only", value, data)
		})
		if err != nil {
			name, _ := nameOf(tensor) // a malformed one has none
			return fmt.Errorf("tensor %q: %w", name, err)
		}
		return nil
	})
}

// maxMessages bounds how deep messages with tensors may be nested: a body is a graph
// of nodes of attributes, and bodies are nested less than maxDepth deep.
const maxMessages = 3*maxDepth + 8

// tensors calls visit with every tensor in a message.
func tensors(b []byte, m message, depth int, visit func(tensor []byte) error) error {
	if m == tensorMessage {
		return visit(b)
	}
	if depth > maxMessages {
		return fmt.Errorf("graphs are nested more than %d deep", maxDepth)
	}
	return fields(b, func(f field) error {
		sub, ok := inside(m, f.num)
		if !ok || f.typ != protowire.BytesType {
			return nil
		}
		return tensors(f.bytes, sub, depth+1, visit)
	})
}

// entry reads an entry of external_data. Both of its fields are there once at most.
func entry(b []byte) (key, value string, err error) {
	var there [3]bool
	err = fields(b, func(f field) error {
		var to *string
		switch f.num {
		case 1:
			to = &key
		case 2:
			to = &value
		default:
			return nil
		}
		if there[f.num] {
			return errors.New("an entry of its external data says something twice")
		}
		there[f.num] = true
		return f.str(to)
	})
	return key, value, err
}

// nameOf is the name that a tensor says it has.
func nameOf(tensor []byte) (name string, err error) {
	err = fields(tensor, func(f field) error {
		if f.num == 8 {
			return f.str(&name)
		}
		return nil
	})
	return name, err
}
