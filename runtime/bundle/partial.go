package bundle

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// A Partial is a file whose first bytes are there.
type Partial struct {
	File
	path string
	sync bool
	f    *os.File
	sum  *hashingWriter
}

// ErrTooLong is returned for bytes beyond the size that the manifest says.
var ErrTooLong = errors.New("more bytes than the manifest says")

// A HashError says that a file is whole but has another hash than the manifest says.
type HashError struct {
	File
	Got string // the sha256 it has
}

// Error implements error.
func (e *HashError) Error() string {
	return fmt.Sprintf("%s has sha256 %s, the manifest says %s", e.Name, e.Got, e.SHA256)
}

// Resume opens a missing file to append the missing bytes. The bytes that are there are hashed
// first.
func (g *Gathering) Resume(ctx context.Context, file File) (*Partial, error) {
	f, err := os.OpenFile(g.path(file), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return nil, err
	}
	p := &Partial{File: file, path: g.path(file), sync: g.Replaces() != "", f: f}
	sum := sha256.New()
	have, err := hashInto(ctx, sum, f, file.Bytes)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	// Excess bytes are cut off; the hash shows whether the rest is right.
	if err := f.Truncate(have); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	p.sum = &hashingWriter{to: f, hash: sum, size: have}
	return p, nil
}

// hashInto hashes at most limit bytes of a file, and returns how many.
func hashInto(ctx context.Context, sum hash.Hash, f *os.File, limit int64) (int64, error) {
	buffer := make([]byte, 1<<20)
	var n int64
	for n < limit {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		k, err := f.Read(buffer[:min(int64(len(buffer)), limit-n)])
		sum.Write(buffer[:k])
		n += int64(k)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// Have is how many bytes are there.
func (p *Partial) Have() int64 { return p.sum.size }

// Write implements io.Writer. Bytes beyond the file's size are refused, and then nothing is
// written. After an error call Resume again.
func (p *Partial) Write(b []byte) (int, error) {
	if int64(len(b)) > p.Bytes-p.Have() {
		return 0, fmt.Errorf("%s: %w, which are %d", p.Name, ErrTooLong, p.Bytes)
	}
	n, err := p.sum.Write(b)
	if err != nil {
		err = fmt.Errorf("write %s: %w; %d of its %d bytes are there, and a later start goes on behind them", p.path, reason(err), p.Have(), p.Bytes)
	}
	return n, err
}

// Finish closes a whole file and checks its hash. With a HashError the file is removed, so that it
// starts over.
func (p *Partial) Finish() error {
	if p.Have() != p.Bytes {
		return errors.Join(fmt.Errorf("%s is not whole: %d of %d bytes are there", p.Name, p.Have(), p.Bytes), p.f.Close())
	}
	if got := hex.EncodeToString(p.sum.hash.Sum(nil)); got != p.SHA256 {
		return errors.Join(&HashError{p.File, got}, p.f.Close(), os.Remove(p.path))
	}
	var err error
	if p.sync { // another bundle is removed for it
		err = p.f.Sync()
	}
	// A disk that is full or fails may say so only now.
	if err = errors.Join(err, p.f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", p.path, reason(err))
	}
	return nil
}

// Close leaves the file as it is, to be resumed. After Finish it does nothing.
func (p *Partial) Close() { _ = p.f.Close() }
