package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	neturl "net/url"
	"strings"

	"github.com/spf13/pflag"

	"github.com/distinfer/distinfer/server/front"
	"github.com/distinfer/distinfer/server/watched"
)

// remoteFlags say which front to ask, and how.
type remoteFlags struct{ front, tokenFile, ca string }

func (r *remoteFlags) add(f *pflag.FlagSet) {
	f.StringVar(&r.front, "front", "", "`URL` of a front to ask, instead of computing here")
	f.StringVar(&r.tokenFile, "token-file", "", "`file` with the token that the front asks for")
	f.StringVar(&r.ca, "ca", "", "`file` of the authorities, one of which signed the front's certificate (default those of the system)")
	addInsecureFlag(f)
}

// open makes the remote that the flags name, or none.
func (r *remoteFlags) open(s *settings) (*remote, error) {
	if r.front == "" {
		if r.tokenFile != "" || r.ca != "" {
			return nil, usageError{errors.New("--token-file and --ca are for a front; name it with --front")}
		}
		return nil, nil
	}
	url, err := neturl.Parse(r.front)
	if err != nil || url.Scheme != "http" && url.Scheme != "https" || url.Host == "" {
		return nil, usageError{fmt.Errorf("--front is %q; it must be a URL that begins with http:// or https://", r.front)}
	}
	var token string
	if r.tokenFile != "" {
		data, err := watched.Read(r.tokenFile, 4<<10)
		if err != nil {
			return nil, fmt.Errorf("--token-file: %w", err)
		}
		if token = strings.TrimSpace(string(data)); !front.CanBeToken(token) {
			return nil, fmt.Errorf("--token-file: %s must hold one token, and nothing else", r.tokenFile)
		}
		port := url.Port()
		if port == "" {
			port = url.Scheme // a name of the port
		}
		if err := s.permit(s.logger(), traffic{"sending the token to", net.JoinHostPort(url.Hostname(), port), url.Scheme == "https", "use an https:// URL"}); err != nil {
			return nil, err
		}
	}
	var authorities *x509.CertPool
	if r.ca != "" {
		data, err := watched.Read(r.ca, 1<<20)
		if err != nil {
			return nil, fmt.Errorf("--ca: %w", err)
		}
		authorities = x509.NewCertPool()
		if !authorities.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("--ca: %s holds no certificate in PEM", r.ca)
		}
	}
	return newRemote(r.front, token, authorities), nil
}
