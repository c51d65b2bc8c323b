package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	neturl "net/url"
	"strings"

	"github.com/spf13/pflag"

	"github.com/distinfer/distinfer/server/httpx"
	"github.com/distinfer/distinfer/server/watched"
)

// remoteFlags say which front to ask, and how.
type remoteFlags struct {
	front string
	accessFlags
}

func (r *remoteFlags) add(f *pflag.FlagSet) {
	f.StringVar(&r.front, "front", "", "`URL` of a front to ask, instead of computing here")
	r.accessFlags.add(f)
}

// open makes the remote that the flags name, or none.
func (r *remoteFlags) open(s *settings) (*remote, error) {
	if r.front == "" {
		if r.tokenFile != "" || r.ca != "" {
			return nil, usageError{errors.New("--token-file and --ca are for a front; name it with --front")}
		}
		return nil, nil
	}
	a, err := r.accessFlags.open(s, "--front", r.front)
	if err != nil {
		return nil, err
	}
	return newRemote(a), nil
}

// An access is a front and what it takes to be let in.
type access struct {
	url         string
	token       string         // "" for none
	authorities *x509.CertPool // nil for those of the system
}

// accessFlags say how to be let in by a front.
type accessFlags struct{ tokenFile, ca string }

func (a *accessFlags) add(f *pflag.FlagSet) {
	f.StringVar(&a.tokenFile, "token-file", "", "`file` with the token that the front asks for")
	f.StringVar(&a.ca, "ca", "", "`file` of the authorities, one of which signed the front's certificate (default those of the system)")
	addInsecureFlag(f)
}

// open checks a front's URL, which the given argument named, and reads the files.
func (a *accessFlags) open(s *settings, argument, front string) (access, error) {
	url, err := neturl.Parse(front)
	if err != nil || url.Scheme != "http" && url.Scheme != "https" || url.Host == "" {
		return access{}, usageError{fmt.Errorf("%s is %q; it must be a URL that begins with http:// or https://", argument, front)}
	}
	opened := access{url: strings.TrimSuffix(front, "/")}
	if opened.token, err = a.token(s, url); err != nil {
		return access{}, err
	}
	opened.authorities, err = a.authorities()
	return opened, err
}

func (a *accessFlags) token(s *settings, url *neturl.URL) (string, error) {
	if a.tokenFile == "" {
		return "", nil
	}
	data, err := watched.Read(a.tokenFile, 4<<10)
	if err != nil {
		return "", fmt.Errorf("--token-file: %w", err)
	}
	token := strings.TrimSpace(string(data))
	if !httpx.IsToken(token) {
		return "", fmt.Errorf("--token-file: %s must hold one token, and nothing else", a.tokenFile)
	}
	port := url.Port()
	if port == "" {
		port = url.Scheme // a name of the port
	}
	return token, s.permit(s.logger(), traffic{"sending the token to", net.JoinHostPort(url.Hostname(), port), url.Scheme == "https", "use an https:// URL"})
}

func (a *accessFlags) authorities() (*x509.CertPool, error) {
	if a.ca == "" {
		return nil, nil
	}
	data, err := watched.Read(a.ca, 1<<20)
	if err != nil {
		return nil, fmt.Errorf("--ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("--ca: %s holds no certificate in PEM", a.ca)
	}
	return pool, nil
}
