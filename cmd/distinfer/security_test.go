package main_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	neturl "net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/distinfer/distinfer/runtime/testkit"
	"github.com/distinfer/distinfer/server/mtls/mtlstest"
)

func put(t *testing.T, dir, name, content string) string {
	t.Helper()
	mtlstest.Write(t, dir, name, []byte(content))
	return filepath.Join(dir, name)
}

const aToken = "a-token-of-some-length"

// 203.0.113.0/24 is for documentation: never an address of this machine.
func TestTrafficBeyondThisMachineNeedsEncryptionOrConsent(t *testing.T) {
	t.Parallel()
	good := split(t, "seed-rnn", 2)
	dir := t.TempDir()
	machine := mtlstest.NewCA(t, "ours").Folder(t, nil)
	expired := mtlstest.NewCA(t, "ours").Folder(t, func(c *x509.Certificate) { c.NotAfter = c.NotBefore })
	cert, key := filepath.Join(machine, "cert.pem"), filepath.Join(machine, "key.pem")
	tokens := put(t, dir, "tokens", aToken)
	spread := put(t, dir, "spread.yaml", "stages: ['203.0.113.1:2222', '203.0.113.2:2222']\n")
	for _, c := range []struct {
		what string
		args []string
		code int
		says []string
	}{
		{"a front for all", []string{"front", "--bundle", good, "--listen", "0.0.0.0:0"}, 2, []string{"listening on 0.0.0.0:0 without encryption", "--https-cert", "--insecure"}},
		{"a front for all, IPv6", []string{"front", "--bundle", good, "--listen", "[::]:0"}, 2, []string{"listening on [::]:0", "--insecure"}},
		{"a front without a host", []string{"front", "--bundle", good, "--listen", ":0"}, 2, []string{"listening on :0", "--insecure"}},
		{"a front at a name", []string{"front", "--bundle", good, "--listen", "localhost.example.org:0"}, 2, []string{"listening on localhost.example.org:0"}},
		{"a front for all with tokens", []string{"front", "--bundle", good, "--listen", "0.0.0.0:0", "--tokens", tokens}, 2, []string{"--https-cert", "--insecure"}},
		{"a front for all with TLS to the stages", []string{"front", "--bundle", good, "--listen", "0.0.0.0:0", "--tls", machine}, 2, []string{"--https-cert"}},
		{"a front for all with gRPC", []string{"front", "--bundle", good, "--listen", "0.0.0.0:0", "--grpc-port", "0", "--tokens", tokens}, 2, []string{"listening on 0.0.0.0:0 without encryption", "--https-cert", "--insecure"}},
		{"up for all", []string{"up", "--bundle", good, "--listen", "0.0.0.0:0"}, 2, []string{"listening on 0.0.0.0:0", "--https-cert"}},
		{"up with stages elsewhere", []string{"up", "--bundle", good, "--port", "0", "--config", spread, "--insecure=false"}, 2, []string{"calling stage 0 at 203.0.113.1:2222"}},
		{"a stage for all", []string{"serve-stage", "--rank", "1", "--bundle", good, "--listen", "0.0.0.0:0"}, 2, []string{"listening on 0.0.0.0:0", "distinfer certs", "--tls", "--insecure"}},
		{"a stage at a name", []string{"serve-stage", "--rank", "1", "--bundle", good, "--listen", "stage-1.example.org:2222"}, 2, []string{"stage-1.example.org:2222", "--tls"}},
		{"a stage that calls another machine", []string{"serve-stage", "--rank", "0", "--bundle", good, "--listen", "localhost:0", "--stages", "localhost:1,203.0.113.2:2222"}, 2, []string{"calling stage 1 at 203.0.113.2:2222", "--tls", "--insecure"}},
		{"a replica on another machine", []string{"serve-stage", "--rank", "0", "--bundle", good, "--listen", "localhost:0", "--stages", "localhost:1,localhost:2|stage-1:3"}, 2, []string{"calling stage 1 at stage-1:3"}},
		{"a front that calls other machines", []string{"front", "--bundle", good, "--port", "0", "--config", spread}, 2, []string{"calling stage 0 at 203.0.113.1:2222", "--tls", "--insecure"}},
		{"a front with HTTPS that calls other machines", []string{"front", "--bundle", good, "--port", "0", "--stages", "127.0.0.1:1,203.0.113.2:2", "--https-cert", cert, "--https-key", key, "--log-level", "error"}, 2, []string{"calling stage 1 at 203.0.113.2:2", "--tls"}},
		{"a token for another machine", []string{"predict", "--front", "http://203.0.113.1", "--token-file", tokens}, 2, []string{"sending the token to 203.0.113.1:http", "https://", "--insecure"}},

		{"a certificate without its key", []string{"front", "--bundle", good, "--https-cert", cert}, 2, []string{"a certificate and its key belong together", "--https-cert and --https-key"}},
		{"a key without its certificate", []string{"front", "--bundle", good, "--https-key", key}, 2, []string{"a certificate and its key belong together", "--https-cert and --https-key"}},
		{"tokens in no file", []string{"front", "--bundle", good, "--port", "0", "--tokens", ""}, 2, []string{"--tokens is empty"}},
		{"tokens in no file, in the config file", []string{"front", "--bundle", good, "--port", "0", "--config", put(t, dir, "empty.yaml", "tokens:\n")}, 2, []string{"tokens is empty"}},
		{"a token without a front", []string{"predict", "--token-file", tokens}, 2, []string{"--front"}},
		{"a front that is no URL", []string{"predict", "--front", "http://"}, 2, []string{`URL is "http://"`}},

		{"no TLS folder", []string{"serve-stage", "--rank", "0", "--bundle", good, "--listen", "localhost:0", "--tls", filepath.Join(dir, "none")}, 1, []string{"ca.pem: no such file", "distinfer certs"}},
		{"an expired certificate", []string{"serve-stage", "--rank", "0", "--bundle", good, "--listen", "localhost:0", "--tls", expired}, 1, []string{"cert.pem: the certificate was valid until"}},
		{"no TLS folder of a front", []string{"front", "--bundle", good, "--port", "0", "--tls", filepath.Join(dir, "none")}, 1, []string{"ca.pem: no such file"}},
		{"another's key", []string{"front", "--bundle", good, "--port", "0", "--https-cert", cert, "--https-key", filepath.Join(expired, "key.pem")}, 1, []string{"HTTPS: ", "key.pem is not the key of"}},
		{"no file of tokens", []string{"front", "--bundle", good, "--port", "0", "--tokens", filepath.Join(dir, "none")}, 1, []string{"tokens: ", "no such file"}},
		{"a short token", []string{"front", "--bundle", good, "--port", "0", "--tokens", put(t, dir, "short", "# ours\nsecret\n")}, 1, []string{"line 2", "6 characters", "16"}},
		{"several tokens to send", []string{"predict", "--front", "http://localhost:1", "--token-file", put(t, dir, "two", aToken+"\n"+aToken)}, 1, []string{"must hold one token"}},
		{"authorities that are none", []string{"predict", "--front", "https://localhost:1", "--ca", tokens}, 1, []string{"--ca: ", "no certificate"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			r := run(t, t.TempDir(), "good\n", c.args...)
			message, hint, _ := strings.Cut(strings.TrimSuffix(r.stderr, "\n"), "\n")
			if r.code != c.code {
				t.Errorf("exit code %d, want %d: %s", r.code, c.code, r.stderr)
			}
			for _, s := range c.says {
				if !strings.Contains(message, s) {
					t.Errorf("does not say %q: %s", s, r.stderr)
				}
			}
			if c.code == 1 && hint != "" || c.code == 2 && !strings.HasPrefix(hint, "See `distinfer") {
				t.Errorf("more than one line: %s", r.stderr)
			}
			if strings.Contains(r.stderr, "secret") { // the short token
				t.Errorf("the token is repeated: %s", r.stderr)
			}
		})
	}
}

const openWarning = " an address beyond this machine without encryption: whoever is on the network can read it, change it and use it"

func TestTrafficBeyondThisMachineWithConsentOrEncryption(t *testing.T) {
	t.Parallel()
	bundle := split(t, "seed-rnn", 2)
	machine := mtlstest.NewCA(t, "ours").Folder(t, nil)
	https := []string{"--https-cert", filepath.Join(machine, "cert.pem"), "--https-key", filepath.Join(machine, "key.pem")}
	far := "203.0.113.1:2222,203.0.113.2:2222"
	for _, c := range []struct {
		what, ready string
		args        []string
		warned      []string
	}{
		{"a stage with consent", "stage ready", []string{"serve-stage", "--rank", "1", "--listen", "0.0.0.0:0", "--insecure"}, []string{"listening on"}},
		{"a stage with TLS", "stage ready", []string{"serve-stage", "--rank", "1", "--listen", "0.0.0.0:0", "--tls", machine}, nil},
		{"a stage with TLS that calls", "stage ready", []string{"serve-stage", "--rank", "0", "--listen", "localhost:0", "--stages", far, "--tls", machine}, nil},
		{"a stage with consent that calls", "stage ready", []string{"serve-stage", "--rank", "0", "--listen", "localhost:0", "--stages", far, "--insecure"}, []string{"calling stage 1 at"}},
		{"a front with consent", "front listening", []string{"front", "--listen", "0.0.0.0:0", "--stages", far, "--insecure"}, []string{"listening on", "calling stage 0 at", "calling stage 1 at"}},
		{"a front with HTTPS and TLS", "front listening", append([]string{"front", "--listen", "0.0.0.0:0", "--stages", far, "--tls", machine}, https...), nil},
		{"a front on this machine", "front listening", []string{"front", "--listen", "127.0.0.1:0", "--stages", "localhost:1,[::1]:2"}, nil},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			s := start(t, bundle, append(c.args, "--bundle", bundle)...)
			s.entry(t, c.ready, 1)
			var warned []string
			s.mu.Lock()
			for _, e := range s.log {
				if what, found := strings.CutSuffix(fmt.Sprint(e["msg"]), openWarning); found && e["level"] == "WARN" {
					warned = append(warned, what)
				}
			}
			s.mu.Unlock()
			if !slices.Equal(warned, c.warned) {
				t.Errorf("warned of %q, want %q", warned, c.warned)
			}
		})
	}
}

// The three commands that the documentation gives.
func TestMutualTLSFromTheCommandToTheAnswer(t *testing.T) {
	t.Parallel()
	bundle := split(t, "seed-rnn", 2)
	dir := t.TempDir()
	ok(t, dir, "", "certs", "127.0.0.1,localhost", "localhost,127.0.0.1,::1")
	one, two := filepath.Join(dir, "certs", "127.0.0.1"), filepath.Join(dir, "certs", "localhost")
	_, first := stage(t, bundle, 0, "--tls", one)
	s, second := stage(t, bundle, 1, "--tls", two)
	_, url := front(t, bundle, []string{first, second}, "--tls", one)
	ask := func(url string) (int, string) { return fetch(t, "GET", url+"/?text=good", "") }
	if status, body := ask(url); status != 200 {
		t.Fatalf("%d %s", status, body)
	}

	// Others do not get through.
	ok(t, dir, "", "certs", "--out", "others", "127.0.0.1")
	ok(t, dir, "", "certs", "stage-7.example.org")
	refused := func(what, says, remedy string, stages []string, args ...string) {
		_, url := front(t, bundle, stages, append(args, "--timeout", "3s")...)
		if status, body := ask(url); status != 503 || !strings.Contains(body, "stage 0 at "+stages[0]+" is unreachable: "+says) || !strings.Contains(body, "; "+remedy) {
			t.Errorf("%s: %d %s", what, status, body)
		}
	}
	refused("a front without TLS", "error reading server preface", "it ends connections without TLS: give certificates", []string{first, second})
	refused("a front of another authority", "transport: authentication handshake failed: tls: failed to verify certificate: x509: certificate signed by unknown authority", "make the folders of all machines with one `distinfer certs`", []string{first, second}, "--tls", filepath.Join(dir, "others", "127.0.0.1"))
	_, open := stage(t, bundle, 0)
	refused("a stage without TLS", "transport: authentication handshake failed: tls: first record does not look like a TLS handshake", "it has no TLS: start it with certificates", []string{open, second}, "--tls", one)
	_, misnamed := stage(t, bundle, 0, "--tls", filepath.Join(dir, "certs", "stage-7.example.org"))
	refused("a stage of another name", "transport: authentication handshake failed: tls: its certificate is for stage-7.example.org, and it is called by 127.0.0.1", "`distinfer certs stage-7.example.org,127.0.0.1` beside the authority adds the name: copy", []string{misnamed, second}, "--tls", one)

	// Certificates are replaced under processes that run, which then connect anew.
	ok(t, dir, "", "certs", "--renew", "127.0.0.1", "localhost")
	if status, body := ask(url); status != 200 {
		t.Errorf("over the open connections: %d %s", status, body)
	}
	if code := s.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	start(t, bundle, "serve-stage", "--bundle", bundle, "--rank", "1", "--listen", second, "--tls", two).entry(t, "stage ready", 1)
	testkit.Eventually(t, "the pipeline is whole again", func() bool { status, _ := ask(url); return status == 200 })
}

// The authority is replaced under a pipeline that runs, step by step.
func TestAnAuthorityIsReplacedUnderARunningPipeline(t *testing.T) {
	t.Parallel()
	bundle := split(t, "seed-rnn", 2)
	old, next := mtlstest.NewCA(t, "old"), mtlstest.NewCA(t, "next")
	one, two := old.Folder(t, nil), old.Folder(t, nil)
	_, first := stage(t, bundle, 0, "--tls", one)
	s, second := stage(t, bundle, 1, "--tls", two)
	f, url := front(t, bundle, []string{first, second}, "--tls", one)
	ask := func() bool { status, _ := fetch(t, "GET", url+"/?text=good", ""); return status == 200 }
	if !ask() {
		t.Fatal("at the start")
	}
	both := slices.Concat(old.PEM, next.PEM)
	again := func() {
		t.Helper()
		if code := s.stop(t, syscall.SIGTERM); code != 0 {
			t.Errorf("exit code %d", code)
		}
		s = start(t, bundle, "serve-stage", "--bundle", bundle, "--rank", "1", "--listen", second, "--tls", two)
		s.entry(t, "stage ready", 1)
		testkit.Eventually(t, "the pipeline is whole again", ask)
	}
	mtlstest.Write(t, one, "ca.pem", both)
	mtlstest.Write(t, two, "ca.pem", both)
	next.Fill(t, two, nil)
	mtlstest.Write(t, two, "ca.pem", both)
	again() // stage 1 shows a certificate of the next authority; front and stage 0 did not restart
	next.Fill(t, one, nil)
	mtlstest.Write(t, two, "ca.pem", next.PEM)
	again() // and takes no other
	select {
	case <-f.ended:
		t.Error("the front ended")
	default:
	}
}

// trusting is a client that trusts the authority in a file, and bears a token.
func trusting(t *testing.T, ca string) *http.Client {
	t.Helper()
	data, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(data)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: testkit.Patience}
}

func bearing(t *testing.T, client *http.Client, url, token string) (int, string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func TestAFrontWithHTTPSAndTokensAnswersPredictAndNobodyWithoutOne(t *testing.T) {
	t.Parallel()
	bundle := split(t, "seed-rnn", 2)
	dir := t.TempDir()
	ok(t, dir, "", "certs", "localhost")
	tokens := put(t, dir, "tokens", "# ours\n"+aToken+"\n")
	own := put(t, dir, "own", aToken+"\n")
	first, second := stageAddresses(t, bundle)
	_, url := front(t, bundle, []string{first, second}, "--tokens", tokens,
		"--https-cert", filepath.Join(dir, "certs", "localhost", "cert.pem"), "--https-key", filepath.Join(dir, "certs", "localhost", "key.pem"))
	if !strings.HasPrefix(url, "https://localhost:") {
		t.Fatalf("the front is at %s", url)
	}
	ca := filepath.Join(dir, "certs", "ca.pem")
	client := trusting(t, ca)
	if status, body := bearing(t, client, url+"/?text=good", aToken); status != 200 {
		t.Errorf("%d %s", status, body)
	}
	if status, body := bearing(t, client, url+"/?text=good", ""); status != 401 || !strings.Contains(body, "a token is needed") {
		t.Errorf("%d %s", status, body)
	}
	if status, _ := bearing(t, client, url+"/healthz", ""); status != 200 {
		t.Errorf("healthz: %d", status)
	}

	predict := []string{"predict", "--front", url}
	if out := ok(t, dir, "good\n", append(predict, "--token-file", own, "--ca", ca)...); !strings.Contains(out, "tive\t") {
		t.Errorf("%q", out)
	}
	bench := []string{"bench", url, "--requests", "5", "--warmup", "0s", "--ca", ca}
	if out := ok(t, dir, "", append(bench, "--token-file", own)...); !strings.Contains(out, "right  5") {
		t.Errorf("%q", out)
	}
	if r := run(t, dir, "", bench...); r.code != 1 || !strings.Contains(r.stderr, "wants a token") {
		t.Errorf("%+v", r)
	}
	for what, c := range map[string]struct {
		args []string
		says string
	}{
		"no token":              {[]string{"--ca", ca}, "401 Unauthorized: it wants a token"},
		"another token":         {[]string{"--ca", ca, "--token-file", put(t, dir, "other", "another-token-of-some-length")}, "401 Unauthorized"},
		"an unknown authority":  {[]string{"--token-file", own}, "unknown authority"},
		"a token over no HTTPS": {[]string{"--token-file", own, "--front", strings.Replace(url, "https", "http", 1)}, "not as a front does"},
	} {
		if r := run(t, dir, "good\n", append(predict, c.args...)...); r.code != 1 || !strings.Contains(r.stderr, c.says) {
			t.Errorf("%s: %+v", what, r)
		}
	}

	put(t, dir, "tokens", "# ours\nanother-token-of-some-length\n")
	testkit.Eventually(t, "the token is revoked", func() bool { status, _ := bearing(t, client, url+"/?text=good", aToken); return status == 401 })
}

func TestUpHasHTTPSAndTokensInFrontOfPlainStages(t *testing.T) {
	t.Parallel()
	bundle := split(t, "seed-rnn", 2)
	dir := t.TempDir()
	ok(t, dir, "", "certs", "localhost")
	machine := filepath.Join(dir, "certs", "localhost")
	// What all machines share says TLS for the stages, which these do not have.
	config := put(t, dir, "config.yaml", fmt.Sprintf("tls: %s\nhttps-cert: %s/cert.pem\nhttps-key: %s/key.pem\ntokens: %s\n", machine, machine, machine, put(t, dir, "tokens", aToken)))
	s := start(t, dir, "up", "--bundle", bundle, "--port", "0", "--ask", "a good film", "--config", config)
	url := upURL(t, s)
	s.until(t, "the example's answer", func() bool {
		return strings.Contains(s.out.String(), `"a good film" is `) && strings.Contains(s.out.String(), `curl -H "Authorization: Bearer $TOKEN" '`+url+"/?text=a%20good%20film'")
	})
	client := trusting(t, filepath.Join(machine, "ca.pem"))
	if status, body := bearing(t, client, url+"/?text="+neturl.QueryEscape("a good film"), aToken); status != 200 {
		t.Errorf("%d %s", status, body)
	}
	if status, _ := bearing(t, client, url+"/?text=good", ""); status != 401 {
		t.Errorf("without a token: %d", status)
	}
}

func TestCertsMakesFoldersAddsMachinesAndRenews(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	out := ok(t, dir, "", "certs", "192.0.2.1", "stage-1.example.org,192.0.2.2")
	for _, s := range []string{
		"authority certs/ca.pem", "made\n", "folder    certs/192.0.2.1 for 192.0.2.1,", "for stage-1.example.org, 192.0.2.2,",
		"scp -r certs/192.0.2.1 192.0.2.1:tls\n", "--tls tls", "ca-key.pem here and secret",
	} {
		if !strings.Contains(out, s) {
			t.Errorf("does not say %q:\n%s", s, out)
		}
	}
	for path, want := range map[string]fs.FileMode{
		"certs": 0o700, "certs/ca.pem": 0o644, "certs/ca-key.pem": 0o600,
		"certs/192.0.2.1": 0o700, "certs/192.0.2.1/ca.pem": 0o644, "certs/192.0.2.1/cert.pem": 0o644, "certs/192.0.2.1/key.pem": 0o600,
	} {
		if info, err := os.Stat(filepath.Join(dir, path)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v %v, want %o", path, info, err, want)
		}
	}
	read := func(path string) string {
		data, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	ca, old := read("certs/ca.pem"), read("certs/192.0.2.1/cert.pem")

	type report struct {
		Authority struct {
			Certificate, Key string
			Made             bool
		}
		Machines []struct {
			Folder  string
			Names   []string
			Renewed bool
		}
	}
	asJSON := func(args ...string) (r report) {
		t.Helper()
		if err := json.Unmarshal([]byte(ok(t, dir, "", append(args, "-o", "json")...)), &r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	added := asJSON("certs", "192.0.2.3")
	if added.Authority.Made || added.Authority.Key != "certs/ca-key.pem" || len(added.Machines) != 1 || added.Machines[0].Renewed || read("certs/192.0.2.3/ca.pem") != ca {
		t.Errorf("%+v", added)
	}

	// A folder that is there is refused, and then nothing is made of the others.
	r := run(t, dir, "", "certs", "192.0.2.4", "192.0.2.1")
	if _, err := os.Stat(filepath.Join(dir, "certs", "192.0.2.4")); r.code != 1 || !strings.Contains(r.stderr, "--renew") || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%+v %v", r, err)
	}
	renewed := asJSON("certs", "--renew", "stage-1.example.org", "192.0.2.1")
	if !renewed.Machines[0].Renewed || !slices.Equal(renewed.Machines[0].Names, []string{"stage-1.example.org", "192.0.2.2"}) || read("certs/192.0.2.1/cert.pem") == old || read("certs/ca.pem") != ca {
		t.Errorf("%+v", renewed)
	}
	if out := ok(t, dir, "", "certs", "--renew", "192.0.2.1"); !strings.Contains(out, "scp certs/192.0.2.1/*.pem 192.0.2.1:tls/\n") {
		t.Errorf("%s", out)
	}

	for what, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"no host":               {nil, 2, "HOST is missing"},
		"a port":                {[]string{"192.0.2.1:2222"}, 2, "without scheme and port"},
		"a URL":                 {[]string{"https://a"}, 2, "without scheme and port"},
		"a path":                {[]string{"../a"}, 2, `"../a"`},
		"an empty name":         {[]string{"a,"}, 2, `""`},
		"the authority's name":  {[]string{"ca.pem"}, 2, "authority's file"},
		"the same twice":        {[]string{"a", "a,b"}, 2, "given twice"},
		"no days":               {[]string{"a", "--days", "0"}, 2, "--days is \"0\""},
		"too many days":         {[]string{"a", "--days", "4000"}, 2, "1 to 3650"},
		"no folder":             {[]string{"a", "--out", ""}, 2, "name a folder"},
		"a file as the folder":  {[]string{"a", "--out", put(t, dir, "file", "")}, 1, "not a directory"},
		"an authority in parts": {[]string{"a", "--out", filepath.Dir(put(t, t.TempDir(), "ca.pem", ca))}, 1, "the other is missing"},
	} {
		work := t.TempDir()
		r := run(t, work, "", append([]string{"certs"}, c.args...)...)
		message, hint, _ := strings.Cut(strings.TrimSuffix(r.stderr, "\n"), "\n")
		if r.code != c.code || !strings.Contains(message, c.says) || c.code == 1 && hint != "" || c.code == 2 && !strings.HasPrefix(hint, "See `distinfer certs") {
			t.Errorf("%s: %+v", what, r)
		}
		if left, _ := os.ReadDir(work); len(left) != 0 {
			t.Errorf("%s: left behind: %v", what, left)
		}
	}
}
