package front

import (
	"net/http"
	"net/url"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/textmodel"
	"github.com/distinfer/distinfer/server/httpx"
)

// label answers GET /?text=… with the label alone, or with all of the JSON for those
// that accept that and no text.
func (f *Front) label(w http.ResponseWriter, r *http.Request) {
	w.Header().Add("Vary", "Accept")
	query, err := url.ParseQuery(r.URL.RawQuery)
	texts, given := query["text"]
	m, done := f.models.use()
	defer done()
	switch {
	case m.Batcher == nil:
		err = httpx.Errorf(http.StatusNotFound, "%s", m.NoText)
	case m.Task != nil:
		err = httpx.Errorf(http.StatusNotFound, "the model's task is %s, which gives texts no labels; send the text with POST /predict", m.Task.Name())
	case err != nil:
		err = errcode.Errorf(errcode.Invalid, "the query is not URL-encoded: %w", err)
	case !given:
		err = errcode.Errorf(errcode.Invalid, "text is missing; ask for /?text=… with the text URL-encoded")
	case len(texts) > 1:
		err = errcode.Errorf(errcode.Invalid, "text is given %d times; send several texts as a list with POST /predict", len(texts))
	case texts[0] == "":
		err = errcode.Errorf(errcode.Invalid, "text is empty")
	}
	if err != nil {
		fail(w, r, err)
		return
	}
	results, err := f.classify(m, w, r, &question{inputs: textmodel.Inputs(texts)})
	switch {
	case err != nil:
		fail(w, r, err)
	case !wantsPlain(r):
		httpx.WriteJSON(w, http.StatusOK, results)
	default:
		httpx.WritePlain(w, http.StatusOK, results[0][0].Label)
	}
}
