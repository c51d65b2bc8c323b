// Package front answers HTTP: it takes texts in, has them answered, and maps what
// comes back, or what went wrong, to responses.
//
// It does not know which texts are computed together, nor whether that is done in
// this process or on ten machines. Clients are untrusted: what they send is bounded in size and number,
// and what is wrong with it is said in the answer.
package front

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/distinfer/distinfer/runtime/fault"
	"github.com/distinfer/distinfer/runtime/text"
	"github.com/distinfer/distinfer/runtime/textmodel"
	"github.com/distinfer/distinfer/server/batch"
)

// Config says how a Front serves.
type Config struct {
	MaxBody int64         // bytes of a request's body
	Timeout time.Duration // for one request; a client may allow less

	// TLS makes it HTTPS, with HTTP/2; nil is plain HTTP.
	TLS *tls.Config

	// Tokens are those of which a request needs one, but for /healthz and /readyz;
	// nil is for anybody.
	Tokens *Tokens

	Log *slog.Logger
}

// A Front is an http.Handler.
type Front struct {
	Config
	models models
	mux    *http.ServeMux
	held   atomic.Int64 // bytes of bodies being received or read
}

// New makes a front that answers with the given model.
func New(c Config, m Model) *Front {
	f := &Front{Config: c, mux: http.NewServeMux()}
	f.models.follow(m)
	f.mux.HandleFunc("/{$}", f.methods(map[string]http.HandlerFunc{"GET": f.label, "POST": f.predict}))
	f.mux.HandleFunc("/predict", f.methods(map[string]http.HandlerFunc{"POST": f.predict}))
	f.mux.HandleFunc("/healthz", f.methods(map[string]http.HandlerFunc{"GET": f.alive}))
	f.mux.HandleFunc("/readyz", f.methods(map[string]http.HandlerFunc{"GET": f.ready}))
	f.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, http.StatusNotFound, problem{fmt.Sprintf("there is nothing at %s; texts go to /?text=… or, as JSON, to POST /predict", r.URL.Path)})
	})
	return f
}

// Handle has requests answered by another handler, behind the front's tokens and limits.
// The pattern is http.ServeMux's. It is called before Serve.
func (f *Front) Handle(pattern string, h http.Handler) { f.mux.Handle(pattern, h) }

// Follow has requests that come from now on answered with another model. Those
// under way are answered with the one they began with, which is closed after them.
func (f *Front) Follow(m Model) { f.models.follow(m) }

// Close closes the model, after the requests under way.
func (f *Front) Close() { f.models.follow(Model{}) }

// drainTime is how long requests under way may take when the front is to stop.
const drainTime = 30 * time.Second

// Serve serves HTTP on the listener until ctx ends, then finishes the requests
// under way and returns nil. It closes the listener.
func (f *Front) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler:           f,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		WriteTimeout:      f.Timeout + time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		TLSConfig:         f.TLS,
		ErrorLog:          slog.NewLogLogger(f.Log.Handler(), slog.LevelDebug),
	}
	drained := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
		defer cancel()
		drained <- server.Shutdown(deadline)
	})
	serve := server.Serve
	if f.TLS != nil {
		serve = func(l net.Listener) error { return server.ServeTLS(l, "", "") }
	}
	err := serve(l)
	if !stop() {
		err = <-drained
	}
	if err != nil {
		return fmt.Errorf("serve HTTP on %s: %w", l.Addr(), err)
	}
	return nil
}

// ServeHTTP implements http.Handler, and logs a line a request.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	started := time.Now()
	rec := &recorder{ResponseWriter: w, status: http.StatusOK}
	if f.Tokens == nil || open(r.URL.Path) || f.Tokens.Allow(r.Header["Authorization"]) {
		f.mux.ServeHTTP(rec, r)
	} else {
		refuse(rec, r)
	}
	level := slog.LevelInfo
	if rec.status >= http.StatusInternalServerError {
		level = slog.LevelError
	}
	attrs := []slog.Attr{
		slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Int("status", rec.status),
		slog.Duration("took", time.Since(started).Round(time.Microsecond)),
	}
	if rec.texts > 0 {
		attrs = append(attrs, slog.Int("texts", rec.texts))
	}
	if rec.err != nil {
		attrs = append(attrs, slog.String("error", rec.err.Error()))
	}
	f.Log.LogAttrs(r.Context(), level, "request", attrs...)
}

// A recorder remembers what the log line tells.
type recorder struct {
	http.ResponseWriter
	status, texts int
	err           error
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// Unwrap gives http.ResponseController the writer below.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// methods chooses a handler by method, and answers 405 for the others.
func (f *Front) methods(byMethod map[string]http.HandlerFunc) http.HandlerFunc {
	var allowed []string
	for _, m := range []string{"GET", "HEAD", "POST"} {
		if byMethod[m] != nil || m == "HEAD" && byMethod["GET"] != nil {
			allowed = append(allowed, m)
		}
	}
	allow := strings.Join(allowed, ", ")
	return func(w http.ResponseWriter, r *http.Request) {
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		if h := byMethod[method]; h != nil {
			h(w, r)
			return
		}
		w.Header().Set("Allow", allow)
		writeJSON(w, http.StatusMethodNotAllowed, problem{fmt.Sprintf("%s is not possible at %s; use %s", r.Method, r.URL.Path, allow)})
	}
}

func (f *Front) alive(w http.ResponseWriter, _ *http.Request) { writePlain(w, http.StatusOK, "ok") }

func (f *Front) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	m, done := f.models.use()
	defer done()
	if err := m.Ready(ctx); err != nil {
		note(w, err)
		writePlain(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	writePlain(w, http.StatusOK, "ready")
}

// label answers GET /?text=… with the label alone.
func (f *Front) label(w http.ResponseWriter, r *http.Request) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	texts, given := query["text"]
	m, done := f.models.use()
	defer done()
	switch {
	case m.Batcher == nil:
		err = noTextError{m.NoText}
	case err != nil:
		err = fault.Errorf(fault.Invalid, "the query is not URL-encoded: %w", err)
	case !given:
		err = fault.Errorf(fault.Invalid, "text is missing; ask for /?text=… with the text URL-encoded")
	case len(texts) > 1:
		err = fault.Errorf(fault.Invalid, "text is given %d times; send several texts as a list with POST /predict", len(texts))
	case texts[0] == "":
		err = fault.Errorf(fault.Invalid, "text is empty")
	}
	var answers [][]text.Result
	if err == nil {
		answers, err = f.classify(m, w, r, texts)
	}
	if err != nil {
		note(w, err)
		writePlain(w, httpStatus(w, err), err.Error())
		return
	}
	writePlain(w, http.StatusOK, answers[0][0].Label)
}

// A body is what POST takes: what the text-classification API of Hugging Face
// takes.
type body struct {
	Inputs     json.RawMessage `json:"inputs"`
	Parameters struct {
		TopK *int `json:"top_k"`
	} `json:"parameters"`
	// Options of the hosted API (use_cache, wait_for_model) ask for nothing that
	// would differ here.
	Options json.RawMessage `json:"options"`
}

// predict answers POST with every label and its score, for one text or a list.
func (f *Front) predict(w http.ResponseWriter, r *http.Request) {
	result, err := f.results(w, r)
	if err != nil {
		note(w, err)
		writeJSON(w, httpStatus(w, err), problem{err.Error()})
		return
	}
	writeJSON(w, http.StatusOK, result)
}

func (f *Front) results(w http.ResponseWriter, r *http.Request) ([][]text.Result, error) {
	m, done := f.models.use()
	defer done()
	if m.Batcher == nil {
		return nil, noTextError{m.NoText}
	}
	b, err := f.readBody(w, r)
	if err != nil {
		return nil, err
	}
	texts, err := textsOf(b.Inputs)
	if err != nil {
		return nil, err
	}
	results, err := f.classify(m, w, r, texts)
	if err != nil {
		return nil, err
	}
	if k := b.Parameters.TopK; k != nil {
		for i := range results {
			results[i] = results[i][:min(*k, len(results[i]))]
		}
	}
	return results, nil
}

// bodiesAtOnce is how many bodies of the largest size may be held in memory.
const bodiesAtOnce = 16

// reserve takes room for a request's body, as much as it says it has or else, when that
// is negative, the most it may have, so that clients that send slowly cannot fill the
// memory.
func (f *Front) reserve(size int64) (release func(), err error) {
	n := f.MaxBody
	if size >= 0 {
		n = min(n, size)
	}
	if f.held.Add(n) > bodiesAtOnce*f.MaxBody {
		f.held.Add(-n)
		return nil, fault.Errorf(fault.Overloaded, "too many requests are being received; try again in a moment")
	}
	return func() { f.held.Add(-n) }, nil
}

func (f *Front) readBody(w http.ResponseWriter, r *http.Request) (*body, error) {
	release, err := f.reserve(r.ContentLength)
	if err != nil {
		return nil, err
	}
	defer release()
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, f.MaxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, fault.Errorf(fault.TooLarge, "the body is larger than %d bytes; send fewer texts at a time", f.MaxBody)
	case err != nil:
		return nil, fault.Errorf(fault.Invalid, "read the body: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	b := &body{}
	if err := d.Decode(b); err != nil {
		if field, unknown := strings.CutPrefix(err.Error(), "json: unknown field "); unknown {
			return nil, fault.Errorf(fault.Invalid, `the field %s is not known; a body has "inputs", and may have "parameters" with "top_k"`, field)
		}
		var kind *json.UnmarshalTypeError
		if errors.As(err, &kind) {
			place := kind.Field
			if place == "" {
				place = "the body"
			}
			return nil, fault.Errorf(fault.Invalid, `the body is not JSON of the form {"inputs": "…"}: %s must not be a JSON %s`, place, kind.Value)
		}
		return nil, fault.Errorf(fault.Invalid, `the body is not JSON of the form {"inputs": "…"}: %s`, strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fault.Errorf(fault.Invalid, "something follows the JSON object in the body")
	}
	if k := b.Parameters.TopK; k != nil && *k < 1 {
		return nil, fault.Errorf(fault.Invalid, "top_k is %d; it can be 1 or more", *k)
	}
	return b, nil
}

// textsOf reads a text or a list of texts.
func textsOf(inputs json.RawMessage) ([]string, error) {
	var one string
	var many []string
	switch {
	case len(inputs) == 0 || string(inputs) == "null":
		return nil, fault.Errorf(fault.Invalid, `"inputs" is missing; send {"inputs": "…"} or {"inputs": ["…", "…"]}`)
	case json.Unmarshal(inputs, &one) == nil:
		many = []string{one}
		if one == "" {
			return nil, fault.Errorf(fault.Invalid, `"inputs" is empty`)
		}
	case json.Unmarshal(inputs, &many) != nil:
		return nil, fault.Errorf(fault.Invalid, `"inputs" must be a string or a list of strings`)
	case len(many) == 0:
		return nil, fault.Errorf(fault.Invalid, `"inputs" is an empty list`)
	}
	for i, s := range many {
		if s == "" { // a null in the list reads as "" too
			return nil, fault.Errorf(fault.Invalid, `"inputs"[%d] is empty`, i)
		}
	}
	return many, nil
}

// classify has texts answered within the time that there is.
func (f *Front) classify(m Model, w http.ResponseWriter, r *http.Request, texts []string) ([][]text.Result, error) {
	timeout, err := f.timeout(w, r)
	if err != nil {
		return nil, err
	}
	if rec, ok := w.(*recorder); ok {
		rec.texts = len(texts)
	}
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	computed, _, err := m.Batcher.Answer(ctx, textmodel.Inputs(texts))
	if err != nil {
		// The batch may end by the same deadline, a moment before.
		if r.Context().Err() == nil && (ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded)) {
			return nil, fault.Errorf(fault.Deadline, "there was no answer within %s", timeout)
		}
		return nil, err
	}
	results := make([][]text.Result, len(computed))
	for i, a := range computed {
		if results[i], err = m.Classifier.Results(a); err != nil {
			return nil, fmt.Errorf("text %d: %w", i, err)
		}
	}
	return results, nil
}

// timeout is how long the request may take: as long as every other, or what its
// client says it waits for with `Prefer: wait=SECONDS` (RFC 7240, section 4.3), if
// that is less.
func (f *Front) timeout(w http.ResponseWriter, r *http.Request) (time.Duration, error) {
	for _, header := range r.Header.Values("Prefer") {
		for _, preference := range strings.Split(header, ",") {
			preference, _, _ = strings.Cut(preference, ";")
			name, value, _ := strings.Cut(preference, "=")
			if !strings.EqualFold(strings.TrimSpace(name), "wait") {
				continue
			}
			value = strings.TrimSpace(value)
			seconds, err := strconv.ParseUint(value, 10, 31)
			if err != nil || seconds == 0 {
				return 0, fault.Errorf(fault.Invalid, "the header Prefer has wait=%s; it takes seconds from 1 on, without a fraction", value)
			}
			if wait := time.Duration(seconds) * time.Second; wait < f.Timeout {
				w.Header().Set("Preference-Applied", "wait="+value)
				return wait, nil
			}
			return f.Timeout, nil // the first one counts
		}
	}
	return f.Timeout, nil
}

type noTextError struct{ why string }

func (e noTextError) Error() string { return e.why }

// statusClientClosed is what nginx logs for a client that left; the client never
// sees it.
const statusClientClosed = 499

// statuses is the one table from faults to HTTP statuses.
var statuses = map[fault.Code]int{
	fault.Internal:    http.StatusInternalServerError,
	fault.Invalid:     http.StatusBadRequest,
	fault.TooLarge:    http.StatusRequestEntityTooLarge,
	fault.Overloaded:  http.StatusTooManyRequests,
	fault.Unavailable: http.StatusServiceUnavailable,
	fault.Mismatch:    http.StatusServiceUnavailable,
	fault.Deadline:    http.StatusGatewayTimeout,
	fault.Canceled:    statusClientClosed,
}

// httpStatus maps an error to a status, and sets the headers that go with it.
func httpStatus(w http.ResponseWriter, err error) int {
	if errors.As(err, &noTextError{}) {
		return http.StatusNotFound
	}
	status := statuses[fault.CodeOf(err)]
	if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
		after, _ := batch.IsRefused(err)
		w.Header().Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(after.Seconds())))))
	}
	return status
}

func note(w http.ResponseWriter, err error) {
	if rec, ok := w.(*recorder); ok {
		rec.err = err
	}
}

type problem struct {
	Error string `json:"error"`
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil { // a float that JSON cannot say
		status = http.StatusInternalServerError
		buf.Reset()
		_ = e.Encode(problem{err.Error()})
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	write(w, status, buf.Bytes())
}

func writePlain(w http.ResponseWriter, status int, line string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	write(w, status, []byte(line+"\n"))
}

func write(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may have left
}
