// Command dist makes the release: for each architecture an archive that runs wherever it is unpacked,
// a Debian package and a Python wheel, and an image of all architectures, with bills of materials and
// the hashes of all.
//
//	go -C scripts/dist run . -python ../../.setup/dist/bin/python
//
// The same commit gives the same bytes: files are sorted, have the commit's time and belong to
// root, and Zig's C compiler links against the same old C library on every machine.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// homepage is where the project is.
const homepage = "https://github.com/distinfer/distinfer"

// arches are those that are released: Go's names with those of C compilers and Python wheels.
var arches = map[string]string{"amd64": "x86_64", "arm64": "aarch64"}

func sortedArches() []string { return slices.Sorted(maps.Keys(arches)) }

// kinds are what a release consists of.
var kinds = []string{"archive", "deb", "wheel", "image"}

// A release is what is made of one commit.
type release struct {
	root    string // of the checkout
	out     string
	python  string // with the package ziglang
	mirror  string // of Debian; empty for that of this machine
	name    string // of the image
	only    []string
	local   bool   // compile with this machine's C compiler
	version string // without a leading v
	commit  string
	time    time.Time
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "dist:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	r := &release{}
	out := flag.String("out", "../../dist", "`folder` to write to, emptied before")
	python := flag.String("python", "../../.setup/dist/bin/python", "`program` of a Python that has ziglang")
	arch := flag.String("arch", strings.Join(sortedArches(), ","), "`architectures` to make")
	only := flag.String("only", strings.Join(kinds, ","), "`kinds` to make")
	flag.BoolVar(&r.local, "local", false, "compile with this machine's own C compiler, to try things on it: sooner, but for its architecture and C library only")
	flag.StringVar(&r.name, "image-name", "localhost/distinfer", "`name` of the image, without a tag")
	flag.StringVar(&r.mirror, "debian", "", "`URL` of a mirror of Debian (default the one that apt on this machine uses)")
	update := flag.Bool("update-base", false, "pin the packages that Debian has now, and make nothing")
	flag.Parse()
	if err := r.find(ctx, *out, *python); err != nil {
		return err
	}
	if *update {
		return writePins(ctx, r.mirror, r.debianFolder())
	}
	r.only = strings.Split(*only, ",")
	for _, kind := range r.only {
		if !slices.Contains(kinds, kind) {
			return fmt.Errorf("-only %s: there are %s", kind, strings.Join(kinds, ", "))
		}
	}
	if err := errors.Join(os.RemoveAll(r.out), os.MkdirAll(r.out, 0o755)); err != nil {
		return err
	}
	images := map[string]v1.Image{}
	for _, arch := range strings.Split(*arch, ",") {
		if arches[arch] == "" {
			return fmt.Errorf("there is no release for %q", arch)
		}
		if err := r.make(ctx, arch, images); err != nil {
			return fmt.Errorf("%s: %w", arch, err)
		}
	}
	if r.makes("image") {
		if err := r.index("distinfer-"+r.version+"-image.tar", r.name+":"+r.tag(), images); err != nil {
			return err
		}
	}
	return r.sums()
}

// find finds the checkout, its commit, and what it is made with.
func (r *release) find(ctx context.Context, out, python string) (err error) {
	if r.root, err = filepath.Abs("../.."); err != nil {
		return err
	}
	if r.out, err = filepath.Abs(out); err != nil {
		return err
	}
	// Go keeps what it compiled by the compiler's name, so this is one name for all checkouts that
	// share a Python. The program itself may be a link, which makes it the Python that it is.
	folder, err := filepath.EvalSymlinks(filepath.Dir(python))
	if err != nil {
		return fmt.Errorf("there is no Python with ziglang: %w", err)
	}
	if folder, err = filepath.Abs(folder); err != nil {
		return err
	}
	r.python = filepath.Join(folder, filepath.Base(python))
	head, err := command(ctx, r.root, nil, "git", "log", "-1", "--format=%H %ct")
	if err != nil {
		return err
	}
	commit, seconds, _ := strings.Cut(strings.TrimSpace(string(head)), " ")
	n, err := strconv.ParseInt(seconds, 10, 64)
	r.commit, r.time = commit, time.Unix(n, 0).UTC()
	return err
}

func (r *release) makes(kind ...string) bool {
	return slices.ContainsFunc(kind, func(k string) bool { return slices.Contains(r.only, k) })
}

func (r *release) debianFolder() string { return filepath.Join(r.root, ".setup", "dist-debian") }

// tag is the version as the tag of an image, which has no plus.
func (r *release) tag() string { return strings.ReplaceAll(r.version, "+", "-") }

// make makes what there is for an architecture. Images are left for an index of all.
func (r *release) make(ctx context.Context, arch string, images map[string]v1.Image) error {
	work, err := os.MkdirTemp("", "distinfer-dist-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	p, err := r.parts(ctx, arch, work)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("distinfer-%s-linux-%s", r.version, arch)
	if r.makes("image") {
		image, bill, err := r.image(ctx, arch, p)
		if err != nil {
			return err
		}
		images[arch] = image
		if err := os.WriteFile(filepath.Join(r.out, fmt.Sprintf("distinfer-%s-image-%s.cdx.json", r.version, arch)), bill, 0o644); err != nil {
			return err
		}
	}
	if !r.makes("archive", "deb", "wheel") {
		return nil
	}
	bill, err := r.bill(p.info, arch, nil)
	if err != nil {
		return err
	}
	p.bill = file{"distinfer.cdx.json", filepath.Join(r.out, name+".cdx.json"), 0o644}
	if err := os.WriteFile(p.bill.source, bill, 0o644); err != nil {
		return err
	}
	for kind, makeIt := range map[string]func() error{
		"archive": func() error { return r.archive(name, p) },
		"deb":     func() error { return r.deb(arch, p) },
		"wheel":   func() error { return r.wheel(arch, p, bill) },
	} {
		if r.makes(kind) {
			if err := makeIt(); err != nil {
				return fmt.Errorf("%s: %w", kind, err)
			}
		}
	}
	return nil
}
