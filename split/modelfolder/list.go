package modelfolder

import (
	"cmp"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// What is looked for below a folder: files this deep, among this many.
const (
	maxDepth   = 3
	maxEntries = 20_000
)

// list lists the ONNX files of a folder and of those in it, relative to it, the one to take first.
// Hidden folders and links to folders are passed over.
func list(dir string) ([]string, error) {
	var files []string
	seen := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if path == dir {
			return err
		}
		if seen++; seen > maxEntries {
			return fmt.Errorf("%s holds more than %d files; give the model file itself", dir, maxEntries)
		}
		name, errRel := filepath.Rel(dir, path)
		switch {
		case err != nil || errRel != nil:
			return nil //nolint:nilerr // what cannot be read is not the model
		case d.IsDir():
			if strings.HasPrefix(d.Name(), ".") || strings.Count(name, string(filepath.Separator)) >= maxDepth-1 {
				return fs.SkipDir
			}
		case filepath.Ext(name) == ".onnx":
			files = append(files, name)
		}
		return nil
	})
	slices.SortFunc(files, Compare)
	return files, err
}

// order are names of files without their ending; the first that is there is taken. Exact variants
// come before those that round, an encoder before other parts, and a decoder, which reads no texts
// by itself, last.
var order = []*regexp.Regexp{
	regexp.MustCompile(`^model$`),
	regexp.MustCompile(`^model_(O[123]|optimized|fp32)$`),
	regexp.MustCompile(`^model_(O4|bf16|fp16|float16)$`),
	regexp.MustCompile(`^model_(quantized|u?int8|qu?int8.*)$`),
	regexp.MustCompile(`^model([_.-].*)?$`),
	regexp.MustCompile(`^encoder_model$`),
	regexp.MustCompile(`^encoder_model[_.-].*$`),
	regexp.MustCompile(`^(|[^d].*|d[^e].*|de[^c].*)$`), // any that does not begin with dec
}

// Compare orders ONNX files, given by their paths in a folder, by which is rather the model: by
// name, and of one name the file in the folder itself, then that in onnx/, then others by path.
func Compare(a, b string) int {
	return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(depth(a), depth(b)), cmp.Compare(a, b))
}

func rank(file string) int {
	base := strings.TrimSuffix(filepath.Base(file), ".onnx")
	i := slices.IndexFunc(order, func(r *regexp.Regexp) bool { return r.MatchString(base) })
	if i < 0 {
		return len(order)
	}
	return i
}

// depth is twice the number of folders, and for onnx/ one less.
func depth(file string) int {
	n := 2 * strings.Count(file, string(filepath.Separator))
	if filepath.Dir(file) == "onnx" {
		n--
	}
	return n
}
