package client_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/server/client"
)

const (
	positive = `[{"label":"positive","score":0.9},{"label":"negative","score":0.1}]`
	negative = `[{"label":"negative","score":0.8},{"label":"positive","score":0.2}]`
)

// startFront starts a server that answers as a front does, without a model.
func startFront() *httptest.Server {
	answer := func(text string) string {
		switch {
		case text == "":
			return ""
		case strings.Contains(text, "waste"):
			return negative
		}
		return positive
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		if a := answer(r.FormValue("text")); a == positive {
			_, _ = io.WriteString(w, "positive\n")
		} else {
			_, _ = io.WriteString(w, "negative\n")
		}
	})
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"task":"text-classification","more":1}`)
	})
	mux.HandleFunc("POST /predict", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Content-Type") == "application/x-ndjson" {
			w.Header().Set("Trailer", "X-Truncated")
			_ = http.NewResponseController(w).EnableFullDuplex()
			lines := bufio.NewScanner(r.Body)
			for n := 1; lines.Scan(); n++ {
				var text string
				_ = json.Unmarshal(lines.Bytes(), &text)
				if a := answer(text); a != "" {
					_, _ = fmt.Fprintln(w, a)
				} else {
					_, _ = fmt.Fprintf(w, `{"error":"the text is empty","line":%d}`+"\n", n)
				}
				_ = http.NewResponseController(w).Flush()
				if text == "end" {
					return
				}
			}
			w.Header().Set("X-Truncated", "2, 3")
			return
		}
		var body struct{ Inputs []string }
		_ = json.NewDecoder(r.Body).Decode(&body)
		var answers []string
		for _, text := range body.Inputs {
			if answer(text) == "" {
				w.WriteHeader(http.StatusBadRequest)
				_, _ = io.WriteString(w, `{"error":"the text is empty"}`)
				return
			}
			answers = append(answers, answer(text))
		}
		w.Header().Set("X-Truncated", "1")
		_, _ = fmt.Fprintf(w, "[%s]", strings.Join(answers, ","))
	})
	return httptest.NewServer(mux)
}

func newClient(t *testing.T, c client.Config) *client.Client {
	t.Helper()
	made, err := client.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// serve starts a server and returns a client of it.
func serve(t *testing.T, handle http.HandlerFunc) *client.Client {
	t.Helper()
	s := httptest.NewServer(handle)
	t.Cleanup(s.Close)
	return newClient(t, client.Config{URL: s.URL + "/"})
}

func TestPredictSaysWhichTextsWereCut(t *testing.T) {
	t.Parallel()
	front := startFront()
	defer front.Close()
	c := newClient(t, client.Config{URL: front.URL})
	answers, err := c.Predict(t.Context(), "a", "b", "c")
	if err != nil || len(answers) != 3 || answers[0].Truncated || !answers[1].Truncated || answers[2].Truncated {
		t.Errorf("%+v %v", answers, err)
	}
	if s, err := c.Status(t.Context()); err != nil || s.Task != "text-classification" {
		t.Errorf("%+v %v", s, err)
	}
	if err := c.Ready(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestAStreamIsAnsweredWhileItIsSent(t *testing.T) {
	t.Parallel()
	front := startFront()
	defer front.Close()
	c := newClient(t, client.Config{URL: front.URL})
	answered := make(chan client.Answer)
	inTurns := func(yield func(string) bool) { // the next text waits for the answer to the last
		for _, text := range []string{"a", "waste", "<&>"} {
			if !yield(text) {
				return
			}
			<-answered
		}
	}
	truncated, err := c.Stream(t.Context(), inTurns, func(a client.Answer) error {
		answered <- a
		return a.Err
	})
	if err != nil || !slices.Equal(truncated, []int{1, 2}) {
		t.Errorf("%v %v", truncated, err)
	}
}

func TestAStreamThatEndsEarlyIsAnError(t *testing.T) {
	t.Parallel()
	front := startFront()
	defer front.Close()
	c := newClient(t, client.Config{URL: front.URL})
	release := make(chan struct{})
	defer close(release)
	stuck := func(yield func(string) bool) {
		if yield("a") && yield("end") && yield("b") {
			<-release
		}
	}
	_, err := c.Stream(t.Context(), stuck, func(client.Answer) error { return nil })
	if errcode.Of(err) != errcode.Unavailable {
		t.Errorf("%v", err)
	}
	mine := errors.New("enough")
	if _, err := c.Stream(t.Context(), slices.Values([]string{"a", "b"}), func(client.Answer) error { return mine }); !errors.Is(err, mine) {
		t.Errorf("%v", err)
	}
	if _, err := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = io.WriteString(w, `{"error":"streams"}`)
	}).Stream(t.Context(), slices.Values([]string{"a"}), nil); errcode.Of(err) != errcode.Overloaded {
		t.Errorf("%v", err)
	}
}

func TestARefusalHasACodeAndSaysWhatTheFrontSays(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status     int
		kind, body string
		code       errcode.Code
		says       string
	}{
		{400, "application/json", `{"error":"no text"}`, errcode.Invalid, "400 Bad Request: no text"},
		{413, "application/json", `{"error":"long"}`, errcode.TooLarge, "long"},
		{422, "application/json", `{"error":"deadly"}`, errcode.Quarantined, "deadly"},
		{429, "application/json", `{"error":"busy"}`, errcode.Overloaded, "busy"},
		{500, "application/json", `{"error":"bug"}`, errcode.Internal, "bug"},
		{503, "application/json", `{"error":"stage 1"}`, errcode.Unavailable, "stage 1"},
		{504, "application/json", `{"error":"late"}`, errcode.Deadline, "late"},
		{404, "text/plain", "404 page not found", errcode.Unavailable, "is it the URL of one?"},
		{301, "text/html", "<p>", errcode.Unavailable, "is it the URL of one?"},
		{200, "text/html", "<p>", errcode.Unavailable, "did not answer as a front does"},
		{200, "application/json", "[]", errcode.Unavailable, "0 texts of 1"},
	} {
		_, err := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", c.kind)
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, c.body)
		}).Predict(t.Context(), "a")
		var refused *client.Error
		if err == nil || errcode.Of(err) != c.code || !strings.Contains(err.Error(), c.says) || c.status != 200 && (!errors.As(err, &refused) || refused.Status != c.status) {
			t.Errorf("%d %s: %v, %s", c.status, c.body, err, errcode.Of(err))
		}
	}
	_, err := serve(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no text", http.StatusBadRequest) }).Label(t.Context(), "a b")
	if err == nil || !strings.HasSuffix(err.Error(), "/ answered 400 Bad Request: no text") {
		t.Errorf("%v", err)
	}
}

func TestRequestsAreTriedAgainOnlyWhereThatMayHelp(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]int64{429: 3, 503: 3, 500: 1, 400: 1} {
		var asked atomic.Int64
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if body, _ := io.ReadAll(r.Body); string(body) != `{"inputs":["a"]}` {
				t.Errorf("the body is %s", body)
			}
			asked.Add(1)
			w.WriteHeader(status)
		}))
		t.Cleanup(s.Close)
		if _, err := newClient(t, client.Config{URL: s.URL, Retries: 2}).Predict(t.Context(), "a"); err == nil || asked.Load() != want {
			t.Errorf("%d: asked %d times: %v", status, asked.Load(), err)
		}
	}
}

func TestATokenGoesToTheFrontOnly(t *testing.T) {
	t.Parallel()
	var strayed atomic.Bool
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { strayed.Store(true) }))
	defer other.Close()
	front := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		http.Redirect(w, r, other.URL, http.StatusFound)
	}))
	front.Config.ErrorLog = log.New(io.Discard, "", 0)
	defer front.Close()
	authorities := x509.NewCertPool()
	authorities.AddCert(front.Certificate())
	config := client.Config{URL: front.URL, Token: "secret", TLS: &tls.Config{RootCAs: authorities}}
	var refused *client.Error
	if _, err := newClient(t, config).Label(t.Context(), "a"); !errors.As(err, &refused) || refused.Status != http.StatusFound || strayed.Load() {
		t.Errorf("%v", err)
	}
	config.TLS = nil
	if _, err := newClient(t, config).Label(t.Context(), "a"); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("%v", err)
	}
}

func TestAnEndedContextIsNoFailureOfTheFront(t *testing.T) {
	t.Parallel()
	c := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Predict(ctx, "a"); errcode.Of(err) != errcode.Deadline || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func TestAURLThatIsNoneIsRefused(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"", "localhost:8008", "ftp://localhost", "http://", "http://%zz"} {
		if _, err := client.New(client.Config{URL: url}); errcode.Of(err) != errcode.Invalid {
			t.Errorf("%q: %v", url, err)
		}
	}
}
