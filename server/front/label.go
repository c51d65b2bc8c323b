package front

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/server/httpx"
)

// label answers GET /?text=… with the label alone, or with all of the JSON for those
// that accept that and no text.
func (f *Front) label(w http.ResponseWriter, r *http.Request) {
	w.Header().Add("Vary", "Accept")
	m, done := f.models.use()
	defer done()
	texts, labeller, err := m.labeller()
	if err != nil {
		fail(w, r, err)
		return
	}
	text, err := textOf(r.URL.RawQuery)
	if err != nil {
		fail(w, r, err)
		return
	}
	answers, err := f.compute(texts.Batcher, w, r, labeller.Request(text).Inputs)
	if err != nil {
		fail(w, r, err)
		return
	}
	results, err := labeller.Results(answers[0])
	switch {
	case err != nil:
		fail(w, r, fmt.Errorf("text 0: %w", err))
	case !wantsPlain(r):
		httpx.WriteJSON(w, http.StatusOK, [1]any{results})
	default:
		httpx.WritePlain(w, http.StatusOK, results[0].Label)
	}
}

// labeller returns what gives texts labels, or why nothing does.
func (m Model) labeller() (*Texts, Labeller, error) {
	texts, err := m.texts()
	if err != nil {
		return nil, nil, err
	}
	l, ok := texts.Task.(Labeller)
	if !ok {
		return nil, nil, httpx.Errorf(http.StatusNotFound, "the model's task is %s, which gives texts no labels; send the text with POST /predict", texts.Task.Name())
	}
	return texts, l, nil
}

// textOf is the text of a query.
func textOf(query string) (string, error) {
	values, err := url.ParseQuery(query)
	texts, given := values["text"]
	switch {
	case err != nil:
		return "", errcode.Errorf(errcode.Invalid, "the query is not URL-encoded: %w", err)
	case !given:
		return "", errcode.Errorf(errcode.Invalid, "text is missing; ask for /?text=… with the text URL-encoded")
	case len(texts) > 1:
		return "", errcode.Errorf(errcode.Invalid, "text is given %d times; send several texts as a list with POST /predict", len(texts))
	case texts[0] == "":
		return "", errcode.Errorf(errcode.Invalid, "text is empty")
	}
	return texts[0], nil
}
