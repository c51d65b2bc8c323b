package front

import (
	_ "embed" // the document's own parts
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/server/httpx"
)

// The parts of the OpenAPI document that describe what the front answers itself: always,
// where it labels no texts, and where it answers none.
var (
	//go:embed openapi.json
	alwaysDescribed []byte
	//go:embed nolabels.json
	noLabelsDescribed []byte
	//go:embed notexts.json
	noTextsDescribed []byte
)

// A document describes what is answered: an OpenAPI document of several parts. It is made
// when it is first asked for, and again after another model came.
type document struct {
	parts [][]byte

	mu   sync.Mutex
	made *httpx.Document // nil while it is not
}

// Describe adds a part to the document that /openapi.json answers with: the paths,
// and the components they refer to, of an OpenAPI document such as openapi.json beside
// this file, to whose components it may refer too. It is called before Serve, by who
// calls Handle.
func (f *Front) Describe(part []byte) { f.document.parts = append(f.document.parts, part) }

// current is the model's task; nil where it answers no texts.
func (f *Front) current() Task {
	m, done := f.models.use()
	defer done()
	if m.Texts == nil {
		return nil
	}
	return m.Texts.Task
}

// of is the document while the model has the task that current returns.
func (d *document) of(current func() Task) (*httpx.Document, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.made != nil {
		return d.made, nil
	}
	whole, err := merged(d.parts, current())
	if err != nil {
		return nil, errcode.Errorf(errcode.Internal, "a part of the OpenAPI document: %w", err)
	}
	data, err := json.Marshal(whole)
	if err != nil {
		return nil, fmt.Errorf("write the OpenAPI document: %w", err)
	}
	d.made = httpx.NewDocument(httpx.TypeJSON, append(data, '\n'))
	return d.made, nil
}

// forget drops the document when the model changes; the next request makes it.
func (d *document) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.made = nil
}

// merged are the parts, and those for the given task, which may be nil.
func merged(parts [][]byte, t Task) (map[string]any, error) {
	all := slices.Clone(parts)
	if t != nil {
		all = append(all, t.Describe())
	} else {
		all = append(all, noTextsDescribed)
	}
	if _, labels := t.(Labeller); !labels {
		all = append(all, noLabelsDescribed)
	}
	whole := map[string]any{}
	for _, part := range all {
		var p map[string]any
		if err := json.Unmarshal(part, &p); err != nil {
			return nil, err
		}
		if err := merge(whole, p, ""); err != nil {
			return nil, err
		}
	}
	return whole, nil
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

// describe answers with the document of the current model.
func (f *Front) describe(w http.ResponseWriter, r *http.Request) {
	d, err := f.document.of(f.current)
	if err != nil {
		httpx.Fail(w, err)
		return
	}
	d.ServeHTTP(w, r)
}
