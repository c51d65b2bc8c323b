package decodertest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"os"
)

// pageSize is what the data of weights begins at a multiple of.
const pageSize = 4096

// weights is the file of weights under construction.
type weights struct {
	file   *os.File
	to     *bufio.Writer
	sparse bool
	end    int64
	random *rand.PCG
	block  []byte
	failed error
}

func createWeights(path string, sparse bool) (*weights, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	return &weights{file: f, to: bufio.NewWriterSize(f, 1<<20), sparse: sparse, random: rand.NewPCG(2018, 600)}, nil
}

// close returns the first error of all that was written.
func (w *weights) close() error {
	return errors.Join(w.failed, w.to.Flush(), w.file.Truncate(w.end), w.file.Close())
}

// place makes room for bytes, and returns where.
func (w *weights) place(bytes int64) int64 {
	at := (w.end + pageSize - 1) / pageSize * pageSize
	if !w.sparse {
		w.write(make([]byte, at-w.end))
	}
	w.end = at + bytes
	return at
}

func (w *weights) write(b []byte) {
	if w.failed == nil {
		_, w.failed = w.to.Write(b)
	}
}

// fill writes n units, each by append, unless the file is sparse.
func (w *weights) fill(n int64, append func(b []byte, bits uint64) []byte) {
	if w.sparse {
		return
	}
	for range n {
		w.block = append(w.block, w.random.Uint64())
		if len(w.block) >= 1<<16 {
			w.write(w.block)
			w.block = w.block[:0]
		}
	}
	w.write(w.block)
	w.block = w.block[:0]
}

// uniform is a number of which the upper bits decide, from -1 to 1.
func uniform(bits uint64) float32 { return float32(int32(bits>>32)) / (1 << 31) }

// float32s writes n numbers from -scale to scale, around middle.
func (w *weights) float32s(n int64, middle, scale float32) int64 {
	at := w.place(4 * n)
	w.fill(n, func(b []byte, bits uint64) []byte {
		return binary.LittleEndian.AppendUint32(b, math.Float32bits(middle+scale*uniform(bits)))
	})
	return at
}

// float16s is float32s in half precision.
func (w *weights) float16s(n int64, middle, scale float32) int64 {
	at := w.place(2 * n)
	w.fill(n, func(b []byte, bits uint64) []byte {
		return binary.LittleEndian.AppendUint16(b, half(middle+scale*uniform(bits)))
	})
	return at
}

// bytes writes n random bytes, a multiple of 8.
func (w *weights) bytes(n int64) int64 {
	at := w.place(n)
	w.fill(n/8, binary.LittleEndian.AppendUint64)
	return at
}

// half is a float16 that is no more than one step from the number, for numbers that are neither
// large nor tiny.
func half(f float32) uint16 {
	bits := math.Float32bits(f)
	sign := uint16(bits >> 16 & 0x8000)
	exponent := int(bits>>23&0xff) - 127 + 15
	if exponent <= 0 {
		return sign
	}
	return sign | uint16(exponent<<10) | uint16(bits>>13&0x3ff)
}
