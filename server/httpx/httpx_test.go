package httpx_test

import (
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/server/httpx"
)

func answer(h http.Handler, method string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "/there", nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func wantHeader(t *testing.T, what string, w *httptest.ResponseRecorder, name, want string) {
	t.Helper()
	if got := w.Header().Get(name); got != want {
		t.Errorf("%s: %s is %q, want %q", what, name, got, want)
	}
}

func TestARouteAnswersItsMethodsAndNamesThemForOthers(t *testing.T) {
	t.Parallel()
	alive := http.HandlerFunc(httpx.Alive)
	both := httpx.Methods(map[string]http.HandlerFunc{"GET": alive, "POST": alive})
	for _, c := range []struct {
		h             http.Handler
		method, allow string
		status        int
	}{
		{httpx.Get(alive), "GET", "", 200},
		{httpx.Get(alive), "HEAD", "", 200},
		{httpx.Get(alive), "POST", "GET, HEAD, OPTIONS", 405},
		{httpx.Post(alive), "POST", "", 200},
		{httpx.Post(alive), "HEAD", "POST, OPTIONS", 405},
		{httpx.Post(alive), "OPTIONS", "POST, OPTIONS", 204},
		{both, "OPTIONS", "GET, HEAD, POST, OPTIONS", 204},
		{both, strings.Repeat("X", 1000), "GET, HEAD, POST, OPTIONS", 405},
	} {
		w := answer(c.h, c.method)
		if w.Code != c.status || w.Body.Len() > 200 || c.status == 405 && !strings.Contains(w.Body.String(), `{"error":"`) {
			t.Errorf("%.10s: %d %s", c.method, w.Code, w.Body)
		}
		wantHeader(t, c.method, w, "Allow", c.allow)
	}
}

type busyError struct{ error }

func (busyError) RetryAfter() time.Duration { return 1500 * time.Millisecond }

func TestErrorsAreOneDocumentWithTheirStatus(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err    error
		status int
		after  string
	}{
		{errors.New("x"), 500, ""},
		{errcode.Errorf(errcode.Invalid, "x"), 400, ""},
		{errcode.Errorf(errcode.TooLarge, "x"), 413, ""},
		{errcode.Errorf(errcode.Overloaded, "x"), 429, "1"},
		{errcode.Wrap(errcode.Overloaded, busyError{errors.New("x")}), 429, "2"},
		{errcode.Errorf(errcode.Unavailable, "x"), 503, "1"},
		{errcode.Errorf(errcode.Deadline, "x"), 504, ""},
		{errcode.Errorf(errcode.Fatal, "x"), 500, ""},
		{errcode.Errorf(errcode.Quarantined, "x"), 422, ""},
		{fmt.Errorf("more: %w", httpx.Errorf(415, "x")), 415, ""},
	} {
		for kind, fail := range map[string]func(http.ResponseWriter, error){"application/json": httpx.Fail, "text/plain; charset=utf-8": httpx.FailPlain} {
			w := httptest.NewRecorder()
			fail(w, c.err)
			want := c.err.Error() + "\n"
			if kind == "application/json" {
				want = `{"error":"` + c.err.Error() + "\"}\n"
			}
			if w.Code != c.status || w.Body.String() != want {
				t.Errorf("%v: %d %s", c.err, w.Code, w.Body)
			}
			wantHeader(t, want, w, "Retry-After", c.after)
			wantHeader(t, want, w, "Content-Type", kind)
			wantHeader(t, want, w, "Cache-Control", "no-store")
			wantHeader(t, want, w, "X-Content-Type-Options", "nosniff")
		}
	}
}

// A noting writer is what logs a request, below others.
type noting struct {
	httpx.StatusWriter
	noted error
}

func (n *noting) Note(err error) { n.noted = err }

func TestWhatLogsARequestLearnsWhyItFailed(t *testing.T) {
	t.Parallel()
	n := &noting{StatusWriter: httpx.StatusWriter{ResponseWriter: httptest.NewRecorder()}}
	httpx.WriteJSON(&httpx.StatusWriter{ResponseWriter: n}, 200, math.NaN())
	if n.noted == nil || n.Status != 500 {
		t.Errorf("%v, %d", n.noted, n.Status)
	}
	httpx.Note(httptest.NewRecorder(), errors.New("nobody logs this"))
}

func TestWhatAClientAccepts(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]float64{
		"": 0, "text/plain": 1, "TEXT/Plain ; q=0.5": 0.5, "text/plain; charset=utf-8; q=0.2": 0.2, "text/plain;q=0": 0,
		"text/html, text/plain;q=0.1,text/plain;q=0.3": 0.3, "*/*": 0, "text/plain;q=nan": 1, "text/plain;q=2": 1, "text/plainer": 0,
	} {
		if got := httpx.Accepted([]string{"image/png", header}, "text/plain"); got != want {
			t.Errorf("%q: %g, want %g", header, got, want)
		}
	}
}

func TestADocumentIsSentOnceUntilItChanges(t *testing.T) {
	t.Parallel()
	d := httpx.Compress(httpx.NewDocument(httpx.TypeJSON, []byte(strings.Repeat("{}", 5000))))
	first := answer(d, "GET")
	tag := first.Header().Get("ETag")
	wantHeader(t, "first", first, "Cache-Control", "no-cache")
	for match, status := range map[string]int{"": 200, tag: 304, `"a", ` + tag: 304, "*": 304, strings.TrimPrefix(tag, "W/"): 304, `"a"`: 200} {
		w := answer(d, "GET", "If-None-Match", match, "Accept-Encoding", "gzip")
		if w.Code != status || (w.Body.Len() > 0) != (status == 200) || (w.Header().Get("Content-Encoding") != "") != (status == 200) {
			t.Errorf("%q: %d, %d bytes", match, w.Code, w.Body.Len())
		}
		wantHeader(t, match, w, "ETag", tag)
	}
}

func TestResponsesAreCompressedAsTheClientLikes(t *testing.T) {
	t.Parallel()
	long, short := strings.Repeat("long", 1000), "short"
	for _, c := range []struct{ accept, body, want string }{
		{"gzip", long, "gzip"}, {"deflate", long, "deflate"}, {"gzip, deflate, br", long, "gzip"}, {"*", long, "gzip"},
		{"gzip;q=0.1, deflate", long, "deflate"}, {"gzip;q=0, *", long, "deflate"}, {"gzip;q=0", long, ""}, {"", long, ""}, {"br", long, ""},
		{"gzip", short, ""},
	} {
		h := httpx.Compress(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { httpx.WritePlain(w, 200, c.body) }))
		w := answer(h, "GET", "Accept-Encoding", c.accept)
		wantHeader(t, c.accept, w, "Content-Encoding", c.want)
		wantHeader(t, c.accept, w, "Vary", "Accept-Encoding")
		if (w.Header().Get("Content-Length") == "") != (c.want != "") {
			t.Errorf("%s: the length is %q", c.accept, w.Header().Get("Content-Length"))
		}
		if got := decoded(t, w); got != c.body+"\n" {
			t.Errorf("%s: %.40q", c.accept, got)
		}
	}
}

func decoded(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	var from io.Reader = w.Body
	var err error
	switch w.Header().Get("Content-Encoding") {
	case "gzip":
		from, err = gzip.NewReader(from)
	case "deflate":
		from, err = zlib.NewReader(from)
	}
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(from)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestStreamsAreCompressedAndFlushed(t *testing.T) {
	t.Parallel()
	next := make(chan struct{})
	server := httptest.NewServer(httpx.Compress(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
		for range 2 {
			_, _ = io.WriteString(w, "line\n")
			_ = http.NewResponseController(w).Flush()
			<-next
		}
	})))
	defer server.Close()
	r, err := server.Client().Get(server.URL) // which accepts gzip and decodes it
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	for range 2 {
		var line [5]byte
		if _, err := io.ReadFull(r.Body, line[:]); err != nil || string(line[:]) != "line\n" || !r.Uncompressed {
			t.Fatalf("%q, %v, compressed: %v", line, err, r.Uncompressed)
		}
		next <- struct{}{}
	}
	if rest, err := io.ReadAll(r.Body); err != nil || len(rest) > 0 {
		t.Errorf("%q, %v", rest, err)
	}
}

func TestAResponseIsLeftAsItIsWhenItCannotBeCompressed(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]http.HandlerFunc{
		"has a coding": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "br")
			_, _ = w.Write(make([]byte, 5000))
		},
		"is a part": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", "bytes 0-4999/10000")
			_, _ = w.Write(make([]byte, 5000))
		},
		"has no body": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
		"is nothing":  func(http.ResponseWriter, *http.Request) {},
	} {
		if w := answer(httpx.Compress(h), "GET", "Accept-Encoding", "gzip"); w.Header().Get("Content-Encoding") == "gzip" {
			t.Errorf("what %s is compressed", name)
		}
	}
}

func TestABodyIsReadOnceItsMemoryIsThere(t *testing.T) {
	t.Parallel()
	const most = 1 << 20
	bodies := httpx.NewBodies(most)
	read := func(size int) (*httpx.Body, error) {
		w := httptest.NewRecorder()
		b := bodies.Receive(w, func() string { return "a" })
		data, err := b.Read(httptest.NewRequest(http.MethodPost, "/", strings.NewReader(strings.Repeat("x", size))))
		if err == nil && len(data) != size {
			t.Errorf("%d bytes of %d", len(data), size)
		}
		return b, err
	}
	if _, err := read(most + 1); errcode.Of(err) != errcode.TooLarge {
		t.Errorf("too large: %v", err)
	}
	var all []*httpx.Body
	for range 16 {
		b, err := read(most)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	if _, err := read(most); errcode.Of(err) != errcode.Overloaded {
		t.Errorf("one more: %v", err)
	}
	if _, err := read(httpx.FreeBody - 1); err != nil {
		t.Errorf("a small one: %v", err)
	}
	for _, b := range all {
		b.Release()
		b.Release()
	}
	if b, err := read(most); err != nil {
		t.Errorf("once there is memory: %v", err)
	} else {
		b.Release()
	}
}
