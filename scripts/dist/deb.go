package main

import (
	"io"
	"path"
	"path/filepath"
	"strings"

	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
)

// deb writes the Debian package: the program and its library where the system has such, services
// that wait to be enabled, and the configuration, which an upgrade leaves as it is.
func (r *release) deb(arch string, p *parts) error {
	var contents files.Contents
	add := func(folder string, of ...file) {
		for _, f := range of {
			contents = append(contents, &files.Content{Source: f.source, Destination: path.Join(folder, f.path), FileInfo: &files.ContentFileInfo{Mode: f.mode, MTime: r.time, Owner: "root", Group: "root"}})
		}
	}
	add("/usr/bin", p.program)
	add("/usr/lib/distinfer", p.library)
	add("/usr/share/distinfer/models", p.models...)
	add("/usr/share/man/man1", p.manuals...)
	add("/usr/share/doc/distinfer", append([]file{p.bill}, p.documents...)...)
	add("/usr/share/doc/distinfer/licences", p.licences...)
	add("/usr/lib/systemd/system", p.units...)
	add("/usr/share/bash-completion/completions", p.completions["bash"])
	add("/usr/share/zsh/vendor-completions", p.completions["zsh"])
	add("/usr/share/fish/vendor_completions.d", p.completions["fish"])
	add("/etc/distinfer", p.config)
	contents[len(contents)-1].Type = files.TypeConfigNoReplace
	scripts := filepath.Join(r.root, "deploy", "debian")
	version := debianVersion(r.version)
	info := nfpm.WithDefaults(&nfpm.Info{
		Name: "distinfer", Arch: arch, Platform: "linux", Version: version, VersionSchema: "none",
		Section: "net", Priority: "optional", MTime: r.time,
		Maintainer:  "The distinfer authors <distinfer@users.noreply.github.com>",
		Homepage:    "https://github.com/distinfer/distinfer",
		Description: "Serve an ONNX model across machines\nSplits a text model in ONNX into stages, runs each stage on a machine of its own,\nand answers over HTTP and gRPC. ONNX Runtime is part of the package.",
		Overridables: nfpm.Overridables{
			Contents: contents,
			Depends:  []string{"libc6 (>= 2.28)", "libstdc++6", "adduser"},
			Scripts: nfpm.Scripts{
				PostInstall: filepath.Join(scripts, "postinst"),
				PreRemove:   filepath.Join(scripts, "prerm"),
				PostRemove:  filepath.Join(scripts, "postrm"),
			},
		},
	})
	if err := nfpm.PrepareForPackager(info, "deb"); err != nil {
		return err
	}
	return write(filepath.Join(r.out, "distinfer_"+version+"_"+arch+".deb"), func(w io.Writer) error { return deb.Default.Package(info, w) })
}

// debianVersion orders a version of Go's as Debian orders versions: what comes before a release,
// after a hyphen, is older than it.
func debianVersion(version string) string { return strings.Replace(version, "-", "~", 1) }
