package check

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/distinfer/distinfer/runtime/ort"
	"github.com/distinfer/distinfer/runtime/ort/orttest"
	"github.com/distinfer/distinfer/runtime/selftest"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/testkit"
	"github.com/distinfer/distinfer/server/stage"
)

const (
	// impatience is how long is waited for what is not to happen.
	impatience = 2 * time.Second
)

var discard = slog.New(slog.DiscardHandler)

func options() stage.Options {
	return stage.Options{MaxMessage: 4 << 20, DeadAfter: stage.DefaultDeadAfter, Log: discard}
}

// share computes the self-test with the real ONNX Runtime.
func share(t *testing.T) func(context.Context, int, tensor.Bag) (tensor.Bag, error) {
	t.Helper()
	s, err := orttest.Library(t).OpenBytes("the self-test", selftest.Model, selftest.Inputs(), selftest.Outputs(), ort.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return selftest.Share(s)
}

// serve serves a stage of two without a real model, and returns its address.
func serve(t *testing.T, rank int, change func(*stage.Config)) string {
	t.Helper()
	c := stage.Config{
		SelfTest: share(t), Bundle: bundleA, Rank: rank, Stages: 2, Model: "sentiment", Next: options(),
		MaxMessage: 4 << 20, Runs: 2, MaxQueue: 256, Version: "v1", ONNXRuntime: "1.0", Hostname: "host", Threads: 3,
		Memory: func() (int64, int64) { return 1e6, 1e9 }, Log: discard,
	}
	if change != nil {
		change(&c)
	}
	l := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- stage.NewServer(c).Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// bound is a socket that is bound and does nothing yet, with its address.
func bound(t *testing.T) (fd int, address string) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fd, fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
}

// dropping is an address where not even connections are answered: it has no room
// for any more.
func dropping(t *testing.T) string {
	t.Helper()
	fd, address := bound(t)
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	for range 16 {
		conn, err := net.DialTimeout("tcp", address, 300*time.Millisecond)
		if err != nil {
			return address
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	t.Fatal("the system accepts any number of connections")
	return ""
}

func config(stages ...[]string) Config {
	numbers := make([]float32, 100)
	for i := range numbers {
		numbers[i] = float32(i%7) / 7
	}
	return Config{Stages: stages, Options: options(), Timeout: testkit.Patience, Numbers: numbers, Ballast: 1 << 20, Version: "v1"}
}

func observe(t *testing.T, c Config) Report {
	t.Helper()
	o, err := Observe(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return Judge(o)
}

func text(t *testing.T, r Report) string {
	t.Helper()
	var b strings.Builder
	if err := WriteText(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestAHealthyClusterIsMeasured(t *testing.T) {
	t.Parallel()
	a, b, c := serve(t, 0, nil), serve(t, 0, nil), serve(t, 1, nil)
	r := observe(t, config([]string{a, b}, []string{c}))
	if !r.OK || !r.CanServe || r.Bundle != bundleA || r.Model != "sentiment" {
		t.Fatal(text(t, r))
	}
	if len(r.Replicas) != 3 || len(r.Links) != 4 || len(r.Paths) != 2 {
		t.Fatalf("%+v", r)
	}
	for _, p := range r.Replicas {
		if p.State != OK || p.Transport != plaintext || p.RoundTrip <= 0 || p.Holds.Hostname != "host" || p.Holds.Threads != 3 || p.Holds.MemoryAvailable != 1e9 {
			t.Errorf("%+v", p)
		}
	}
	for _, l := range r.Links {
		if l.Error != "" || l.RoundTrip < 0 || l.BytesPerSecond <= 0 || l.BallastError != "" {
			t.Errorf("%+v", l)
		}
	}
	for i, first := range []string{a, b} {
		if p := r.Paths[i]; !slices.Equal(p.Addresses, []string{first, c}) || math.Abs(p.Mean-r.Mean) > 1e-6 || r.Mean < 0.3 {
			t.Errorf("%+v, mean %v", p, r.Mean)
		}
	}
}

func TestOneRankIsACluster(t *testing.T) {
	t.Parallel()
	one := func(c *stage.Config) { c.Stages = 1 }
	r := observe(t, config([]string{serve(t, 0, one), serve(t, 0, one)}))
	if !r.OK || !r.CanServe || len(r.Paths) != 2 {
		t.Error(text(t, r))
	}
}

// The stage's --stages restrict where it goes, and allow for the links of tests.
func TestStagesThatKnowTheirPeersAreTestedToo(t *testing.T) {
	t.Parallel()
	three := func(c *stage.Config) { c.Stages = 3 }
	z, y := serve(t, 2, three), serve(t, 1, three)
	x := serve(t, 0, func(c *stage.Config) { c.Stages, c.Peers = 3, [][]string{{"here:1"}, {y}, {z}} })
	r := observe(t, config([]string{x}, []string{y}, []string{z}))
	if !r.OK || !r.CanServe || len(r.Paths) != 1 {
		t.Error(text(t, r))
	}
}

func TestANameThatStandsForSeveralIsLookedUp(t *testing.T) {
	t.Parallel()
	ours := newAuthority(t)
	secure := func(c *stage.Config) { c.TLS = ours.server(t, "stage.example") }
	last := serve(t, 1, secure)
	_, port, _ := net.SplitHostPort(last)
	lookup := func(_ context.Context, host string) ([]string, error) {
		if host != "stage.example" {
			return nil, fmt.Errorf("no such host %s", host)
		}
		return []string{"127.0.0.1"}, nil
	}
	call := options()
	call.Lookup, call.TLS = lookup, func() *tls.Config { return &tls.Config{RootCAs: ours.pool} }
	first := serve(t, 0, func(c *stage.Config) { c.TLS, c.Next = ours.server(t, "127.0.0.1"), call })
	c := config([]string{first}, []string{stage.ManyReplicas + "stage.example:" + port})
	c.Options = call
	if r := observe(t, c); !r.OK || r.Replicas[1].Address != last || len(r.Paths) != 1 {
		t.Error(text(t, r))
	}
	c.Stages[1] = append(c.Stages[1], stage.ManyReplicas+"nobody.example:1")
	if r := observe(t, c); len(r.Problems) != 1 || r.Problems[0].Kind != string(Unresolved) || !r.CanServe {
		t.Error(text(t, r))
	}
}

func TestWhatAnswersIsToldFromWhatDoesNot(t *testing.T) {
	t.Parallel()
	_, refused := bound(t)
	web := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	mute := listen(t) // accepts, by the system, and says nothing
	closing := listen(t)
	go func() {
		for {
			conn, err := closing.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	}()
	secured := serve(t, 0, func(c *stage.Config) { c.TLS = newAuthority(t).server(t, "localhost", "127.0.0.1") })
	mutual := serve(t, 0, func(c *stage.Config) {
		c.TLS = newAuthority(t).server(t, "localhost", "127.0.0.1")
		c.TLS.ClientAuth = tls.RequireAndVerifyClientCert
	})
	for address, want := range map[string]Contact{
		refused:                      Refused,
		dropping(t):                  Silent,
		"nobody.invalid:2222":        Unresolved,
		web.Listener.Addr().String(): Stranger,
		mute.Addr().String():         Hangs,
		closing.Addr().String():      Stranger,
		secured:                      WantsTLS,
		mutual:                       WantsTLS,
		"198.51.100.1:2222":          Forbidden,
		serve(t, 0, nil):             Answers,
	} {
		t.Run(string(want)+" "+address, func(t *testing.T) {
			t.Parallel()
			c := config([]string{address}, []string{refused})
			c.Options.Insecure = want == Unresolved
			switch want {
			case Silent, Hangs:
				c.Timeout = impatience
			}
			r := observe(t, c)
			if got := r.Replicas[0].Contact; got != want || got != Answers && r.Replicas[0].Error == "" {
				t.Errorf("%q\n%s", got, text(t, r))
			}
			if r.CanServe || r.OK {
				t.Error(text(t, r))
			}
		})
	}
}

func TestTLSAndItsFaults(t *testing.T) {
	t.Parallel()
	ours, theirs := newAuthority(t), newAuthority(t)
	client := func() *tls.Config { return &tls.Config{RootCAs: ours.pool} }
	mutual := func(c *tls.Config) *tls.Config {
		c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, ours.pool
		return c
	}
	known := client()
	known.Certificates = ours.server(t, "client").Certificates
	web := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	secureWeb := httptest.NewUnstartedServer(http.NotFoundHandler())
	secureWeb.Config.ErrorLog = log.New(io.Discard, "", 0)
	secureWeb.TLS = ours.server(t, "127.0.0.1")
	secureWeb.StartTLS()
	t.Cleanup(secureWeb.Close)
	stageWith := func(server *tls.Config) string {
		return serve(t, 0, func(c *stage.Config) { c.TLS, c.Stages = server, 1 })
	}
	for name, c := range map[string]struct {
		address string
		client  *tls.Config
		want    Contact
	}{
		"secured":              {stageWith(ours.server(t, "127.0.0.1")), client(), Answers},
		"mutual":               {stageWith(mutual(ours.server(t, "127.0.0.1"))), known, Answers},
		"unknown here":         {stageWith(theirs.server(t, "127.0.0.1")), client(), Certificate},
		"another name":         {stageWith(ours.server(t, "elsewhere")), client(), Certificate},
		"unknown there":        {stageWith(mutual(ours.server(t, "127.0.0.1"))), client(), Certificate},
		"plain text":           {stageWith(nil), client(), NoTLS},
		"an HTTP server":       {web.Listener.Addr().String(), client(), NoTLS},
		"a secured Web server": {secureWeb.Listener.Addr().String(), client(), Stranger},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := config([]string{c.address})
			if c.client != nil {
				cfg.Options.TLS = func() *tls.Config { return c.client }
			}
			r := observe(t, cfg)
			if got := r.Replicas[0]; got.Contact != c.want || c.want == Answers && (!r.OK || got.Transport != encrypted) || c.want != Answers && r.OK {
				t.Errorf("%q: %s\n%s", got.Contact, got.Error, text(t, r))
			}
		})
	}
}

func TestAStageThatDoesNotReachTheNextIsFound(t *testing.T) {
	t.Parallel()
	_, refused := bound(t)
	for name, elsewhere := range map[string]string{"refused": refused, "dropped": dropping(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			last := serve(t, 1, nil)
			lost := serve(t, 0, func(c *stage.Config) { c.Peers = [][]string{{"a:1"}, {elsewhere}} })
			c := config([]string{lost, serve(t, 0, nil)}, []string{last})
			c.Timeout = 2 * stage.DefaultDeadAfter
			r := observe(t, c)
			if r.OK || !r.CanServe || len(r.Problems) != 1 || r.Problems[0].Kind != kindLink || !strings.Contains(r.Problems[0].Remedy, "it calls "+elsewhere) {
				t.Error(text(t, r))
			}
			if len(r.Paths) != 1 || r.Paths[0].Error != "" || slices.Contains(r.Paths[0].Addresses, lost) {
				t.Errorf("%+v", r.Paths)
			}
		})
	}
}

func TestStagesThatComputeWronglyAreFound(t *testing.T) {
	t.Parallel()
	answer := func(sum float32) func(*stage.Config) {
		return func(c *stage.Config) {
			c.Stages = 1
			c.SelfTest = func(context.Context, int, tensor.Bag) (tensor.Bag, error) {
				return tensor.Bag{"sum": tensor.Of(nil, []float32{sum})}, nil
			}
		}
	}
	good := func(c *stage.Config) { c.Stages = 1 }
	r := observe(t, config([]string{
		serve(t, 0, answer(1)), serve(t, 0, answer(float32(math.NaN()))),
		serve(t, 0, func(c *stage.Config) { c.SelfTest = nil }),
		serve(t, 0, func(c *stage.Config) {
			c.SelfTest = func(context.Context, int, tensor.Bag) (tensor.Bag, error) { return nil, fmt.Errorf("no\x1b[2Jway") }
		}),
		serve(t, 0, good),
	}))
	var states []State
	for _, p := range r.Replicas {
		states = append(states, p.State)
	}
	if !slices.Equal(states, []State{Miscomputes, NotComputing, NotComputing, NotComputing, OK}) || !r.CanServe {
		t.Errorf("%q\n%s", states, text(t, r))
	}
	if out := text(t, r); strings.ContainsRune(out, '\x1b') || !strings.Contains(out, "no self-test") || !strings.Contains(out, "no number") {
		t.Error(out)
	}
}

func TestBallastThatIsTooLargeIsAProblemOfItsOwn(t *testing.T) {
	t.Parallel()
	r := observe(t, config([]string{serve(t, 0, func(c *stage.Config) { c.Stages, c.MaxMessage = 1, 1<<20 })}))
	if len(r.Problems) != 1 || r.Problems[0].Kind != kindBandwidth || !r.CanServe {
		t.Error(text(t, r))
	}
	c := config([]string{serve(t, 0, func(c *stage.Config) { c.Stages = 1 })})
	c.Ballast = 0
	if r := observe(t, c); !r.OK || r.Links[0].BytesPerSecond != 0 || r.Links[0].RoundTrip <= 0 {
		t.Errorf("%+v", r.Links)
	}
}

func TestObserveEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := Observe(ctx, config([]string{listen(t).Addr().String()})); err == nil {
		t.Error("no error")
	}
}

func TestTextOfTheNetworkIsMadePrintable(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain, ünïcödé":             "plain, ünïcödé",
		"a\x1b[31mb\nc\td\u202e":     "a\ufffd[31mb\ufffdc\ufffdd\ufffd",
		"\xff":                       "\ufffd",
		strings.Repeat("é", longest): strings.Repeat("é", longest/2) + "…",
	} {
		if got := printable(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// An authority issues certificates.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key := newKey(t)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &authority{key, cert, pool}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// server is the configuration of one of the given names.
func (a *authority) server(t *testing.T, names ...string) *tls.Config {
	t.Helper()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: a.cert.NotBefore, NotAfter: a.cert.NotAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else {
			c.DNSNames = append(c.DNSNames, n)
		}
	}
	key := newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}
