package main

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// wheelRequires is the range of ONNX Runtime that the program works with: from the first release
// that has the C API it is compiled for.
const wheelRequires = "onnxruntime>=1.24,<2"

// wheel writes the Python package: the program, a command that starts it, and a client. ONNX Runtime
// is that of the package onnxruntime.
func (r *release) wheel(arch string, p *parts, bill []byte) error {
	version, err := pythonVersion(r.version)
	if err != nil {
		return err
	}
	platform := "manylinux_2_28_" + arches[arch]
	info := "distinfer-" + version + ".dist-info"
	files, err := under(filepath.Join(r.root, "deploy/python/distinfer"), "distinfer")
	if err != nil {
		return err
	}
	files = slices.DeleteFunc(files, func(f file) bool { return strings.Contains(f.path, "__pycache__") })
	files = append(files, place("distinfer/bin", p.program))
	metadata := wheelMetadata(version)
	licences := append([]file{{"LICENSE", filepath.Join(r.root, "LICENSE"), 0o644}}, p.licences...)
	for _, f := range licences {
		// ONNX Runtime is a package of its own here, with its own notices.
		if !strings.HasPrefix(f.path, "onnxruntime/") {
			files = append(files, place(info+"/licenses", f))
			metadata += "License-File: " + f.path + "\n"
		}
	}
	readme, err := os.ReadFile(filepath.Join(r.root, "deploy/python/README.md"))
	if err != nil {
		return err
	}
	made := map[string]string{
		info + "/METADATA":                 metadata + "\n" + string(readme),
		info + "/WHEEL":                    "Wheel-Version: 1.0\nGenerator: distinfer\nRoot-Is-Purelib: false\nTag: py3-none-" + platform + "\n",
		info + "/entry_points.txt":         "[console_scripts]\ndistinfer = distinfer.__main__:main\n",
		info + "/sboms/distinfer.cdx.json": string(bill),
	}
	return write(filepath.Join(r.out, "distinfer-"+version+"-py3-none-"+platform+".whl"), func(w io.Writer) error {
		return r.packWheel(w, info, files, made)
	})
}

// wheelMetadata is what installers read.
func wheelMetadata(version string) string {
	lines := []string{
		"Metadata-Version: 2.4", "Name: distinfer", "Version: " + version,
		"Summary: Serve an ONNX model across machines", "License-Expression: Apache-2.0",
		"Author: The distinfer authors", "Requires-Python: >=3.10", "Requires-Dist: " + wheelRequires,
		"Classifier: Operating System :: POSIX :: Linux", "Classifier: Typing :: Typed",
		"Project-URL: Homepage, " + homepage, "Description-Content-Type: text/markdown",
	}
	return strings.Join(lines, "\n") + "\n"
}

// packWheel writes the files, and last the list of their hashes.
func (r *release) packWheel(w io.Writer, info string, files []file, made map[string]string) error {
	z := zip.NewWriter(w)
	record := info + "/RECORD"
	var lines []string
	add := func(name string, mode os.FileMode, content []byte) error {
		h := &zip.FileHeader{Name: name, Method: zip.Deflate, Modified: r.time}
		h.SetMode(mode)
		f, err := z.CreateHeader(h)
		if err != nil {
			return err
		}
		if name != record {
			sum := sha256.Sum256(content)
			lines = append(lines, fmt.Sprintf("%s,sha256=%s,%d\n", name, base64.RawURLEncoding.EncodeToString(sum[:]), len(content)))
		}
		_, err = f.Write(content)
		return err
	}
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.path, b.path) })
	for _, f := range files {
		content, err := os.ReadFile(f.source)
		if err != nil {
			return err
		}
		if err := add(f.path, f.mode, content); err != nil {
			return err
		}
	}
	for _, name := range []string{"/METADATA", "/WHEEL", "/entry_points.txt", "/sboms/distinfer.cdx.json"} {
		if err := add(info+name, 0o644, []byte(made[info+name])); err != nil {
			return err
		}
	}
	err := add(record, 0o644, []byte(strings.Join(lines, "")+record+",,\n"))
	return errors.Join(err, z.Close())
}

var (
	released = regexp.MustCompile(`^\d+\.\d+\.\d+$`)
	early    = regexp.MustCompile(`^(\d+\.\d+\.\d+)-(alpha|beta|rc)\.?(\d+)$`)
	commit   = regexp.MustCompile(`^(\d+\.\d+\.\d+)-(?:[0-9a-z.]+\.)?(\d{14})-([0-9a-f]{12})(\.dirty)?$`)
)

// pythonVersion is a version of Go's as Python has it: 0.1.0-rc.1 is 0.1.0rc1, and a commit after a
// release is a development version of the next.
func pythonVersion(version string) (string, error) {
	if released.MatchString(version) {
		return version, nil
	}
	if m := early.FindStringSubmatch(version); m != nil {
		return m[1] + map[string]string{"alpha": "a", "beta": "b", "rc": "rc"}[m[2]] + m[3], nil
	}
	if m := commit.FindStringSubmatch(version); m != nil {
		return m[1] + ".dev" + m[2] + "+" + m[3] + m[4], nil
	}
	return "", fmt.Errorf("the version %s is none that Python has: tag v1.2.3 or v1.2.3-rc.1", version)
}
