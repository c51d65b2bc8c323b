package ort

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
)

// An Installation is how this program came to where it lies, which says where its ONNX Runtime is.
type Installation string

// The installations.
const (
	Archive  Installation = "archive"  // unpacked: the library is in lib/ beside the program
	Image    Installation = "image"    // of containers: as a package, with the image's bill
	Package  Installation = "package"  // of the system: in lib/distinfer beside bin/
	Wheel    Installation = "wheel"    // of Python: in the onnxruntime package beside this one
	Checkout Installation = "checkout" // of the source: in the folder of SetupDir
	Unknown  Installation = "unknown"  // a program by itself
)

// An installed is an Installation with the place where the library is.
type installed struct {
	as    Installation
	place string
	sign  string // a file or folder that is there when the program was installed so
	bill  string // a pattern of the file with the bill of materials
}

// InstalledAs tells how this program was installed.
func InstalledAs() Installation {
	as, _ := find()
	return as
}

// BillOfMaterials is the file that lists what this program consists of, which comes with every
// release; empty when there is none.
func BillOfMaterials() string {
	_, bill := find()
	if found, err := filepath.Glob(bill); err == nil && len(found) > 0 {
		return slices.Max(found)
	}
	return ""
}

// find tells how this program was installed, and the pattern of its bill.
func find() (as Installation, bill string) {
	exe, err := executable()
	if err != nil {
		return Unknown, ""
	}
	for _, at := range installationsOf(exe) {
		if _, err := os.Stat(at.sign); err == nil {
			return at.as, at.bill
		}
	}
	return Unknown, ""
}

// installationsOf lists how the program at exe may have been installed, in the order in which the
// library is searched.
func installationsOf(exe string) []installed {
	name := sharedLibrary("")
	folder := filepath.Dir(exe)
	above := filepath.Dir(folder)
	capi := filepath.Join(filepath.Dir(above), "onnxruntime", "capi")
	wheel := filepath.Join(capi, name)
	if found, err := filepath.Glob(filepath.Join(capi, sharedLibrary(".*"))); err == nil && len(found) > 0 {
		wheel = slices.Max(found)
	}
	const bill = "distinfer.cdx.json"
	lib, share := filepath.Join(above, "lib", "distinfer"), filepath.Join(above, "share")
	image := filepath.Join(share, "distinfer", "image.cdx.json")
	return []installed{
		{Archive, filepath.Join(folder, "lib", name), filepath.Join(folder, "lib"), filepath.Join(folder, bill)},
		{Image, filepath.Join(lib, name), image, image},
		{Package, filepath.Join(lib, name), lib, filepath.Join(share, "doc", "distinfer", bill)},
		{Wheel, wheel, filepath.Join(above, "__init__.py"), filepath.Join(filepath.Dir(above), "distinfer-*.dist-info", "sboms", bill)},
		{Checkout, filepath.Join(above, SetupDir, name), filepath.Join(above, "go.mod"), ""},
	}
}

// sharedLibrary is the library's file name on this system, with a version such as ".1".
func sharedLibrary(version string) string {
	if runtime.GOOS == "darwin" {
		return "libonnxruntime" + version + ".dylib"
	}
	return "libonnxruntime.so" + version
}

// executable is this program's file, links resolved.
func executable() (string, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(exe); err == nil {
		exe = real
	}
	return exe, nil
}
