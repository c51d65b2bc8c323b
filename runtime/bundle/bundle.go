package bundle

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// MaxManifest and maxTextFile bound what is read into memory, in bytes.
const (
	MaxManifest = 64 << 20
	maxTextFile = 64 << 20
)

// A Bundle is a bundle that was opened: its manifest is read and consistent.
// Its files are checked against their hashes when they are used.
type Bundle struct {
	Manifest
	Dir string
	// ID is the sha256 of the manifest, in hexadecimal. Since the manifest
	// holds the hashes of all files, equal IDs mean equal bundles.
	ID string
}

// Open reads the bundle in folder dir.
func Open(dir string) (*Bundle, error) {
	b, err := readFile(filepath.Join(dir, ManifestName), MaxManifest)
	if errors.Is(err, fs.ErrNotExist) {
		if _, errDir := os.Stat(dir); errDir != nil {
			return nil, fmt.Errorf("bundle %s: there is no such folder; make it with `distinfer split model.onnx --out %s`, or name another with --bundle", dir, dir)
		}
		return nil, fmt.Errorf("bundle %s: it holds no %s, so it is not a bundle; make one with `distinfer split`", dir, ManifestName)
	}
	if err != nil {
		return nil, fmt.Errorf("bundle %s: %w", dir, err)
	}
	m, err := Decode(b)
	if err != nil {
		return nil, fmt.Errorf("bundle %s: %s: %w", dir, ManifestName, err)
	}
	return &Bundle{Manifest: *m, Dir: dir, ID: identity(b)}, nil
}

// identity is the ID of the bundle with the given manifest.
func identity(manifest []byte) string {
	sum := sha256.Sum256(manifest)
	return hex.EncodeToString(sum[:])
}

// CheckRank fails when the bundle has no stage of the given rank.
func (b *Bundle) CheckRank(rank int) error {
	if rank < 0 || rank >= len(b.Stages) {
		return fmt.Errorf("bundle %s has %d stages: there is no rank %d (ranks are 0 to %d)", b.Dir, len(b.Stages), rank, len(b.Stages)-1)
	}
	return nil
}

// StagePath checks the files of the stage of the given rank against the
// manifest, and returns the path of its model file.
func (b *Bundle) StagePath(rank int) (string, error) {
	if err := b.CheckRank(rank); err != nil {
		return "", err
	}
	s := b.Stages[rank]
	if s.Data != nil {
		if err := b.check(*s.Data); err != nil {
			return "", err
		}
	}
	return filepath.Join(b.Dir, s.Name), b.check(s.File)
}

// ReadManifest reads the manifest as it is on the disk. It fails when that is no
// longer the manifest the bundle was opened with.
func (b *Bundle) ReadManifest() ([]byte, error) {
	data, err := readFile(filepath.Join(b.Dir, ManifestName), MaxManifest)
	if err != nil {
		return nil, fmt.Errorf("bundle %s: %w", b.Dir, err)
	}
	if id := identity(data); id != b.ID {
		return nil, fmt.Errorf("bundle %s: another bundle stands there now: it was %.12s…, it is %.12s…", b.Dir, b.ID, id)
	}
	return data, nil
}

// OpenFile opens the file with the given sha256, of which it has checked no more
// than the size. It fails with ErrNoFile when the manifest names no such file, or
// when the file is not there.
func (b *Bundle) OpenFile(sha256 string) (*os.File, File, error) {
	for _, f := range b.files() {
		if f.SHA256 != sha256 {
			continue
		}
		r, err := open(filepath.Join(b.Dir, f.Name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, f, fmt.Errorf("bundle %s: %s is not there: %w", b.Dir, f.Name, ErrNoFile)
		case err != nil:
			return nil, f, fmt.Errorf("bundle %s: %w", b.Dir, err)
		}
		info, err := r.Stat()
		if err == nil && info.Size() != f.Bytes {
			err = fmt.Errorf("bundle %s: %s has %d bytes, %s says %d", b.Dir, f.Name, info.Size(), ManifestName, f.Bytes)
		}
		if err != nil {
			_ = r.Close()
			return nil, f, err
		}
		return r, f, nil
	}
	return nil, File{}, fmt.Errorf("bundle %s: a file with sha256 %.12s…: %w", b.Dir, sha256, ErrNoFile)
}

// Missing are those of the files that are not there, or not as the manifest says.
func (b *Bundle) Missing(files []File) []File {
	var missing []File
	for _, f := range files {
		if b.check(f) != nil {
			missing = append(missing, f)
		}
	}
	return missing
}

// check compares a file with its entry in the manifest.
func (b *Bundle) check(f File) error {
	r, err := open(filepath.Join(b.Dir, f.Name))
	if err != nil {
		return fmt.Errorf("bundle %s: %w", b.Dir, err)
	}
	defer func() { _ = r.Close() }()
	hash := sha256.New()
	n, err := io.Copy(hash, r)
	if err != nil {
		return fmt.Errorf("bundle %s: read %s: %w", b.Dir, f.Name, err)
	}
	return b.same(f, n, hex.EncodeToString(hash.Sum(nil)))
}

// Check compares every file of the bundle with the manifest, and returns the names
// of what else lies in its folder.
func (b *Bundle) Check() (extra []string, err error) {
	own := map[string]bool{ManifestName: true}
	for _, f := range b.files() {
		own[f.Name] = true
		err := b.check(f)
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("bundle %s: %s is missing; copy the bundle again, or split the model again", b.Dir, f.Name)
		}
		if err != nil {
			return nil, err
		}
	}
	entries, err := os.ReadDir(b.Dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !own[e.Name()] {
			extra = append(extra, e.Name())
		}
	}
	return extra, nil
}

// ErrNoFile is returned for a file that the bundle does not have.
var ErrNoFile = errors.New("the bundle has no such file")

// ReadFile reads one of the bundle's Files and checks it against the manifest.
// It fails with ErrNoFile when the manifest does not name it.
func (b *Bundle) ReadFile(name string) ([]byte, error) {
	for _, f := range b.Files {
		if f.Name != name {
			continue
		}
		data, err := readFile(filepath.Join(b.Dir, name), maxTextFile)
		if err != nil {
			return nil, fmt.Errorf("bundle %s: %w", b.Dir, err)
		}
		sum := sha256.Sum256(data)
		return data, b.same(f, int64(len(data)), hex.EncodeToString(sum[:]))
	}
	return nil, fmt.Errorf("bundle %s: %s: %w", b.Dir, name, ErrNoFile)
}

func (b *Bundle) same(f File, bytes int64, hash string) error {
	if hash == f.SHA256 {
		return nil
	}
	return fmt.Errorf("bundle %s: %s is not the file that %s speaks of: it has sha256 %.12s… and %d bytes, the manifest says %.12s… and %d; the bundle is made of mixed files, split the model again",
		b.Dir, f.Name, ManifestName, hash, bytes, f.SHA256, f.Bytes)
}

// open opens a regular file, and no link to one.
func open(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) {
		return nil, fmt.Errorf("%s is a symbolic link; a bundle holds regular files only", path)
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

func readFile(path string, limit int64) ([]byte, error) {
	f, err := open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s is larger than %d MB", path, limit>>20)
	}
	return b, nil
}
