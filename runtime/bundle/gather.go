package bundle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A Gathering is some files of a bundle on their way into its folder. They are gathered in a hidden
// folder beside it, or within it where a volume is mounted there. The hidden folder outlives the
// process, so that no file is gathered twice. Commit puts the whole files in their place; until
// then nothing there changes.
//
// One process gathers for a folder at a time.
type Gathering struct {
	dir      string
	within   bool // files are gathered within dir, and not beside it
	manifest []byte
	id       ID
	found    state // what the folder held at first,
	foundID  ID    // and if that was a bundle, which
	missing  []File
	lock     *os.File // nil when nothing is missing
}

// Gather starts to gather the wanted files of the bundle with the given manifest that are not in
// folder dir. The folder may hold that bundle, to which files are added, or another, which Commit
// replaces. A folder that holds anything else is never touched. When another process gathers for
// the folder, it calls waiting once and waits.
func Gather(ctx context.Context, dir string, manifest []byte, want []File, waiting func()) (*Gathering, error) {
	m, err := Decode(manifest)
	if err != nil {
		return nil, err
	}
	for _, f := range want {
		if !slices.Contains(m.files(), f) {
			return nil, fmt.Errorf("%s: %w", f.Name, ErrNoFile)
		}
	}
	g := &Gathering{manifest: manifest, id: IDOf(manifest)}
	if g.dir, err = place(dir); err != nil {
		return nil, err
	}
	g.within = within(g.dir)
	if b, err := Open(g.dir); err == nil && b.ID == g.id && len(g.folders()) == 0 && len(b.Missing(want)) == 0 {
		return g, nil // it may be that nothing can be written here, and nothing has to be
	}
	if err := os.MkdirAll(filepath.Dir(g.dir), 0o755); err != nil {
		return nil, fmt.Errorf("cannot write to %s: %w", filepath.Dir(g.dir), reason(err))
	}
	if g.lock, err = lock(ctx, g.hidden("lock"), waiting); err != nil {
		return nil, err
	}
	if err := g.start(want); err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return g, nil
}

// place is the folder's real path: the hidden folder beside it must be on the same file system.
func place(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return dir, nil
	}
	return real, err
}

func (g *Gathering) start(want []File) error {
	var b *Bundle
	var err error
	if g.within {
		if err = finishPut(g.dir); err != nil {
			return err
		}
	}
	if g.found, b, err = g.state(); err != nil {
		return err
	}
	g.missing = want
	switch g.found {
	case holdsOther:
		return fmt.Errorf("%s holds files that are not a bundle, and is left alone; name another folder", g.dir)
	case holdsBundle:
		if g.foundID = b.ID; b.ID == g.id {
			g.missing = b.Missing(want)
		}
	}
	if err := os.MkdirAll(g.staging(), 0o755); err != nil {
		return fmt.Errorf("cannot write to folder %s: %w", filepath.Dir(g.staging()), reason(err))
	}
	if err := g.recover(); err != nil {
		return fmt.Errorf("go on with what is in %s: %w", g.staging(), err)
	}
	return g.checkRoom()
}

// state says what the bundle's folder holds, beside what is on its way there.
func (g *Gathering) state() (state, *Bundle, error) {
	if g.within {
		return stateOf(g.dir, passing)
	}
	return stateOf(g.dir, nil)
}

// hidden is a name beside the bundle's folder, or within it.
func (g *Gathering) hidden(what string) string {
	if g.within {
		return filepath.Join(g.dir, fetchPrefix+what)
	}
	return filepath.Join(filepath.Dir(g.dir), "."+filepath.Base(g.dir)+".fetch-"+what)
}

// staging is the folder of files on their way, and fresh one in it that takes the
// bundle's place.
func (g *Gathering) staging() string { return g.hidden(g.id.Short()) }
func (g *Gathering) fresh() string   { return filepath.Join(g.staging(), ".new") }

var shortHash = regexp.MustCompile(`^[0-9a-f]{12}$`)

// folders are the folders of files on their way to this place, of any bundle.
func (g *Gathering) folders() []string {
	around := filepath.Dir(g.hidden(""))
	entries, _ := os.ReadDir(around)
	var list []string
	for _, e := range entries {
		path := filepath.Join(around, e.Name())
		if id, ok := strings.CutPrefix(path, g.hidden("")); ok && shortHash.MatchString(id) && e.IsDir() {
			list = append(list, path)
		}
	}
	return list
}

// removeOthers removes what is on its way for other bundles.
func (g *Gathering) removeOthers() error {
	var err error
	for _, path := range g.folders() {
		if path != g.staging() {
			err = errors.Join(err, os.RemoveAll(path))
		}
	}
	return err
}

// recover undoes an unfinished Commit of a process that was killed, or removes the old bundle if
// that is all that was left to do.
func (g *Gathering) recover() error {
	if b, err := Open(g.fresh()); err != nil || b.ID == g.id {
		for _, f := range g.missing {
			err := os.Rename(filepath.Join(g.fresh(), f.Name), g.path(f))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return errors.Join(os.RemoveAll(g.fresh()), os.RemoveAll(g.fresh()+".old"))
}

// checkRoom fails when the disk lacks the space for what is missing.
func (g *Gathering) checkRoom() error {
	need := uint64(len(g.manifest))
	for _, f := range g.missing {
		left := uint64(f.Bytes)
		if info, err := os.Lstat(g.path(f)); err == nil {
			left -= min(left, uint64(info.Size()))
		}
		if need += left; need < left {
			return fmt.Errorf("the manifest speaks of more bytes than any disk has")
		}
	}
	free, err := room(g.staging())
	if err == nil && free < need {
		if err = g.removeOthers(); err == nil {
			free, err = room(g.staging())
		}
	}
	if err != nil {
		return fmt.Errorf("find out how much room there is in %s: %w", filepath.Dir(g.staging()), err)
	}
	if free < need {
		return fmt.Errorf("%s has no room for the files: %s more are needed, %s are free, %s are missing", filepath.Dir(g.staging()),
			megabytes(need), megabytes(free), megabytes(need-free))
	}
	return nil
}

func megabytes(n uint64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// Missing returns the files that have to be gathered.
func (g *Gathering) Missing() []File { return g.missing }

// Replaces is the ID of another bundle in the folder, which Commit removes, or
// nothing.
func (g *Gathering) Replaces() ID {
	if g.foundID == g.id {
		return ""
	}
	return g.foundID
}

// ReplacesWhole reports whether the bundle that Commit removes has all its files.
func (g *Gathering) ReplacesWhole() bool {
	if g.Replaces() == "" {
		return false
	}
	b, err := Open(g.dir)
	return err == nil && len(b.Missing(b.files())) == 0
}

func (g *Gathering) path(f File) string { return filepath.Join(g.staging(), f.Name) }

// Commit puts the files in their place, once all that were missing are finished,
// and opens the bundle.
func (g *Gathering) Commit() (*Bundle, error) {
	if g.lock != nil {
		if err := g.put(); err != nil {
			return nil, err
		}
	}
	return Open(g.dir)
}

func (g *Gathering) put() error {
	now, b, err := g.state()
	switch {
	case err != nil:
		return err
	case now != g.found || now == holdsBundle && b.ID != g.foundID:
		return fmt.Errorf("%s was changed by somebody else in the meantime; start again", g.dir)
	}
	to := g.dir
	same := now == holdsBundle && b.ID == g.id
	if !same {
		to = g.fresh()
		if err := os.Mkdir(to, 0o755); err != nil {
			return fmt.Errorf("put the bundle in its place: %w", err)
		}
	}
	for _, f := range g.missing {
		if err := os.Rename(g.path(f), filepath.Join(to, f.Name)); err != nil {
			return fmt.Errorf("put %s in its place: %w", f.Name, err)
		}
	}
	if !same {
		if err := g.writeManifest(); err != nil {
			return err
		}
		switch {
		case g.within:
			err = putWithin(to, g.dir)
		case now == holdsBundle:
			_, err = exchange(to, g.dir)
		default:
			err = putInPlace(to, g.dir)
		}
		if err != nil {
			return err
		}
	}
	return g.removeOthers()
}

// writeManifest writes the manifest to the disk itself: a folder whose manifest
// cannot be read is not known to be a bundle, and would not be touched again.
func (g *Gathering) writeManifest() error {
	f, err := os.OpenFile(filepath.Join(g.fresh(), ManifestName), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(g.manifest)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", ManifestName, reason(err))
	}
	return nil
}

// Close lets other processes gather. Files that were not committed stay for the next time.
func (g *Gathering) Close() error {
	if g.lock == nil {
		return nil
	}
	_ = os.Remove(g.staging()) // if there is nothing in it
	// The name goes first: a process that opens it from now on makes a lock of its own.
	err := errors.Join(os.Remove(g.lock.Name()), g.lock.Close())
	g.lock = nil
	return err
}
