// Command dist makes the release: for each architecture an archive that runs wherever it is unpacked
// and a Debian package, with a bill of materials and the hashes of all.
//
//	go -C scripts/dist run . -python ../../.setup/dist/bin/python
//
// The same commit gives the same bytes: files are sorted, have the commit's time and belong to
// root, and Zig's C compiler links against the same old C library on every machine.
package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// arches are those that are released: Go's names with those of C compilers and Python wheels.
var arches = map[string]string{"amd64": "x86_64", "arm64": "aarch64"}

// A release is what is made of one commit.
type release struct {
	root    string // of the checkout
	out     string
	python  string // with the package ziglang
	version string // without a leading v
	time    time.Time
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "dist:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	out := flag.String("out", "../../dist", "`folder` to write to, emptied before")
	python := flag.String("python", "python3", "`program` of a Python that has ziglang")
	only := flag.String("arch", "amd64,arm64", "`architectures` to make")
	flag.Parse()
	root, err := filepath.Abs("../..")
	if err != nil {
		return err
	}
	r := &release{root: root}
	if r.out, err = filepath.Abs(*out); err != nil {
		return err
	}
	if r.python, err = filepath.Abs(*python); err != nil {
		return err
	}
	if r.time, err = r.commitTime(ctx); err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(r.out), os.MkdirAll(r.out, 0o755)); err != nil {
		return err
	}
	for _, arch := range strings.Split(*only, ",") {
		if arches[arch] == "" {
			return fmt.Errorf("there is no release for %q", arch)
		}
		if err := r.make(ctx, arch); err != nil {
			return fmt.Errorf("%s: %w", arch, err)
		}
	}
	return r.sums()
}

// make makes the packages of an architecture.
func (r *release) make(ctx context.Context, arch string) error {
	work, err := os.MkdirTemp("", "distinfer-dist-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	program := filepath.Join(work, "distinfer")
	if err := r.build(ctx, arch, program); err != nil {
		return err
	}
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return err
	}
	if info.Main.Version == "(devel)" {
		return errors.New("the program does not know its version; make it in a clone of the repository, not in a further worktree")
	}
	r.version = strings.TrimPrefix(strings.ReplaceAll(info.Main.Version, "+dirty", ".dirty"), "v")
	library := filepath.Join(r.root, ".setup", "dist-onnxruntime", arch)
	if err := r.command(ctx, nil, "python3", "scripts/onnxruntime/fetch.py", library, arches[arch]); err != nil {
		return err
	}
	p, err := r.parts(ctx, program, library, work)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("distinfer-%s-linux-%s", r.version, arch)
	bill, err := r.bill(info, arch)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(r.out, name+".cdx.json"), bill, 0o644),
		r.archive(name, p),
		r.deb(arch, p),
	)
}

// build compiles the program. It runs with every C library since 2.28 (Debian 10, RHEL 8).
func (r *release) build(ctx context.Context, arch, to string) error {
	fmt.Println("compiling for", arch)
	compiler := fmt.Sprintf("%s -m ziglang cc -target %s-linux-gnu.2.28", r.python, arches[arch])
	environment := []string{"CGO_ENABLED=1", "GOOS=linux", "GOARCH=" + arch, "CC=" + compiler}
	return r.command(ctx, environment, "go", "build", "-trimpath", "-buildvcs=true", "-ldflags=-s -w -extldflags=-Wl,--strip-all", "-o", to, "./cmd/distinfer")
}

// commitTime is when the commit was made that is released.
func (r *release) commitTime(ctx context.Context) (time.Time, error) {
	seconds, err := r.output(ctx, "git", "log", "-1", "--format=%ct")
	if err != nil {
		return time.Time{}, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(seconds)), 10, 64)
	return time.Unix(n, 0).UTC(), err
}

// command runs a program in the checkout.
func (r *release) command(ctx context.Context, environment []string, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = r.root, append(os.Environ(), environment...), os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// output is what a program in the checkout prints.
func (r *release) output(ctx context.Context, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var errors bytes.Buffer
	cmd.Dir, cmd.Stderr = r.root, &errors
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, errors.Bytes())
	}
	return out, nil
}
