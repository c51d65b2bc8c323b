package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	neturl "net/url"
	"strings"

	"github.com/spf13/pflag"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/text"
	"github.com/distinfer/distinfer/server/bulk"
	"github.com/distinfer/distinfer/server/client"
	"github.com/distinfer/distinfer/server/front"
	"github.com/distinfer/distinfer/server/httpx"
	"github.com/distinfer/distinfer/server/node"
	"github.com/distinfer/distinfer/server/reload"
	"github.com/distinfer/distinfer/server/task"
)

// retries is how often predict sends a request again that a front cannot answer now.
const retries = 5

// remoteOptions name a front, and say how to reach it.
type remoteOptions struct {
	Front string
	accessOptions
}

func (o *remoteOptions) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&o.Front, "front", "", "`URL` of a front to ask, instead of computing here")
	onlyFlags(f, "front")
	o.accessOptions.AddFlags(f)
}

// open makes the client that the options name, or none.
func (o *remoteOptions) open(log *slog.Logger) (*client.Client, error) {
	if o.Front == "" {
		if o.TokenFile != "" || o.CA != "" {
			return nil, usageError{errors.New("--token-file and --ca are for a front; name it with --front")}
		}
		return nil, nil
	}
	return o.accessOptions.open(log, client.Config{URL: o.Front, Retries: retries})
}

// accessOptions say how to be let in by a front.
type accessOptions struct {
	insecureOptions
	TokenFile, CA string
}

func (a *accessOptions) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&a.TokenFile, "token-file", "", "`file` with the token that the front asks for")
	f.StringVar(&a.CA, "ca", "", "`file` of the authorities, one of which signed the front's certificate (default those of the system)")
	onlyFlags(f, "token-file", "ca")
	a.insecureOptions.AddFlags(f)
}

// open makes a client of a front with the token and the authorities of the files.
func (a *accessOptions) open(log *slog.Logger, c client.Config) (*client.Client, error) {
	url, err := client.ParseURL(c.URL)
	if err != nil {
		return nil, usageError{err}
	}
	if c.Token, err = a.token(log, url); err != nil {
		return nil, err
	}
	if c.TLS, err = a.authorities(); err != nil {
		return nil, err
	}
	return client.New(c)
}

func (a *accessOptions) token(log *slog.Logger, url *neturl.URL) (string, error) {
	if a.TokenFile == "" {
		return "", nil
	}
	data, err := reload.Read(a.TokenFile, 4<<10)
	if err != nil {
		return "", fmt.Errorf("--token-file: %w", err)
	}
	token := strings.TrimSpace(string(data))
	if !httpx.IsToken(token) {
		return "", fmt.Errorf("--token-file: %s must hold one token, and nothing else", a.TokenFile)
	}
	port := url.Port()
	if port == "" {
		port = url.Scheme // a name of the port
	}
	return token, node.Permit(log, a.Insecure, node.Traffic{Doing: "sending the token to", Address: net.JoinHostPort(url.Hostname(), port), With: node.Fronts, Secure: url.Scheme == "https"})
}

func (a *accessOptions) authorities() (*tls.Config, error) {
	if a.CA == "" {
		return nil, nil
	}
	data, err := reload.Read(a.CA, 1<<20)
	if err != nil {
		return nil, fmt.Errorf("--ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("--ca: %s holds no certificate in PEM", a.CA)
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

// remoteAnswerer answers texts through a front. labels reports that the answers are labels.
func remoteAnswerer(ctx context.Context, c *client.Client) (answer bulk.Answerer, labels bool, err error) {
	status, err := c.Status(ctx)
	if err != nil {
		return nil, false, unauthorized(err)
	}
	if status.Task == "" {
		return nil, false, fmt.Errorf("the front at %s answers no texts: %s", c.URL(), status.NoText)
	}
	labels = status.Task == (task.Classification{}).Name()
	return func(ctx context.Context, texts []string) ([]front.Reply, error) {
		answers, err := c.Predict(ctx, texts...)
		if err != nil {
			return nil, unauthorized(err)
		}
		replies := make([]front.Reply, len(answers))
		for i, a := range answers {
			replies[i] = front.Reply{Answer: a.JSON, Truncated: a.Truncated}
			if !labels {
				continue
			}
			if replies[i].Answer, err = results(a); err != nil {
				return nil, errcode.Errorf(errcode.Unavailable, "%s/predict did not answer as a front does: %w", c.URL(), err)
			}
		}
		return replies, nil
	}, labels, nil
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
