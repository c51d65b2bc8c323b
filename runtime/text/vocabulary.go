package text

import (
	"math"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/distinfer/distinfer/runtime/strictjson"
)

// readVocabulary reads token -> id. It does not go through strictjson.Object, which would
// be slow for hundreds of thousands of entries. The last of two equal tokens counts, as in
// the Rust library.
func readVocabulary(n strictjson.Value) (vocabulary, error) {
	if n.Kind() != '{' {
		return nil, n.Want("an object")
	}
	decoder := n.Decoder()
	if _, err := decoder.ReadToken(); err != nil {
		return nil, err
	}
	v := vocabulary{}
	for decoder.PeekKind() != '}' {
		token, err := decoder.ReadToken()
		if err != nil {
			return nil, err
		}
		key := token.String()
		value, err := decoder.ReadValue()
		if err != nil {
			return nil, err
		}
		id, err := strconv.ParseUint(string(value), 10, 32)
		if err != nil {
			return nil, n.Errorf("the id of %q is not an integer from 0 to %d", key, uint32(math.MaxUint32))
		}
		v[key] = uint32(id)
	}
	return v, nil
}

// readMerges reads BPE's list: pairs, or as in older files "left right".
func (m *bpe) readMerges(n strictjson.Value) error {
	m.merges = map[pair]merging{}
	rank := 0
	kind := n.FirstKind()
	return n.Each(func(_ int, f strictjson.Value) error {
		var parts []string
		switch {
		case f.Kind() != kind:
			return f.Errorf("want what the others are")
		case kind == '"':
			line, err := f.Text()
			if err != nil {
				return err
			}
			if strings.HasPrefix(line, "#version") {
				return nil
			}
			parts = strings.Split(line, " ")
		default:
			err := f.Each(func(_ int, f strictjson.Value) error {
				part, err := f.Text()
				parts = append(parts, part)
				return err
			})
			if err != nil {
				return err
			}
		}
		if len(parts) != 2 {
			return f.Errorf("want two tokens, not %d", len(parts))
		}
		if err := m.addMerge(rank, parts[0], parts[1]); err != nil {
			return f.Errorf("%w", err)
		}
		rank++
		return nil
	})
}

// readScores reads Unigram's list of [token, score].
func readScores(n strictjson.Value) ([]string, []float64, error) {
	if n.Kind() != '[' {
		return nil, nil, n.Want("a list")
	}
	decoder := n.Decoder()
	next := func(kind jsontext.Kind) (string, bool) {
		if decoder.PeekKind() != kind {
			return "", false
		}
		token, err := decoder.ReadToken()
		return token.String(), err == nil
	}
	next('[')
	var names []string
	var scores []float64
	for decoder.PeekKind() != ']' {
		_, opens := next('[')
		name, isName := next('"')
		number, isNumber := next('0')
		if _, closes := next(']'); !opens || !isName || !isNumber || !closes {
			return nil, nil, n.Errorf("[%d]: want a token and its score", len(names))
		}
		score, ok := parseScore(number)
		if !ok {
			return nil, nil, n.Errorf("[%d]: the score %s is out of range", len(names), number)
		}
		names, scores = append(names, name), append(scores, score)
	}
	return names, scores, nil
}

// parseScore reads a number as the Rust library does, whose JSON parser rounds more
// than once; sums of scores are compared, so that the last bit may count.
func parseScore(s string) (float64, bool) {
	s, negative := strings.CutPrefix(s, "-")
	mantissa, exponentText, _ := strings.Cut(strings.ToLower(s), "e")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	var significand uint64
	exponent, full := 0, false
	take := func(c byte) bool {
		d := uint64(c - '0')
		if full || significand > (math.MaxUint64-d)/10 {
			full = true
			return false
		}
		significand = significand*10 + d
		return true
	}
	for i := range len(whole) {
		if !take(whole[i]) {
			exponent++
		}
	}
	for i := range len(fraction) {
		if take(fraction[i]) {
			exponent--
		}
	}
	if exponentText != "" {
		e, err := strconv.Atoi(strings.TrimPrefix(exponentText, "+"))
		if err != nil || e > 1<<20 || e < -1<<20 {
			return 0, significand == 0 || strings.HasPrefix(exponentText, "-")
		}
		exponent += e
	}
	f := float64(significand)
	for exponent < -308 && f != 0 {
		f /= 1e308
		exponent += 308
	}
	if f != 0 {
		if exponent > 308 {
			return 0, false
		}
		power, err := strconv.ParseFloat("1e"+strconv.Itoa(max(exponent, -exponent)), 64)
		if err != nil {
			return 0, false
		}
		if exponent >= 0 {
			f *= power
		} else {
			f /= power
		}
	}
	if negative {
		f = -f
	}
	return f, !math.IsInf(f, 0)
}
