package front

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/text"
	"github.com/distinfer/distinfer/server/httpx"
)

// predict answers POST with what the model's task answers; without a Task with every
// label and its score, for one text or a list, or for a stream of lines.
func (f *Front) predict(w http.ResponseWriter, r *http.Request) {
	if f.route(w, r, "/predict") {
		return
	}
	m, done := f.models.use()
	defer done()
	if m.Batcher == nil {
		httpx.Fail(w, httpx.Errorf(http.StatusNotFound, "%s", m.NoText))
		return
	}
	if isLines(r) {
		f.stream(m, m.labels, w, r)
		return
	}
	results, release, err := f.results(m, w, r)
	defer release()
	if err != nil {
		httpx.Fail(w, err)
		return
	}
	httpx.WriteJSON(w, http.StatusOK, results)
}

// results answers a body. What it takes of the memory for bodies is released by the caller.
func (f *Front) results(m Model, w http.ResponseWriter, r *http.Request) (_ [][]text.Result, release func(), err error) {
	held := f.receive(w, r)
	body, err := held.Read(r)
	if err != nil {
		return nil, held.Release, err
	}
	q, err := parseBody(body)
	if err == nil && len(q.inputs) > m.Batcher.MaxTexts() {
		err = held.Grow(perText * int64(len(q.inputs)))
	}
	if err != nil {
		return nil, held.Release, err
	}
	results, err := f.classify(m, w, r, q)
	return results, held.Release, err
}

// classify has inputs answered with labels and scores.
func (f *Front) classify(m Model, w http.ResponseWriter, r *http.Request, q *question) ([][]text.Result, error) {
	computed, err := f.Compute(m, w, r, q.inputs)
	if err != nil {
		return nil, err
	}
	results := make([][]text.Result, len(computed))
	for i, a := range computed {
		if results[i], err = m.Classifier.Results(a, q.by); err != nil {
			return nil, fmt.Errorf("text %d: %w", i, err)
		}
		results[i] = q.top(results[i])
	}
	return results, nil
}

// timeout is how long the request may take: as long as every other, or what its
// client says it waits for with `Prefer: wait=SECONDS` (RFC 7240, section 4.3), if
// that is less.
func (f *Front) timeout(w http.ResponseWriter, r *http.Request) (time.Duration, error) {
	value, given := preferredWait(r.Header["Prefer"])
	if !given {
		return f.Timeout, nil
	}
	seconds, err := strconv.ParseUint(value, 10, 31)
	if errors.Is(err, strconv.ErrRange) {
		return f.Timeout, nil
	}
	if err != nil || seconds == 0 {
		return 0, errcode.Errorf(errcode.Invalid, "the header Prefer has wait=%s; it takes seconds from 1 on, without a fraction", value)
	}
	if wait := time.Duration(seconds) * time.Second; wait < f.Timeout {
		w.Header().Set("Preference-Applied", "wait="+value)
		return wait, nil
	}
	return f.Timeout, nil
}

// preferredWait finds the first preference named wait.
func preferredWait(headers []string) (value string, given bool) {
	for _, header := range headers {
		for preference := range strings.SplitSeq(header, ",") {
			preference, _, _ = strings.Cut(preference, ";")
			name, value, _ := strings.Cut(preference, "=")
			if strings.EqualFold(strings.TrimSpace(name), "wait") {
				return strings.Trim(strings.TrimSpace(value), `"`), true
			}
		}
	}
	return "", false
}
