package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	neturl "net/url"
	"strings"

	"github.com/spf13/pflag"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/text"
	"github.com/distinfer/distinfer/server/client"
	"github.com/distinfer/distinfer/server/front"
	"github.com/distinfer/distinfer/server/httpx"
	"github.com/distinfer/distinfer/server/task"
	"github.com/distinfer/distinfer/server/watched"
)

// retries is how often predict sends a request again that a front cannot answer now.
const retries = 5

// remoteFlags say which front to ask, and how.
type remoteFlags struct {
	front string
	accessFlags
}

func (r *remoteFlags) add(f *pflag.FlagSet) {
	f.StringVar(&r.front, "front", "", "`URL` of a front to ask, instead of computing here")
	r.accessFlags.add(f)
}

// open makes the client that the flags name, or none.
func (r *remoteFlags) open(s *settings) (*client.Client, error) {
	if r.front == "" {
		if r.tokenFile != "" || r.ca != "" {
			return nil, usageError{errors.New("--token-file and --ca are for a front; name it with --front")}
		}
		return nil, nil
	}
	return r.accessFlags.open(s, client.Config{URL: r.front, Retries: retries})
}

// accessFlags say how to be let in by a front.
type accessFlags struct{ tokenFile, ca string }

func (a *accessFlags) add(f *pflag.FlagSet) {
	f.StringVar(&a.tokenFile, "token-file", "", "`file` with the token that the front asks for")
	f.StringVar(&a.ca, "ca", "", "`file` of the authorities, one of which signed the front's certificate (default those of the system)")
	addInsecureFlag(f)
}

// open makes a client of a front with the token and the authorities of the files.
func (a *accessFlags) open(s *settings, c client.Config) (*client.Client, error) {
	url, err := client.ParseURL(c.URL)
	if err != nil {
		return nil, usageError{err}
	}
	if c.Token, err = a.token(s, url); err != nil {
		return nil, err
	}
	if c.TLS, err = a.authorities(); err != nil {
		return nil, err
	}
	return client.New(c)
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

func (a *accessFlags) authorities() (*tls.Config, error) {
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
	return &tls.Config{RootCAs: pool}, nil
}

// unauthorized names the flag that a front's refusal calls for.
func unauthorized(err error) error {
	var refused *client.Error
	if errors.As(err, &refused) && refused.Status == http.StatusUnauthorized {
		return fmt.Errorf("%s answered 401 Unauthorized: it wants a token that it knows; name a file that holds one with --token-file", refused.URL)
	}
	return err
}

// remoteAsker asks the front what it answers texts with, and then texts. other reports that
// it does not label them.
func remoteAsker(ctx context.Context, c *client.Client) (ask asker, other bool, err error) {
	status, err := c.Status(ctx)
	if err != nil {
		return nil, false, unauthorized(err)
	}
	if status.Task == "" {
		return nil, false, fmt.Errorf("the front at %s answers no texts: %s", c.URL(), status.NoText)
	}
	other = status.Task != (task.Classification{}).Name()
	return func(ctx context.Context, texts []string) ([]front.Reply, error) {
		answers, err := c.Predict(ctx, texts...)
		if err != nil {
			return nil, unauthorized(err)
		}
		replies := make([]front.Reply, len(answers))
		for i, a := range answers {
			replies[i] = front.Reply{Answer: a.JSON, Truncated: a.Truncated}
			if other {
				continue
			}
			if replies[i].Answer, err = results(a); err != nil {
				return nil, errcode.Errorf(errcode.Unavailable, "%s/predict did not answer as a front does: %w", c.URL(), err)
			}
		}
		return replies, nil
	}, other, nil
}

// results are the labels of an answer.
func results(a client.Answer) ([]text.Result, error) {
	labels, err := a.Labels()
	results := make([]text.Result, len(labels))
	for i, l := range labels {
		results[i] = text.Result{Label: l.Name, Score: l.Score}
	}
	return results, err
}
