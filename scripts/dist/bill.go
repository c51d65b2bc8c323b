package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	cyclonedx "github.com/CycloneDX/cyclonedx-go"
)

// bill is the bill of materials, in CycloneDX's JSON: the modules that were compiled in, Go itself,
// ONNX Runtime, and packages of Debian.
func (r *release) bill(info *buildinfo.BuildInfo, arch string, packages []pin) ([]byte, error) {
	library, err := os.ReadFile(filepath.Join(r.root, "scripts", "onnxruntime", "fetch.py"))
	if err != nil {
		return nil, err
	}
	_, after, _ := strings.Cut(string(library), "VERSION = \"")
	runtime, _, ok := strings.Cut(after, "\"")
	if !ok {
		return nil, fmt.Errorf("fetch.py names no version of ONNX Runtime")
	}
	components := []cyclonedx.Component{
		{Type: cyclonedx.ComponentTypeLibrary, Name: "onnxruntime", Version: runtime, PackageURL: "pkg:pypi/onnxruntime@" + runtime, BOMRef: "onnxruntime"},
		{Type: cyclonedx.ComponentTypeLibrary, Name: "std", Version: info.GoVersion, PackageURL: "pkg:golang/std@" + strings.TrimPrefix(info.GoVersion, "go"), BOMRef: "std"},
	}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		components = append(components, cyclonedx.Component{Type: cyclonedx.ComponentTypeLibrary, Name: m.Path, Version: m.Version, PackageURL: "pkg:golang/" + m.Path + "@" + m.Version, BOMRef: m.Path})
	}
	for _, p := range packages {
		url := fmt.Sprintf("pkg:deb/debian/%s@%s?arch=%s&distro=debian-%s", p.name, url.QueryEscape(p.version), p.arch, debianNumber)
		hashes := []cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA256, Value: p.sha256}}
		components = append(components, cyclonedx.Component{Type: cyclonedx.ComponentTypeLibrary, Name: p.name, Version: p.version, PackageURL: url, BOMRef: "deb:" + p.name, Hashes: &hashes})
	}
	bill := cyclonedx.NewBOM()
	bill.Metadata = &cyclonedx.Metadata{
		Timestamp: r.time.Format(time.RFC3339),
		Component: &cyclonedx.Component{Type: cyclonedx.ComponentTypeApplication, Name: "distinfer", Version: r.version, BOMRef: "distinfer", PackageURL: "pkg:golang/" + info.Main.Path + "@v" + r.version + "?goarch=" + arch},
	}
	bill.Components = &components
	var out bytes.Buffer
	err = cyclonedx.NewBOMEncoder(&out, cyclonedx.BOMFileFormatJSON).SetPretty(true).Encode(bill)
	return out.Bytes(), err
}

// sums writes SHA256SUMS, as sha256sum -c reads it.
func (r *release) sums() error {
	entries, err := os.ReadDir(r.out)
	if err != nil {
		return err
	}
	var lines []string
	for _, e := range entries {
		f, err := os.Open(filepath.Join(r.out, e.Name()))
		if err != nil {
			return err
		}
		hash := sha256.New()
		_, err = io.Copy(hash, f)
		_ = f.Close()
		if err != nil {
			return err
		}
		lines = append(lines, hex.EncodeToString(hash.Sum(nil))+"  "+e.Name()+"\n")
		fmt.Print(lines[len(lines)-1])
	}
	slices.Sort(lines)
	return os.WriteFile(filepath.Join(r.out, "SHA256SUMS"), []byte(strings.Join(lines, "")), 0o644)
}
