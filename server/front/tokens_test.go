package front_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
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
	"github.com/distinfer/distinfer/server/mtls"
	"github.com/distinfer/distinfer/server/mtls/mtlstest"
)

const (
	alice = "alices-token-0123456789"
	carol = "carols-token-0123456789"
)

// tokensFile writes a file of tokens.
func tokensFile(t testing.TB, path, content string) {
	t.Helper()
	temp := path + ".new"
	if err := os.WriteFile(temp, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(temp, path); err != nil {
		t.Fatal(err)
	}
}

func (s *site) bearing(t testing.TB, method, path string, authorization ...string) answer {
	t.Helper()
	r, err := http.NewRequest(method, s.url+path, strings.NewReader(`{"inputs":"good"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header["Authorization"] = authorization
	return s.send(t, r)
}

func TestOnlyBearersOfATokenAreAnswered(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tokens")
	tokensFile(t, path, "# who may ask\n\n  "+alice+"\r\n"+carol)
	s := serve(t, func(c *setup, _ *judge) {
		var err error
		if c.Tokens, err = front.LoadTokens(path, c.Log); err != nil {
			t.Fatal(err)
		}
	})
	for _, good := range []string{"Bearer " + alice, "bearer " + carol, "BEARER  " + alice} {
		for method, path := range map[string]string{"GET": "/?text=good", "POST": "/predict", "HEAD": "/?text=good"} {
			if a := s.bearing(t, method, path, good); a.status != http.StatusOK {
				t.Errorf("%s: %s %s: %d %s", good, method, path, a.status, a.body)
			}
		}
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if a := s.bearing(t, "GET", path); a.status != http.StatusOK {
			t.Errorf("%s: %d", path, a.status)
		}
	}
	for _, bad := range [][]string{
		nil, {""}, {"Bearer"}, {"Bearer "}, {alice}, {"Basic " + alice}, {"Bearer " + alice + "x"}, {"Bearer " + alice[1:]},
		{"Bearer " + alice + " " + carol}, {"Bearer # who may ask"}, {"Bearer " + alice, "Bearer " + carol},
	} {
		challenge := `Bearer realm="distinfer"`
		if len(bad) > 0 && bad[0] != "" {
			challenge += `, error="invalid_token"`
		}
		for _, c := range []struct{ method, path string }{
			{"GET", "/?text=good"}, {"POST", "/"}, {"POST", "/predict"}, {"GET", "/none"}, {"DELETE", "/"}, {"GET", "/healthz/"}, {"GET", "//healthz"}, {"GET", "/predict/../healthz"},
		} {
			a := s.bearing(t, c.method, c.path, bad...)
			if got := a.header.Get("WWW-Authenticate"); got != challenge {
				t.Errorf("%q: %s %s: WWW-Authenticate is %q", bad, c.method, c.path, got)
			}
			if c.method == "GET" && c.path == "/?text=good" {
				a.wantPlain(t, http.StatusUnauthorized, "Authorization: Bearer TOKEN")
			} else {
				a.wantProblem(t, http.StatusUnauthorized, "Authorization: Bearer TOKEN")
			}
		}
	}
	for _, line := range s.log.lines(t, 1) {
		if strings.Contains(line, alice) {
			t.Errorf("a token is in the log: %s", line)
		}
	}
}

func TestATokenThatIsTakenOutOfTheFileIsRevoked(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tokens")
	tokensFile(t, path, alice+"\n")
	s := serve(t, func(c *setup, _ *judge) {
		var err error
		if c.Tokens, err = front.LoadTokens(path, c.Log); err != nil {
			t.Fatal(err)
		}
	})
	may := func(token string) bool {
		return s.bearing(t, "GET", "/?text=good", "Bearer "+token).status == http.StatusOK
	}
	logged := func(part string) func() bool {
		return func() bool {
			may("x")
			return s.log.Has(part)
		}
	}
	if !may(alice) || may(carol) {
		t.Fatal("at the start")
	}
	tokensFile(t, path, alice+"\n"+carol+"\n")
	testkit.Eventually(t, "the new token is known", func() bool { return may(carol) })
	tokensFile(t, path, carol+"\n")
	testkit.Eventually(t, "the old token is revoked", func() bool { return !may(alice) })
	if !may(carol) {
		t.Error("the other token is revoked too")
	}
	tokensFile(t, path, alice+"\nshort\n")
	testkit.Eventually(t, "the broken file is logged", logged("line 2: the token has 5 characters"))
	if may(alice) || !may(carol) {
		t.Error("a broken file came into use")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the loss of the file is logged", logged("no such file"))
	if !may(carol) {
		t.Error("a file that is gone came into use")
	}
	tokensFile(t, path, "# nobody\n")
	testkit.Eventually(t, "the last token is revoked", func() bool { return !may(carol) })
	if !logged("every request is rejected")() {
		t.Error("that every request is rejected is not logged")
	}
}

func TestFilesOfTokensThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tokens")
	for _, c := range []struct{ content, says string }{
		{"", "holds no token"},
		{"\n# only a comment, and a long one\n", "holds no token"},
		{alice + "\nfifteen-letters\n", "line 2: the token has 15 characters"},
		{"alices token 0123456789\n", "line 1: a token can have"},
		{"größte-token-0123456789\n", "line 1: a token can have"},
		{strings.Repeat("x", 64<<10+1), "more than the 65536 bytes"},
	} {
		tokensFile(t, path, c.content)
		_, err := front.LoadTokens(path, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), path) {
			t.Errorf("%.40q: %v, want %q", c.content, err, c.says)
		}
		if err != nil && (strings.Contains(err.Error(), "fifteen") || strings.Contains(err.Error(), "alice")) {
			t.Errorf("the error repeats the secret: %v", err)
		}
	}
	if _, err := front.LoadTokens(path+".none", slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("%v", err)
	}
	log := &logBuffer{}
	tokensFile(t, path, alice)
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := front.LoadTokens(path, slog.New(slog.NewTextHandler(log, nil))); err != nil || !strings.Contains(log.String(), "can read the tokens") {
		t.Errorf("%v %s", err, log.String())
	}
}

func FuzzTokens(f *testing.F) {
	f.Add([]byte(alice + "\n# comment\n\n" + carol))
	f.Add([]byte("short\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		path := filepath.Join(t.TempDir(), "tokens")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := front.LoadTokens(path, slog.New(slog.DiscardHandler)); err != nil && len(err.Error()) > 300+len(path) {
			t.Errorf("%v", err)
		}
	})
}

// serveTLS serves a front over HTTPS, and returns it with a client that trusts it.
func serveTLS(t *testing.T) (s *site, ca *mtlstest.CA, dir string, h1 *http.Client) {
	t.Helper()
	ca = mtlstest.NewCA(t, "web")
	dir = ca.Folder(t, nil)
	s = serve(t, func(c *setup, _ *judge) {
		certificate, err := mtls.LoadCertificate(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), c.Log)
		if err != nil {
			t.Fatal(err)
		}
		c.TLS = certificate.Server()
	})
	s.url = strings.Replace(s.url, "http://", "https://", 1)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.PEM)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	old := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}}
	t.Cleanup(func() { transport.CloseIdleConnections(); old.CloseIdleConnections() })
	s.client = &http.Client{Transport: transport, Timeout: testkit.Patience}
	return s, ca, dir, &http.Client{Transport: old, Timeout: testkit.Patience}
}

func TestHTTPSWithBothVersionsOfHTTP(t *testing.T) {
	t.Parallel()
	s, _, _, h1 := serveTLS(t)
	for want, client := range map[string]*http.Client{"HTTP/2.0": s.client, "HTTP/1.1": h1} {
		response, err := client.Get(s.url + "/?text=good")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil || response.Proto != want || string(body) != "positive\n" || response.TLS == nil {
			t.Errorf("%s: %s %q %v", want, response.Proto, body, err)
		}
	}
	if a := s.do(t, "POST", "/predict", `{"inputs":"good"}`); score(t, a) == 0 {
		t.Errorf("%+v", a)
	}
	// Plain HTTP to the port of HTTPS, and a client that trusts others.
	response, err := http.Get(strings.Replace(s.url, "https", "http", 1) + "/?text=good")
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusBadRequest {
		t.Errorf("plain HTTP: %s", response.Status)
	}
	if response, err := http.Get(s.url); err == nil {
		_ = response.Body.Close()
		t.Error("a client without the authority got an answer")
	} else if !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("without the authority: %v", err)
	}
}

func TestHTTPSTakesANewCertificateAndKeepsOldConnections(t *testing.T) {
	t.Parallel()
	s, ca, dir, _ := serveTLS(t)
	serial := func(client *http.Client) string {
		response, err := client.Get(s.url + "/?text=good")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		return response.TLS.PeerCertificates[0].SerialNumber.String()
	}
	old := serial(s.client)
	ca.Fill(t, dir, nil)
	testkit.Eventually(t, "a new connection gets the new certificate", func() bool {
		transport := s.client.Transport.(*http.Transport).Clone()
		defer transport.CloseIdleConnections()
		return serial(&http.Client{Transport: transport, Timeout: testkit.Patience}) != old
	})
	if got := serial(s.client); got != old {
		t.Errorf("the open connection has another certificate")
	}
}

// Requests in flight over HTTPS are finished when the front is to stop.
func TestHTTPSStopsInOrder(t *testing.T) {
	t.Parallel()
	s, _, _, _ := serveTLS(t)
	answered := make(chan int, 1)
	go func() {
		r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, s.url+"/?text=block", nil)
		if err == nil {
			var response *http.Response
			if response, err = s.client.Do(r); err == nil {
				_ = response.Body.Close()
				answered <- response.StatusCode
				return
			}
		}
		t.Error(err)
		answered <- 0
	}()
	select {
	case <-s.judge.running:
	case <-time.After(testkit.Patience):
		t.Fatal("the request does not run")
	}
	s.stop()
	testkit.Eventually(t, "nothing new is taken", func() bool {
		c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "https://"))
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	close(s.judge.release)
	if got := <-answered; got != http.StatusOK {
		t.Errorf("status %d", got)
	}
	s.wait(t)
}
