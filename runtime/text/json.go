package text

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds on what a file may ask for; a model's own files are far below them.
const (
	maxFile  = 64 << 20 // bytes
	maxDepth = 32       // nested objects and arrays
)

// readJSON reads a whole file, checks what encoding/json would let pass (size,
// depth, text that is not UTF-8, half surrogate pairs) and returns its bytes.
func readJSON(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("larger than %d MiB", maxFile>>20)
	}
	data = bytes.TrimPrefix(data, byteOrderMark)
	if !utf8.Valid(data) {
		return nil, errors.New("not UTF-8")
	}
	if err := checkDepth(data); err != nil {
		return nil, err
	}
	if !json.Valid(data) {
		var v any
		return nil, json.Unmarshal(data, &v) // says where
	}
	return data, nil
}

// byteOrderMark is what some editors begin a file with.
var byteOrderMark = []byte("\uFEFF")

// PlainJSON makes of a file that a person or Python's json wrote what JSON is: without a
// byte order mark, and with null for NaN, Infinity and -Infinity.
func PlainJSON(data []byte) []byte {
	data = bytes.TrimPrefix(data, byteOrderMark)
	var out []byte
	done, inString := 0, false
	for i := 0; i < len(data); i++ {
		c := data[i]
		switch {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case !inString && (c == 'N' || c == 'I' || c == '-'):
			for _, name := range []string{"NaN", "Infinity", "-Infinity"} {
				if hasPrefix(data[i:], name) {
					out = append(append(out, data[done:i]...), "null"...)
					i += len(name) - 1
					done = i + 1
					break
				}
			}
		}
	}
	if out == nil {
		return data
	}
	return append(out, data[done:]...)
}

// readPythonObject reads a file that Python wrote.
func readPythonObject(r io.Reader) (*object, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return nil, err
	}
	if data, err = readJSON(bytes.NewReader(PlainJSON(data))); err != nil {
		return nil, err
	}
	return firstValue(data).object()
}

func checkDepth(data []byte) error {
	depth, inString := 0, false
	for i := 0; i < len(data); i++ {
		c := data[i]
		switch {
		case inString && c == '\\':
			if i+1 < len(data) && data[i+1] == 'u' {
				n, err := checkEscape(data[i:])
				if err != nil {
					return err
				}
				i += n - 1
			} else {
				i++
			}
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return fmt.Errorf("nested deeper than %d levels", maxDepth)
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

// checkEscape looks at a \u escape and returns its length, both halves of a
// surrogate pair together. encoding/json would read half a pair as U+FFFD.
func checkEscape(s []byte) (int, error) {
	unit := func(s []byte) uint64 {
		if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
			return 0
		}
		v, err := strconv.ParseUint(string(s[2:6]), 16, 32)
		if err != nil {
			return 0 // not JSON; json.Valid says so
		}
		return v
	}
	high := unit(s)
	if high < 0xD800 || high > 0xDFFF {
		return 2, nil
	}
	if low := unit(s[min(6, len(s)):]); high > 0xDBFF || low < 0xDC00 || low > 0xDFFF {
		return 0, errors.New("half a surrogate pair in a string")
	}
	return 12, nil
}

// A node is a JSON value and the place it was found at.
type node struct {
	path string
	raw  json.RawMessage
}

func (n node) errorf(format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	if n.path == "" {
		return err
	}
	return fmt.Errorf("%s: %w", n.path, err)
}

func (n node) null() bool { return string(n.raw) == "null" }

func (n node) kind() string {
	switch n.raw[0] {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}

func (n node) want(what string) error { return n.errorf("want %s, not %s", what, n.kind()) }

func (n node) child(key string) string {
	if n.path == "" {
		return key
	}
	return n.path + "." + key
}

// object reads an object, refusing keys that occur twice.
func (n node) object() (*object, error) {
	if n.raw[0] != '{' {
		return nil, n.want("an object")
	}
	o := &object{node: n, fields: map[string]node{}}
	dec := json.NewDecoder(bytes.NewReader(n.raw))
	if _, err := dec.Token(); err != nil {
		return nil, n.errorf("%w", err)
	}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, n.errorf("%w", err)
		}
		key := t.(string) // object keys are strings
		f := node{path: n.child(key)}
		if err := dec.Decode(&f.raw); err != nil {
			return nil, f.errorf("%w", err)
		}
		if _, twice := o.fields[key]; twice {
			return nil, f.errorf("given twice")
		}
		o.fields[key] = f
	}
	return o, nil
}

func (n node) array() ([]node, error) {
	if n.raw[0] != '[' {
		return nil, n.want("an array")
	}
	var raw []json.RawMessage
	if err := json.Unmarshal(n.raw, &raw); err != nil {
		return nil, n.errorf("%w", err)
	}
	out := make([]node, len(raw))
	for i, r := range raw {
		out[i] = node{fmt.Sprintf("%s[%d]", n.path, i), r}
	}
	return out, nil
}

func (n node) string() (string, error) {
	if n.raw[0] != '"' {
		return "", n.want("a string")
	}
	var s string
	if err := json.Unmarshal(n.raw, &s); err != nil {
		return "", n.errorf("%w", err)
	}
	return s, nil
}

func (n node) boolean() (bool, error) {
	if n.raw[0] != 't' && n.raw[0] != 'f' {
		return false, n.want("true or false")
	}
	return n.raw[0] == 't', nil
}

// uint reads an integer from 0 to limit.
func (n node) uint(limit uint64) (uint64, error) {
	if c := n.raw[0]; c != '-' && (c < '0' || c > '9') {
		return 0, n.want("a number")
	}
	v, err := strconv.ParseUint(string(n.raw), 10, 64)
	if err != nil || v > limit {
		return 0, n.errorf("want an integer from 0 to %d, not %s", limit, n.raw)
	}
	return v, nil
}

func (n node) uint32() (uint32, error) {
	v, err := n.uint(math.MaxUint32)
	return uint32(v), err
}

// An object is read field by field; finish refuses what was not asked for.
// Like errors of bufio.Writer, the first error sticks and the rest is idle.
type object struct {
	node
	fields map[string]node
	err    error
}

func (o *object) fail(err error) {
	if o.err == nil {
		o.err = err
	}
}

func (o *object) failIf(err error) {
	if err != nil {
		o.fail(err)
	}
}

// take removes and returns a field.
func (o *object) take(key string) (node, bool) {
	f, ok := o.fields[key]
	delete(o.fields, key)
	return f, ok
}

// optional is take, with null the same as absent.
func (o *object) optional(key string) (node, bool) {
	f, ok := o.take(key)
	return f, ok && !f.null()
}

func (o *object) required(key string) (node, bool) {
	f, ok := o.take(key)
	if !ok {
		o.fail(o.errorf("%q is missing", key))
	}
	return f, ok && o.err == nil
}

func requiredValue[T any](o *object, key string, read func(node) (T, error)) T {
	var v T
	if f, ok := o.required(key); ok {
		var err error
		if v, err = read(f); err != nil {
			o.fail(err)
		}
	}
	return v
}

func (o *object) string(key string) string { return requiredValue(o, key, node.string) }
func (o *object) boolean(key string) bool  { return requiredValue(o, key, node.boolean) }
func (o *object) uint32(key string) uint32 { return requiredValue(o, key, node.uint32) }
func (o *object) array(key string) []node  { return requiredValue(o, key, node.array) }

// optionalString reads a string that may be absent or null.
func (o *object) optionalString(key string) (string, bool) {
	f, ok := o.optional(key)
	if !ok {
		return "", false
	}
	s, err := f.string()
	o.failIf(err)
	return s, true
}

// flag reads a boolean that may be absent or null.
func (o *object) flag(key string, absent bool) bool {
	f, ok := o.optional(key)
	if !ok {
		return absent
	}
	v, err := f.boolean()
	o.failIf(err)
	return v
}

func (o *object) uint(key string, limit uint64) uint64 {
	return requiredValue(o, key, func(n node) (uint64, error) { return n.uint(limit) })
}

// choice reads a string that must be one of a few.
func (o *object) choice(key string, of ...string) string {
	return requiredValue(o, key, func(n node) (string, error) { return n.choice(of) })
}

func (n node) choice(of []string) (string, error) {
	s, err := n.string()
	if err != nil {
		return "", err
	}
	if !slices.Contains(of, s) {
		return "", n.errorf("%q is not supported (supported: %s)", s, strings.Join(of, ", "))
	}
	return s, nil
}

// finish returns the first error, or one about a field nobody asked for.
func (o *object) finish() error {
	if o.err != nil {
		return o.err
	}
	var left []string
	for key := range o.fields {
		left = append(left, strconv.Quote(key))
	}
	if len(left) > 0 {
		slices.Sort(left)
		return o.errorf("%s is not known here", strings.Join(left, ", "))
	}
	return nil
}

// vocabulary reads token -> id. It does not go through node.object, which would
// be slow for hundreds of thousands of entries. The last of two equal tokens
// counts, as in the Rust library.
func (n node) vocabulary() (vocabulary, error) {
	if n.raw[0] != '{' {
		return nil, n.want("an object")
	}
	dec := json.NewDecoder(bytes.NewReader(n.raw))
	dec.UseNumber()
	if _, err := dec.Token(); err != nil {
		return nil, n.errorf("%w", err)
	}
	v := vocabulary{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, n.errorf("%w", err)
		}
		value, err := dec.Token()
		if err != nil {
			return nil, n.errorf("%w", err)
		}
		number, _ := value.(json.Number)
		id, err := strconv.ParseUint(string(number), 10, 32)
		if err != nil {
			return nil, n.errorf("the id of %q is not an integer from 0 to %d", key, uint32(math.MaxUint32))
		}
		v[key.(string)] = uint32(id)
	}
	return v, nil
}

// merges reads BPE's list: pairs, or as in older files "left right".
func (n node) merges(m *bpe) error {
	m.merges = map[pair]merging{}
	if n.raw[0] != '[' {
		return n.want("an array")
	}
	var list []json.RawMessage
	if err := json.Unmarshal(n.raw, &list); err != nil {
		return n.errorf("%w", err)
	}
	rank := 0
	for i, raw := range list {
		f := node{fmt.Sprintf("%s[%d]", n.path, i), raw}
		var parts []string
		if raw[0] != list[0][0] {
			return f.want("what the others are")
		}
		if raw[0] == '"' {
			line, err := f.string()
			if err != nil {
				return err
			}
			if strings.HasPrefix(line, "#version") {
				continue
			}
			parts = strings.Split(line, " ")
		} else if err := json.Unmarshal(raw, &parts); err != nil {
			return f.errorf("%w", err)
		}
		if len(parts) != 2 {
			return f.errorf("want two tokens, not %d", len(parts))
		}
		if err := m.addMerge(rank, parts[0], parts[1]); err != nil {
			return f.errorf("%w", err)
		}
		rank++
	}
	return nil
}

// scores reads Unigram's list of [token, score].
func (n node) scores() ([]string, []float64, error) {
	if n.raw[0] != '[' {
		return nil, nil, n.want("an array")
	}
	dec := json.NewDecoder(bytes.NewReader(n.raw))
	dec.UseNumber()
	if _, err := dec.Token(); err != nil {
		return nil, nil, n.errorf("%w", err)
	}
	var names []string
	var scores []float64
	next := func() json.Token {
		t, err := dec.Token()
		if err != nil {
			return nil
		}
		return t
	}
	for dec.More() {
		open := next()
		name, isName := next().(string)
		number, isNumber := next().(json.Number)
		if open != json.Delim('[') || !isName || !isNumber || next() != json.Delim(']') {
			return nil, nil, n.errorf("[%d]: want a token and its score", len(names))
		}
		score, ok := parseScore(string(number))
		if !ok {
			return nil, nil, n.errorf("[%d]: the score %s is out of range", len(names), number)
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
