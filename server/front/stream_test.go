package front_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/distinfer/distinfer/runtime/testkit"
	"github.com/distinfer/distinfer/server/front"
	"github.com/distinfer/distinfer/server/httpx"
)

const lines = "application/x-ndjson"

// post sends a body of a content type, with further headers as name, value, name, value.
func (s *site) post(t testing.TB, contentType string, body io.Reader, headers ...string) answer {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, s.url+"/predict", body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return s.send(t, r)
}

func TestLinesAreAnsweredWithLines(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	const positive = `[{"label":"positive","score":2},{"label":"neutral","score":0.5},{"label":"negative","score":-2}]`
	for _, c := range []struct{ line, want string }{
		{`"good"`, positive},
		{`{"text": "good"}`, positive},
		{`{"inputs": "good"}`, positive},
		{`{"inputs": {"text": "good"}, "parameters": {"top_k": 1}}`, `[{"label":"positive","score":2}]`},
		{`{"text": "bad", "parameters": {"top_k": 1, "function_to_apply": "none"}}`, `[{"label":"negative","score":3}]`},
		{`  "good"` + "\r", positive},
		{`good`, `not JSON`},
		{`""`, `line 3 is empty`},
		{`{}`, `"inputs" is missing`},
		{`["good"]`, `must not be a list`},
		{`{"inputs": ["good"]}`, positive},
		{`{"inputs": ["good", "bad"]}`, `line 3: 2 texts; send a line for each`},
		{`{"inputs": [["good"]]}`, `is a list`},
		{`{"text": "good", "inputs": "good"}`, `both`},
		{`{"text": "good", "text_pair": "bad"}`, positive},
		{`{"text": "good", "text_pair": ""}`, `text_pair`},
		{`{"text": "good", "x": 1}`, `known are`},
		{`"good" "bad"`, `something follows`},
		{`"nan"`, `not a number`},
		{`" "`, `no tokens`},
		{`NaN`, `line 3 is not JSON`},
		{`"` + strings.Repeat("x", 64<<10) + `"`, `line 3 is longer than 65536 bytes`},
		{strings.Repeat("[", 60000), `not JSON`},
	} {
		// Whatever stands on a line, those around it are answered.
		a := s.post(t, lines, strings.NewReader("\"good\"\n\n"+c.line+"\n\"good\""))
		got := strings.Split(a.body, "\n")
		if a.status != http.StatusOK || a.header.Get("Content-Type") != lines || len(got) != 4 || got[0] != positive || got[2] != positive {
			t.Errorf("%.80s: %d, %v, %q", c.line, a.status, a.header, a.body)
			continue
		}
		if got[1] == c.want {
			continue
		}
		var problem struct {
			Error string
			Line  int
		}
		if err := json.Unmarshal([]byte(got[1]), &problem); err != nil || problem.Line != 3 || !strings.Contains(problem.Error, c.want) || strings.Contains(problem.Error, "body") {
			t.Errorf("%.80s is answered with %s, want %s", c.line, got[1], c.want)
		}
	}
}

// A stream has no end that the front would have to know, and is answered as it comes.
func TestAStreamIsAnsweredWhileItIsSent(t *testing.T) {
	t.Parallel()
	for name, h2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, nil)
			if h2 {
				s.speakHTTP2(t)
			}
			from, to := io.Pipe()
			r, err := http.NewRequest(http.MethodPost, s.url, from)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", lines)
			s.client.Timeout = 3 * testkit.Patience
			go func() { _, _ = io.WriteString(to, "\"good\"\n") }()
			response, err := s.client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = response.Body.Close() }()
			if got := response.Proto; got != name && got != name+".0" {
				t.Errorf("the protocol is %s", got)
			}
			answers := bufio.NewScanner(response.Body)
			next := func(want string) {
				t.Helper()
				if !answers.Scan() || !strings.HasPrefix(answers.Text(), `[{"label":"`+want) {
					t.Fatalf("the answer is %q, %v, want %s", answers.Text(), answers.Err(), want)
				}
			}
			next("positive")
			for range 3 { // each is answered before the next is sent
				if _, err := io.WriteString(to, "\"bad\"\n"); err != nil {
					t.Fatal(err)
				}
				next("negative")
			}
			const many = 5000
			go func() {
				for i := range many {
					_, _ = fmt.Fprintf(to, "%q\n", []string{"good", "bad", "bad"}[i%3])
				}
				_ = to.Close()
			}()
			for i := range many {
				next([]string{"positive", "negative", "negative"}[i%3])
			}
			if answers.Scan() || answers.Err() != nil {
				t.Errorf("after the last line: %q, %v", answers.Text(), answers.Err())
			}
		})
	}
}

// speakHTTP2 has the client speak HTTP/2 without TLS, without asking first.
func (s *site) speakHTTP2(t testing.TB) {
	t.Helper()
	var only http.Protocols
	only.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: &only}
	s.client.Transport = transport
	t.Cleanup(transport.CloseIdleConnections)
}

func TestAStopEndsStreams(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	from, to := io.Pipe()
	defer func() { _ = to.Close() }()
	answered := make(chan answer, 1)
	go func() {
		r, _ := http.NewRequest(http.MethodPost, s.url, from)
		r.Header.Set("Content-Type", lines)
		response, err := s.client.Do(r)
		if err != nil {
			return
		}
		defer func() { _ = response.Body.Close() }()
		b := make([]byte, 1<<10)
		n, _ := response.Body.Read(b)
		s.stop()
		rest, _ := io.ReadAll(response.Body)
		answered <- answer{response.StatusCode, response.Header, string(b[:n]) + string(rest)}
	}()
	if _, err := io.WriteString(to, "\"good\"\n"); err != nil {
		t.Fatal(err)
	}
	a := testkit.Receive(t, "the end", answered)
	if !strings.HasPrefix(a.body, `[{"label":"positive"`) || !strings.Contains(a.body, `"line":2`) || !strings.Contains(a.body, "the front stops") {
		t.Errorf("the stream is %q", a.body)
	}
	s.wait(t)
}

func gzipped(t testing.TB, body string) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.WriteString(z, body); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

// The content codings are those of every route: package oip has the same test.
func TestContentCodings(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	zlibbed := func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) }
	gzipped := func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }
	for coding, make := range map[string]func(io.Writer) io.WriteCloser{
		"gzip": gzipped, "x-gzip": gzipped, "GZIP": gzipped, "deflate": zlibbed, "identity": nil, "br": nil, "compress": nil, "gzip, deflate": nil,
	} {
		for kind, body := range map[string]string{"application/json": `{"inputs": "good"}`, lines: `"good"` + "\n"} {
			var b bytes.Buffer
			if make != nil {
				c := make(&b)
				if _, err := io.WriteString(c, body); err != nil {
					t.Fatal(err)
				}
				if err := c.Close(); err != nil {
					t.Fatal(err)
				}
			} else {
				b.WriteString(body)
			}
			want := http.StatusOK
			if make == nil && coding != "identity" {
				want = http.StatusUnsupportedMediaType
			}
			if a := s.post(t, kind, &b, "Content-Encoding", coding); a.status != want || want == http.StatusOK && !strings.Contains(a.body, "positive") {
				t.Errorf("%s, %s: %d %s", coding, kind, a.status, a.body)
			}
		}
	}
}

// A byte order mark before JSON is passed over; one inside is not.
func TestByteOrderMarksArePassedOver(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	const mark = "\ufeff"
	if a := s.post(t, "application/json", strings.NewReader(mark+`{"inputs": "good"}`)); a.status != http.StatusOK {
		t.Errorf("%d %s", a.status, a.body)
	}
	a := s.post(t, lines, strings.NewReader(mark+"\"good\"\r\n"+mark+"{\"text\": \"bad\"}\n"+mark+"\r\n\n\"good\"\n"))
	if a.status != http.StatusOK || strings.Count(a.body, "\n") != 3 || strings.Contains(a.body, "error") {
		t.Errorf("%d %s", a.status, a.body)
	}
	s.post(t, "application/json", strings.NewReader(mark+mark+`{"inputs": "good"}`)).wantProblem(t, http.StatusBadRequest, "not JSON")
	s.post(t, "application/json", strings.NewReader(`{`+mark+`"inputs": "good"}`)).wantProblem(t, http.StatusBadRequest, "not JSON")
}

func TestBodiesMayBeCompressed(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	const encoded = "Content-Encoding"
	if a := s.post(t, "application/json", gzipped(t, `{"inputs": "good"}`), encoded, "gzip"); a.status != http.StatusOK {
		t.Errorf("%d, %s", a.status, a.body)
	}
	if a := s.post(t, lines, gzipped(t, "\"good\"\n\"bad\"\n"), encoded, "gzip"); a.status != http.StatusOK || strings.Count(a.body, "\n") != 2 {
		t.Errorf("%d, %s", a.status, a.body)
	}
	bomb := gzipped(t, `{"inputs": "`+strings.Repeat(" ", 4<<20)+`"}`)
	s.post(t, "application/json", bomb, encoded, "gzip").wantProblem(t, http.StatusRequestEntityTooLarge, "larger than 4096 bytes")
	s.post(t, "application/json", strings.NewReader(`{"inputs": "good"}`), encoded, "gzip").wantProblem(t, http.StatusBadRequest, "not gzip")
	s.post(t, "application/json", strings.NewReader(`{"inputs": "good"}`), encoded, "br").wantProblem(t, http.StatusUnsupportedMediaType, "gzip")
	for _, encodings := range [][]string{{"gzip, gzip"}, {"gzip", "gzip"}, {"gzip", "br"}} {
		r, err := http.NewRequest(http.MethodPost, s.url, gzipped(t, `{"inputs": "good"}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header[encoded] = encodings
		s.send(t, r).wantProblem(t, http.StatusUnsupportedMediaType, "gzip")
	}
	cut := gzipped(t, `{"inputs": "good"}`)
	cut.Truncate(cut.Len() - 6)
	s.post(t, "application/json", cut, encoded, "gzip").wantProblem(t, http.StatusBadRequest, "read the body")
}

func TestLargeResponsesAreCompressedForThoseWhoAccept(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	s.client.Transport = &http.Transport{DisableCompression: true}
	for n, want := range map[int]string{1: "", 100: "gzip"} {
		a := s.post(t, "application/json", strings.NewReader(numbered(t, n)), "Accept-Encoding", "gzip")
		if a.status != http.StatusOK || a.header.Get("Content-Encoding") != want || !strings.Contains(strings.Join(a.header.Values("Vary"), ","), "Accept-Encoding") {
			t.Errorf("%d texts: %d, %v", n, a.status, a.header)
		}
		plain := s.post(t, "application/json", strings.NewReader(numbered(t, n)))
		if want == "" {
			continue
		}
		z, err := gzip.NewReader(strings.NewReader(a.body))
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(z); err != nil || string(b) != plain.body || len(a.body) > len(plain.body)/4 {
			t.Errorf("%v, %d of %d bytes", err, len(a.body), len(plain.body))
		}
	}
}

func TestRequestsHaveIDs(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	for _, c := range []struct{ id, traceparent, want string }{
		{"a-1", "", "a-1"},
		{"a-1", "00-" + trace + "-00f067aa0ba902b7-01", "a-1"},
		{"", "00-" + trace + "-00f067aa0ba902b7-01", trace},
		{"", "00-00000000000000000000000000000000-00f067aa0ba902b7-01", ""},
		{"", "00-4bf92f3577b34da6a3ce929d0e0e473G-00f067aa0ba902b7-01", ""},
		{"a b", "", ""},
		{`a"b`, "", ""},
		{strings.Repeat("x", 129), "", ""},
		{"", "", ""},
	} {
		r, err := http.NewRequest(http.MethodGet, s.url+"/healthz", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Request-Id", c.id)
		r.Header.Set("Traceparent", c.traceparent)
		got := s.send(t, r).header.Get("X-Request-Id")
		if c.want == "" && len(got) != 32 || c.want != "" && got != c.want {
			t.Errorf("%+v: the id is %q", c, got)
		}
		testkit.Eventually(t, "the id is logged", func() bool { return strings.Contains(s.log.String(), "request_id="+got) })
	}
}

func TestAnswersSayWhereTheTimeWent(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	for _, a := range []answer{s.ask(t, "good"), s.do(t, http.MethodPost, "/predict", `{"inputs": "good"}`), s.do(t, http.MethodPost, "/predict", numbered(t, 30))} {
		if got := a.header.Get("Server-Timing"); !strings.HasPrefix(got, "tokenize;dur=") || !strings.Contains(got, ", queue;dur=") || !strings.Contains(got, ", compute;dur=") {
			t.Errorf("Server-Timing is %q", got)
		}
	}
}

func TestOnlyOriginsThatAreNamedMayRead(t *testing.T) {
	t.Parallel()
	const page = "https://example.org"
	for _, c := range []struct {
		origins httpx.Origins
		origin  string
		allowed bool
	}{
		{nil, page, false},
		{httpx.Origins{page}, page, true},
		{httpx.Origins{page}, "https://example.org.evil.net", false},
		{httpx.Origins{page}, "", false},
		{httpx.Origins{"*"}, page, true},
	} {
		s := serve(t, func(c2 *setup, _ *judge) { c2.Origins = c.origins })
		for _, method := range []string{http.MethodPost, http.MethodOptions} {
			r, err := http.NewRequest(method, s.url+"/predict", strings.NewReader(`{"inputs": "good"}`))
			if err != nil {
				t.Fatal(err)
			}
			if c.origin != "" {
				r.Header.Set("Origin", c.origin)
			}
			want := http.StatusOK
			if c.origin != "" && !c.allowed {
				want = http.StatusForbidden // on this machine it may not even ask
			}
			if method == http.MethodOptions {
				r.Header.Set("Access-Control-Request-Method", "POST")
				want = http.StatusNoContent
			}
			a := s.send(t, r)
			if got := a.header.Get("Access-Control-Allow-Origin"); a.status != want || (got == c.origin && got != "") != c.allowed {
				t.Errorf("%v, %s %q: %d, %v", c.origins, method, c.origin, a.status, a.header)
			}
			if got := a.header.Get("Access-Control-Allow-Headers"); (got != "") != (c.allowed && method == http.MethodOptions) {
				t.Errorf("%v, %s %q: the headers allowed are %q", c.origins, method, c.origin, got)
			}
		}
	}
}

func TestOptionsTellsTheMethods(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	for path, want := range map[string]string{"/": "GET, HEAD, POST, OPTIONS", "/predict": "POST, OPTIONS", "/healthz": "GET, HEAD, OPTIONS"} {
		if a := s.do(t, http.MethodOptions, path, ""); a.status != http.StatusNoContent || a.header.Get("Allow") != want {
			t.Errorf("%s: %d, %v", path, a.status, a.header)
		}
	}
}

func TestTheQueryIsAnsweredInJSONForThoseWhoAcceptNothingElse(t *testing.T) {
	t.Parallel()
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<p>") })
	for _, c := range []struct {
		page         http.Handler
		path, accept string
		want         string
	}{
		{page, "/?text=good", "*/*", "positive\n"},
		{page, "/?text=good", "text/html,application/xhtml+xml,*/*;q=0.8", "positive\n"},
		{page, "/?text=good", "application/json", `[[{"label":"positive","score":2},{"label":"neutral","score":0.5},{"label":"negative","score":-2}]]` + "\n"},
		{page, "/?text=bad", "application/json;q=0", "negative\n"},
		{page, "/?text=bad", "application/json;q=0, text/plain;q=0.1", "negative\n"},
		{page, "/?text=bad", "application/json;q=0.1, text/plain;q=0.9", "negative\n"},
		{page, "/?text=", "application/json, text/plain;q=0.0", `{"error":"text is empty"}` + "\n"},
		{page, "/?text=", "Application/JSON; q=0.2; charset=utf-8", `{"error":"text is empty"}` + "\n"},
		{page, "/?text=", "application/json", `{"error":"text is empty"}` + "\n"},
		{page, "/", "text/html,application/xhtml+xml", "<p>"},
		{page, "/", "*/*", "text is missing; ask for /?text=… with the text URL-encoded\n"},
		{nil, "/", "text/html", "text is missing; ask for /?text=… with the text URL-encoded\n"},
	} {
		s := serve(t, func(c2 *setup, _ *judge) { c2.Page = c.page })
		r, err := http.NewRequest(http.MethodGet, s.url+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", c.accept)
		if a := s.send(t, r); a.body != c.want {
			t.Errorf("%s, %s: %q", c.path, c.accept, a.body)
		}
	}
}

func TestRefusalsAreCountedInTheLog(t *testing.T) {
	t.Parallel()
	s := serve(t, func(c *setup, _ *judge) { takes(&c.Model, 1) })
	first := s.inBackground(t.Context(), t, http.MethodGet, "/?text=block", "")
	testkit.Receive(t, "the run", s.judge.running)
	for range 5 {
		s.ask(t, "good").wantPlain(t, http.StatusTooManyRequests, "too many texts")
	}
	counted := func() (n int) {
		for line := range strings.SplitSeq(s.log.String(), "\n") {
			var one int
			if _, after, is := strings.Cut(line, `msg="requests rejected" count=`); is && strings.Contains(line, "too many texts") {
				_, _ = fmt.Sscan(after, &one)
			}
			n += one
		}
		return n
	}
	testkit.Eventually(t, "five refusals are counted", func() bool { return counted() == 5 })
	s.judge.release <- struct{}{}
	testkit.Receive(t, "the answer", first)
	if l := s.log.lines(t, 1); len(l) != 1 {
		t.Errorf("logged is %q", l)
	}
}

// Idle connections give way to new ones.
func TestIdleConnectionsGiveWay(t *testing.T) {
	t.Parallel()
	s := serve(t, func(c *setup, _ *judge) { c.MaxConnections = 4 })
	address := strings.TrimPrefix(s.url, "http://")
	busy := s.inBackground(t.Context(), t, http.MethodGet, "/?text=block", "")
	testkit.Receive(t, "the run", s.judge.running)
	var idle []net.Conn
	for i := range 20 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		if i%2 == 0 {
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nX-Slow: ") // and no more
		}
		idle = append(idle, c)
	}
	if err := idle[0].SetReadDeadline(time.Now().Add(testkit.Patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := idle[0].Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("the first one is still open: %v", err)
	}
	s.client.Transport = &http.Transport{DisableKeepAlives: true}
	for range 5 {
		if a := s.do(t, http.MethodGet, "/healthz", ""); a.status != http.StatusOK {
			t.Errorf("%d", a.status)
		}
	}
	s.judge.release <- struct{}{}
	testkit.Receive(t, "the answer of the busy one", busy).wantPlain(t, http.StatusOK, "positive")
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

func FuzzLines(f *testing.F) {
	for _, s := range []string{"", "\n", `"good"`, "\"good\"\n{\"text\": \"bad\"}\n", `{"inputs": "good", "parameters": {"top_k": 1}}`, "[[[[", "{\"text\":\"a\",\"text\":\"b\"}", "\xff\n\"\xff\"", "nul\n\"bad\"\r\n"} {
		f.Add([]byte(s))
	}
	c, _ := usualSetup(f, &judge{})
	c.Log = slog.New(slog.DiscardHandler)
	handler := front.New(c.Config, c.Model)
	f.Fuzz(func(t *testing.T, body []byte) {
		if bytes.Contains(body, []byte("block")) || bytes.Contains(body, []byte(`\u`)) {
			t.Skip("may spell a word for which the judge does not answer")
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/", bytes.NewReader(body))
		r.Header.Set("Content-Type", lines)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		want := 0
		for l := range bytes.SplitSeq(body, []byte("\n")) {
			if len(bytes.TrimSpace(l)) > 0 {
				want++
			}
		}
		got := bytes.Split(bytes.TrimSuffix(w.Body.Bytes(), []byte("\n")), []byte("\n"))
		if want == 0 && w.Body.Len() == 0 {
			return
		}
		if len(got) != want || w.Code != http.StatusOK {
			t.Fatalf("%q: %d, %d lines, want %d: %q", body, w.Code, len(got), want, w.Body)
		}
		for _, l := range got {
			if !json.Valid(l) {
				t.Errorf("%q is answered with %q", body, l)
			}
		}
	})
}

func TestAClientSaysHowLongItWaits(t *testing.T) {
	t.Parallel()
	s := serve(t, func(c *setup, _ *judge) { c.Timeout = 20 * time.Second })
	for prefer, want := range map[string]struct {
		status  int
		applied string
	}{
		"wait=19":                    {200, "wait=19"},
		`respond-async, Wait = "19"`: {200, "wait=19"},
		"wait=21":                    {200, ""},
		"wait=99999999999":           {200, ""}, // longer than any
		"wait=18446744073709551616":  {200, ""},
		"wait=0":                     {400, ""},
		"wait=1.5":                   {400, ""},
		"wait":                       {400, ""},
	} {
		r, err := http.NewRequest(http.MethodGet, s.url+"/?text=good", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Prefer", prefer)
		if a := s.send(t, r); a.status != want.status || a.header.Get("Preference-Applied") != want.applied {
			t.Errorf("%s: %d, %q applied, %s", prefer, a.status, a.header.Get("Preference-Applied"), a.body)
		}
	}
}

func FuzzPrefer(f *testing.F) {
	for _, s := range []string{"", "wait=5", "wait=0", "respond-async, wait=10;x=1", "WAIT = 3", "wait=99999999999999999999", "wait=\x00", ",,;;=="} {
		f.Add(s)
	}
	c, _ := usualSetup(f, &judge{})
	c.Log = slog.New(slog.DiscardHandler)
	handler := front.New(c.Config, c.Model)
	f.Fuzz(func(t *testing.T, prefer string) {
		r := httptest.NewRequest(http.MethodGet, "/?text=good", nil)
		r.Header.Set("Prefer", prefer)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		switch applied := w.Header().Get("Preference-Applied"); {
		case w.Code != http.StatusOK && w.Code != http.StatusBadRequest && w.Code != http.StatusTooManyRequests:
			t.Errorf("%q: status %d, %s", prefer, w.Code, w.Body)
		case applied != "" && !strings.Contains(prefer, strings.TrimPrefix(applied, "wait=")):
			t.Errorf("%q: %q was applied", prefer, applied)
		}
	})
}
