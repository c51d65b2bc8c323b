package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// A tree is the files of a layer, by path without a leading slash. Each has its folders.
type tree map[string]node

type node struct {
	header  tar.Header
	content []byte
}

// put adds a file or, without a type, a folder.
func (t tree) put(name string, h tar.Header, content []byte) {
	name = path.Clean(strings.TrimPrefix(name, "/"))
	if name == "." {
		return
	}
	if _, ok := t[path.Dir(name)]; !ok {
		t.folder(path.Dir(name), 0o755)
	}
	h.Name, h.Size = name, int64(len(content))
	if h.Typeflag == tar.TypeDir {
		h.Name += "/"
	}
	t[name] = node{h, content}
}

func (t tree) folder(name string, mode int64) {
	t.put(name, tar.Header{Typeflag: tar.TypeDir, Mode: mode}, nil)
}

func (t tree) write(name, content string) {
	t.put(name, tar.Header{Typeflag: tar.TypeReg, Mode: 0o644}, []byte(content))
}

// copy puts files into a folder.
func (t tree) copy(folder string, of ...file) error {
	for _, f := range of {
		content, err := os.ReadFile(f.source)
		if err != nil {
			return err
		}
		t.put(path.Join(folder, f.path), tar.Header{Typeflag: tar.TypeReg, Mode: int64(f.mode)}, content)
	}
	return nil
}

// layer packs a tree. All files have one time, so that a layer changes with what it holds only.
func (t tree) layer(at time.Time) (v1.Layer, error) {
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	for _, name := range slices.Sorted(maps.Keys(t)) {
		n := t[name]
		n.header.ModTime, n.header.Format = at, tar.FormatPAX
		if err := w.WriteHeader(&n.header); err != nil {
			return nil, err
		}
		if _, err := w.Write(n.content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(packed.Bytes())), nil }
	return tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching, tarball.WithCompressionLevel(9))
}

// wanted are what the image takes of Debian's packages: libraries, certificates, time zones and
// licences. Conversions between character sets, texts in other languages and tools stay behind.
var wanted = regexp.MustCompile(`^(bin|sbin|lib|lib64|etc/os-release|etc/debian_version|etc/host\.conf|usr/lib/os-release` +
	`|usr/lib64/[^/]+|usr/lib/[^/]+\.so[.0-9]*|usr/lib/[^/]+-linux-gnu/[^/]+` +
	`|usr/share/doc/[^/]+/copyright|usr/share/common-licenses/.+|usr/share/ca-certificates/.+|usr/share/zoneinfo/.+)$`)

// base is the lowest layer: C and C++ libraries, certificates, time zones, and a user.
func (d *debian) base(ctx context.Context, pins []pin) (tree, error) {
	t := tree{}
	for _, p := range pins {
		if err := d.unpack(ctx, t, p); err != nil {
			return nil, err
		}
	}
	var bundle bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(t)) {
		if strings.HasPrefix(name, "usr/share/ca-certificates/") && strings.HasSuffix(name, ".crt") {
			bundle.Write(t[name].content)
		}
		if strings.HasPrefix(name, "usr/share/ca-certificates/") {
			delete(t, name)
		}
	}
	if bundle.Len() == 0 {
		return nil, errors.New("ca-certificates holds no certificates")
	}
	t.write("etc/ssl/certs/ca-certificates.crt", bundle.String())
	t.write("etc/passwd", "root:x:0:0:root:/root:/usr/sbin/nologin\ndistinfer:x:65532:65532:distinfer:/var/lib/distinfer:/usr/sbin/nologin\n")
	t.write("etc/group", "root:x:0:\ndistinfer:x:65532:\n")
	t.write("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n")
	t.write("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n")
	t.folder("tmp", 0o1777)
	t.put("var/lib/distinfer", tar.Header{Typeflag: tar.TypeDir, Mode: 0o755, Uid: 65532, Gid: 65532}, nil)
	return t, nil
}

// unpack adds what the image needs of a package, and the entry by which scanners know it.
func (d *debian) unpack(ctx context.Context, t tree, p pin) error {
	name := filepath.Join(d.folder, p.file())
	control, err := command(ctx, d.folder, nil, "dpkg-deb", "--field", name)
	if err != nil {
		return err
	}
	t.write("var/lib/dpkg/status.d/"+p.name, string(control))
	content, err := command(ctx, d.folder, nil, "dpkg-deb", "--fsys-tarfile", name)
	if err != nil {
		return err
	}
	files := tar.NewReader(bytes.NewReader(content))
	for {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		at := path.Clean(h.Name)
		documentation := strings.HasPrefix(at, "usr/share/doc/") && h.Typeflag == tar.TypeSymlink
		if h.Typeflag == tar.TypeDir || !documentation && !wanted.MatchString(at) {
			continue
		}
		body, err := io.ReadAll(files)
		if err != nil {
			return err
		}
		link := h.Linkname
		if h.Typeflag == tar.TypeLink {
			link = path.Clean(link)
		}
		t.put(at, tar.Header{Typeflag: h.Typeflag, Mode: h.Mode, Linkname: link}, body)
	}
}
