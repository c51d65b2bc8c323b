package bundle

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/distinfer/distinfer/runtime/tensor"
)

func spec(name string) tensor.Spec {
	return tensor.Spec{Name: name, DType: tensor.Float32, Dims: []tensor.Dim{tensor.Named("batch"), tensor.Fixed(2)}}
}

// fill writes a bundle of two stages, whose files hold the given text.
func fill(t *testing.T, w *Writer, text string) *Manifest {
	t.Helper()
	m := &Manifest{
		Format: Format, Model: Model{Name: "m", SHA256: strings.Repeat("0", 64)},
		Inputs: []tensor.Spec{spec("x"), spec("mask")}, Outputs: []tensor.Spec{spec("y")},
	}
	for i, s := range []Stage{
		{Inputs: []tensor.Spec{spec("x")}, Outputs: []tensor.Spec{spec("h")}, Forward: []string{"mask"}},
		{Inputs: []tensor.Spec{spec("h"), spec("mask")}, Outputs: []tensor.Spec{spec("y")}},
	} {
		f, err := w.WriteFile(fmt.Sprintf("stage-%d.onnx", i), func(to io.Writer) error {
			_, err := fmt.Fprint(to, text, i)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		s.File = f
		m.Stages = append(m.Stages, s)
	}
	f, err := w.WriteFile(ConfigName, func(to io.Writer) error {
		_, err := io.WriteString(to, "{}")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	m.Files = []File{f}
	if err := w.WriteManifest(m); err != nil {
		t.Fatal(err)
	}
	return m
}

func make2(t *testing.T, dir, text string, force bool) *Bundle {
	t.Helper()
	w, err := Create(dir, force)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, w, text)
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	b, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// entries are the names in a folder, hidden ones included.
func entries(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

func TestBundleIsWrittenReadAndReplacedInOneStep(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	dir := filepath.Join(parent, "deep", "stages")
	first := make2(t, dir, "one", false)
	if path, err := first.StagePath(1); err != nil || path != filepath.Join(dir, "stage-1.onnx") {
		t.Errorf("StagePath: %s, %v", path, err)
	}
	if data, err := first.ReadFile(ConfigName); err != nil || string(data) != "{}" {
		t.Errorf("ReadFile: %s, %v", data, err)
	}
	if _, err := first.ReadFile(TokenizerName); !errors.Is(err, ErrNoFile) {
		t.Errorf("a file that is not there: %v", err)
	}
	for _, rank := range []int{-1, 2} {
		if _, err := first.StagePath(rank); err == nil {
			t.Errorf("rank %d was accepted", rank)
		}
	}

	if _, err := Create(dir, false); !errors.As(err, new(*ExistsError)) {
		t.Errorf("an existing bundle without force: %v", err)
	}
	same := make2(t, dir, "one", true)
	if same.ID != first.ID {
		t.Error("the same content has another ID")
	}
	if other := make2(t, dir, "two", true); other.ID == first.ID {
		t.Error("other content has the same ID")
	}
	if got := entries(t, filepath.Dir(dir)); len(got) != 1 {
		t.Errorf("left behind: %v", got)
	}
	if _, err := first.StagePath(0); err == nil || !strings.Contains(err.Error(), "mixed") {
		t.Errorf("a stage of another bundle: %v", err)
	}
}

func TestAbortLeavesNothingAndTheOldBundleInPlace(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	dir := filepath.Join(parent, "stages")
	old := make2(t, dir, "old", false)
	w, err := Create(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, w, "new")
	if err := w.Abort(); err != nil {
		t.Fatal(err)
	}
	if got := entries(t, parent); len(got) != 1 {
		t.Errorf("left behind: %v", got)
	}
	if now, err := Open(dir); err != nil || now.ID != old.ID {
		t.Errorf("the old bundle changed: %v", err)
	}
}

func TestCreateNeverTouchesAFolderThatIsNotABundle(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	keep := filepath.Join(dir, "thesis.txt")
	if err := os.WriteFile(keep, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, force := range []bool{false, true} {
		if _, err := Create(dir, force); err == nil {
			t.Errorf("force %v: accepted", force)
		}
	}
	// A manifest.json of something else, and a bundle with a file of somebody's.
	if err := os.WriteFile(filepath.Join(dir, ManifestName), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(dir, true); err == nil {
		t.Error("a folder with another manifest.json was accepted")
	}
	mine := filepath.Join(t.TempDir(), "stages")
	make2(t, mine, "x", false)
	if err := os.WriteFile(filepath.Join(mine, "notes.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(mine, true); err == nil {
		t.Error("a bundle with another file in it was accepted")
	}
	// An empty folder is as good as none.
	make2(t, t.TempDir(), "x", false)
	if _, err := Create(keep, true); err == nil {
		t.Error("a file was accepted as a bundle's folder")
	}
	if _, err := os.Stat(keep); err != nil {
		t.Error(err)
	}
	// What appears between Create and Commit is not touched either.
	out := filepath.Join(t.TempDir(), "stages")
	w, err := Create(out, true)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, w, "x")
	if err := os.MkdirAll(filepath.Join(out, "mine"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(); err == nil {
		t.Error("a folder filled in the meantime was replaced")
	}
	if err := w.Abort(); err != nil {
		t.Fatal(err)
	}
}

func TestLinksAndMixedFilesAreRefused(t *testing.T) {
	t.Parallel()
	b := make2(t, filepath.Join(t.TempDir(), "stages"), "one", false)
	path := filepath.Join(b.Dir, "stage-0.onnx")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := filepath.Join(t.TempDir(), "secret")
	if err := errors.Join(os.WriteFile(elsewhere, data, 0o600), os.Remove(path), os.Symlink(elsewhere, path)); err != nil {
		t.Fatal(err)
	}
	if _, err := b.StagePath(0); err == nil || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("a symbolic link: %v", err)
	}
	if err := os.WriteFile(filepath.Join(b.Dir, "stage-1.onnx"), []byte("else"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := b.StagePath(1); err == nil || !strings.Contains(err.Error(), "mixed files") {
		t.Errorf("a changed file: %v", err)
	}
	if err := os.WriteFile(filepath.Join(b.Dir, ConfigName), []byte("[]"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := b.ReadFile(ConfigName); err == nil || !strings.Contains(err.Error(), "mixed files") {
		t.Errorf("a changed config: %v", err)
	}
}

// The size is looked at first, so that a file is never read beyond it.
func TestFilesOfAnotherSizeAreNotRead(t *testing.T) {
	t.Parallel()
	b := make2(t, filepath.Join(t.TempDir(), "stages"), "one", false)
	for name, use := range map[string]func() error{
		"stage-0.onnx": func() error { _, err := b.StagePath(0); return err },
		ConfigName:     func() error { _, err := b.ReadFile(ConfigName); return err },
	} {
		// A file that takes no room on the disk and would be read for minutes.
		if err := os.Truncate(filepath.Join(b.Dir, name), 1<<40); err != nil {
			t.Fatal(err)
		}
		if err := use(); err == nil || !strings.Contains(err.Error(), "it has 1099511627776 bytes") || !strings.Contains(err.Error(), "mixed files") {
			t.Errorf("%s is large: %v", name, err)
		}
		if err := os.Truncate(filepath.Join(b.Dir, name), 0); err != nil {
			t.Fatal(err)
		}
		if err := use(); err == nil || !strings.Contains(err.Error(), "it has 0 bytes") {
			t.Errorf("%s is empty: %v", name, err)
		}
	}
	b.Files[0].Bytes = maxTextFile + 1
	if _, err := b.ReadFile(ConfigName); err == nil || !strings.Contains(err.Error(), "larger than 64 MB") {
		t.Errorf("a text file that is declared large: %v", err)
	}
}

func TestNothingButRegularFilesIsOpened(t *testing.T) {
	t.Parallel()
	for what, put := range map[string]func(path string) error{
		"not a regular file": func(path string) error { return unix.Mkfifo(path, 0o600) },
		"is a symbolic link": func(path string) error { return os.Symlink("/dev/zero", path) },
	} {
		b := make2(t, filepath.Join(t.TempDir(), "stages"), "one", false)
		for _, name := range []string{ManifestName, ConfigName, "stage-0.onnx"} {
			path := filepath.Join(b.Dir, name)
			if err := errors.Join(os.Remove(path), put(path)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := b.StagePath(0); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("a stage: %v", err)
		}
		if _, err := b.ReadFile(ConfigName); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("a text file: %v", err)
		}
		if _, err := Open(b.Dir); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("the manifest: %v", err)
		}
	}
	b := make2(t, filepath.Join(t.TempDir(), "stages"), "one", false)
	if err := os.Link(filepath.Join(b.Dir, "stage-1.onnx"), filepath.Join(t.TempDir(), "other")); err != nil {
		t.Fatal(err)
	}
	if _, err := b.StagePath(1); err == nil || !strings.Contains(err.Error(), "hard link") {
		t.Errorf("a hard link: %v", err)
	}
}

func TestAStageThatChangesWhileItIsLoadedIsNoticed(t *testing.T) {
	t.Parallel()
	for what, change := range map[string]func(path string, data []byte) error{
		"written to": func(path string, data []byte) error {
			return os.WriteFile(path, append([]byte("x"), data[1:]...), 0o600)
		},
		"written to, with its time put back": func(path string, data []byte) error {
			info, err := os.Stat(path)
			return errors.Join(err, os.WriteFile(path, data, 0o600), os.Chtimes(path, info.ModTime(), info.ModTime()))
		},
		"another": func(path string, data []byte) error {
			return errors.Join(os.WriteFile(path+"2", data, 0o600), os.Rename(path+"2", path))
		},
		"away for a while": func(path string, data []byte) error {
			return errors.Join(os.Rename(path, path+"2"), os.WriteFile(path, data, 0o600), os.Rename(path+"2", path))
		},
		"gone": func(path string, _ []byte) error { return os.Remove(path) },
	} {
		b := make2(t, filepath.Join(t.TempDir(), "stages"), "one", false)
		files, err := b.CheckStage(0)
		if err != nil {
			t.Fatal(err)
		}
		if err := files.Unchanged(); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(files.Model)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond) // more than a tick of the file system's clock
		if err := change(files.Model, data); err != nil {
			t.Fatal(err)
		}
		if err := files.Unchanged(); err == nil || !strings.Contains(err.Error(), "stage-0.onnx") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestDecodeRefusesWhatItCannotTrust(t *testing.T) {
	t.Parallel()
	w, err := Create(filepath.Join(t.TempDir(), "stages"), false)
	if err != nil {
		t.Fatal(err)
	}
	encoded := func() string {
		b, err := os.ReadFile(filepath.Join(w.Dir(), ManifestName))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	fill(t, w, "x")
	good := encoded()
	if _, err := Decode([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string][3]string{ // what, by what, and what the error says
		"another format":            {`"format": 1`, `"format": 2`},
		"an unknown field":          {`"format": 1`, `"format": 1, "extra": 0`},
		"a field given twice":       {`"format": 1`, `"format": 1, "format": 1`, `duplicate object member name "format"`},
		"a file's hash given twice": {`"bytes": 2`, `"bytes": 2, "bytes": 3`, `duplicate object member name "bytes"`},
		"a dimension given twice":   {`"reference": null`, `"reference": {"batch": 1, "batch": 2}`, `duplicate object member name "batch"`},
		"a field in capitals":       {`"format": 1`, `"format": 1, "Model": null`, `unknown field /Model`},
		"a path":                    {`"stage-0.onnx"`, `"../stage-0.onnx"`},
		"an absolute path":          {`"stage-0.onnx"`, `"/etc/passwd"`},
		"a name twice":              {`"stage-0.onnx"`, `"stage-1.onnx"`},
		"the manifest itself":       {`"stage-0.onnx"`, `"manifest.json"`},
		"a short hash":              {`"sha256": "`, `"sha256": "ab`},
		"a missing forward":         {`"forward": [`, `"forward": ["nothing",`},
		"an unknown dtype":          {`"float32"`, `"float33"`},
		"a negative size":           {`"bytes": 2`, `"bytes": -2`},
		"trailing text":             {"\n}\n", "\n} {}"},
		"a file of another format":  {`"stage-0.onnx"`, `"stage-0.ort"`, `does not end in .onnx`},
		"a stage beyond 2 GiB":      {`"bytes": 2`, `"bytes": 2147483648`, `more than an ONNX file`},
		"a size beyond int64":       {`"bytes": 2`, `"bytes": 9223372036854775808`, `int64`},
		"a negative count":          {`"parameters": 0`, `"parameters": -1`, `is negative`},
		"a negative dimension":      {`"dims": [`, `"dims": [-1,`, `dimension -1`},
		"too many dimensions":       {`"dims": [`, `"dims": [` + strings.Repeat("null,", 63), `65 dimensions`},
		"a long name":               {`"name": "x"`, `"name": "` + strings.Repeat("x", 4097) + `"`, `name of 4097 bytes`},
		"a long name of the model":  {`"name": "m"`, `"name": "` + strings.Repeat("m", 4097) + `"`, "name of the model"},
		"a long reason":             {`"reference": null`, `"reference": null, "rows": {"independent": false, "reason": "` + strings.Repeat("x", 4097) + `"}`, "4097 bytes"},
		"a long position":           {`"reference": null`, `"reference": null, "rewritten": [{"position": "` + strings.Repeat("x", 4097) + `", "nodes": 1, "products": 1}]`, "4097 bytes"},
		"a negative product":        {`"reference": null`, `"reference": null, "rewritten": [{"position": "0", "nodes": 1, "products": -1}]`, "is negative"},
		"a side that is none":       {`"reference": null`, `"reference": null, "rows": {"independent": true, "padding": ["top"]}`, `padding in rows is "top"`},
		"a side given twice":        {`"reference": null`, `"reference": null, "rows": {"independent": true, "padding": ["left", "left"]}`, `padding in rows is "left"`},
		"padding of no batch":       {`"reference": null`, `"reference": null, "rows": {"independent": false, "padding": ["left"]}`, `not independent`},
		"a field of before":         {`"reference": null`, `"reference": null, "batch_dependent": "1 × DynamicQuantizeLinear"`, `split the model again`},
		"a long dimension":          {`"batch"`, `"` + strings.Repeat("x", 4097) + `"`, `name of 4097 bytes`},
		"a long forward":            {`"forward": [`, `"forward": ["` + strings.Repeat("x", 4097) + `",`, `4097 bytes`},
		"dimensions and no rank":    {`"dtype": "float32",`, `"dtype": "float32", "any_rank": true,`, `no known number`},
		"a huge reference":          {`"reference": null`, `"reference": {"batch": 1048577}`, `"batch" is 1048577`},
		"too many stages":           {`"stages": [`, `"stages": [` + strings.Repeat("{},", 1024), `1026 stages`},
		"too many objects":          {`"stages": [`, `"stages": [` + strings.Repeat("{},", 1<<17), `it holds`},
		"too many values":           {`"dims": [`, `"dims": [` + strings.Repeat("1,", 1<<20), `it holds`},
	} {
		changed := strings.Replace(good, change[0], change[1], 1)
		if changed == good {
			t.Fatalf("%s: the manifest holds no %s", what, change[0])
		}
		if what == "a short hash" { // the first is the model's, which is not checked
			changed = strings.ReplaceAll(good, change[0], change[1])
		}
		if _, err := Decode([]byte(changed)); err == nil || !strings.Contains(err.Error(), change[2]) {
			t.Errorf("%s: %.500v", what, err)
		}
	}
	// A field that may be left out is read, and not written when it is empty.
	noted := strings.Replace(good, `"reference": null`, `"reference": null, "rows": {"independent": true, "padding": ["right"], "reason": "why"}`, 1)
	if m, err := Decode([]byte(noted)); err != nil || !reflect.DeepEqual(m.Rows, &Rows{Independent: true, Padding: []string{Right}, Reason: "why"}) {
		t.Errorf("a model whose rows are known: %+v, %v", m, err)
	}
	if strings.Contains(good, `"rows"`) {
		t.Error("a manifest says rows of nothing")
	}
	// What stands in a string is not counted.
	named := strings.Replace(good, `"name": "m"`, `"name": "m", "producer": "`+strings.Repeat(`,{[\"`, 1<<20)+`"`, 1)
	if _, err := Decode([]byte(named)); err != nil {
		t.Errorf("a name with commas and quotes: %.200s", err)
	}
	broken := strings.Replace(good, `"name": "h"`, `"name": "g"`, 1)
	if _, err := Decode([]byte(broken)); err == nil || !strings.Contains(err.Error(), `stage 1 needs "h"`) {
		t.Errorf("stages that do not fit together: %v", err)
	}
	if err := w.Abort(); err != nil {
		t.Fatal(err)
	}
}

func TestOpenSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := Open(filepath.Join(dir, "none")); !errors.As(err, new(*MissingError)) {
		t.Errorf("no folder: %v", err)
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), ManifestName) {
		t.Errorf("no manifest: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"format":1,"stages":[{"file":"stage-0.onnx","sha256":"` + strings.Repeat("0", 64) + `"}]}`))
	f.Add([]byte(`{"format":1}`))
	f.Add([]byte(`{"format":1,"format":1}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Decode(data)
		if err != nil {
			return
		}
		again, err := m.Encode()
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if _, err := Decode(again); err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
	})
}

func TestCheckNoticesEveryChangedMissingAndExtraFile(t *testing.T) {
	t.Parallel()
	b := make2(t, filepath.Join(t.TempDir(), "stages"), "model", false)
	if extra, err := b.Check(); err != nil || len(extra) != 0 {
		t.Fatalf("%v, %v", extra, err)
	}
	if err := os.WriteFile(filepath.Join(b.Dir, "notes.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if extra, err := b.Check(); err != nil || len(extra) != 1 || extra[0] != "notes.txt" {
		t.Errorf("%v, %v", extra, err)
	}
	for _, name := range []string{ConfigName, "stage-0.onnx", "stage-1.onnx"} {
		path := filepath.Join(b.Dir, name)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(data, ' '), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Check(); err == nil || !strings.Contains(err.Error(), name+" is not the file") {
			t.Errorf("%s is changed: %v", name, err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Check(); err == nil || !strings.Contains(err.Error(), name+" is missing") {
			t.Errorf("%s is gone: %v", name, err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
