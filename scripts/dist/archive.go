package main

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// archive writes NAME.tar.gz, with everything in the folder NAME.
func (r *release) archive(name string, p *parts) error {
	// Not beside the program: there it would count for who works in the folder.
	files := []file{p.program, place("lib", p.library), place("systemd", p.config), p.bill}
	files = append(files, p.documents...)
	for folder, of := range map[string][]file{"models": p.models, "man/man1": p.manuals, "systemd": p.units, "licences": p.licences} {
		for _, f := range of {
			files = append(files, place(folder, f))
		}
	}
	for shell := range maps.Keys(p.completions) {
		files = append(files, place("completions", p.completions[shell]))
	}
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.path, b.path) })
	return write(filepath.Join(r.out, name+".tar.gz"), func(w io.Writer) error {
		packed := gzip.NewWriter(w)
		t := tar.NewWriter(packed)
		for _, f := range files {
			if err := r.add(t, place(name, f)); err != nil {
				return err
			}
		}
		return errors.Join(t.Close(), packed.Close())
	})
}

// add puts a file into an archive.
func (r *release) add(t *tar.Writer, f file) error {
	in, err := os.Open(f.source)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	header := &tar.Header{Typeflag: tar.TypeReg, Name: f.path, Size: info.Size(), Mode: int64(f.mode), ModTime: r.time, Format: tar.FormatPAX}
	if err := t.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.Copy(t, in)
	return err
}

// place is a file in a folder.
func place(folder string, f file) file {
	f.path = path.Join(folder, f.path)
	return f
}

// write writes a file whole or not at all.
func write(path string, fill func(io.Writer) error) (err error) {
	f, err := os.Create(path + ".part")
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err == nil {
			err = os.Rename(f.Name(), path)
		} else {
			_ = os.Remove(f.Name())
		}
	}()
	return fill(f)
}
