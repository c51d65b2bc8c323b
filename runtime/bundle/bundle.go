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
	"strings"

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
	ID  ID

	preview map[string][]byte // the text files of one that is not written
}

// Preview is a bundle that is not written yet: one whose text files can be read, and no others. dir
// is the folder of the model that it is made from.
func Preview(m *Manifest, dir string, texts map[string][]byte) *Bundle {
	return &Bundle{Manifest: *m, Dir: dir, preview: texts}
}

// String says which bundle it is, for messages.
func (b *Bundle) String() string {
	if b.preview != nil {
		return b.Dir
	}
	return "bundle " + b.Dir
}

// An ID says which bundle it is: the sha256 of the manifest, in hexadecimal.
// Since the manifest holds the hashes of all files, equal IDs mean equal bundles.
type ID string

// IDOf is the ID of the bundle with the given manifest.
func IDOf(manifest []byte) ID {
	sum := sha256.Sum256(manifest)
	return ID(hex.EncodeToString(sum[:]))
}

// HasPrefix reports whether the ID begins with the given digits.
func (id ID) HasPrefix(prefix string) bool { return strings.HasPrefix(string(id), prefix) }

// Short is the beginning of the ID, enough to tell it from others; people see it.
func (id ID) Short() string { return string(id[:min(12, len(id))]) }

// A MissingError says that there is no folder to read a bundle from.
type MissingError struct{ Dir string }

func (e *MissingError) Error() string { return "bundle " + e.Dir + ": there is no such folder" }

// Open reads the bundle in folder dir.
func Open(dir string) (*Bundle, error) {
	b, err := readManifest(filepath.Join(dir, ManifestName))
	if errors.Is(err, fs.ErrNotExist) {
		if _, errDir := os.Stat(dir); errDir != nil {
			return nil, &MissingError{dir}
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
	return &Bundle{Manifest: *m, Dir: dir, ID: IDOf(b)}, nil
}

// CheckRank fails when the bundle has no stage of the given rank.
func (b *Bundle) CheckRank(rank int) error {
	if rank < 0 || rank >= len(b.Stages) {
		return fmt.Errorf("bundle %s has %d stages: there is no rank %d (ranks are 0 to %d)", b.Dir, len(b.Stages), rank, len(b.Stages)-1)
	}
	return nil
}

// StageFiles are the files of a stage as they were when they were checked.
type StageFiles struct {
	Model string // the path of the model file
	Data  string // the name of the file of external data beside it, or ""

	bundle *Bundle
	names  []string
	seen   []unix.Stat_t
}

// CheckStage checks the files of the stage of the given rank against the manifest. Somebody may
// replace them between this check and their use by name; Unchanged finds that out.
func (b *Bundle) CheckStage(rank int) (*StageFiles, error) {
	if err := b.CheckRank(rank); err != nil {
		return nil, err
	}
	s := b.Stages[rank]
	files := []File{s.File}
	checked := &StageFiles{Model: filepath.Join(b.Dir, s.Name), bundle: b}
	if s.Data != nil {
		files, checked.Data = append(files, *s.Data), s.Data.Name
	}
	for _, f := range files {
		stat, err := b.check(f)
		if err != nil {
			return nil, err
		}
		checked.names, checked.seen = append(checked.names, f.Name), append(checked.seen, stat)
	}
	return checked, nil
}

// Unchanged fails when a file is not the one that was checked, or was written to or renamed since.
// Call it once the files are loaded.
//
// It compares what the system says of the file, and the time of its last change of status, which no
// program can set. It misses a change that is undone again within one tick of that clock, some
// milliseconds on older systems. It says nothing about later changes: a runtime may map external
// data into memory, where later writes show. So only the user that serves a bundle should be able
// to write into its folder.
func (s *StageFiles) Unchanged() error {
	for i, name := range s.names {
		var now unix.Stat_t
		if err := unix.Lstat(filepath.Join(s.bundle.Dir, name), &now); err != nil {
			return fmt.Errorf("bundle %s: %s is gone since it was checked: %w", s.bundle.Dir, name, err)
		}
		then := s.seen[i]
		if now.Dev != then.Dev || now.Ino != then.Ino || now.Size != then.Size || now.Mtim != then.Mtim || now.Ctim != then.Ctim {
			return fmt.Errorf("bundle %s: %s was changed while it was loaded; start again when the bundle is written", s.bundle.Dir, name)
		}
	}
	return nil
}

// StagePath checks the files of the stage of the given rank against the
// manifest, and returns the path of its model file.
func (b *Bundle) StagePath(rank int) (string, error) {
	s, err := b.CheckStage(rank)
	if err != nil {
		return "", err
	}
	return s.Model, nil
}

// ReadManifest reads the manifest as it is on the disk. It fails when that is no
// longer the manifest the bundle was opened with.
func (b *Bundle) ReadManifest() ([]byte, error) {
	data, err := readManifest(filepath.Join(b.Dir, ManifestName))
	if err != nil {
		return nil, fmt.Errorf("bundle %s: %w", b.Dir, err)
	}
	if id := IDOf(data); id != b.ID {
		return nil, fmt.Errorf("bundle %s: another bundle stands there now: it was %s…, it is %s…", b.Dir, b.ID.Short(), id.Short())
	}
	return data, nil
}

// OpenFile opens the file with the given sha256, and checks its size only. It fails with ErrNoFile
// when the manifest names no such file, or when the file is not there.
func (b *Bundle) OpenFile(sha256 string) (*os.File, File, error) {
	for _, f := range b.files() {
		if f.SHA256 != sha256 {
			continue
		}
		r, err := b.open(f)
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("bundle %s: %s is not there: %w", b.Dir, f.Name, ErrNoFile)
		}
		return r, f, err
	}
	return nil, File{}, fmt.Errorf("bundle %s: a file with sha256 %.12s…: %w", b.Dir, sha256, ErrNoFile)
}

// Missing returns the files that are not there, or not as the manifest says.
func (b *Bundle) Missing(files []File) []File {
	var missing []File
	for _, f := range files {
		if _, err := b.check(f); err != nil {
			missing = append(missing, f)
		}
	}
	return missing
}

// check compares a file with its entry in the manifest, the size first: a file of another size is
// not read. It returns what the system says of the file.
func (b *Bundle) check(f File) (unix.Stat_t, error) {
	var stat unix.Stat_t
	r, err := b.open(f)
	if err != nil {
		return stat, err
	}
	defer func() { _ = r.Close() }()
	if err := unix.Fstat(int(r.Fd()), &stat); err != nil {
		return stat, fmt.Errorf("bundle %s: %s: %w", b.Dir, f.Name, err)
	}
	if stat.Nlink > 1 {
		return stat, fmt.Errorf("bundle %s: %s is a hard link, so that it can be changed under its other name; make a copy of it", b.Dir, f.Name)
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, io.LimitReader(r, f.Bytes)); err != nil {
		return stat, fmt.Errorf("bundle %s: read %s: %w", b.Dir, f.Name, err)
	}
	return stat, b.same(f, hash.Sum(nil))
}

// open opens a file of the bundle, whose size must be that in the manifest.
func (b *Bundle) open(f File) (*os.File, error) {
	r, err := open(filepath.Join(b.Dir, f.Name))
	if err != nil {
		return nil, fmt.Errorf("bundle %s: %w", b.Dir, err)
	}
	info, err := r.Stat()
	if err == nil && info.Size() != f.Bytes {
		err = fmt.Errorf("bundle %s: %s is not the file that %s speaks of: it has %d bytes, the manifest says %d; the bundle is made of mixed files, split the model again",
			b.Dir, f.Name, ManifestName, info.Size(), f.Bytes)
	}
	if err != nil {
		_ = r.Close()
		return nil, err
	}
	return r, nil
}

// Check compares every file of the bundle with the manifest, and returns the names of other files
// in its folder.
func (b *Bundle) Check() (extra []string, err error) {
	own := map[string]bool{ManifestName: true}
	for _, f := range b.files() {
		own[f.Name] = true
		_, err := b.check(f)
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
	if data, ok := b.preview[name]; ok {
		return data, nil
	}
	for _, f := range b.Files {
		if f.Name != name {
			continue
		}
		if f.Bytes > maxTextFile {
			return nil, fmt.Errorf("bundle %s: %s is larger than %d MB", b.Dir, name, maxTextFile>>20)
		}
		r, err := b.open(f)
		if err != nil {
			return nil, err
		}
		defer func() { _ = r.Close() }()
		data, err := io.ReadAll(io.LimitReader(r, f.Bytes))
		if err != nil {
			return nil, fmt.Errorf("bundle %s: read %s: %w", b.Dir, name, err)
		}
		sum := sha256.Sum256(data)
		if err := b.same(f, sum[:]); err != nil {
			return nil, err
		}
		return data, nil
	}
	return nil, fmt.Errorf("%s: %s: %w", b, name, ErrNoFile)
}

func (b *Bundle) same(f File, hash []byte) error {
	if hex.EncodeToString(hash) == f.SHA256 {
		return nil
	}
	return fmt.Errorf("bundle %s: %s is not the file that %s speaks of: it has sha256 %x…, the manifest says %.12s…; the bundle is made of mixed files, split the model again",
		b.Dir, f.Name, ManifestName, hash[:6], f.SHA256)
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

// readManifest reads a file of at most MaxManifest bytes.
func readManifest(path string) ([]byte, error) {
	f, err := open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, MaxManifest+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(b) > MaxManifest {
		return nil, fmt.Errorf("%s is larger than %d MB", path, MaxManifest>>20)
	}
	return b, nil
}
