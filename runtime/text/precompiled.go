package text

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"
)

// precompiled replaces characters, and short grapheme clusters, as the charsmap of
// a SentencePiece model says. It follows the crates spm_precompiled and tokenizers:
// of a cluster that starts with something in the map, only that counts, and the
// rest of the cluster is lost.
type precompiled struct {
	units   []uint32 // a double array of Darts-clone
	texts   []byte   // what its values are offsets into; each text ends in a NUL
	longest int      // bytes of a text
}

// maxCluster is the length from which clusters are replaced character by character.
const maxCluster = 6

func (p *precompiled) normalize(dst *buffer, src buffer) {
	// Most texts stay as they are, and need no characters.
	var room [256]char
	var chars []char
	changed := false
	replace := func(from int, old, with []byte) {
		if !changed {
			chars = appendRunes(charsFor(room[:0], src.text), src.text[:from])
			changed = true
		}
		chars = replaced(chars, old, with)
	}
	for i := 0; i < len(src.text); {
		n := clusterEnd(src.text[i:])
		cluster := src.text[i : i+n]
		i += n
		if n < maxCluster {
			if with, ok := p.find(cluster); ok {
				replace(i-n, cluster, with)
				continue
			}
		}
		for len(cluster) > 0 {
			r, size := utf8.DecodeRune(cluster)
			if with, ok := p.find(cluster[:size]); ok {
				replace(i-len(cluster), cluster[:size], with)
			} else if changed {
				chars = append(chars, char{r: r})
			}
			cluster = cluster[size:]
		}
	}
	if changed {
		dst.appendChars(src, chars)
	} else {
		dst.append(src)
	}
}

// appendRunes appends the characters of a text as they are.
func appendRunes(chars []char, text []byte) []char {
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		chars, text = append(chars, char{r: r}), text[size:]
	}
	return chars
}

// charsFor is a buffer for the characters of a text: the given one, or a new one for a long text,
// whose buffer would otherwise grow and be copied.
func charsFor(room []char, text []byte) []char {
	if len(text) <= cap(room) {
		return room
	}
	return make([]char, 0, utf8.RuneCount(text)+cap(room))
}

// replaced appends with, as a replacement of old.
func replaced(chars []char, old, with []byte) []char {
	more := utf8.RuneCount(with) - utf8.RuneCount(old)
	for len(with) > 0 {
		r, size := utf8.DecodeRune(with)
		chars = append(chars, char{r: r})
		with = with[size:]
	}
	switch {
	case more > 0:
		for i := range chars[len(chars)-more:] {
			chars[len(chars)-more+i].change = 1
		}
	case more < 0 && len(chars) > 0:
		chars[len(chars)-1].change += int32(more)
	}
	return chars
}

// The parts of a unit of the double array.
func unitOffset(u uint32) uint32 { return u >> 10 << (u & (1 << 9) >> 6) }
func unitLabel(u uint32) uint32  { return u & (1<<31 | 0xFF) }
func unitLeaf(u uint32) bool     { return u>>8&1 == 1 }
func unitValue(u uint32) uint32  { return u & (1<<31 - 1) }

// find returns the text of the shortest key that s starts with.
func (p *precompiled) find(s []byte) ([]byte, bool) {
	node := unitOffset(p.units[0])
	for _, c := range s {
		if c == 0 {
			break
		}
		node ^= uint32(c)
		u := p.units[node]
		if unitLabel(u) != uint32(c) {
			break
		}
		node ^= unitOffset(u)
		if unitLeaf(u) {
			return p.text(unitValue(p.units[node])), true
		}
	}
	return nil, false
}

// text returns the text that a value stands for.
func (p *precompiled) text(at uint32) []byte {
	rest := p.texts[at:]
	if end := bytes.IndexByte(rest, 0); end >= 0 {
		return rest[:end]
	}
	return rest
}

var errCharsmap = errors.New("not a charsmap of SentencePiece")

func newPrecompiled(encoded string) (*precompiled, error) {
	data, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil || bytes.ContainsAny([]byte(encoded), "\r\n") {
		return nil, errors.New("not base64")
	}
	if len(data) < 4 {
		return nil, errCharsmap
	}
	size := int(binary.LittleEndian.Uint32(data)) / 4
	data = data[4:]
	if size == 0 || len(data)/4 < size {
		return nil, errCharsmap
	}
	p := &precompiled{units: make([]uint32, size), texts: data[4*size:]}
	for i := range p.units {
		p.units[i] = binary.LittleEndian.Uint32(data[4*i:])
	}
	if !utf8.Valid(p.texts) {
		return nil, fmt.Errorf("%w: its texts are not UTF-8", errCharsmap)
	}
	return p, p.check()
}

// check follows every path through the double array, so that find stays inside it.
func (p *precompiled) check() error {
	size := uint32(len(p.units))
	seen := make([]bool, len(p.units))
	queue := []uint32{unitOffset(p.units[0])}
	for len(queue) > 0 {
		node := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		if node|0xFF >= size {
			return fmt.Errorf("%w: its double array ends within a node", errCharsmap)
		}
		if seen[node] {
			continue
		}
		seen[node] = true
		for c := uint32(1); c <= 0xFF; c++ {
			u := p.units[node^c]
			if unitLabel(u) != c {
				continue
			}
			next := node ^ c ^ unitOffset(u)
			if next|0xFF >= size {
				return fmt.Errorf("%w: its double array ends within a node", errCharsmap)
			}
			if unitLeaf(u) {
				at := unitValue(p.units[next])
				if at > uint32(len(p.texts)) || at < uint32(len(p.texts)) && !utf8.RuneStart(p.texts[at]) {
					return fmt.Errorf("%w: a value is not that of a text", errCharsmap)
				}
				p.longest = max(p.longest, len(p.text(at)))
			}
			queue = append(queue, next)
		}
	}
	return nil
}

// nmt is the normalizer Nmt: it drops some controls and makes spaces of others.
type nmt struct{}

func (nmt) normalize(dst *buffer, src buffer) {
	for i := 0; i < len(src.text); {
		r, n := utf8.DecodeRune(src.text[i:])
		at := i
		i += n
		switch {
		case 0x01 <= r && r <= 0x08, r == 0x0B, 0x0E <= r && r <= 0x1F, r == 0x7F, r == 0x8F, r == 0x9F:
			continue
		case r == '\t', r == '\n', r == '\f', r == '\r', r == 0x1680, 0x200B <= r && r <= 0x200F,
			r == 0x2028, r == 0x2029, r == 0x2581, r == 0xFEFF, r == 0xFFFD:
			r = ' '
		}
		dst.text = utf8.AppendRune(dst.text, r)
		dst.mark(src, at)
	}
}
