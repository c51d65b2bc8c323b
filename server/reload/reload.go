// Package reload keeps values that are made from files, and reloads them when the files change.
// So certificates and lists of tokens are replaced without a restart.
//
// It knows files only; a function of the caller makes the value. Files are small, so it compares
// their contents, not their times: a copy that keeps its times, or a second change within a tick
// of the clock, is noticed too. Get looks at the files, at most once a second, so nothing runs
// in between and nothing has to be stopped.
package reload

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

// A Value is made from files.
type Value[T any] struct {
	log   *slog.Logger
	limit int64
	parse func(files [][]byte) (T, error)
	paths []string

	current atomic.Pointer[T]

	mu     sync.Mutex // held while the files are looked at
	looked time.Time
	sum    [sha256.Size]byte // of the files of the current value
	logged string            // the last error logged, which is not repeated
}

// Open reads the files, each of at most limit bytes, and parses their contents, in the order of
// the paths, into the first value. Errors of parse have to name the file.
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

// Get returns the value of the files as they are now, or were within the last second. While they
// cannot be read or parsed, it returns the last value.
func (v *Value[T]) Get() T {
	// A caller that comes while another looks gets the current value.
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
		v.logged = ""
		return
	}
	var next T
	if err == nil {
		next, err = v.parse(files)
	}
	if err != nil {
		if v.logged != err.Error() {
			v.log.Warn("cannot reload changed files; the last ones stay in use", "error", err)
			v.logged = err.Error()
		}
		return
	}
	v.current.Store(&next)
	v.sum, v.logged = sum, ""
	v.log.Info("reloaded changed files", "files", v.paths)
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
		return nil, fmt.Errorf("%s has more than the %d bytes allowed", path, limit)
	}
	return data, nil
}

// Exposed reports whether users other than the owner and its group can read a
// file that holds a secret.
func Exposed(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().Perm()&0o004 != 0
}
