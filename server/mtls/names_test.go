package mtls_test

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/distinfer/distinfer/server/mtls"
)

func TestTheNameThatACertificateLacksIsNamed(t *testing.T) {
	t.Parallel()
	c := &x509.Certificate{
		DNSNames: []string{"stage-0"}, IPAddresses: []net.IP{net.ParseIP("192.0.2.1")},
		Subject: pkix.Name{CommonName: "stage-0"}, Issuer: pkix.Name{CommonName: "distinfer 12345678"},
	}
	foreign := &x509.Certificate{DNSNames: []string{"stage-0"}, Issuer: pkix.Name{CommonName: "Example"}}
	for _, test := range []struct {
		certificate *x509.Certificate
		called      string
		says        string
	}{
		{c, "192.0.2.7", "tls: its certificate is for stage-0, 192.0.2.1, and it is called by 192.0.2.7; `distinfer certs stage-0,192.0.2.7` beside the authority adds the name: copy the folder stage-0 to that machine again, the others keep theirs"},
		{c, "other", "tls: its certificate is for stage-0, 192.0.2.1, and it is called by other; `distinfer certs stage-0,other` beside the authority adds the name: copy the folder stage-0 to that machine again, the others keep theirs"},
		{foreign, "other", "tls: its certificate is for stage-0, and it is called by other; make it one that has this name as well"},
		{&x509.Certificate{}, "other", "tls: its certificate is for no name, and it is called by other; make it one that has this name as well"},
	} {
		err := mtls.Explain(fmt.Errorf("tls: %w", test.certificate.VerifyHostname(test.called)))
		if err.Error() != test.says {
			t.Errorf("%s: %v", test.called, err)
		}
	}
	other := errors.New("another")
	if err := mtls.Explain(other); !errors.Is(err, other) {
		t.Error(err)
	}
}

func TestWhatACertificateLacksToListen(t *testing.T) {
	t.Parallel()
	own := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}
	for _, c := range []struct {
		names  []string
		listen string
		want   string
	}{
		{[]string{"192.0.2.1"}, "192.0.2.1:2222", ""},
		{[]string{"192.0.2.2"}, "192.0.2.1:2222", "192.0.2.1"},
		{[]string{"192.0.2.2", "192.0.2.1"}, "0.0.0.0:2222", ""},
		{[]string{"192.0.2.2"}, "0.0.0.0:2222", "192.0.2.1"},
		{[]string{"2001:db8::1"}, "[::]:2222", ""},
		{[]string{"192.0.2.2"}, ":2222", "192.0.2.1"},
		{[]string{"localhost"}, "127.0.0.1:2222", ""},
		{[]string{"localhost"}, "localhost:2222", ""},
		{[]string{"127.0.0.1"}, "localhost:2222", ""},
		{[]string{"name.invalid"}, "192.0.2.1:2222", ""}, // others may know where it leads
	} {
		if got := (mtls.Identity{Names: c.names}).Lacks(context.Background(), c.listen, own); got != c.want {
			t.Errorf("%v at %s: %q, want %q", c.names, c.listen, got, c.want)
		}
	}
}
