package front

import (
	_ "embed" // the document's own parts
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/distinfer/distinfer/runtime/fault"
)

// The parts of the OpenAPI document that describe what the front answers itself: always,
// where the model labels texts, and where it has a Task.
var (
	//go:embed openapi.json
	alwaysDescribed []byte
	//go:embed labels.json
	labelsDescribed []byte
	//go:embed task.json
	taskDescribed []byte
)

// A document describes what is answered: an OpenAPI document of several parts.
type document struct{ parts [][]byte }

// Describe adds a part to the document that /openapi.json answers with: the paths,
// and the components they refer to, of an OpenAPI document such as openapi.json beside
// this file, to whose components it may refer too. It is called before Serve, by who
// calls Handle; a part that is no JSON, or that describes what is described already, is a
// mistake of the program, and it panics.
func (f *Front) Describe(part []byte) {
	f.document.parts = append(f.document.parts, part)
	if _, err := f.document.of(f.current()); err != nil {
		panic(err)
	}
}

// current is the model's task.
func (f *Front) current() Task {
	m, done := f.models.use()
	defer done()
	return m.Task
}

// of is the document while the model has the given task, or labels texts, which is nil.
func (d *document) of(t Task) (map[string]any, error) {
	parts := append(slices.Clone(d.parts), labelsDescribed)
	if t != nil {
		parts = append(slices.Clone(d.parts), taskDescribed, t.Describe())
	}
	whole := map[string]any{}
	for _, part := range parts {
		var p map[string]any
		err := json.Unmarshal(part, &p)
		if err == nil {
			err = merge(whole, p, "")
		}
		if err != nil {
			return nil, fault.Errorf(fault.Internal, "a part of the OpenAPI document: %w", err)
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
func (f *Front) describe(w http.ResponseWriter, _ *http.Request) {
	d, err := f.document.of(f.current())
	if err != nil {
		f.Fail(w, err)
		return
	}
	writeJSON(w, http.StatusOK, d)
}

// described fails when something is answered that the document does not describe.
func (f *Front) described() error {
	t := f.current()
	d, err := f.document.of(t)
	if err != nil {
		return err
	}
	paths, _ := d["paths"].(map[string]any)
	for _, pattern := range f.patterns {
		_, path, found := strings.Cut(pattern, " ")
		if !found {
			path = pattern
		}
		path = strings.TrimSuffix(path, "{$}")
		if !slices.ContainsFunc(slices.Collect(maps.Keys(paths)), func(one string) bool {
			return one == path || path != "/" && strings.HasSuffix(path, "/") && strings.HasPrefix(one, path)
		}) {
			return fmt.Errorf("the OpenAPI document does not describe %s; give Describe a part for what is given to Handle", path)
		}
	}
	if t == nil {
		return nil
	}
	for path := range t.Routes() {
		if paths[path] == nil {
			return fmt.Errorf("the OpenAPI document does not describe %s, which the task %s answers", path, t.Name())
		}
	}
	return nil
}
