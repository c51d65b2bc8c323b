package front

import (
	_ "embed" // the document
	"encoding/json"
	"fmt"
	"net/http"
	"sync/atomic"
)

// ownDocument describes what the front answers itself, as an OpenAPI document.
//
//go:embed openapi.json
var ownDocument []byte

// A document describes what is answered: an OpenAPI document of several parts.
type document struct {
	merged map[string]any
	bytes  atomic.Pointer[[]byte]
}

// Describe adds a part to the document that /openapi.json answers with: the paths,
// and the components they refer to, of an OpenAPI document such as openapi.json beside
// this file. It is called before Serve, by who calls Handle; a part that is no JSON, or
// that describes what is described already, is a mistake of the program, and it panics.
func (f *Front) Describe(part []byte) {
	var p map[string]any
	if err := json.Unmarshal(part, &p); err != nil {
		panic(fmt.Sprintf("a part of the OpenAPI document: %v", err))
	}
	d := &f.document
	if d.merged == nil {
		d.merged = map[string]any{}
	}
	if err := merge(d.merged, p, ""); err != nil {
		panic(fmt.Sprintf("a part of the OpenAPI document: %v", err))
	}
	b, err := json.Marshal(d.merged)
	if err != nil {
		panic(err) // it was decoded from JSON
	}
	d.bytes.Store(&b)
}

// merge adds what is in part to whole, object by object. Strings and the like may be in both,
// when they are equal.
func merge(whole, part map[string]any, at string) error {
	for key, v := range part {
		old, both := whole[key]
		a, wasObject := old.(map[string]any)
		b, isObject := v.(map[string]any)
		switch {
		case !both:
			whole[key] = v
		case wasObject && isObject:
			if err := merge(a, b, at+"/"+key); err != nil {
				return err
			}
		case fmt.Sprint(old) != fmt.Sprint(v):
			return fmt.Errorf("%s/%s is given twice", at, key)
		}
	}
	return nil
}

func (d *document) serve(w http.ResponseWriter, _ *http.Request) {
	write(w, http.StatusOK, typeJSON, *d.bytes.Load())
}
