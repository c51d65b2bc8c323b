package front

import (
	"fmt"
	"net/http"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/text"
	"github.com/distinfer/distinfer/runtime/textmodel"
	"github.com/distinfer/distinfer/server/batch"
	"github.com/distinfer/distinfer/server/httpx"
)

// A Task is what texts are sent for: what requests say, and what the model's answers mean to
// those who sent them. It knows JSON, but not HTTP.
type Task interface {
	// Name is what the field calls it, such as "token-classification".
	Name() string
	// Routes are what can be sent by POST, by path. That of "/predict" is also at "/".
	Routes() map[string]Route
	// Request is the request for one text, with the defaults of "/predict".
	Request(text string) Request
	// Describe is the part of the OpenAPI document for the routes; see Front.Describe.
	Describe() []byte
}

// A Labeller is a Task that gives texts labels. GET /?text=… answers with the best, as plain text.
type Labeller interface {
	Task
	Labels() []string
	// Results reads the model's answer to a text: labels and their scores, the best first.
	Results(textmodel.Answer) ([]text.Result, error)
}

// A Route reads requests of one form. What is wrong with one is an errcode.Invalid, which
// calls the whole of it by the given name, such as "the body" or "line 3".
type Route struct {
	// Body reads a request's body.
	Body func(body []byte, name string) (Request, error)
	// Line reads a line of a stream, which has one input; its answer is a line too. nil:
	// there are no streams.
	Line func(line []byte, name string) (Request, error)
	// Problem is the JSON that an error is answered with; nil is {"error": "…"}.
	Problem func(status int, message string) any
}

// A Request is one that was read: the inputs for the model, and what its answers mean.
type Request struct {
	Inputs []textmodel.Input
	// Answer makes the answer to the input at a place of what the model gave for it, which
	// has no Err.
	Answer func(place int, a textmodel.Answer) (any, error)
	// Whole makes the answer to a body of those to its inputs; nil: it is their list.
	Whole func(answers []any) any
	// InputBytes is what an input and its answer take in memory, about. 0 is for not known:
	// then there may be no more inputs than the batcher takes at a time.
	InputBytes int64
}

// one makes the answer to an input.
func (q Request) one(place int, a textmodel.Answer) (any, error) {
	if a.Err != nil {
		return nil, a.Err
	}
	return q.Answer(place, a)
}

// whole makes the answer to a body.
func (q Request) whole(answers []textmodel.Answer) (any, error) {
	list := make([]any, len(answers))
	for i, a := range answers {
		var err error
		if list[i], err = q.one(i, a); err != nil {
			return nil, fmt.Errorf("text %d: %w", i, err)
		}
	}
	if q.Whole != nil {
		return q.Whole(list), nil
	}
	return list, nil
}

// predict answers POST as the model's task does.
func (f *Front) predict(w http.ResponseWriter, r *http.Request) {
	m, done := f.models.use()
	defer done()
	texts, err := m.texts()
	if err != nil {
		httpx.Fail(w, err)
		return
	}
	f.post(texts, texts.Task.Routes()["/predict"], w, r)
}

// other answers at the paths that are not the front's own.
func (f *Front) other(w http.ResponseWriter, r *http.Request) {
	m, done := f.models.use()
	defer done()
	texts, err := m.texts()
	if err != nil {
		httpx.NotFound(w, r, err.Error())
		return
	}
	if route, ok := texts.Task.Routes()[r.URL.Path]; ok {
		httpx.Post(func(w http.ResponseWriter, r *http.Request) { f.post(texts, route, w, r) })(w, r)
		return
	}
	httpx.NotFound(w, r, fmt.Sprintf("the model's task is %s, and texts go, as JSON, to POST /predict", texts.Task.Name()))
}

// post answers a body, or a stream of lines, that is sent to a route.
func (f *Front) post(texts *Texts, route Route, w http.ResponseWriter, r *http.Request) {
	if route.Line != nil && isLines(r) {
		f.stream(texts.Batcher, route.Line, w, r)
		return
	}
	held := f.receive(w, r)
	defer held.Release()
	answer, err := f.answer(texts.Batcher, route, w, r, held)
	if err != nil {
		status := httpx.PrepareError(w, err)
		httpx.WriteJSON(w, status, route.problem(status, err.Error()))
		return
	}
	httpx.WriteJSON(w, http.StatusOK, answer)
}

func (r Route) problem(status int, message string) any {
	if r.Problem == nil {
		return httpx.Problem{Error: message}
	}
	return r.Problem(status, message)
}

// answer makes the answer to a body.
func (f *Front) answer(b *batch.Batcher, route Route, w http.ResponseWriter, r *http.Request, held *httpx.Body) (any, error) {
	body, err := held.Read(r)
	if err != nil {
		return nil, err
	}
	q, err := route.Body(body, "the body")
	if err != nil {
		return nil, err
	}
	switch n := len(q.Inputs); {
	case n <= b.MaxTexts():
	case q.InputBytes == 0:
		return nil, errcode.Errorf(errcode.TooLarge, "%d texts are more than the %d that can be taken at a time", n, b.MaxTexts())
	default:
		if err := held.Grow(q.InputBytes * int64(n)); err != nil {
			return nil, err
		}
	}
	answers, err := f.compute(b, w, r, q.Inputs)
	if err != nil {
		return nil, err
	}
	return q.whole(answers)
}
