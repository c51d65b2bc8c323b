package strictjson

import (
	"errors"
	"fmt"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
)

// Unmarshal reads JSON into a Go value whose type says what it looks like. It passes over fields
// that the type does not have. It refuses a field that is given twice wherever it stands, text
// that is not UTF-8, and what follows the JSON. A field whose name differs in case is another.
func Unmarshal(data []byte, into any) error { return unmarshal(data, into) }

// UnmarshalKnown is Unmarshal that refuses fields that the type does not have, with an
// [*UnknownFieldError].
func UnmarshalKnown(data []byte, into any) error {
	return unmarshal(data, into, jsonv2.RejectUnknownMembers(true))
}

// An UnknownFieldError is about a field that the reader does not know.
type UnknownFieldError struct{ Path string }

func (e *UnknownFieldError) Error() string { return fmt.Sprintf("unknown field %.200s", e.Path) }

func unmarshal(data []byte, into any, options ...jsonv2.Options) error {
	err := jsonv2.Unmarshal(data, into, options...)
	if err == nil {
		return nil
	}
	var semantic *jsonv2.SemanticError
	if errors.Is(err, jsonv2.ErrUnknownName) && errors.As(err, &semantic) {
		return &UnknownFieldError{Path: string(semantic.JSONPointer)}
	}
	return errors.New(strings.TrimPrefix(strings.TrimPrefix(err.Error(), "jsontext: "), "json: "))
}
