package onnxfile

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A File is a model file, mapped into memory. What was read from it is valid
// until Close.
type File struct {
	Model
	Data []byte // the whole file

	unmap bool
}

// Open maps and reads the model file at path.
func Open(path string) (*File, error) {
	data, err := mapFile(path)
	if err != nil {
		return nil, err
	}
	m, err := Parse(data)
	if err != nil {
		_ = unix.Munmap(data)
		return nil, fmt.Errorf("%s is not a valid ONNX model: %w", path, err)
	}
	m.release = release
	return &File{Model: *m, Data: data, unmap: true}, nil
}

// SHA256 is the hash of the file in hexadecimal digits.
func (f *File) SHA256() string {
	h := sha256.New()
	_, _ = f.WriteTo(h) // a hash never fails
	return hex.EncodeToString(h.Sum(nil))
}

// mapFile maps a file that holds something into memory.
func mapFile(path string) ([]byte, error) {
	info, err := os.Stat(path) // before it is opened: to open a pipe would wait for a writer
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no file %s", path)
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, fmt.Errorf("%s is a folder; give the model file in it, such as %s", path, filepath.Join(path, "model.onnx"))
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	case info.Size() == 0:
		return nil, fmt.Errorf("%s is not an ONNX model: the file is empty", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	data, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", path, err)
	}
	return data, nil
}

// release tells the system that a part of a mapped file is not needed for now, so
// that copying a large model takes no memory. It can still be read.
func release(part []byte) {
	page := uintptr(os.Getpagesize())
	start := uintptr(unsafe.Pointer(unsafe.SliceData(part)))
	skip := (page - start%page) % page
	if uintptr(len(part)) < skip+page {
		return
	}
	inner := part[skip:]
	_ = unix.Madvise(inner[:len(inner)-len(inner)%int(page)], unix.MADV_DONTNEED) // it is only advice
}

// WriteTo writes the whole file as it stands.
func (f *File) WriteTo(w io.Writer) (int64, error) {
	err := f.copyTo(w, f.Data)
	return int64(len(f.Data)), err
}

// Close unmaps the file.
func (f *File) Close() error {
	if !f.unmap {
		return nil
	}
	f.unmap = false
	return unix.Munmap(f.Data)
}
