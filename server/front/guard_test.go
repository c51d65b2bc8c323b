package front_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/distinfer/distinfer/runtime/testkit"
	"github.com/distinfer/distinfer/server/front"
	"github.com/distinfer/distinfer/server/httpx"
)

// raw sends bytes to a front, and gives the status and the body of what comes back.
func raw(t *testing.T, address, request string) (status int, body string) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(testkit.Patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(request, " ")
	answer, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%q: %v", request, err)
	}
	defer func() { _ = answer.Body.Close() }()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(b)
}

const (
	closed = "Connection: close\r\n"
	posted = "Content-Type: text/plain\r\nContent-Length: 18\r\n" + closed
	good   = `{"inputs": "good"}`
)

func TestAFrontOfThisMachineAnswersThisMachine(t *testing.T) {
	t.Parallel()
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "a page") })
	s := serve(t, func(c *setup, _ *judge) {
		c.AllowedHosts = []string{"front.example.org"}
		c.Origins = httpx.Origins{"https://app.example"}
		c.Page = page
	})
	address := strings.TrimPrefix(s.url, "http://")
	for request, want := range map[string]int{
		"GET /?text=good HTTP/1.1\r\nHost: " + address + "\r\n":                                                      200,
		"GET /?text=good HTTP/1.1\r\nhost:localhost\r\n":                                                             200,
		"GET /?text=good HTTP/1.1\r\nHost: LOCALHOST.:1\r\n":                                                         200,
		"GET /?text=good HTTP/1.1\r\nHost: [::1]:8008\r\n":                                                           200,
		"GET /?text=good HTTP/1.1\r\nHost: Front.example.org.\r\nX-Forwarded-Host: evil.example\r\n":                 200,
		"GET /?text=good HTTP/1.0\r\nHost: localhost\r\n":                                                            200,
		"GET http://localhost:8008/?text=good HTTP/1.1\r\nHost: localhost\r\n":                                       200,
		"GET http://evil.example/?text=good HTTP/1.1\r\nHost: localhost\r\n":                                         403,
		"GET http://evil.example/?text=good HTTP/1.0\r\n":                                                            403,
		"GET /?text=good HTTP/1.1\r\nHost: evil.example\r\n":                                                         403,
		"GET /?text=good HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: localhost\r\nForwarded: host=localhost": 403,
		"GET /?text=good HTTP/1.1\r\nHost: evil.example:" + address[strings.LastIndexByte(address, ':')+1:] + "\r\n": 403,
		"GET /?text=good HTTP/1.1\r\nHost: 0x7f.1\r\n":                                                               403,
		"GET /?text=good HTTP/1.1\r\nHost: 127.1\r\n":                                                                403,
		"GET /?text=good HTTP/1.1\r\nHost: 2130706433\r\n":                                                           403,
		"GET /?text=good HTTP/1.1\r\nHost: 0.0.0.0\r\n":                                                              403,
		"GET /?text=good HTTP/1.1\r\nHost: 192.168.0.1\r\n":                                                          403,
		"GET /?text=good HTTP/1.1\r\nHost:\r\n":                                                                      403,
		"GET /?text=good HTTP/1.0\r\n":                                                                               403,
		"GET /?text=good HTTP/1.1\r\n":                                                                               400,
		"GET /?text=good HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n":                                      400,
		"GET / HTTP/1.1\r\nHost: evil.example\r\nAccept: text/html\r\n":                                              403,
		"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n":                                                 200,
		"GET /page/a.js HTTP/1.1\r\nHost: evil.example\r\n":                                                          403,
		"GET /healthz HTTP/1.1\r\nHost: evil.example\r\n":                                                            403,
		"GET /readyz HTTP/1.1\r\nHost: evil.example\r\n":                                                             403,
		"GET /openapi.json HTTP/1.1\r\nHost: evil.example\r\n":                                                       403,
		"HEAD /nowhere HTTP/1.1\r\nHost: evil.example\r\n":                                                           403,
		"GET //predict HTTP/1.1\r\nHost: evil.example\r\n":                                                           403,
		"CONNECT evil.example:80 HTTP/1.1\r\nHost: evil.example:80\r\n":                                              403,
		// A preflight receives no permission either.
		"OPTIONS /predict HTTP/1.1\r\nHost: evil.example\r\nOrigin: https://app.example\r\nAccess-Control-Request-Method: POST\r\n": 403,
		"OPTIONS /predict HTTP/1.1\r\nHost: localhost\r\nOrigin: https://app.example\r\nAccess-Control-Request-Method: POST\r\n":    204,
		// curl, the page, a form of a stranger's page, and a page that is allowed.
		"POST /predict HTTP/1.1\r\nHost: localhost\r\n" + posted:                                                                                          200,
		"POST / HTTP/1.1\r\nHost: localhost:8008\r\nSec-Fetch-Site: same-origin\r\nOrigin: http://localhost:8008\r\n" + posted:                            200,
		"POST / HTTP/1.1\r\nHost: front.example.org\r\nOrigin: http://front.example.org\r\n" + posted:                                                     200,
		"POST / HTTP/1.1\r\nHost: " + address + "\r\nOrigin: http://front.example.org\r\n" + posted:                                                       200,
		"POST /predict HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\nOrigin: null\r\n" + posted:                 403,
		"POST /predict HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\nOrigin: https://evil.example\r\n" + posted:                            403,
		"POST / HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nOrigin: https://evil.example\r\n" + posted:       403,
		"POST /predict HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\n" + posted:                                                          403,
		"POST /predict HTTP/1.1\r\nHost: evil.example\r\nSec-Fetch-Site: same-origin\r\nOrigin: http://evil.example\r\n" + posted:                         403,
		"POST /predict HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\nOrigin: https://app.example\r\n" + posted:                             200,
		"POST /predict HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\nOrigin: https://app.example.evil.example\r\n" + posted:                403,
		"POST /predict HTTP/1.1\r\nHost: evil.example\r\nSec-Fetch-Site: cross-site\r\nOrigin: https://app.example\r\n" + posted:                          403,
		"POST /predict HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Site: cross-site\r\nOrigin: http://localhost\r\n" + posted: 200,
	} {
		if !strings.HasSuffix(request, closed) {
			request += closed
		}
		request += "\r\n"
		if strings.Contains(request, posted) {
			request += good
		}
		status, body := raw(t, address, request)
		if status != want {
			t.Errorf("%q: %d, want %d: %s", request, status, want, body)
		}
		if status == 403 && !strings.HasPrefix(request, "HEAD") && !strings.Contains(body, "of the server") && !strings.Contains(body, "header Host") {
			t.Errorf("%q: %q does not say what to do", request, body)
		}
	}
	// Of HTTP/2 it is the :authority.
	var h2 http.Protocols
	h2.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: &h2}
	s.client.Transport = transport
	defer transport.CloseIdleConnections()
	for host, want := range map[string]int{address: 200, "localhost": 200, "front.example.org:1": 200, "evil.example": 403, "127.1": 403} {
		r, err := http.NewRequest(http.MethodPost, s.url+"/predict", strings.NewReader(good))
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		if a := s.send(t, r); a.status != want {
			t.Errorf("HTTP/2 for %q: %d, want %d: %s", host, a.status, want, a.body)
		}
	}
	a := s.do(t, http.MethodGet, "/nowhere", "")
	a.wantProblem(t, 404, "")
	r, err := http.NewRequest(http.MethodPost, s.url+"/predict", strings.NewReader(good))
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "evil.example"
	s.send(t, r).wantProblem(t, http.StatusForbidden, "add evil.example to the allowed hosts")
}

// Who has tokens knows its callers, and who listens elsewhere is asked under any name.
func TestOtherFrontsAnswerUnderAnyName(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "tokens")
	const token = "a-token-of-some-length"
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	tokens, err := front.LoadTokens(file, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, func(c *setup, _ *judge) { c.Tokens = tokens })
	address := strings.TrimPrefix(s.url, "http://")
	ask := "POST /predict HTTP/1.1\r\nHost: front.example.org\r\nSec-Fetch-Site: cross-site\r\nOrigin: https://evil.example\r\n"
	if status, body := raw(t, address, ask+"Authorization: Bearer "+token+"\r\n"+posted+"\r\n"+good); status != 200 {
		t.Errorf("with a token: %d %s", status, body)
	}
	if status, body := raw(t, address, ask+posted+"\r\n"+good); status != 401 {
		t.Errorf("without a token: %d %s", status, body)
	}
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	c, _ := usualSetup(t, newJudge())
	ctx, end := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- front.New(c.Config, c.Model).Serve(ctx, l) }()
	port := l.Addr().(*net.TCPAddr).Port
	if status, body := raw(t, fmt.Sprintf("localhost:%d", port), ask+posted+"\r\n"+good); status != 200 {
		t.Errorf("on all addresses: %d %s", status, body)
	}
	end()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestAHostThatIsNoneIsNotServed(t *testing.T) {
	t.Parallel()
	c, _ := usualSetup(t, newJudge())
	c.AllowedHosts = []string{"not a host"}
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := front.New(c.Config, c.Model).Serve(t.Context(), l); err == nil || !strings.Contains(err.Error(), "not a host") {
		t.Errorf("Serve: %v", err)
	}
}
