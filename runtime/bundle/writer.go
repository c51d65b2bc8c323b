package bundle

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"
)

// A Writer writes a bundle into a temporary folder beside its place, or within it where a volume is
// mounted there, and puts it there when it is whole: in one step, or within a volume so that
// there is none for a moment, but never half of one. Until Commit nothing at the bundle's place
// changes.
type Writer struct {
	out, temp string
	replace   bool // a bundle may stand there
	stands    bool // and one did
	within    bool // temp is within out

	// Progress, unless it is nil, is called with how many bytes were written since the last call.
	Progress func(n int64)
}

// An ExistsError says that a folder holds a bundle, which nobody asked to replace.
type ExistsError struct{ Dir string }

func (e *ExistsError) Error() string { return e.Dir + " holds a bundle already" }

// Create starts a bundle that is to stand at folder out. Unless replace is set,
// out must not exist or be empty; with it, out may be a bundle, which Commit
// replaces. A folder that holds anything but a bundle is never touched.
func Create(out string, replace bool) (*Writer, error) {
	w := &Writer{out: filepath.Clean(out), replace: replace, within: within(out)}
	if w.within {
		if err := finishPut(out); err != nil {
			return nil, err
		}
	}
	state, _, err := w.state()
	switch {
	case err != nil:
		return nil, err
	case state == holdsOther:
		return nil, fmt.Errorf("%s holds files that are not a bundle; choose another folder", out)
	case state == holdsBundle && !replace:
		return nil, &ExistsError{out}
	}
	w.stands = state == holdsBundle
	if err := w.makeTemp(); err != nil {
		return nil, err
	}
	return w, nil
}

// makeTemp makes the temporary folder.
func (w *Writer) makeTemp() (err error) {
	parent, prefix := filepath.Dir(w.out), "."+filepath.Base(w.out)+tempPrefix
	if w.within {
		parent, prefix = w.out, tempPrefix
	}
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return fmt.Errorf("cannot write to %s: %w", parent, reason(err))
	}
	if w.temp, err = os.MkdirTemp(parent, prefix); err != nil {
		return fmt.Errorf("cannot write to folder %s: %w; choose another place", parent, reason(err))
	}
	if err := os.Chmod(w.temp, 0o755); err != nil {
		return errors.Join(err, os.RemoveAll(w.temp))
	}
	return nil
}

// state says what the bundle's place holds, beside what is on its way there.
func (w *Writer) state() (state, *Bundle, error) {
	if w.within {
		return stateOf(w.out, passing)
	}
	return stateOf(w.out, nil)
}

type state int

const (
	absent state = iota
	holdsBundle
	holdsOther
)

// stateOf says what a folder holds beside the names that are passing, if that is given, and if that
// is a bundle, which.
func stateOf(out string, passing func(name string) bool) (state, *Bundle, error) {
	entries, err := os.ReadDir(out)
	if passing != nil {
		entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return passing(e.Name()) })
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return absent, nil, nil
	case err != nil:
		return absent, nil, fmt.Errorf("cannot use %s as a bundle's folder: %w", out, reason(err))
	case len(entries) == 0:
		return absent, nil, nil
	}
	b, err := Open(out)
	if err != nil {
		return holdsOther, nil, nil //nolint:nilerr // what cannot be read as a bundle is none
	}
	own := map[string]bool{ManifestName: true}
	for _, f := range b.files() {
		own[f.Name] = true
	}
	for _, e := range entries {
		if !own[e.Name()] || e.IsDir() {
			return holdsOther, nil, nil
		}
	}
	return holdsBundle, b, nil
}

// reason is an error of the operating system without the path, which the
// message around it names.
func reason(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// Dir is the temporary folder. The bundle in it can be opened once WriteManifest
// has been called.
func (w *Writer) Dir() string { return w.temp }

// WriteFile writes one file of the bundle by the given function, and returns
// its entry for the manifest.
func (w *Writer) WriteFile(name string, write func(io.Writer) error) (File, error) {
	if !plainName.MatchString(name) {
		return File{}, fmt.Errorf("%q is not a plain file name", name)
	}
	f, err := os.OpenFile(filepath.Join(w.temp, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return File{}, err
	}
	sum := &hashingWriter{to: &progressWriter{&sparseFile{f}, w.Progress}, hash: sha256.New()}
	if err = write(sum); err == nil {
		err = f.Truncate(sum.size) // it may end with a hole
	}
	digest, size := hex.EncodeToString(sum.hash.Sum(nil)), sum.size
	// A bundle that replaces another is on the disk before the other is removed.
	// Otherwise nothing could be lost but time: the model is still there, and the
	// hash of a file that a failing machine cut short is wrong.
	if err == nil && w.stands {
		err = f.Sync()
	}
	if errClose := f.Close(); err == nil {
		err = errClose
	}
	if err != nil {
		return File{}, fmt.Errorf("write %s: %w", name, reason(err))
	}
	return File{Name: name, SHA256: digest, Bytes: size}, nil
}

// A progressWriter tells how much is written.
type progressWriter struct {
	to   io.Writer
	tell func(n int64)
}

// Write implements io.Writer.
func (p *progressWriter) Write(b []byte) (int, error) {
	n, err := p.to.Write(b)
	if p.tell != nil {
		p.tell(int64(n))
	}
	return n, err
}

// A hashingWriter computes the sha256 of what it writes while it is being written:
// both take about as long for a file that the system caches.
type hashingWriter struct {
	to   io.Writer
	hash hash.Hash
	size int64
}

// worthwhile is the number of bytes from which on hashing runs beside writing and not before it.
const worthwhile = 64 << 10

// Write implements io.Writer.
func (h *hashingWriter) Write(p []byte) (int, error) {
	var hashed chan struct{}
	if len(p) < worthwhile {
		h.hash.Write(p)
	} else {
		hashed = make(chan struct{})
		go func() {
			defer close(hashed)
			h.hash.Write(p)
		}()
		defer func() { <-hashed }()
	}
	n, err := h.to.Write(p)
	h.size += int64(n)
	return n, err
}

// Reading, hashing and writing of a long file go on at once, with this number of pieces of this
// size in flight. A piece fits a processor's cache.
const (
	pieces    = 8
	pieceSize = 128 << 10
)

// ReadFrom implements io.ReaderFrom.
func (h *hashingWriter) ReadFrom(r io.Reader) (int64, error) {
	free, toHash, toWrite := make(chan []byte, pieces), make(chan []byte, pieces), make(chan []byte, pieces)
	for range pieces {
		free <- make([]byte, pieceSize)
	}
	var work errgroup.Group
	work.Go(func() error {
		defer close(toWrite)
		for p := range toHash {
			h.hash.Write(p)
			toWrite <- p
		}
		return nil
	})
	var written int64
	failed := make(chan struct{})
	work.Go(func() error {
		for p := range toWrite {
			n, err := h.to.Write(p)
			written += int64(n)
			if err != nil {
				close(failed)
				for range toWrite { // until the others have noticed
				}
				return err
			}
			free <- p[:cap(p)]
		}
		return nil
	})
	var err error
	for err == nil {
		select {
		case <-failed:
			err = io.ErrClosedPipe // the writer tells why
		case p := <-free:
			var n int
			if n, err = io.ReadFull(r, p); n > 0 {
				toHash <- p[:n]
			}
		}
	}
	close(toHash)
	if errWork := work.Wait(); errWork != nil {
		err = errWork
	}
	h.size += written
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return written, err
}

// WriteManifest writes the manifest, which must name every file written. Called again, it
// replaces it.
func (w *Writer) WriteManifest(m *Manifest) error {
	b, err := m.Encode()
	if err != nil {
		return fmt.Errorf("make manifest: %w", err)
	}
	if err := os.Remove(filepath.Join(w.temp, ManifestName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	_, err = w.WriteFile(ManifestName, func(to io.Writer) error {
		_, err := to.Write(b)
		return err
	})
	return err
}

// Commit puts the bundle in its place. Where a bundle stands there already, the
// two change places in one step, and the old one is removed.
func (w *Writer) Commit() error {
	now, _, err := w.state()
	switch {
	case err != nil:
		return err
	case now == holdsOther, now == holdsBundle && !w.replace:
		return fmt.Errorf("%s was filled by somebody else in the meantime", w.out)
	case w.within:
		err = putWithin(w.temp, w.out)
		w.temp = ""
		return err
	case now == holdsBundle:
		w.temp, err = exchange(w.temp, w.out)
		return err
	}
	if err := putInPlace(w.temp, w.out); err != nil {
		return err
	}
	w.temp = ""
	return nil
}

// putInPlace moves a folder to a place where there is nothing or an empty folder.
func putInPlace(temp, out string) error {
	// Remove takes no folder that is not empty.
	if err := os.Remove(out); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("put the bundle in its place: %w", err)
	}
	if err := os.Rename(temp, out); err != nil {
		return fmt.Errorf("put the bundle in its place: %w", err)
	}
	return nil
}

// exchange moves a folder to the place of another, in one step where that can be
// done, and removes the other. It returns what is left to remove when it fails.
func exchange(temp, out string) (left string, err error) {
	if err := exchangeFolders(temp, out); err != nil {
		// Not every file system can exchange; two renames leave a moment in
		// which there is no bundle, but never half of one.
		old := temp + ".old"
		if err := os.Rename(out, old); err != nil {
			return temp, fmt.Errorf("move the old bundle away: %w", err)
		}
		if err := os.Rename(temp, out); err != nil {
			return temp, errors.Join(fmt.Errorf("put the bundle in its place: %w", err), os.Rename(old, out))
		}
		temp = old
	}
	if err := os.RemoveAll(temp); err != nil {
		return temp, fmt.Errorf("remove the old bundle: %w", err)
	}
	return "", nil
}

// Abort removes what was written. After Commit it does nothing.
func (w *Writer) Abort() error {
	if w.temp == "" {
		return nil
	}
	return os.RemoveAll(w.temp)
}
