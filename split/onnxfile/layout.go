package onnxfile

import (
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

// Data of at least mapped bytes begins at a page, so that a runtime can map it.
const (
	mapped    = 64 << 10
	pageAlign = 4096
	wordAlign = 64
)

// A layout lays out a file of external data.
type layout struct {
	name  string // of the file
	parts []datum
	end   int64
	at    map[External]int64 // where data that several tensors share is
}

// A datum is a tensor in a file of external data, at the given offset. Its data is
// its payload, or else where its External says.
type datum struct {
	offset int64
	tensor Initializer
}

// place gives a tensor a place in the file, and returns the fields that a
// TensorProto tells it with.
func (l *layout) place(t Initializer) []byte {
	size := t.Bytes()
	align := int64(wordAlign)
	if size >= mapped {
		align = pageAlign
	}
	offset := (l.end + align - 1) / align * align
	shared, known := int64(0), false
	if t.External != nil {
		source := *t.External
		source.Length = size
		if shared, known = l.at[source]; !known {
			l.at[source] = offset
		}
	}
	if known {
		offset = shared
	} else {
		l.parts = append(l.parts, datum{offset, t})
		l.end = offset + size
	}
	var b []byte
	for _, e := range [][2]string{{"location", l.name}, {"offset", strconv.FormatInt(offset, 10)}, {"length", strconv.FormatInt(size, 10)}} {
		var entry []byte
		entry = protowire.AppendString(protowire.AppendTag(entry, 1, protowire.BytesType), e[0])
		entry = protowire.AppendString(protowire.AppendTag(entry, 2, protowire.BytesType), e[1])
		b = appendMessage(b, 13, entry)
	}
	return protowire.AppendVarint(protowire.AppendTag(b, 14, protowire.VarintType), 1)
}

// relocate gives external data its place in the layout's file.
func (l *layout) relocate(t Initializer) ([]byte, []protowire.Number) {
	if t.External == nil {
		return nil, nil
	}
	return l.place(t), []protowire.Number{13, 14}
}

// moveOut gives data that stands in the model a place in the layout's file.
func (l *layout) moveOut(t Initializer) ([]byte, []protowire.Number) {
	return l.place(t), []protowire.Number{4, 9, 10, 13, 14}
}

// takeIn is an initializer's field with external data in it.
func (t Initializer) takeIn(data []byte) []byte {
	return edit(t.raw, tensorMessage, func(Initializer) ([]byte, []protowire.Number) {
		return protowire.AppendBytes(protowire.AppendTag(nil, 9, protowire.BytesType), data), []protowire.Number{9, 13, 14}
	})
}
