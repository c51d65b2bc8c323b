package text

import "unicode/utf8"

// Classes of clusterClass; scripts/tokenizer-oracle/graphemes.py finds them.
const (
	clusterOther = iota
	clusterControl
	clusterExtend
	clusterSpacing
	clusterZWJ
	clusterPrepend
	clusterL // Hangul: leading consonant, vowel, trailing consonant, syllables
	clusterV
	clusterT
	clusterLV
	clusterLVT
	clusterPictograph
	clusterCR
	clusterLF

	clusterKind = 0x0F

	// In Indic scripts (Unicode's InCB), beside the class.
	clusterConsonant  = 0x10
	clusterLinker     = 0x20
	clusterLinkExtend = 0x40
)

func clusterClass(r rune) uint8 {
	return clusterBlocks[int(clusterIndex[r>>propShift])<<propShift|int(r)&(1<<propShift-1)]
}

// clusterEnd returns the length of the extended grapheme cluster that s, which is not empty, starts
// with (Unicode standard annex 29). Flags are split as any other characters, which makes no
// difference to the callers.
func clusterEnd(s []byte) int {
	r, i := utf8.DecodeRune(s)
	if r < utf8.RuneSelf && r != '\r' && i < len(s) && s[i] < utf8.RuneSelf {
		return 1
	}
	last := clusterClass(r)
	pictograph := last&clusterKind == clusterPictograph // and then only extends
	consonant, linked := last&clusterConsonant != 0, false
	for i < len(s) {
		r, n := utf8.DecodeRune(s[i:])
		now := clusterClass(r)
		joined := pictograph && last&clusterKind == clusterZWJ && now&clusterKind == clusterPictograph ||
			linked && now&clusterConsonant != 0 ||
			joins(last&clusterKind, now&clusterKind)
		if !joined {
			break
		}
		switch {
		case now&clusterConsonant != 0:
			consonant, linked = true, false
		case consonant && now&clusterLinker != 0:
			linked = true
		case now&(clusterLinkExtend|clusterLinker) == 0:
			consonant, linked = false, false
		}
		switch now & clusterKind {
		case clusterPictograph:
			pictograph = true
		case clusterExtend, clusterZWJ:
			pictograph = pictograph && last&clusterKind != clusterZWJ
		default:
			pictograph = false
		}
		last = now
		i += n
	}
	return i
}

// joins reports whether two characters side by side are of one cluster by their classes alone.
func joins(a, b uint8) bool {
	switch {
	case a == clusterCR:
		return b == clusterLF
	case a == clusterControl || a == clusterLF || b == clusterControl || b == clusterCR || b == clusterLF:
		return false
	case b == clusterExtend || b == clusterZWJ || b == clusterSpacing || a == clusterPrepend:
		return true
	}
	switch a {
	case clusterL:
		return b == clusterL || b == clusterV || b == clusterLV || b == clusterLVT
	case clusterV, clusterLV:
		return b == clusterV || b == clusterT
	case clusterT, clusterLVT:
		return b == clusterT
	}
	return false
}
