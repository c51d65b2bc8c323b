package front

import (
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/textmodel"
)

// label answers GET /?text=… with the label alone, or with all of the JSON for those
// that accept that and no text.
func (f *Front) label(w http.ResponseWriter, r *http.Request) {
	w.Header().Add("Vary", "Accept")
	query, err := url.ParseQuery(r.URL.RawQuery)
	texts, given := query["text"]
	fail, wantsJSON := failPlain, accepted(r, "application/json") > 0 && accepted(r, "text/plain") == 0
	if wantsJSON {
		fail = f.Fail
	}
	m, done := f.models.use()
	defer done()
	switch {
	case m.Batcher == nil:
		err = &statusError{http.StatusNotFound, m.NoText}
	case m.Task != nil:
		err = &statusError{http.StatusNotFound, fmt.Sprintf("the model's task is %s, which gives texts no labels; send the text with POST /predict", m.Task.Name())}
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
		fail(w, err)
		return
	}
	results, err := f.classify(m, w, r, &question{inputs: textmodel.Inputs(texts)})
	switch {
	case err != nil:
		fail(w, err)
	case wantsJSON:
		writeJSON(w, http.StatusOK, results)
	default:
		writePlain(w, http.StatusOK, results[0][0].Label)
	}
}

// accepted is how much a request likes a media type that it names, as RFC 9110 has it: from
// 0 to 1, which is what is not said. What is not named, or named with 0, is 0.
func accepted(r *http.Request, mediaType string) float64 {
	most := 0.0
	for _, header := range r.Header["Accept"] {
		for one := range strings.SplitSeq(header, ",") {
			name, parameters, err := mime.ParseMediaType(one)
			if err != nil || name != mediaType {
				continue
			}
			q, err := strconv.ParseFloat(parameters["q"], 64)
			if err != nil {
				q = 1
			}
			most = max(most, q)
		}
	}
	return most
}
