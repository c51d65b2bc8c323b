package textfile

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const (
	// maxRatio is how many times larger than compressed a file may be, once it has freeExpanded.
	// Texts become 3 to 20 times as large, and logs that repeat themselves 100 times.
	maxRatio     = 200
	freeExpanded = 64 << 20

	// maxWindow is the memory of a zstd frame: that of the levels up to 19, and of --long.
	maxWindow = 128 << 20
)

// kinds are what files of other kinds begin with.
var kinds = []struct {
	magic    string
	is, does string
}{
	{"PK\x03\x04", "an Excel workbook (.xlsx) or another zip archive", "save the sheet as CSV, or unpack the archive"},
	{"PK\x05\x06", "an empty zip archive", "name a file of texts"},
	{"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel or Word file", "save it as CSV or as plain text"},
	{"%PDF", "a PDF", "take the text out first, as `pdftotext` does"},
	{"{\\rtf", "a rich-text file", "save it as plain text"},
	{"PAR1", "a Parquet file", "convert it: python -c 'import sys, pandas; pandas.read_parquet(sys.argv[1]).to_json(sys.argv[2], orient=\"records\", lines=True, force_ascii=False)' FILE.parquet FILE.jsonl"},
	{"ARROW1", "an Arrow file", "convert it to JSON lines or CSV"},
	{"\x89PNG", "a picture", "name a file of texts"},
	{"\xff\xd8\xff", "a picture", "name a file of texts"},
	{"GIF8", "a picture", "name a file of texts"},
	{"\x7fELF", "a program", "name a file of texts"},
	{"SQLite format 3\x00", "an SQLite database", "export a table as CSV"},
	{"BZh", "compressed with bzip2", "expand it first: bunzip2"},
	{"\xfd7zXZ\x00", "compressed with xz", "expand it first: unxz"},
	{"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it first"},
	{"Rar!\x1a\x07", "a rar archive", "unpack it first"},
	{"\x04\x22\x4d\x18", "compressed with lz4", "expand it first: unlz4"},
	{"\xff\xfe\x00\x00", "UTF-32", "save it as UTF-8"},
	{"\x00\x00\xfe\xff", "UTF-32", "save it as UTF-8"},
}

func refuseKind(head []byte) error {
	for _, k := range kinds {
		if bytes.HasPrefix(head, []byte(k.magic)) {
			return &KindError{k.is, k.does}
		}
	}
	return nil
}

// expand gives the content of a file, and what it was compressed with, whatever its name is.
func expand(r io.Reader, most int64) (content *bufio.Reader, packed string, err error) {
	packedBytes := &counter{r: r}
	in := bufio.NewReaderSize(packedBytes, headBytes)
	magic := magicOf(in)
	var from io.Reader
	switch {
	case bytes.HasPrefix(magic, []byte("\x1f\x8b")):
		packed = "gzip"
		from, err = gzip.NewReader(in)
	case bytes.HasPrefix(magic, []byte("\x28\xb5\x2f\xfd")):
		packed = "zstd"
		from, err = zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(window(most)), zstd.WithDecoderMaxMemory(1<<40))
	default:
		return in, "", nil
	}
	if err != nil {
		return nil, packed, fmt.Errorf("it is compressed with %s and damaged: %w", packed, err)
	}
	bounded := &bounded{r: from, packed: packed, from: packedBytes, most: most}
	content = bufio.NewReaderSize(bounded, headBytes)
	if inner := magicOf(content); bytes.HasPrefix(inner, []byte("\x1f\x8b")) || bytes.HasPrefix(inner, []byte("\x28\xb5\x2f\xfd")) {
		return nil, packed, &KindError{"compressed twice", "expand it once before"}
	}
	return content, packed, nil
}

// magicOf is what a compressed file begins with. It waits for no more than one byte of a text, of
// which there may be no others yet.
func magicOf(r *bufio.Reader) []byte {
	first, _ := r.Peek(1)
	if len(first) == 0 || first[0] != 0x1f && first[0] != 0x28 {
		return first
	}
	if second, _ := r.Peek(2); len(second) < 2 || second[1] < 0x80 {
		return second
	}
	magic, _ := r.Peek(4)
	return magic
}

// window is the memory that a frame may ask for: no more than its content may have.
func window(most int64) uint64 {
	if most > 0 {
		return uint64(max(1<<20, min(most, 8<<20)))
	}
	return maxWindow
}

// A counter counts what is read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// bounded ends what expands without end.
type bounded struct {
	r      io.Reader
	packed string
	from   *counter
	most   int64
	n      int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.n += int64(n)
	switch {
	case b.most > 0 && b.n > b.most:
		return 0, &KindError{fmt.Sprintf("larger than %d MB once it is expanded", b.most>>20), "send a smaller one"}
	case b.n > freeExpanded && b.n > maxRatio*b.from.n:
		return 0, &KindError{fmt.Sprintf("more than %d times as large once it is expanded, which no texts are", maxRatio), "expand it first if it is what you mean"}
	case err != nil && !errors.Is(err, io.EOF):
		err = fmt.Errorf("it is compressed with %s and damaged: %w", b.packed, err)
	}
	return n, err
}
