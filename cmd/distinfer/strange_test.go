package main_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/distinfer/distinfer/runtime/testkit"
)

// named asks for a path under a host, by one request of HTTP/1.1 with further header lines.
func named(t *testing.T, address, request, host string, header ...string) (status int, body string) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(testkit.Patience)); err != nil {
		t.Fatal(err)
	}
	header = append([]string{request + " HTTP/1.1", "Host: " + host, "Connection: close"}, header...)
	if _, err := io.WriteString(c, strings.Join(header, "\r\n")+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(b)
}

// A web page whose own name is made to stand for this machine can read nothing of what `up`
// starts: neither of the front, nor what --admin gives of front and stages.
func TestAWebPageOfAStrangerReadsNothing(t *testing.T) {
	t.Parallel()
	b := split(t, "seed-rnn", 1)
	s := start(t, b, "up", "--bundle", b, "--port", "0", "--admin", "localhost:0", "--allowed-hosts", "front.example.org,192.168.0.9")
	front := strings.TrimPrefix(upURL(t, s), "http://")
	paths := map[string][]string{front: {
		"GET /?text=good", "GET /status", "GET /metrics", "GET /", "GET /page/", "GET /openapi.json", "GET /healthz", "GET /readyz",
		"GET /v2", "GET /v2/health/ready", "GET /v2/models/seed-rnn",
	}}
	for n := range 2 {
		admin := s.entry(t, "metrics and profiles", n+1)["listen"].(string)
		paths[admin] = []string{"GET /metrics", "GET /healthz", "GET /debug/pprof/heap?debug=1", "GET /debug/pprof/goroutine?debug=2", "GET /debug/pprof/cmdline"}
	}
	for address, list := range paths {
		_, port, _ := net.SplitHostPort(address)
		for _, path := range list {
			for _, host := range []string{"evil.example", "evil.example:" + port, "127.1", "0x7f000001:" + port, "192.168.0.8", "[::2]:" + port, ""} {
				status, body := named(t, address, path, host, "Accept: text/html", "X-Forwarded-Host: localhost")
				if status != http.StatusForbidden || strings.Contains(body, "distinfer_") || host != "" && !strings.Contains(body, "allowed hosts") {
					t.Errorf("%s under %q: %d %.300s", path, host, status, body)
				}
			}
			for _, host := range []string{"localhost:" + port, "LOCALHOST", "127.0.0.1:" + port, "[::1]:1", "front.example.org", "front.example.org.:443", "192.168.0.9"} {
				if status, body := named(t, address, path, host, "Accept: text/html"); status == http.StatusForbidden || status >= 500 {
					t.Errorf("%s under %q: %d %.300s", path, host, status, body)
				}
			}
		}
		// What a page of a stranger posts without being able to read the answer.
		for _, path := range []string{"POST /predict", "POST /v2/models/seed-rnn/infer", "POST /debug/pprof/symbol"} {
			if status, body := named(t, address, path, "localhost:"+port, "Sec-Fetch-Site: cross-site", "Content-Length: 0"); status != http.StatusForbidden || !strings.Contains(body, "CORS origins") {
				t.Errorf("%s of another page: %d %s", path, status, body)
			}
		}
		if status, body := named(t, address, "POST /debug/pprof/symbol", "localhost:"+port, "Sec-Fetch-Site: same-origin", "Content-Length: 0"); status == http.StatusForbidden {
			t.Errorf("a page of its own: %d %s", status, body)
		}
	}
}

// What --admin gives needs no token, so that the front's tokens keep nobody from it.
func TestAdminIsForThisMachineWhateverTheFrontAsksFor(t *testing.T) {
	t.Parallel()
	b := split(t, "seed-rnn", 1)
	_, address := stage(t, b, 0)
	for _, c := range []struct {
		admin string
		names map[string]int
	}{
		{"localhost:0", map[string]int{"localhost": 200, "evil.example": 403, "192.168.0.9": 403}},
		// Of other machines only addresses are known not to be a page's name.
		{"0.0.0.0:0", map[string]int{"localhost": 200, "evil.example": 403, "192.168.0.9": 200}},
	} {
		f, url := front(t, b, []string{address}, "--tokens", put(t, t.TempDir(), "tokens", aToken+"\n"), "--admin", c.admin, "--insecure")
		what := "metrics"
		if c.admin == "localhost:0" {
			what = "metrics and profiles"
		}
		_, port, _ := net.SplitHostPort(f.entry(t, what, 1)["listen"].(string))
		for name, want := range c.names {
			if status, body := named(t, "127.0.0.1:"+port, "GET /metrics", name); status != want {
				t.Errorf("--admin %s under %q: %d, want %d: %.200s", c.admin, name, status, want, body)
			}
		}
		// The front itself is asked by those who have a token, under any name.
		if status, body := named(t, strings.TrimPrefix(url, "http://"), "GET /status", "evil.example", "Authorization: Bearer "+aToken); status != 200 {
			t.Errorf("with a token: %d %s", status, body)
		}
	}
}

// A browser cannot speak gRPC: its requests without TLS are of HTTP/1, which is not understood.
func TestWhatListensForGRPCAnswersNoBrowser(t *testing.T) {
	t.Parallel()
	b := split(t, "seed-rnn", 1)
	_, address := stage(t, b, 0)
	f, _ := front(t, b, []string{address}, "--grpc-port", "0")
	for what, at := range map[string]string{"front": f.entry(t, "gRPC listening", 1)["listen"].(string), "stage": address} {
		c, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(testkit.Patience))
		fmt.Fprintf(c, "POST /inference.GRPCInferenceService/ServerMetadata HTTP/1.1\r\nHost: evil.example\r\nContent-Type: application/grpc\r\nContent-Length: 5\r\n\r\n\x00\x00\x00\x00\x00")
		answer, _ := io.ReadAll(c)
		if _ = c.Close(); strings.Contains(string(answer), "HTTP/1") || strings.Contains(string(answer), "distinfer") {
			t.Errorf("%s: %q", what, answer)
		}
	}
}

func TestHostsThatAreNoneAreRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, args := range [][]string{
		{"front", "--allowed-hosts", "*"},
		{"up", "--allowed-hosts", "https://front.example.org"},
		{"serve-stage", "--rank", "0", "--allowed-hosts", "front.example.org:80"},
		{"front", "--config", put(t, dir, "a.yaml", "allowed-hosts: [front.example.org, 'a b']\n")},
	} {
		if r := run(t, dir, "", args...); r.code != 2 || !strings.Contains(r.stderr, "is not a host") {
			t.Errorf("%v: exit code %d: %s", args, r.code, r.stderr)
		}
	}
}
