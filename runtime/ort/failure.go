package ort

import (
	"errors"
	"regexp"
	"strings"

	"github.com/distinfer/distinfer/runtime/errcode"
)

// failure says why ONNX Runtime did not compute a run whose inputs are as the model declares.
//
// A run on the CPU does no I/O and has no state: the same model with other inputs succeeds,
// and with these it fails again, on every machine. So it is the inputs that have to be
// others, whoever's idea they were, and not the machine that has to be mended: a
// errcode.Invalid. Only memory depends on the machine: a errcode.TooLarge, since less at a
// time needs less.
func failure(err error) error {
	if err == nil {
		return nil
	}
	why := readable(err.Error())
	if noMemory.MatchString(why) {
		return &MemoryError{why}
	}
	return errcode.Errorf(errcode.Invalid, "the model cannot compute these inputs: %s", why)
}

var (
	// An arena at its limit says what is available.
	noMemory = regexp.MustCompile(`(?i)failed to allocate|bad_?alloc|out of memory|available memory of|storage size overflowed`)

	// Where in the library's source something went wrong, before the function's signature.
	sourcePlace = regexp.MustCompile(`\S*/\S+\.(?:h|hpp|hh|c|cc|cpp|cxx|inc|cu):\d+\s+`)
	nodeFailed  = regexp.MustCompile(`Non-zero status code returned while running (\S+) node\. Name:'([^']*)' Status Message: `)
)

// readable is a message of ONNX Runtime without places in its source and what compilers
// call its functions.
func readable(message string) string {
	message, _, _ = strings.Cut(message, "Stacktrace:")
	message = strings.Join(strings.Fields(message), " ")
	message = nodeFailed.ReplaceAllStringFunc(message, func(failed string) string {
		parts := nodeFailed.FindStringSubmatch(failed)
		return strings.TrimSpace(parts[1]+" "+parts[2]) + ": "
	})
	for {
		at := sourcePlace.FindStringIndex(message)
		if at == nil {
			return strings.TrimSpace(message)
		}
		rest := afterSignature(message[at[1]:])
		if _, said, failed := strings.Cut(rest, " was false. "); failed { // the condition, in C++
			rest = said
		}
		message = message[:at[0]] + rest
	}
}

// afterSignature is what follows the signature of a C++ function that a text begins with.
// A text that begins otherwise stays as it is.
func afterSignature(s string) string {
	name := strings.IndexByte(s, '(')
	if name < 0 || !strings.Contains(s[:name], "::") && strings.Count(s[:name], " ") > 2 {
		return s
	}
	rest := afterBrackets(s[name:], '(', ')')
	rest = strings.TrimPrefix(strings.TrimSpace(rest), "const ")
	if strings.HasPrefix(rest, "[with ") {
		rest = afterBrackets(rest, '[', ']')
	}
	return strings.TrimSpace(rest)
}

// afterBrackets is what follows the bracket that closes the one at the beginning.
func afterBrackets(s string, opens, closes byte) string {
	depth := 0
	for i := range len(s) {
		switch s[i] {
		case opens:
			depth++
		case closes:
			if depth--; depth == 0 {
				return s[i+1:]
			}
		}
	}
	return ""
}

// clean takes the binding's own words off an error of ONNX Runtime.
func clean(err error) error {
	msg := err.Error()
	for _, prefix := range []string{"Error running network: ", "Error creating C session: ", "Error creating C session from file: ", "Error loading temporary session: "} {
		msg = strings.TrimPrefix(msg, prefix)
	}
	// The caller names the file.
	if rest, ok := strings.CutPrefix(msg, "Load model from "); ok {
		if _, reason, ok := strings.Cut(rest, " failed:"); ok {
			msg = reason
		}
	}
	return errors.New(strings.Join(strings.Fields(msg), " "))
}
