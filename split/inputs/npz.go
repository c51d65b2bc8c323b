package inputs

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/distinfer/distinfer/runtime/tensor"
)

// maxHeader bounds the header of one array, in bytes; NumPy's default limit is smaller.
const maxHeader = 64 << 10

func readNPZ(path string, ins []tensor.Spec) (tensor.Bag, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	return parseNPZ(f, info.Size(), ins)
}

// parseNPZ reads an archive of arrays. The types that NumPy does not have are
// told by the model's inputs.
func parseNPZ(r io.ReaderAt, size int64, ins []tensor.Spec) (tensor.Bag, error) {
	archive, err := zip.NewReader(r, size)
	if err != nil {
		return nil, fmt.Errorf("not an .npz archive: %w", err)
	}
	bag := tensor.Bag{}
	left := mostBytes(size)
	for _, entry := range archive.File {
		name, ok := strings.CutSuffix(entry.Name, ".npy")
		if !ok {
			return nil, fmt.Errorf("entry %q is not an array of NumPy", entry.Name)
		}
		if _, twice := bag[name]; twice {
			return nil, fmt.Errorf("array %q is there twice", name)
		}
		spec, known := tensor.Find(ins, name)
		if !known {
			return nil, unknown(name, ins)
		}
		t, err := readEntry(entry, spec.DType, &left)
		if err != nil {
			return nil, fmt.Errorf("array %q: %w", name, err)
		}
		bag[name] = t
	}
	return bag, nil
}

// What an archive may unpack to: this many times its size, or this many bytes if that is
// more, since arrays that are nearly all the same may be packed very small.
const (
	maxUnpacked   = 16
	leastUnpacked = 16 << 20
)

// mostBytes is how many bytes the arrays of an archive may take in memory.
func mostBytes(size int64) int64 {
	return min(maxBytes, max(leastUnpacked, maxUnpacked*min(size, maxBytes)))
}

func readEntry(entry *zip.File, want tensor.DType, left *int64) (_ tensor.Tensor, err error) {
	r, err := entry.Open()
	if err != nil {
		return tensor.Tensor{}, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if entry.UncompressedSize64 > maxBytes {
		return tensor.Tensor{}, fmt.Errorf("%d bytes, more than %d GB", entry.UncompressedSize64, maxBytes>>30)
	}
	return readNPY(r, int64(entry.UncompressedSize64), want, left)
}

// header is what NumPy writes before an array, always in this order.
var header = regexp.MustCompile(`^\{'descr': '([^']*)', 'fortran_order': (True|False), 'shape': \(([0-9, ]*)\), \} *\n$`)

// stringOverhead is what a string takes beside its bytes: its header, and the least that is
// allocated.
const stringOverhead = 32

// readNPY reads an array of a declared number of bytes. left is how many bytes of memory it may
// take; they are counted before they are allocated.
func readNPY(r io.Reader, there int64, want tensor.DType, left *int64) (tensor.Tensor, error) {
	var none tensor.Tensor
	a, err := readHeader(r, want)
	if err != nil {
		return none, err
	}
	elements, err := tensor.Elements(a.shape)
	if err != nil {
		return none, err
	}
	each := a.memory()
	if elements > *left/each {
		return none, fmt.Errorf("%d elements of %s, which are too many for the file: its arrays may take %d times its size in memory, or %d MB; save them with numpy.savez, without compression, or fewer of them",
			elements, a.descr, maxUnpacked, leastUnpacked>>20)
	}
	*left -= elements * each
	data, err := a.readData(r, there, elements*a.size)
	if err != nil {
		return none, err
	}
	t := tensor.Tensor{DType: a.dtype, Shape: a.shape}
	switch {
	case a.strings != nil:
		if elements > 0 && a.size == 0 { // of no characters: the file is no bound for how many
			return none, errors.New("strings without characters")
		}
		for ; len(data) > 0; data = data[a.size:] {
			s, err := a.strings(data[:a.size])
			if err != nil {
				return none, err
			}
			t.Strs = append(t.Strs, s)
		}
	case a.pack:
		t.Data = packed(data)
	case len(data) > 0:
		t.Data = data
	}
	return t, t.Check()
}

// readHeader reads what stands before the elements of an array.
func readHeader(r io.Reader, want tensor.DType) (array, error) {
	var none array
	magic := make([]byte, 8)
	if _, err := io.ReadFull(r, magic); err != nil || string(magic[:6]) != "\x93NUMPY" {
		return none, errors.New("not an array of NumPy")
	}
	length := make([]byte, 2)
	if magic[6] > 1 {
		length = make([]byte, 4)
	}
	if _, err := io.ReadFull(r, length); err != nil {
		return none, err
	}
	n := binary.LittleEndian.Uint32(append(length, 0, 0)[:4])
	if n > maxHeader {
		return none, fmt.Errorf("a header of %d bytes, more than %d", n, maxHeader)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		return none, err
	}
	m := header.FindSubmatch(text)
	if m == nil {
		return none, fmt.Errorf("a header that is not understood: %.200q", text)
	}
	shape, err := parseShape(string(m[3]))
	if err != nil {
		return none, err
	}
	a, err := parseDescr(string(m[1]), want)
	a.descr, a.shape, a.turned = string(m[1]), shape, string(m[2]) == "True" && len(shape) > 1
	return a, err
}

// readData reads the elements, which take size bytes of the file, and nothing after them.
func (a array) readData(r io.Reader, there, size int64) ([]byte, error) {
	other := fmt.Errorf("shape %v of %s needs %d bytes, there are others", a.shape, a.descr, size)
	if there < size {
		return nil, other
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(r, data); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, other
	} else if err != nil {
		return nil, err
	}
	switch n, err := r.Read(make([]byte, 1)); { // also for the checksum
	case n > 0:
		return nil, other
	case !errors.Is(err, io.EOF):
		return nil, err
	}
	if a.turned {
		data = rowMajor(data, a.shape, a.size)
	}
	return data, nil
}

// parseShape reads such as "2, 3" and "2,".
func parseShape(s string) ([]int64, error) {
	shape := []int64{}
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		n, err := strconv.ParseInt(part, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("shape (%s): %w", s, err)
		}
		shape = append(shape, n)
	}
	return shape, nil
}

// An array is how elements lie in the file.
type array struct {
	descr   string // NumPy's name of the type
	shape   []int64
	turned  bool // in Fortran's order
	dtype   tensor.DType
	size    int64                        // bytes of one
	pack    bool                         // one a byte, where ONNX has two
	strings func([]byte) (string, error) // for strings
}

// memory is how many bytes an element takes at most while it is read.
func (a array) memory() int64 {
	switch {
	case a.strings != nil:
		return 2*a.size + stringOverhead
	case a.turned || a.pack:
		return 2 * max(a.size, 1)
	}
	return max(a.size, 1)
}

// parseDescr reads a type of NumPy, such as "<f4". Types that NumPy does not have
// are saved as integers or as bare bytes of their size; want says what they are.
func parseDescr(descr string, want tensor.DType) (array, error) {
	var kind array
	if len(descr) < 3 || strings.IndexByte("<|=", descr[0]) < 0 {
		return kind, fmt.Errorf("the type %q is not little-endian, or not known", descr)
	}
	size, err := strconv.ParseInt(descr[2:], 10, 32)
	if err != nil || size < 0 {
		return kind, fmt.Errorf("the type %q is not known", descr)
	}
	kind.size = size
	switch descr[1] {
	case 'U':
		kind.size *= 4
		kind.dtype, kind.strings = tensor.String, fromUTF32
		return kind, nil
	case 'S':
		kind.dtype, kind.strings = tensor.String, func(b []byte) (string, error) { return string(bytes.TrimRight(b, "\x00")), nil }
		return kind, nil
	}
	kind.dtype = map[string]tensor.DType{
		"b1": tensor.Bool, "f2": tensor.Float16, "f4": tensor.Float32, "f8": tensor.Float64,
		"i1": tensor.Int8, "i2": tensor.Int16, "i4": tensor.Int32, "i8": tensor.Int64,
		"u1": tensor.Uint8, "u2": tensor.Uint16, "u4": tensor.Uint32, "u8": tensor.Uint64,
		"c8": tensor.Complex64, "c16": tensor.Complex128,
	}[descr[1:]]
	bare := strings.IndexByte("uiVf", descr[1]) >= 0
	switch want {
	case tensor.BFloat16:
		if bare && kind.size == 2 && kind.dtype != tensor.Float16 {
			kind.dtype = want
		}
	case tensor.Float8E4M3FN, tensor.Float8E4M3FNUZ, tensor.Float8E5M2, tensor.Float8E5M2FNUZ:
		if bare && kind.size == 1 {
			kind.dtype = want
		}
	case tensor.Int4, tensor.Uint4, tensor.Float4E2M1:
		if bare && kind.size == 1 {
			kind.dtype, kind.pack = want, true
		}
	}
	if kind.dtype == tensor.Undefined {
		return kind, fmt.Errorf("the type %q is not known", descr)
	}
	return kind, nil
}

// fromUTF32 reads a string as NumPy stores it, padded with zeros.
func fromUTF32(b []byte) (string, error) {
	var s []byte
	for ; len(b) >= 4; b = b[4:] {
		r := binary.LittleEndian.Uint32(b)
		if r > utf8.MaxRune || !utf8.ValidRune(rune(r)) {
			return "", fmt.Errorf("a string holds %#x, which is no character", r)
		}
		s = utf8.AppendRune(s, rune(r))
	}
	return strings.TrimRight(string(s), "\x00"), nil
}

// rowMajor brings elements that lie in Fortran's order into C's.
func rowMajor(data []byte, shape []int64, size int64) []byte {
	out := make([]byte, 0, len(data))
	index := make([]int64, len(shape))
	for len(out) < len(data) {
		at, stride := int64(0), size
		for i, n := range shape {
			at += index[i] * stride
			stride *= n
		}
		out = append(out, data[at:at+size]...)
		for i := len(shape) - 1; i >= 0; i-- {
			if index[i]++; index[i] < shape[i] {
				break
			}
			index[i] = 0
		}
	}
	return out
}

// packed puts two elements of four bits into a byte, the first in the lower half.
func packed(data []byte) []byte {
	out := make([]byte, (len(data)+1)/2)
	for i, b := range data {
		out[i/2] |= (b & 0xf) << (4 * (i % 2))
	}
	return out
}
