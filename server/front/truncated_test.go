package front_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/distinfer/distinfer/runtime/classify"
	"github.com/distinfer/distinfer/runtime/classify/classifytest"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/textmodel"
)

// short is a front whose model reads two tokens.
func short(t *testing.T, refuse bool) *site {
	t.Helper()
	return serve(t, func(s *setup, j *judge) {
		b := classifytest.Model{
			Tokenizer: tokenizerJSON, Config: configJSON,
			Inputs:  classifytest.Usual.Inputs[:2],
			Outputs: []tensor.Spec{classifytest.Spec("logits", tensor.Float32, classifytest.Batch, tensor.Fixed(3))},
		}.Bundle(t)
		files, err := textmodel.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		files.Limits = textmodel.Limits{MaxTokens: 2, Refuse: refuse}
		c, err := classify.New(b, files, j)
		if err != nil {
			t.Fatal(err)
		}
		s.MaxBody = 1 << 20
		s.Texts = texts(c, most)
	})
}

func TestAnswersNameTheTextsThatWereCut(t *testing.T) {
	t.Parallel()
	s := short(t, false)
	for body, want := range map[string]string{
		`{"inputs": "good bad"}`:                                             "",
		`{"inputs": "good bad good"}`:                                        "0",
		`{"inputs": ["good", "good bad bad", "bad", "bad good good"]}`:       "1, 3",
		`{"inputs": [{"text": "good bad", "text_pair": "bad"}, "good"]}`:     "0",
		`{"inputs": "good bad good", "parameters": {"truncation": true}}`:    "0",
		`{"inputs": ["good", "bad"], "parameters": {"truncation": true}}`:    "",
		`{"inputs": ["` + strings.Repeat("good ", 20000) + `x", "bad bad"]}`: "0",
	} {
		a := s.do(t, http.MethodPost, "/predict", body)
		if got := a.header.Get("X-Truncated"); a.status != http.StatusOK || got != want {
			t.Errorf("%.80s: %d, %q, want %q", body, a.status, got, want)
		}
	}
	if a := s.ask(t, "good bad bad"); a.header.Get("X-Truncated") != "0" || a.body != "positive\n" {
		t.Errorf("GET: %v, %q", a.header, a.body)
	}
}

func TestTheTrailerOfAStreamNamesTheLinesThatWereCut(t *testing.T) {
	t.Parallel()
	s := short(t, false)
	for _, encoding := range []string{"identity", "gzip"} {
		var body strings.Builder
		for range 20 {
			body.WriteString("\"good\"\n\"good bad bad\"\n\n")
		}
		r, err := http.NewRequest(http.MethodPost, s.url+"/predict", strings.NewReader(body.String()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", lines)
		r.Header.Set("Accept-Encoding", encoding)
		response, err := s.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		const want = "2, 5, 8, 11, 14, 17, 20, 23, 26, 29, 32, 35, 38, 41, 44, 47, 50, 53, 56, 59"
		if got := response.Trailer.Get("X-Truncated"); err != nil || got != want {
			t.Errorf("%s: %v, trailer %q", encoding, err, got)
		}
	}
}

func TestTextsThatAreTooLongMayBeRefused(t *testing.T) {
	t.Parallel()
	s := short(t, true)
	for body, want := range map[string]string{
		`{"inputs": "good bad"}`:                                              "",
		`{"inputs": "good bad good"}`:                                         "the text has 3 tokens, more than the 2 that are read",
		`{"inputs": ["good", "good bad bad good"]}`:                           "text 1: the text has 4 tokens",
		`{"inputs": {"text": "good bad", "text_pair": "bad"}}`:                "the two texts have 3 tokens",
		`{"inputs": "` + strings.Repeat("good ", 20000) + `x"}`:               "more than 2 tokens in 100001 bytes",
		`{"inputs": "good bad good", "parameters": {"truncation": true}}`:     "",
		`{"parameters": {"truncation": "only_first"}, "inputs": "bad a b c"}`: "",
	} {
		a := s.do(t, http.MethodPost, "/predict", body)
		switch {
		case want == "" && a.status != http.StatusOK:
			t.Errorf("%.80s: %d, %q", body, a.status, a.body)
		case want != "" && (a.status != http.StatusRequestEntityTooLarge || !strings.Contains(a.body, want)):
			t.Errorf("%.80s: %d, %q, want %q", body, a.status, a.body, want)
		}
	}
	a := s.post(t, lines, strings.NewReader("\"good\"\n\"good bad bad\"\n{\"text\": \"good bad bad\", \"parameters\": {\"truncation\": true}}\n"))
	got := strings.Split(a.body, "\n")
	if a.status != http.StatusOK || len(got) != 4 || !strings.Contains(got[1], "the text has 3 tokens") || !strings.Contains(got[2], "positive") {
		t.Errorf("lines: %d, %q", a.status, a.body)
	}
}
