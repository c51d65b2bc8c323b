// Package watched keeps values that are made of files, and makes them again when
// the files change, so that a certificate or a list of tokens is replaced without
// a restart.
//
// It knows files only: what is in them is the business of the function that makes
// the value. Files are small, so their contents are compared, not their times: a
// copy that keeps its times, or a second change within a tick of the clock, is
// noticed all the same. They are looked at when the value is asked for, at most
// once a second, so that nothing runs in between and nothing has to be stopped.
package watched

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// interval is how long a value is used before its files are looked at again.
const interval = time.Second

// A Value is made of files.
type Value[T any] struct {
	log   *slog.Logger
	limit int64
	parse func(files [][]byte) (T, error)
	paths []string

	current atomic.Pointer[T]

	mu         sync.Mutex // held while the files are looked at
	looked     time.Time
	sum        [sha256.Size]byte // of what the current value was made of
	complained string            // the last complaint, which is not repeated
}

// Open reads the files, none of which may have more than limit bytes, and makes
// the first value of their contents, in the order of the paths. parse has to name
// the file in its errors.
func Open[T any](log *slog.Logger, limit int64, parse func(files [][]byte) (T, error), paths ...string) (*Value[T], error) {
	v := &Value[T]{log: log, limit: limit, parse: parse, paths: paths, looked: time.Now()}
	files, sum, err := v.read()
	if err != nil {
		return nil, err
	}
	first, err := parse(files)
	if err != nil {
		return nil, err
	}
	v.current.Store(&first)
	v.sum = sum
	return v, nil
}

// Get is the value of the files as they are now, or were within the last second.
// While they cannot be read, or make no value, it stays what it was.
func (v *Value[T]) Get() T {
	// Whoever comes while another looks takes what there is.
	if v.mu.TryLock() {
		if time.Since(v.looked) >= interval {
			v.look()
			v.looked = time.Now()
		}
		v.mu.Unlock()
	}
	return *v.current.Load()
}

func (v *Value[T]) look() {
	files, sum, err := v.read()
	if err == nil && sum == v.sum {
		v.complained = ""
		return
	}
	var next T
	if err == nil {
		next, err = v.parse(files)
	}
	if err != nil {
		if v.complained != err.Error() {
			v.log.Warn("changed files cannot be used; what was read before stays in use", "error", err)
			v.complained = err.Error()
		}
		return
	}
	v.current.Store(&next)
	v.sum, v.complained = sum, ""
	v.log.Info("changed files were read again", "files", v.paths)
}

func (v *Value[T]) read() (files [][]byte, sum [sha256.Size]byte, err error) {
	h := sha256.New()
	for _, path := range v.paths {
		data, err := Read(path, v.limit)
		if err != nil {
			return nil, sum, err
		}
		files = append(files, data)
		_ = binary.Write(h, binary.BigEndian, int64(len(data))) // a hash takes everything
		h.Write(data)
	}
	return files, [sha256.Size]byte(h.Sum(nil)), nil
}

// Read reads a file of at most limit bytes.
func Read(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		var op *fs.PathError
		if errors.As(err, &op) {
			err = op.Err // the path stands before it
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", path, err)
	case int64(len(data)) > limit:
		return nil, fmt.Errorf("%s has more than the %d bytes that it may have", path, limit)
	}
	return data, nil
}

// Exposed reports whether users other than the owner and its group can read a
// file that holds a secret.
func Exposed(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().Perm()&0o004 != 0
}
