package main

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// beginning is the time of files in layers that are the same in many releases.
var beginning = time.Unix(0, 0).UTC()

// imageBill is where the image has its bill of materials; that the file is there tells the program
// that it runs in the image.
const imageBill = "usr/share/distinfer/image.cdx.json"

// image is the image for one architecture: Debian's libraries, ONNX Runtime, and the program, each
// in a layer of its own, so that a new release shares the lower ones with the last.
func (r *release) image(ctx context.Context, arch string, p *parts) (v1.Image, []byte, error) {
	from := debian{arch: arch, mirror: r.mirror, folder: r.debianFolder()}
	pins, err := from.packages(ctx)
	if err != nil {
		return nil, nil, err
	}
	base, err := from.base(ctx, pins)
	if err != nil {
		return nil, nil, err
	}
	bill, err := r.bill(p.info, arch, pins)
	if err != nil {
		return nil, nil, err
	}
	library, program := tree{}, tree{}
	program.write(imageBill, string(bill))
	err = errors.Join(
		library.copy("usr/lib/distinfer", p.library),
		program.copy("usr/bin", p.program),
		program.copy("usr/share/doc/distinfer", p.documents...),
		program.copy("usr/share/doc/distinfer/licences", p.licences...),
	)
	if err != nil {
		return nil, nil, err
	}
	image, err := mutate.ConfigFile(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON), r.imageConfig(arch))
	if err != nil {
		return nil, nil, err
	}
	for _, l := range []struct {
		of   tree
		at   time.Time
		what string
	}{{base, beginning, "libraries of Debian " + debianNumber}, {library, beginning, "ONNX Runtime"}, {program, r.time, "distinfer " + r.version}} {
		layer, err := l.of.layer(l.at)
		if err != nil {
			return nil, nil, err
		}
		history := v1.History{Created: v1.Time{Time: l.at}, CreatedBy: "make dist", Comment: l.what}
		if image, err = mutate.Append(image, mutate.Addendum{Layer: layer, History: history, MediaType: types.OCILayer}); err != nil {
			return nil, nil, err
		}
	}
	return mutate.Annotations(image, r.labels()).(v1.Image), bill, nil
}

// imageConfig says how the image runs: one command, as a user that owns nothing but its folder.
func (r *release) imageConfig(arch string) *v1.ConfigFile {
	return &v1.ConfigFile{
		Architecture: arch, OS: "linux", Created: v1.Time{Time: r.time}, Author: "The distinfer authors",
		RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{
			Entrypoint: []string{"/usr/bin/distinfer"}, User: "65532:65532", WorkingDir: "/var/lib/distinfer",
			Env:          []string{"PATH=/usr/bin", "HOME=/var/lib/distinfer"},
			ExposedPorts: map[string]struct{}{"2222/tcp": {}, "8008/tcp": {}},
			Labels:       r.labels(), StopSignal: "SIGTERM",
		},
	}
}

// labels describe the image, by the names that OCI gives.
func (r *release) labels() map[string]string {
	const prefix = "org.opencontainers.image."
	return map[string]string{
		prefix + "title": "distinfer", prefix + "description": "Serve an ONNX model across machines",
		prefix + "version": r.version, prefix + "revision": r.commit, prefix + "created": r.time.Format(time.RFC3339),
		prefix + "url": homepage, prefix + "source": homepage, prefix + "documentation": homepage + "/tree/main/docs",
		prefix + "licenses": "Apache-2.0", prefix + "vendor": "The distinfer authors",
	}
}

// index writes the images of all architectures as one: a tar of OCI's layout, which podman,
// containerd, skopeo and newer Dockers load. For older ones it also says what they look for.
func (r *release) index(name, as string, images map[string]v1.Image) error {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arch := range sortedArches() {
		if image := images[arch]; image != nil {
			platform := &v1.Platform{OS: "linux", Architecture: arch}
			index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: platform}})
		}
	}
	index = mutate.Annotations(index, r.labels()).(v1.ImageIndex)
	folder, err := os.MkdirTemp("", "distinfer-image-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	at, err := layout.Write(folder, empty.Index)
	if err != nil {
		return err
	}
	names := layout.WithAnnotations(map[string]string{"io.containerd.image.name": as, "org.opencontainers.image.ref.name": r.tag()})
	if err := errors.Join(at.AppendIndex(index, names), dockerManifest(folder, as, images)); err != nil {
		return err
	}
	return write(filepath.Join(r.out, name), func(w io.Writer) error { return r.packLayout(w, folder) })
}

// dockerManifest writes manifest.json, by which Docker before 25 finds an image.
func dockerManifest(folder, as string, images map[string]v1.Image) error {
	image := images["amd64"]
	if image == nil {
		return nil
	}
	config, err := image.ConfigName()
	if err != nil {
		return err
	}
	layers, err := image.Layers()
	if err != nil {
		return err
	}
	blob := func(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }
	var paths []string
	for _, l := range layers {
		digest, err := l.Digest()
		if err != nil {
			return err
		}
		paths = append(paths, blob(digest))
	}
	content, err := json.Marshal([]map[string]any{{"Config": blob(config), "RepoTags": []string{as}, "Layers": paths}})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, "manifest.json"), content, 0o644)
}

// packLayout packs a folder, its files in the order of their names.
func (r *release) packLayout(w io.Writer, folder string) error {
	t := tar.NewWriter(w)
	err := filepath.WalkDir(folder, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		inside, err := filepath.Rel(folder, path)
		if err != nil {
			return err
		}
		return r.add(t, file{filepath.ToSlash(inside), path, 0o644})
	})
	return errors.Join(err, t.Close())
}
