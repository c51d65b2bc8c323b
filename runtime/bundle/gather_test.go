package bundle

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// manifestOf reads the manifest of a bundle.
func manifestOf(t testing.TB, b *Bundle) []byte {
	t.Helper()
	data, err := b.ReadManifest()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// contents reads a file of a bundle.
func contents(t testing.TB, b *Bundle, f File) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(b.Dir, f.Name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func gather(t testing.TB, dir string, b *Bundle, want []File) *Gathering {
	t.Helper()
	g, err := Gather(t.Context(), dir, manifestOf(t, b), want, nil)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// leave ends a gathering as a process that is killed does: its lock is gone, and
// everything else stays.
func leave(g *Gathering) { _ = g.lock.Close() }

// Whatever happens to the pieces of files, what is put in place is right.
func TestGatheredFilesAreRightHoweverOftenItIsInterrupted(t *testing.T) {
	t.Parallel()
	source := make2(t, filepath.Join(t.TempDir(), "stages"), strings.Repeat("some weights", 500), false)
	older := make2(t, filepath.Join(t.TempDir(), "stages"), "older", false)
	for seed := range uint64(45) {
		dice := rand.New(rand.NewPCG(seed, 2))
		parent := t.TempDir()
		dir := filepath.Join(parent, "stages")
		switch seed % 3 {
		case 1: // another bundle stands there
			make2(t, dir, "older", false)
		case 2: // this bundle stands there with another slice
			g := gather(t, dir, source, source.Files)
			whole(t, g, source)
			commit(t, g)
		}
		want := source.files()
		var g *Gathering
		for tries := 0; ; tries++ {
			g = gather(t, dir, source, want)
			if interrupted(t, dice, g, source) || tries < 3 && dice.IntN(2) == 0 {
				if dice.IntN(2) == 0 {
					leave(g)
				} else if err := g.Close(); err != nil {
					t.Fatal(err)
				}
				// Nothing at the bundle's place has changed.
				if now, err := Open(dir); seed%3 == 1 && (err != nil || now.ID != older.ID) || seed%3 == 0 && err == nil {
					t.Fatalf("seed %d: %v, %v", seed, now, err)
				}
				continue
			}
			break
		}
		commit(t, g)
		b, err := Open(dir)
		if err != nil || b.ID != source.ID {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if extra, err := b.Check(); err != nil || len(extra) > 0 {
			t.Errorf("seed %d: %v, %v", seed, extra, err)
		}
		if got := entries(t, parent); len(got) != 1 {
			t.Errorf("seed %d: left behind: %v", seed, got)
		}
	}
}

// interrupted gathers files in pieces of any size, some of them wrong, and
// reports whether it stopped before the end.
func interrupted(t *testing.T, dice *rand.Rand, g *Gathering, source *Bundle) bool {
	t.Helper()
	for _, f := range g.Missing() {
		data := contents(t, source, f)
		for done := false; !done; {
			p, err := g.Resume(t.Context(), f)
			if err != nil {
				t.Fatal(err)
			}
			for p.Have() < f.Bytes {
				rest := data[p.Have():]
				piece := bytes.Clone(rest[:1+dice.IntN(len(rest))])
				switch dice.IntN(12) {
				case 0:
					p.Close()
					return true
				case 1:
					piece[0] ^= 1
				case 2:
					if _, err := p.Write(append(bytes.Clone(rest), 0)); !errors.Is(err, ErrTooLong) {
						t.Fatalf("too many bytes: %v", err)
					}
				}
				if _, err := p.Write(piece); err != nil {
					t.Fatal(err)
				}
			}
			var wrong *HashError
			switch err := p.Finish(); {
			case err == nil:
				done = true
			case !errors.As(err, &wrong):
				t.Fatal(err)
			}
		}
	}
	return false
}

// whole gathers everything without a mistake.
func whole(t testing.TB, g *Gathering, source *Bundle) {
	t.Helper()
	for _, f := range g.Missing() {
		p, err := g.Resume(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Write(contents(t, source, f)[p.Have():]); err != nil {
			t.Fatal(err)
		}
		if err := p.Finish(); err != nil {
			t.Fatal(err)
		}
	}
}

func commit(t testing.TB, g *Gathering) {
	t.Helper()
	if _, err := g.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
}

// A process may be killed at any step of Commit.
func TestACommitThatWasKilledIsTakenUp(t *testing.T) {
	t.Parallel()
	source := make2(t, filepath.Join(t.TempDir(), "stages"), "new", false)
	for what, step := range map[string]func(t *testing.T, g *Gathering){
		"after the first file": func(t *testing.T, g *Gathering) {
			f := g.Missing()[0]
			if err := errors.Join(os.Mkdir(g.fresh(), 0o755), os.Rename(g.path(f), filepath.Join(g.fresh(), f.Name))); err != nil {
				t.Fatal(err)
			}
		},
		"before the exchange": func(t *testing.T, g *Gathering) {
			err := os.Mkdir(g.fresh(), 0o755)
			for _, f := range g.Missing() {
				err = errors.Join(err, os.Rename(g.path(f), filepath.Join(g.fresh(), f.Name)))
			}
			if err := errors.Join(err, g.writeManifest()); err != nil {
				t.Fatal(err)
			}
		},
		"before the old one is removed": func(t *testing.T, g *Gathering) {
			old := filepath.Join(t.TempDir(), "old")
			err := os.Mkdir(g.fresh(), 0o755)
			for _, f := range g.Missing() {
				err = errors.Join(err, os.Rename(g.path(f), filepath.Join(g.fresh(), f.Name)))
			}
			if err := errors.Join(err, g.writeManifest(), os.Rename(g.dir, old), os.Rename(g.fresh(), g.dir), os.Rename(old, g.fresh())); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			parent := t.TempDir()
			dir := filepath.Join(parent, "stages")
			make2(t, dir, "old", false)
			g := gather(t, dir, source, source.files())
			whole(t, g, source)
			step(t, g)
			leave(g)
			g = gather(t, dir, source, source.files())
			for _, f := range g.Missing() {
				p, err := g.Resume(t.Context(), f)
				if err != nil || p.Have() != f.Bytes {
					t.Errorf("%s: %d of %d bytes are there: %v", f.Name, p.Have(), f.Bytes, err)
				}
				if err := p.Finish(); err != nil {
					t.Error(err)
				}
			}
			commit(t, g)
			b, err := Open(dir)
			if err != nil || b.ID != source.ID {
				t.Fatal(err)
			}
			if extra, err := b.Check(); err != nil || len(extra) > 0 {
				t.Errorf("%v, %v", extra, err)
			}
			if got := entries(t, parent); len(got) != 1 {
				t.Errorf("left behind: %v", got)
			}
		})
	}
}

func TestGatherRefusesWhatItCannotPutInPlace(t *testing.T) {
	t.Parallel()
	source := make2(t, filepath.Join(t.TempDir(), "stages"), "new", false)
	dir := filepath.Join(t.TempDir(), "stages")
	if _, err := Gather(t.Context(), dir, []byte("{}"), nil, nil); err == nil {
		t.Error("a manifest that is none was accepted")
	}
	if _, err := Gather(t.Context(), dir, manifestOf(t, source), []File{{Name: "x"}}, nil); !errors.Is(err, ErrNoFile) {
		t.Errorf("a file that the manifest does not name: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, out := range []string{file, filepath.Join(file, "stages")} {
		if _, err := Gather(t.Context(), out, manifestOf(t, source), source.Files, nil); err == nil {
			t.Errorf("%s was accepted", out)
		}
	}
	// What is whole but not all, and what changed in the meantime.
	g := gather(t, dir, source, source.files())
	p, err := g.Resume(t.Context(), g.Missing()[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Finish(); err == nil || !strings.Contains(err.Error(), "not whole") {
		t.Errorf("a file that is missing: %v", err)
	}
	whole(t, g, source)
	make2(t, dir, "somebody's", false)
	if _, err := g.Commit(); err == nil || !strings.Contains(err.Error(), "changed by somebody else") {
		t.Errorf("a folder that was filled in the meantime: %v", err)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(dir), ".stages.fetch-lock")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the lock is left: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	g = gather(t, dir, source, source.files())
	defer func() { _ = g.Close() }()
	if _, err := Gather(ctx, dir, manifestOf(t, source), source.files(), cancel); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted while it waited: %v", err)
	}
}
