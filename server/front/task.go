package front

import (
	"fmt"
	"net/http"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/textmodel"
	"github.com/distinfer/distinfer/server/httpx"
)

// A Task is what texts are asked for, where that is not labels: what requests say, and
// what the model's answers mean to those who sent them. It knows JSON, but not HTTP.
type Task interface {
	// Name is what the field calls it, such as "token-classification".
	Name() string
	// Routes are what can be sent by POST, by path. That of "/predict" is also at "/".
	Routes() map[string]Route
	// Describe is the part of the OpenAPI document for the routes; see Front.Describe.
	Describe() []byte
}

// A Route reads requests of one form.
type Route struct {
	// Question reads a request's body. What is wrong with it is a errcode.Invalid.
	Question func(body []byte) (Question, error)
	// Line reads a line of a stream, which asks about one text; its answer is a line too.
	// What is wrong with it is a errcode.Invalid. nil: there are no streams.
	Line func(line []byte) (Question, error)
	// Problem is the JSON that an error is answered with; nil is {"error": "…"}.
	Problem func(status int, message string) any
}

// A Question is a request that was read: the texts that the model is to read, and how
// the answer is made of what it answers to them. That is given to json.Marshal.
type Question struct {
	Texts  []string
	Cut    bool // texts that are too long are to be cut, also where such texts are refused
	Answer func(answers []textmodel.Answer) (any, error)
}

func (q Question) inputs() []textmodel.Input {
	inputs := textmodel.Inputs(q.Texts)
	for i := range inputs {
		inputs[i].Cut = q.Cut
	}
	return inputs
}

// other answers at the paths that are not the front's own.
func (f *Front) other(w http.ResponseWriter, r *http.Request) {
	if f.route(w, r, r.URL.Path) {
		return
	}
	m, done := f.models.use()
	defer done()
	where := "texts go to /?text=… or, as JSON, to POST /predict"
	if m.Task != nil {
		where = fmt.Sprintf("the model's task is %s, and texts go, as JSON, to POST /predict", m.Task.Name())
	}
	httpx.NotFound(w, r, where)
}

// route answers a request if the model's task has a route for the path.
func (f *Front) route(w http.ResponseWriter, r *http.Request, path string) bool {
	m, done := f.models.use()
	defer done()
	if m.Batcher == nil || m.Task == nil {
		return false
	}
	route, ok := m.Task.Routes()[path]
	if !ok {
		return false
	}
	httpx.Post(func(w http.ResponseWriter, r *http.Request) {
		if route.Line != nil && isLines(r) {
			f.stream(m, route.line, w, r)
			return
		}
		held := f.receive(w, r)
		defer held.Release()
		answer, err := f.question(m, route, w, r, held)
		if err != nil {
			status := httpx.PrepareError(w, err)
			httpx.WriteJSON(w, status, route.problem(status, err.Error()))
			return
		}
		httpx.WriteJSON(w, http.StatusOK, answer)
	})(w, r)
	return true
}

// line is Line as a stream wants it.
func (r Route) line(data []byte, number int) (textmodel.Input, func(textmodel.Answer) (any, error), error) {
	q, err := r.Line(data)
	if err != nil {
		return textmodel.Input{}, nil, fmt.Errorf("line %d: %w", number, err)
	}
	return q.inputs()[0], func(a textmodel.Answer) (any, error) {
		if a.Err != nil {
			return nil, a.Err
		}
		return q.Answer([]textmodel.Answer{a})
	}, nil
}

func (r Route) problem(status int, message string) any {
	if r.Problem == nil {
		return httpx.Problem{Error: message}
	}
	return r.Problem(status, message)
}

func (f *Front) question(m Model, route Route, w http.ResponseWriter, r *http.Request, held *httpx.Body) (any, error) {
	data, err := held.Read(r)
	if err != nil {
		return nil, err
	}
	q, err := route.Question(data)
	if err != nil {
		return nil, err
	}
	if n := len(q.Texts); n > m.Batcher.MaxTexts() {
		return nil, errcode.Errorf(errcode.TooLarge, "%d texts are more than the %d that can be taken at a time", n, m.Batcher.MaxTexts())
	}
	answers, err := f.Compute(m, w, r, q.inputs())
	if err != nil {
		return nil, err
	}
	for i, a := range answers {
		if a.Err != nil {
			return nil, fmt.Errorf("text %d: %w", i, a.Err)
		}
	}
	return q.Answer(answers)
}
