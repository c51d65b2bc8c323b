package inputs

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/onnxfile/onnxtest"
)

// npy is an array as NumPy writes it.
func npy(descr, shape string, data []byte) []byte {
	head := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }\n", descr, shape)
	b := append([]byte("\x93NUMPY\x01\x00"), 0, 0)
	binary.LittleEndian.PutUint16(b[8:], uint16(len(head)))
	return append(append(b, head...), data...)
}

// npz is an archive of arrays.
func npz(t testing.TB, arrays map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for name, data := range arrays {
		f, err := w.Create(name)
		if err == nil {
			_, err = f.Write(data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func spec(name string, d tensor.DType, dims ...int64) tensor.Spec {
	s := tensor.Spec{Name: name, DType: d}
	for _, n := range dims {
		s.Dims = append(s.Dims, tensor.Fixed(n))
	}
	return s
}

func save(t testing.TB, path string, data []byte) string {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o600)); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestEveryTypeOfNumPyIsRead(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		descr string
		data  []byte
		spec  tensor.Spec
		want  tensor.Tensor
	}{
		{"<f4", []byte{0, 0, 128, 63}, spec("x", tensor.Float32, 1), tensor.Of([]int64{1}, []float32{1})},
		{"<i8", []byte{7, 0, 0, 0, 0, 0, 0, 0}, spec("x", tensor.Int64, 1), tensor.Of([]int64{1}, []int64{7})},
		{"|b1", []byte{1}, spec("x", tensor.Bool, 1), tensor.Of([]int64{1}, []bool{true})},
		{"|u1", []byte{200}, spec("x", tensor.Uint8, 1), tensor.Of([]int64{1}, []uint8{200})},
		{"<f2", []byte{0, 0x3c}, spec("x", tensor.Float16, 1), tensor.Tensor{DType: tensor.Float16, Shape: []int64{1}, Data: []byte{0, 0x3c}}},
		{"<c8", make([]byte, 8), spec("x", tensor.Complex64, 1), tensor.Tensor{DType: tensor.Complex64, Shape: []int64{1}, Data: make([]byte, 8)}},
		{"<V2", []byte{0x80, 0x3f}, spec("x", tensor.BFloat16, 1), tensor.Tensor{DType: tensor.BFloat16, Shape: []int64{1}, Data: []byte{0x80, 0x3f}}},
		{"<f1", []byte{0x38}, spec("x", tensor.Float8E4M3FN, 1), tensor.Tensor{DType: tensor.Float8E4M3FN, Shape: []int64{1}, Data: []byte{0x38}}},
		{"|i1", []byte{0xff}, spec("x", tensor.Int4, 1), tensor.Tensor{DType: tensor.Int4, Shape: []int64{1}, Data: []byte{0x0f}}},
		{"<U2", []byte{0xe9, 0, 0, 0, 0, 0, 0, 0}, spec("x", tensor.String, 1), tensor.Tensor{DType: tensor.String, Shape: []int64{1}, Strs: []string{"é"}}},
		{"|S3", []byte("ab\x00"), spec("x", tensor.String, 1), tensor.Tensor{DType: tensor.String, Shape: []int64{1}, Strs: []string{"ab"}}},
	} {
		path := save(t, filepath.Join(t.TempDir(), "x.npz"), npz(t, map[string][]byte{"x.npy": npy(c.descr, "1,", c.data)}))
		sets, err := Read([]string{path}, []tensor.Spec{c.spec}, nil)
		if err != nil {
			t.Errorf("%s: %v", c.descr, err)
			continue
		}
		got := sets[0].In["x"]
		if got.DType != c.want.DType || !slices.Equal(got.Shape, c.want.Shape) || !bytes.Equal(got.Data, c.want.Data) || !slices.Equal(got.Strs, c.want.Strs) {
			t.Errorf("%s: %+v, want %+v", c.descr, got, c.want)
		}
	}
}

func TestFortransOrderIsTurned(t *testing.T) {
	t.Parallel()
	data := npy("|u1", "2, 3", []byte{1, 4, 2, 5, 3, 6})
	data = bytes.Replace(data, []byte("False"), []byte("True "), 1)
	data = bytes.Replace(data, []byte("True , "), []byte("True, "), 1)
	data[8]-- // the header is shorter by one
	left := int64(maxBytes)
	got, err := readNPY(bytes.NewReader(data), int64(len(data)), tensor.Uint8, &left)
	if err != nil || !bytes.Equal(got.Data, []byte{1, 2, 3, 4, 5, 6}) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestHostileArchivesAreRefusedWithoutMemory(t *testing.T) {
	// Not in parallel: what is allocated is measured.
	bomb := func() []byte {
		var b bytes.Buffer
		w := zip.NewWriter(&b)
		f, err := w.CreateRaw(&zip.FileHeader{Name: "x.npy", Method: zip.Deflate, UncompressedSize64: 1 << 40, CompressedSize64: 0})
		if err != nil {
			t.Fatal(err)
		}
		z, err := flate.NewWriter(f, 9)
		if err != nil {
			t.Fatal(err)
		}
		_, err = z.Write(npy("|u1", "1073741824,", make([]byte, 1<<10)))
		if err := errors.Join(err, z.Close(), w.Close()); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}()
	for what, c := range map[string]struct {
		data []byte
		says string
	}{
		"no archive":            {[]byte("PK\x03\x04"), "not an .npz"},
		"a bomb":                {bomb, ""},
		"a promise of much":     {npz(t, map[string][]byte{"x.npy": npy("|u1", "1073741824,", nil)}), "too many for the file"},
		"a promise of some":     {npz(t, map[string][]byte{"x.npy": npy("|u1", "4194304,", nil)}), "needs 4194304 bytes"},
		"much of the same":      {npz(t, map[string][]byte{"x.npy": npy("<i8", "16777216,", make([]byte, 128<<20))}), "too many for the file"},
		"many small strings":    {npz(t, map[string][]byte{"x.npy": npy("|S1", "1048576,", make([]byte, 1<<20))}), "too many for the file"},
		"many small arrays":     {npz(t, map[string][]byte{"x.npy": npy("|u1", "0,", nil), "y.npy": npy("|u1", "1,", []byte{1})}), "no input \"y\""},
		"more than the bound":   {npz(t, map[string][]byte{"x.npy": npy("<f8", "1073741824,", nil)}), "too many for the file"},
		"a shape that wraps":    {npz(t, map[string][]byte{"x.npy": npy("<f4", "4294967296, 4294967296", nil)}), "too large"},
		"a shape of huge width": {npz(t, map[string][]byte{"x.npy": npy("<U999999999", "999999999,", nil)}), "too many for the file"},
		"strings of nothing":    {npz(t, map[string][]byte{"x.npy": npy("<U0", "1073741824,", nil)}), "too many for the file"},
		"few of them":           {npz(t, map[string][]byte{"x.npy": npy("<U0", "2,", nil)}), "without characters"},
		"too little":            {npz(t, map[string][]byte{"x.npy": npy("<f4", "2,", make([]byte, 7))}), "needs 8 bytes"},
		"too much":              {npz(t, map[string][]byte{"x.npy": npy("<f4", "2,", make([]byte, 9))}), "needs 8 bytes"},
		"objects":               {npz(t, map[string][]byte{"x.npy": npy("|O", "1,", make([]byte, 8))}), `type "|O"`},
		"big-endian":            {npz(t, map[string][]byte{"x.npy": npy(">f4", "1,", make([]byte, 4))}), "little-endian"},
		"a negative shape":      {npz(t, map[string][]byte{"x.npy": npy("<f4", "-1,", nil)}), "not understood"},
		"no array":              {npz(t, map[string][]byte{"x.txt": nil}), "not an array"},
		"code for a header":     {npz(t, map[string][]byte{"x.npy": npy("<f4', 'a': __import__('os'), 'b': '", "1,", nil)}), "not understood"},
		"half a character":      {npz(t, map[string][]byte{"x.npy": npy("<U1", "1,", []byte{0, 0xd8, 0, 0})}), "no character"},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := parseNPZ(bytes.NewReader(c.data), int64(len(c.data)), []tensor.Spec{spec("x", tensor.Float32, 1)})
		runtime.ReadMemStats(&after)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", what, err)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
			t.Errorf("%s: %d bytes were allocated for a file of %d", what, n, len(c.data))
		}
	}
}

// pb is a TensorProto with raw data.
func pb(name string, d tensor.DType, data []byte, dims ...int64) []byte {
	var m onnxtest.Message
	for _, n := range dims {
		m = m.Int(1, n)
	}
	m = m.Int(2, int64(d)).Text(8, name)
	return protowire.AppendBytes(protowire.AppendTag(m, 9, protowire.BytesType), data)
}

func TestFilesAndFoldersOfTensorsAreRead(t *testing.T) {
	t.Parallel()
	ins := []tensor.Spec{spec("a", tensor.Uint8, 2), spec("b", tensor.Bool, 1)}
	outs := []tensor.Spec{spec("y", tensor.Uint8, 2), spec("z", tensor.Uint8, 1)}
	dir := t.TempDir()
	a := save(t, filepath.Join(dir, "a.pb"), pb("a", tensor.Uint8, []byte{1, 2}, 2))
	b := save(t, filepath.Join(dir, "b.pb"), pb("b", tensor.Bool, []byte{1}, 1))
	for i := range 2 {
		folder := filepath.Join(dir, "data", fmt.Sprintf("test_data_set_%d", i))
		save(t, filepath.Join(folder, "input_0.pb"), pb("any name", tensor.Uint8, []byte{3, byte(i)}, 2))
		save(t, filepath.Join(folder, "input_1.pb"), pb("", tensor.Bool, []byte{0}, 1))
		save(t, filepath.Join(folder, "output_1.pb"), pb("", tensor.Uint8, []byte{9}, 1))
	}
	sets, err := Read([]string{a, b, filepath.Join(dir, "data")}, ins, outs)
	if err != nil || len(sets) != 3 {
		t.Fatalf("%v, %v", sets, err)
	}
	if s := sets[1]; s.In["a"].Data[1] != 1 || len(s.Want) != 1 || s.Want["z"].Data[0] != 9 {
		t.Errorf("%+v", s)
	}
	if s := sets[2]; s.In["a"].Data[1] != 2 || len(s.In) != 2 || s.Want != nil {
		t.Errorf("%+v", s)
	}
	for what, c := range map[string]struct {
		paths []string
		says  string
	}{
		"a missing input": {[]string{a}, `"b" is missing`},
		"one twice":       {[]string{a, a}, "given by another file already"},
		"no such file":    {[]string{filepath.Join(dir, "none.npz")}, "there is no file"},
		"another kind":    {[]string{save(t, filepath.Join(dir, "x.txt"), nil)}, "neither an .npz"},
		"an empty folder": {[]string{t.TempDir()}, "holds neither input_0.pb"},
		"another name":    {[]string{a, b, save(t, filepath.Join(dir, "c.pb"), pb("c", tensor.Bool, []byte{1}, 1))}, `no input "c"; it has a, b`},
		"another shape":   {[]string{b, save(t, filepath.Join(dir, "d.pb"), pb("a", tensor.Uint8, []byte{1}, 1))}, "the model wants"},
		"half a bool":     {[]string{a, save(t, filepath.Join(dir, "e.pb"), pb("b", tensor.Bool, []byte{2}, 1))}, "neither true nor false"},
		"no tensor":       {[]string{save(t, filepath.Join(dir, "f.pb"), []byte("label"))}, "not a TensorProto"},
	} {
		if _, err := Read(c.paths, ins, outs); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func FuzzNPZ(f *testing.F) {
	f.Add(npz(f, map[string][]byte{"x.npy": npy("<f4", "1,", make([]byte, 4)), "s.npy": npy("<U1", "", make([]byte, 4))}))
	f.Add(npz(f, map[string][]byte{"x.npy": npy("|i1", "2, 2", make([]byte, 4))}))
	ins := []tensor.Spec{spec("x", tensor.Int4, 2, 2)}
	f.Fuzz(func(t *testing.T, data []byte) {
		bag, err := parseNPZ(bytes.NewReader(data), int64(len(data)), ins)
		for name, x := range bag {
			if errCheck := x.Check(); err == nil && errCheck != nil {
				t.Errorf("%q: %v", name, errCheck)
			}
		}
	})
}

func FuzzNPY(f *testing.F) {
	f.Add(npy("<f4", "1,", make([]byte, 4)))
	f.Add(npy("<U1", "", binary.LittleEndian.AppendUint32(nil, math.MaxUint32)))
	f.Fuzz(func(t *testing.T, data []byte) {
		left := int64(1 << 20)
		if x, err := readNPY(bytes.NewReader(data), int64(len(data)), tensor.Int4, &left); err == nil && x.Check() != nil {
			t.Errorf("%v", x)
		}
	})
}

// What may be packed small is read: a mask of ones, and what was not packed at all.
func TestArraysThatPackWellAreRead(t *testing.T) {
	t.Parallel()
	const rows, columns = 512, 512
	ones := bytes.Repeat([]byte{1, 0, 0, 0, 0, 0, 0, 0}, rows*columns)
	data := npz(t, map[string][]byte{"x.npy": npy("<i8", fmt.Sprintf("%d, %d", rows, columns), ones)})
	bag, err := parseNPZ(bytes.NewReader(data), int64(len(data)), []tensor.Spec{spec("x", tensor.Int64, rows, columns)})
	if err != nil || !bytes.Equal(bag["x"].Data, ones) {
		t.Errorf("a mask of %d bytes, packed to %d: %v", len(ones), len(data), err)
	}
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	f, err := w.CreateHeader(&zip.FileHeader{Name: "x.npy", Method: zip.Store})
	if err != nil {
		t.Fatal(err)
	}
	large := make([]byte, 40<<20)
	_, err = f.Write(npy("|u1", fmt.Sprint(len(large), ","), large))
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	if bag, err := parseNPZ(bytes.NewReader(b.Bytes()), int64(b.Len()), []tensor.Spec{spec("x", tensor.Uint8, int64(len(large)))}); err != nil || len(bag["x"].Data) != len(large) {
		t.Errorf("of %d bytes that were not packed: %v", b.Len(), err)
	}
	// Bytes that were changed on the way are found out.
	changed := slices.Clone(b.Bytes())
	changed[len(changed)/2]++
	if _, err := parseNPZ(bytes.NewReader(changed), int64(len(changed)), []tensor.Spec{spec("x", tensor.Uint8, int64(len(large)))}); err == nil {
		t.Error("an archive with a wrong checksum is read")
	}
}
