package main

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// parts are what every package holds, by kind; files have paths relative to the kind's place.
type parts struct {
	info        *buildinfo.BuildInfo // of the program
	program     file
	library     file
	models      []file
	manuals     []file
	completions map[string]file // by shell
	units       []file
	config      file
	licences    []file
	documents   []file
	bill        file // of materials
}

// A file is one of a package.
type file struct {
	path   string // within its place in the package, with slashes
	source string
	mode   fs.FileMode
}

// parts compiles the program and collects what goes into the packages beside it.
func (r *release) parts(ctx context.Context, arch, work string) (*parts, error) {
	program := filepath.Join(work, "distinfer")
	if err := r.build(ctx, arch, program); err != nil {
		return nil, err
	}
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return nil, err
	}
	if info.Main.Version == "(devel)" {
		return nil, errors.New("the program does not know its version; make it in a clone of the repository, not in a further worktree")
	}
	r.version = strings.TrimPrefix(strings.ReplaceAll(info.Main.Version, "+dirty", ".dirty"), "v")
	library := filepath.Join(r.root, ".setup", "dist-onnxruntime", arch)
	if _, err := command(ctx, r.root, nil, "python3", "scripts/onnxruntime/fetch.py", library, arches[arch]); err != nil {
		return nil, err
	}
	p := &parts{
		info:    info,
		program: file{"distinfer", program, 0o755},
		library: file{"libonnxruntime.so", filepath.Join(library, "libonnxruntime.so"), 0o755},
		config:  file{"distinfer.yaml", filepath.Join(r.root, "deploy/systemd/distinfer.yaml"), 0o644},
	}
	for _, name := range []string{"README.md", "CHANGELOG.md", "LICENSE"} {
		p.documents = append(p.documents, file{name, filepath.Join(r.root, name), 0o644})
	}
	for _, of := range []struct {
		to     *[]file
		folder string
		as     string
	}{{&p.models, "models/sst2-minilm", "sst2-minilm"}, {&p.units, "deploy/systemd/units", ""}} {
		if *of.to, err = under(filepath.Join(r.root, of.folder), of.as); err != nil {
			return nil, err
		}
	}
	if p.licences, err = r.licences(ctx, library); err != nil {
		return nil, err
	}
	if r.makes("archive", "deb") {
		err = r.pages(ctx, p, work)
	}
	return p, err
}

// build compiles the program. It runs with every C library since 2.28 (Debian 10, RHEL 8). It has
// no build ID, which is made of the C compiler's name, among others.
func (r *release) build(ctx context.Context, arch, to string) error {
	fmt.Println("compiling for", arch)
	compiler := fmt.Sprintf("%s -m ziglang cc -target %s-linux-gnu.2.28", r.python, arches[arch])
	environment := []string{"CGO_ENABLED=1", "GOOS=linux", "GOARCH=" + arch, "GOFLAGS="}
	if !r.local {
		environment = append(environment, "CC="+compiler)
	}
	_, err := command(ctx, r.root, environment, "go", "build", "-trimpath", "-buildvcs=true", "-ldflags=-s -w -buildid= -extldflags=-Wl,--strip-all", "-o", to, "./cmd/distinfer")
	return err
}

// pages adds manual pages and completions. They are the same for every architecture, so a program of
// this machine makes them.
func (r *release) pages(ctx context.Context, p *parts, work string) (err error) {
	here, manuals := filepath.Join(work, "here"), filepath.Join(work, "man")
	if _, err := command(ctx, r.root, []string{"CGO_ENABLED=1"}, "go", "build", "-trimpath", "-buildvcs=true", "-o", here, "./cmd/distinfer"); err != nil {
		return err
	}
	if _, err := command(ctx, r.root, nil, here, "man", manuals); err != nil {
		return err
	}
	if p.manuals, err = under(manuals, ""); err != nil {
		return err
	}
	p.completions = map[string]file{}
	for shell, name := range map[string]string{"bash": "distinfer", "zsh": "_distinfer", "fish": "distinfer.fish"} {
		script, err := command(ctx, r.root, nil, here, "completion", shell)
		if err != nil {
			return err
		}
		f := file{name, filepath.Join(work, "completion-"+shell), 0o644}
		if err := os.WriteFile(f.source, script, 0o644); err != nil {
			return err
		}
		p.completions[shell] = f
	}
	return nil
}

// under lists the files of a folder, as those of a folder as.
func under(folder, as string) (files []file, err error) {
	err = filepath.WalkDir(folder, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		inside, err := filepath.Rel(folder, path)
		files = append(files, file{filepath.ToSlash(filepath.Join(as, inside)), path, 0o644})
		return err
	})
	return files, err
}

// licences are those of everything inside: Go's own, each module's, ONNX Runtime's, and the models'.
func (r *release) licences(ctx context.Context, library string) ([]file, error) {
	modules, err := command(ctx, r.root, nil, "go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}}\t{{.Dir}}{{end}}{{end}}", "./cmd/distinfer")
	if err != nil {
		return nil, err
	}
	goroot, err := command(ctx, r.root, nil, "go", "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	files := []file{
		{"go/LICENSE", filepath.Join(strings.TrimSpace(string(goroot)), "LICENSE"), 0o644},
		{"onnxruntime/LICENSE", filepath.Join(library, "LICENSE"), 0o644},
		{"onnxruntime/ThirdPartyNotices.txt", filepath.Join(library, "ThirdPartyNotices.txt"), 0o644},
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(modules)) {
		module, folder, _ := strings.Cut(strings.TrimSpace(line), "\t")
		if module == "" || seen[module] {
			continue
		}
		seen[module] = true
		found, err := filesOf(module, folder)
		if err != nil {
			return nil, err
		}
		files = append(files, found...)
	}
	return files, nil
}

// filesOf are the files of a module that say under which terms it may be used.
func filesOf(module, folder string) (files []file, err error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		name := strings.ToUpper(e.Name())
		for _, begin := range []string{"LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE"} {
			if strings.HasPrefix(name, begin) && e.Type().IsRegular() {
				files = append(files, file{module + "/" + e.Name(), filepath.Join(folder, e.Name()), 0o644})
			}
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s has no licence in %s", module, folder)
	}
	return files, nil
}
