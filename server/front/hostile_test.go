package front_test

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/distinfer/distinfer/runtime/testkit"
)

// A stranger is a client at an address of its own, of this machine's.
type stranger struct {
	from string
	site *site
}

// dial opens a connection and sends what is given.
func (s stranger) dial(t testing.TB, sends string) net.Conn {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(s.from)}}
	c, err := dialer.DialContext(t.Context(), "tcp", strings.TrimPrefix(s.site.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := io.WriteString(c, sends); err != nil && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatal(err)
	}
	return c
}

// alone is the site for somebody who makes a connection for every request.
func (s *site) alone() *site {
	return &site{url: s.url, client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: testkit.Patience}}
}

const halfBody = "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{\"inputs\""

// Connections whose bodies are never sent to the end give way, so that they lock nobody out,
// whether they come from elsewhere or from the same address.
func TestHalfSentBodiesLockNobodyOut(t *testing.T) {
	t.Parallel()
	const most = 48
	for _, from := range []string{"127.0.0.1", "127.0.0.2"} {
		s := serve(t, func(c *setup, _ *judge) { c.MaxConnections = most })
		mine := stranger{"127.0.0.1", s}.dial(t, "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 18\r\n\r\n{\"inputs\"")
		for range 3 * most {
			stranger{from, s}.dial(t, halfBody)
		}
		for i := range most {
			alone := s.alone()
			if a := alone.do(t, http.MethodGet, "/healthz", ""); a.status != http.StatusOK {
				t.Fatalf("from %s, %d: %d", from, i, a.status)
			}
			if a := alone.do(t, http.MethodPost, "/predict", `{"inputs": "good"}`); a.status != http.StatusOK {
				t.Fatalf("from %s, %d: %d %s", from, i, a.status, a.body)
			}
			stranger{from, s}.dial(t, halfBody)
		}
		if from == "127.0.0.1" {
			continue
		}
		// A client with few connections keeps them, however long it takes for its body.
		if _, err := io.WriteString(mine, `: "good"}`); err != nil {
			t.Fatal(err)
		}
		_ = mine.SetReadDeadline(time.Now().Add(testkit.Patience))
		if line, err := bufio.NewReader(mine).ReadString('\n'); err != nil || !strings.Contains(line, "200") {
			t.Errorf("the bystander's own slow request: %q, %v", line, err)
		}
	}
}

// A request that is here is answered, however many others come.
func TestConnectionsThatAreAnsweredStay(t *testing.T) {
	t.Parallel()
	s := serve(t, func(c *setup, _ *judge) { c.MaxConnections = 8 })
	busy := s.inBackground(t.Context(), t, http.MethodPost, "/predict", `{"inputs": "block"}`)
	testkit.Receive(t, "the run", s.judge.running)
	for range 40 {
		stranger{"127.0.0.1", s}.dial(t, halfBody)
	}
	s.judge.release <- struct{}{}
	if a := testkit.Receive(t, "the answer", busy); a.status != http.StatusOK {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// Bodies that were sent but for their last byte take memory; who holds most of it gives way.
func TestLargeBodiesThatAreHeldBackGiveWay(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	s := serve(t, func(c *setup, _ *judge) { c.MaxBody = size })
	held := `{"inputs": "` + strings.Repeat("x", size-100)
	for range 20 {
		stranger{"127.0.0.2", s}.dial(t, fmt.Sprintf("POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", size, held))
	}
	for i := range 8 {
		if a := s.do(t, http.MethodPost, "/predict", held+`"}`); a.status != http.StatusOK {
			t.Fatalf("%d: %d %.200s", i, a.status, a.body)
		}
	}
}

// gzipOf is a body of n times a text, compressed.
func gzipOf(t testing.TB, text string, n int, end string) string {
	t.Helper()
	var small strings.Builder
	z, err := gzip.NewWriterLevel(&small, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	piece := strings.Repeat(text, (1<<20)/len(text))
	for range n * len(text) / len(piece) {
		_, _ = io.WriteString(z, piece)
	}
	_, _ = io.WriteString(z, end)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return small.String()
}

// What expands to much and asks for nothing is not read to its end.
func TestEmptyStreamsEnd(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	for name, text := range map[string]string{
		"blank lines":   "\n",
		"spaces":        " \r\n",
		"one long line": " ",
		"wrong lines":   "x\n",
		"long lines":    strings.Repeat("x", 100_000) + "\n",
	} {
		body := gzipOf(t, text, (4<<20)/len(text), "\"good\"\n")
		c := stranger{"127.0.0.1", s}.dial(t, fmt.Sprintf("POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
		_ = c.SetReadDeadline(time.Now().Add(testkit.Patience))
		response, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if a := string(answer); err != nil || response.StatusCode != http.StatusOK || !strings.Contains(a, "without a text to answer") || strings.Contains(a, "positive") {
			t.Errorf("%s: %.300s", name, a[max(0, len(a)-300):])
		}
	}
	// As many blank lines as anybody has are passed over.
	a := s.post(t, "application/x-ndjson", strings.NewReader("\"good\"\n"+strings.Repeat("\n", 100_000)+"\"good\"\n"))
	if n := strings.Count(a.body, "positive"); n != 2 {
		t.Errorf("%d answers: %.300s", n, a.body)
	}
}

// A body that expands to nothing is bounded by what it is on the network.
func TestEmptyMembersEnd(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	var member strings.Builder
	_ = gzip.NewWriter(&member).Close()
	a := s.post(t, "application/json", strings.NewReader(strings.Repeat(member.String(), 4096)), "Content-Encoding", "gzip")
	a.wantProblem(t, http.StatusRequestEntityTooLarge, "larger than 4096 bytes")
}

// Streams of one client that has them all give way to those of others, and say so.
func TestStreamsOfOneClientGiveWay(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	const start = "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n\"good\"\n\r\n"
	var theirs []net.Conn
	for range 64 {
		c := stranger{"127.0.0.2", s}.dial(t, start)
		_ = c.SetReadDeadline(time.Now().Add(testkit.Patience))
		if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.Contains(line, "200") {
			t.Fatalf("%q, %v", line, err)
		}
		theirs = append(theirs, c)
	}
	one := stranger{"127.0.0.2", s}.dial(t, start)
	_ = one.SetReadDeadline(time.Now().Add(testkit.Patience))
	if line, err := bufio.NewReader(one).ReadString('\n'); err != nil || !strings.Contains(line, "429") {
		t.Errorf("one more of the same client: %q, %v", line, err)
	}
	for range 8 {
		if a := s.post(t, "application/x-ndjson", strings.NewReader("\"good\"\n")); a.status != http.StatusOK || !strings.Contains(a.body, "positive") {
			t.Fatalf("a bystander: %d %s", a.status, a.body)
		}
	}
	from := bufio.NewReader(theirs[0])
	for {
		line, err := from.ReadString('\n')
		if err != nil {
			t.Fatalf("who gave way is not told: %v", err)
		}
		if strings.Contains(line, "other clients have fewer") {
			break
		}
	}
}

// As many listen as may, of one client if no other wants to.
func TestListenersGiveWay(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	lasting := s.front.Lasting(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	server := httptest.NewServer(lasting)
	defer server.Close()
	listen := func(from string) *http.Response {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		transport := &http.Transport{DialContext: dialer.DialContext}
		t.Cleanup(transport.CloseIdleConnections)
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := (&http.Client{Transport: transport}).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		return response
	}
	var all []*http.Response
	for range 32 {
		all = append(all, listen("127.0.0.2")) //nolint:bodyclose // below
	}
	defer func() {
		for _, r := range all {
			_ = r.Body.Close()
		}
	}()
	more := listen("127.0.0.2")
	_ = more.Body.Close()
	if more.StatusCode != http.StatusServiceUnavailable || more.Header.Get("Retry-After") == "" {
		t.Errorf("one listener too many: %s", more.Status)
	}
	other := listen("127.0.0.3")
	if other.StatusCode != http.StatusOK {
		t.Errorf("a bystander: %s", other.Status)
	}
	if _, err := io.ReadAll(all[0].Body); err != nil { // it ends
		t.Error(err)
	}
	_ = other.Body.Close()
	for _, r := range all {
		_ = r.Body.Close()
	}
}
