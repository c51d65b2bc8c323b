package mtls_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/distinfer/distinfer/runtime/testkit"
	"github.com/distinfer/distinfer/server/mtls"
	"github.com/distinfer/distinfer/server/mtls/mtlstest"
)

var quiet = slog.New(slog.DiscardHandler)

func load(t *testing.T, dir string) *mtls.Credentials {
	t.Helper()
	c, err := mtls.Load(dir, quiet)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// echo serves lines back to whoever gets through the handshake.
func echo(t *testing.T, config *tls.Config) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var open sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	open.Go(func() {
		for {
			raw, err := l.Accept()
			if err != nil {
				return
			}
			stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
			open.Go(func() {
				defer stop()
				c := tls.Server(raw, config)
				_, _ = io.Copy(c, c)
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() { cancel(); _ = l.Close(); open.Wait() })
	return l.Addr().String()
}

// say sends a line and waits for it to come back: in TLS 1.3 a client learns only
// then that it was refused.
func say(c net.Conn) error {
	if err := c.SetDeadline(time.Now().Add(testkit.Patience)); err != nil {
		return err
	}
	if _, err := io.WriteString(c, "hello\n"); err != nil {
		return err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err == nil && line != "hello\n" {
		err = fmt.Errorf("the answer is %q", line)
	}
	return err
}

// connect dials as name, and returns the certificate that the server showed.
func connect(address, name string, config *tls.Config) (*x509.Certificate, error) {
	config = config.Clone()
	config.ServerName = name
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: testkit.Patience}, "tcp", address, config)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	return c.ConnectionState().PeerCertificates[0], say(c)
}

func expired(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }

func TestMachinesOfOneAuthorityTalkToEachOtherAndToNobodyElse(t *testing.T) {
	t.Parallel()
	ca, other := mtlstest.NewCA(t, "ours"), mtlstest.NewCA(t, "another")
	server, client, stranger := load(t, ca.Folder(t, nil)), load(t, ca.Folder(t, nil)), load(t, other.Folder(t, nil))
	address := echo(t, server.Server())

	for _, name := range []string{"127.0.0.1", "localhost", "::1"} {
		if _, err := connect(address, name, client.Client()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}

	// What the client has to notice.
	for _, c := range []struct {
		what, name, says string
		config           *tls.Config
	}{
		{"a wrong host name", "stage-1.example.org", "not stage-1.example.org", client.Client()},
		{"a wrong address", "192.0.2.1", "not 192.0.2.1", client.Client()},
		{"a server of another authority", "localhost", "unknown authority", stranger.Client()},
	} {
		_, err := connect(address, c.name, c.config)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.what, err)
		}
	}

	// What the server has to notice: the client trusts it in all of these.
	trusting := func(cert []tls.Certificate) *tls.Config {
		config := client.Client()
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if len(cert) == 0 {
				return &tls.Certificate{}, nil
			}
			return &cert[0], nil
		}
		return config
	}
	pair := func(ca *mtlstest.CA, change func(*x509.Certificate)) []tls.Certificate {
		p, err := tls.X509KeyPair(ca.Issue(t, change))
		if err != nil {
			t.Fatal(err)
		}
		return []tls.Certificate{p}
	}
	serverOnly := func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }
	early := func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }
	if _, err := connect(address, "localhost", trusting(pair(ca, nil))); err != nil {
		t.Fatalf("what the others differ from: %v", err)
	}
	for _, c := range []struct {
		what, says string
		pair       []tls.Certificate
	}{
		{"no certificate", "certificate required", nil},
		{"another authority", "unknown certificate authority", pair(other, nil)},
		{"expired", "expired", pair(ca, expired)},
		{"not valid yet", "expired", pair(ca, early)}, // TLS has one alert for both
		{"for servers only", "bad certificate", pair(ca, serverOnly)},
	} {
		_, err := connect(address, "localhost", trusting(c.pair))
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("a client's certificate, %s: %v", c.what, err)
		}
	}

	// And an older TLS.
	old := client.Client()
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if _, err := connect(address, "localhost", old); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("TLS 1.2: %v", err)
	}
}

func TestAClientRefusesServersWithBadCertificates(t *testing.T) {
	t.Parallel()
	ca := mtlstest.NewCA(t, "ours")
	client := load(t, ca.Folder(t, nil))
	for what, change := range map[string]func(*x509.Certificate){
		"expired":               expired,
		"incompatible key usag": func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} },
		"doesn't contain any IP SANs": func(c *x509.Certificate) {
			c.IPAddresses = nil
		},
	} {
		p, err := tls.X509KeyPair(ca.Issue(t, change))
		if err != nil {
			t.Fatal(err)
		}
		address := echo(t, &tls.Config{Certificates: []tls.Certificate{p}, MinVersion: tls.VersionTLS13})
		if _, err := connect(address, "127.0.0.1", client.Client()); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// serials asks which certificate a server shows.
func serials(t *testing.T, address string, config *tls.Config) string {
	t.Helper()
	c, err := connect(address, "127.0.0.1", config)
	if err != nil {
		t.Fatal(err)
	}
	return c.SerialNumber.String()
}

func TestChangedFilesAreUsedForNewConnectionsAndOldOnesLive(t *testing.T) {
	t.Parallel()
	ca := mtlstest.NewCA(t, "ours")
	serverDir, clientDir := ca.Folder(t, nil), ca.Folder(t, nil)
	var log testkit.Log
	server, err := mtls.Load(serverDir, log.Logger())
	if err != nil {
		t.Fatal(err)
	}
	client := load(t, clientDir)
	address := echo(t, server.Server())
	first := serials(t, address, client.Client())

	config := client.Client()
	config.ServerName = "127.0.0.1"
	old, err := tls.Dial("tcp", address, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = old.Close() })
	if err := say(old); err != nil {
		t.Fatal(err)
	}

	// Another certificate of the same authority, written in three steps, between
	// which the old set stays in use.
	certificate, key := ca.Issue(t, nil)
	mtlstest.Write(t, serverDir, "cert.pem", certificate[:len(certificate)/2])
	testkit.Eventually(t, "half a file is logged", func() bool { serials(t, address, client.Client()); return strings.Contains(log.String(), "not PEM") })
	mtlstest.Write(t, serverDir, "cert.pem", certificate)
	testkit.Eventually(t, "the mismatch is logged", func() bool {
		serials(t, address, client.Client())
		return strings.Contains(log.String(), "is not the key of the certificate")
	})
	if got := serials(t, address, client.Client()); got != first {
		t.Errorf("a mismatching set came into use: %s", got)
	}
	mtlstest.Write(t, serverDir, "key.pem", key)
	testkit.Eventually(t, "the new certificate is shown", func() bool { return serials(t, address, client.Client()) != first })
	if err := say(old); err != nil {
		t.Errorf("the connection that was open: %v", err)
	}

	// Another authority, in the order in which nobody is ever refused: it is trusted
	// beside the old one on both machines, then their certificates are replaced, then
	// the old one is taken away.
	next := mtlstest.NewCA(t, "next")
	both := slices.Concat(ca.PEM, next.PEM)
	mtlstest.Write(t, serverDir, "ca.pem", both)
	mtlstest.Write(t, clientDir, "ca.pem", both)
	stranger, err := tls.X509KeyPair(next.Issue(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	as := func(own tls.Certificate) *tls.Config {
		c := client.Client()
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &own, nil }
		return c
	}
	testkit.Eventually(t, "the server trusts the next authority too", func() bool { _, err := connect(address, "127.0.0.1", as(stranger)); return err == nil })
	ofOld, err := tls.X509KeyPair(ca.Issue(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	next.Fill(t, serverDir, nil)
	mtlstest.Write(t, serverDir, "ca.pem", both)
	testkit.Eventually(t, "the server shows a certificate of the next authority", func() bool {
		c, err := connect(address, "127.0.0.1", client.Client())
		return err == nil && c.Issuer.CommonName == "next"
	})
	next.Fill(t, clientDir, nil)
	testkit.Eventually(t, "the client has one, too", func() bool { return client.Identity().Authority == "CN=next" })
	mtlstest.Write(t, serverDir, "ca.pem", next.PEM)
	testkit.Eventually(t, "the server trusts the old authority no more", func() bool {
		_, err := connect(address, "127.0.0.1", as(ofOld))
		return err != nil && strings.Contains(err.Error(), "unknown certificate authority")
	})
	if _, err := connect(address, "127.0.0.1", client.Client()); err != nil {
		t.Errorf("machines of the next authority: %v", err)
	}
	if err := say(old); err != nil {
		t.Errorf("the connection that was open: %v", err)
	}

	// Files that are gone leave things as they are.
	if err := os.RemoveAll(serverDir); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the loss is logged", func() bool {
		serials(t, address, client.Client())
		return strings.Contains(log.String(), "no such file")
	})
	if strings.Contains(log.String(), "PRIVATE KEY-----\\n") {
		t.Error("a key is in the log")
	}
}

// A configuration that a client keeps shows the new certificate all the same.
func TestAClientsConfigurationFollowsItsOwnCertificate(t *testing.T) {
	t.Parallel()
	ca := mtlstest.NewCA(t, "ours")
	clientDir := ca.Folder(t, nil)
	seen := make(chan string, 100)
	config := load(t, ca.Folder(t, nil)).Server()
	config.GetConfigForClient = nil
	config.VerifyConnection = func(s tls.ConnectionState) error {
		seen <- s.PeerCertificates[0].SerialNumber.String()
		return nil
	}
	address := echo(t, config)
	kept := load(t, clientDir).Client()
	serials(t, address, kept)
	first := <-seen
	ca.Fill(t, clientDir, nil)
	testkit.Eventually(t, "the client shows its new certificate", func() bool { serials(t, address, kept); return <-seen != first })
}

func TestFoldersThatCannotBeUsedAreRefusedWithTheReason(t *testing.T) {
	t.Parallel()
	ca, other := mtlstest.NewCA(t, "ours"), mtlstest.NewCA(t, "another")
	for _, c := range []struct {
		what  string
		spoil func(dir string)
		says  []string
	}{
		{"no authority", func(dir string) { remove(t, dir, "ca.pem") }, []string{"ca.pem: no such file", "distinfer certs"}},
		{"no certificate", func(dir string) { remove(t, dir, "cert.pem") }, []string{"cert.pem: no such file", "distinfer certs"}},
		{"no key", func(dir string) { remove(t, dir, "key.pem") }, []string{"key.pem: no such file", "distinfer certs"}},
		{"an authority that is text", func(dir string) { mtlstest.Write(t, dir, "ca.pem", []byte("text")) }, []string{"ca.pem is not PEM", "BEGIN CERTIFICATE"}},
		{"a certificate that is text", func(dir string) { mtlstest.Write(t, dir, "cert.pem", []byte("text")) }, []string{"cert.pem is not PEM"}},
		{"a key that is text", func(dir string) { mtlstest.Write(t, dir, "key.pem", []byte("text")) }, []string{"key.pem is not PEM", "cert.pem"}},
		{"no DER in the PEM", func(dir string) {
			mtlstest.Write(t, dir, "cert.pem", []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
		}, []string{"cert.pem: certificate 1", "write the file again"}},
		{"another's key", func(dir string) { _, key := ca.Issue(t, nil); mtlstest.Write(t, dir, "key.pem", key) }, []string{"key.pem is not the key of the certificate in", "cert.pem"}},
		{"another's authority", func(dir string) { mtlstest.Write(t, dir, "ca.pem", other.PEM) }, []string{"cert.pem is not signed by an authority in", "ca.pem"}},
		{"expired", func(dir string) { ca.Fill(t, dir, expired) }, []string{"cert.pem", "was valid until", "make a new one"}},
		{"not valid yet", func(dir string) {
			ca.Fill(t, dir, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) })
		}, []string{"cert.pem", "is valid from", "clock"}},
		{"for servers only", func(dir string) {
			ca.Fill(t, dir, func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] })
		}, []string{"cert.pem", "not for both servers and clients", "clientAuth"}},
		{"a machine's certificate as the authority", func(dir string) {
			certificate, key := ca.Issue(t, nil)
			mtlstest.Write(t, dir, "ca.pem", certificate)
			mtlstest.Write(t, dir, "cert.pem", certificate)
			mtlstest.Write(t, dir, "key.pem", key)
		}, []string{"ca.pem", "not the certificate of an authority"}},
		{"too large", func(dir string) { mtlstest.Write(t, dir, "ca.pem", make([]byte, 1<<20+1)) }, []string{"ca.pem has more than"}},
	} {
		dir := ca.Folder(t, nil)
		c.spoil(dir)
		_, err := mtls.Load(dir, quiet)
		for _, s := range c.says {
			if err == nil || !strings.Contains(err.Error(), s) || !strings.Contains(err.Error(), dir) {
				t.Errorf("%s: does not say %q: %v", c.what, s, err)
			}
		}
	}
	dir := ca.Folder(t, nil)
	if _, err := mtls.Load(filepath.Join(dir, "key.pem"), quiet); err == nil || !strings.Contains(err.Error(), "is a file") {
		t.Errorf("a file: %v", err)
	}
	if _, err := mtls.Load(filepath.Join(dir, "none"), quiet); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
}

func remove(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

func TestAKeyForAllAndACertificateThatEndsSoonAreWarnedOf(t *testing.T) {
	t.Parallel()
	ca := mtlstest.NewCA(t, "ours")
	warnings := func(dir string) string {
		var log testkit.Log
		c, err := mtls.Load(dir, log.Logger())
		if err != nil {
			t.Fatal(err)
		}
		c.Server()
		c.Client()
		return log.String()
	}
	dir := ca.Folder(t, nil)
	if got := warnings(dir); got != "" {
		t.Errorf("of nothing: %s", got)
	}
	if err := os.Chmod(filepath.Join(dir, "key.pem"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := warnings(dir); !strings.Contains(got, "can read the private key") || !strings.Contains(got, "key.pem") {
		t.Errorf("of a key that all can read: %s", got)
	}
	ca.Fill(t, dir, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(29 * 24 * time.Hour) })
	if err := os.Chmod(filepath.Join(dir, "key.pem"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := warnings(dir); strings.Count(got, "ends soon") != 1 || !strings.Contains(got, "localhost") {
		t.Errorf("of 29 days: %s", got)
	}
	identity := load(t, dir).Identity()
	if want := []string{"localhost", "127.0.0.1", "::1"}; !slices.Equal(identity.Names, want) || identity.Authority != "CN=ours" || !identity.EndsSoon(time.Now()) {
		t.Errorf("%+v", identity)
	}
}

func TestACertificateOfAnyAuthorityServesClientsWithoutOneAndIsReplaced(t *testing.T) {
	t.Parallel()
	ca := mtlstest.NewCA(t, "web")
	dir := ca.Folder(t, nil)
	c, err := mtls.LoadCertificate(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), quiet)
	if err != nil {
		t.Fatal(err)
	}
	address := echo(t, c.Server())
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.PEM)
	client := &tls.Config{RootCAs: roots}
	first := serials(t, address, client)
	ca.Fill(t, dir, nil)
	testkit.Eventually(t, "the new certificate is shown", func() bool { return serials(t, address, client) != first })

	ca.Fill(t, dir, expired)
	if _, err := mtls.LoadCertificate(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), quiet); err == nil || !strings.Contains(err.Error(), "was valid until") {
		t.Errorf("expired: %v", err)
	}
}

func FuzzFilesOfAnyContentDoNoHarm(f *testing.F) {
	ca := mtlstest.NewCA(f, "ours")
	certificate, key := ca.Issue(f, nil)
	f.Add(ca.PEM, certificate, key)
	f.Add([]byte{}, certificate, key)
	f.Add(certificate, ca.PEM, []byte("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, authority, certificate, key []byte) {
		dir := t.TempDir()
		mtlstest.Write(t, dir, "ca.pem", authority)
		mtlstest.Write(t, dir, "cert.pem", certificate)
		mtlstest.Write(t, dir, "key.pem", key)
		if c, err := mtls.Load(dir, quiet); err == nil && c.Identity().NotAfter.Before(time.Now()) {
			t.Error("an expired certificate was taken")
		}
	})
}
