package chaos

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
)

// An outcome is what became of a request. Every request has exactly one.
type outcome uint8

const (
	right   outcome = iota
	wrong           // answered, but not as the whole model does
	lost            // no whole answer: the connection broke, or the time was up
	typed           // an HTTP error with the reason as JSON
	untyped         // another HTTP answer
	outcomes
)

func (o outcome) String() string {
	return [outcomes]string{"right", "wrong", "lost", "typed error", "untyped error"}[o]
}

// A verdict is an outcome and why it is not right.
type verdict struct {
	outcome outcome
	status  int // of HTTP; 0 when there was no answer
	why     string
}

// judge compares an HTTP answer with the right one.
func judge(status int, body []byte, q *question) verdict {
	if status == http.StatusOK {
		if why := differs(body, q); why != "" {
			return verdict{wrong, status, why}
		}
		return verdict{right, status, ""}
	}
	var problem struct {
		Error string `json:"error"`
	}
	if status >= http.StatusBadRequest && json.Unmarshal(body, &problem) == nil && problem.Error != "" {
		return verdict{typed, status, problem.Error}
	}
	return verdict{untyped, status, fmt.Sprintf("not an error as JSON: %.200q", body)}
}

// differs says in what an answer is not the right one. It names no figures, so
// that the report can count alike ones.
func differs(body []byte, q *question) string {
	if q.numbers != nil {
		return differsInNumbers(body, q)
	}
	var answers [][]struct {
		Label string
		Score *float64
	}
	if err := json.Unmarshal(body, &answers); err != nil {
		return "not JSON of the right form"
	}
	if len(answers) != 1 || len(answers[0]) != len(q.scores) {
		return "not one answer with every label"
	}
	if answers[0][0].Label != q.label {
		return "another label"
	}
	seen := map[string]bool{}
	for _, a := range answers[0] {
		want, ok := q.scores[a.Label]
		switch {
		case !ok || seen[a.Label]:
			return "not one answer with every label"
		case a.Score == nil || !(math.Abs(*a.Score-want) <= tolerance):
			return "another score"
		}
		seen[a.Label] = true
	}
	return ""
}
