package load

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"

	"github.com/distinfer/distinfer/server/client"
)

// Labels asks a front with GET /?text=…, and takes a line with a label for right.
func Labels(front *client.Client) Target {
	return Target{
		TLS:     front.TLS(),
		Request: front.LabelRequest,
		Judge: func(_ string, status int, body []byte) Verdict {
			label, ended := bytes.CutSuffix(body, []byte("\n"))
			return verdict(status, ended && len(label) > 0 && !bytes.ContainsRune(label, '\n'))
		},
	}
}

// Predictions asks a front with POST /predict, and takes a list of labels and scores
// for right.
func Predictions(front *client.Client) Target {
	return Target{
		TLS: front.TLS(),
		Request: func(ctx context.Context, text string) (*http.Request, error) {
			return front.PredictRequest(ctx, text)
		},
		Judge: func(_ string, status int, body []byte) Verdict {
			return verdict(status, status == http.StatusOK && areResults(body))
		},
	}
}

// areResults reports whether a body has the labels and scores of one text.
func areResults(body []byte) bool {
	var texts [][]struct {
		Label string   `json:"label"`
		Score *float64 `json:"score"`
	}
	if json.Unmarshal(body, &texts) != nil || len(texts) != 1 || len(texts[0]) == 0 {
		return false
	}
	for _, r := range texts[0] {
		if r.Label == "" || r.Score == nil {
			return false
		}
	}
	return true
}

// verdict judges an answer by its status, and where that says that all went
// well, by whether its body is right.
func verdict(status int, right bool) Verdict {
	switch {
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable:
		return Refused
	case status != http.StatusOK:
		return Failed
	case !right:
		return Wrong
	}
	return Right
}
