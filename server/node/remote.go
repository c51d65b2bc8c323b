package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/text"
	"github.com/distinfer/distinfer/runtime/textmodel"
	"github.com/distinfer/distinfer/server/bulk"
	"github.com/distinfer/distinfer/server/client"
	"github.com/distinfer/distinfer/server/front"
	"github.com/distinfer/distinfer/server/httpx"
	"github.com/distinfer/distinfer/server/reload"
	"github.com/distinfer/distinfer/server/task"
)

// ReadToken reads the token that a front asks for.
func ReadToken(path string) (string, error) {
	data, err := reload.Read(path, 4<<10)
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(data))
	if !httpx.IsToken(token) {
		return "", fmt.Errorf("%s must hold one token, and nothing else", path)
	}
	return token, nil
}

// PermitToken is Permit for sending a token to a front.
func PermitToken(log *slog.Logger, insecure bool, front *url.URL) error {
	port := front.Port()
	if port == "" {
		port = front.Scheme // a name of the port
	}
	return Permit(log, insecure, Traffic{"sending the token to", net.JoinHostPort(front.Hostname(), port), Fronts, front.Scheme == "https"})
}

// ReadAuthorities reads the authorities that may have signed a front's certificate.
func ReadAuthorities(path string) (*tls.Config, error) {
	data, err := reload.Read(path, 1<<20)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", path)
	}
	return &tls.Config{RootCAs: pool}, nil
}

// RemoteTexts answers texts through a front, whose task it names.
func RemoteTexts(ctx context.Context, c *client.Client) (answer bulk.Answerer, name string, err error) {
	status, err := c.Status(ctx)
	if err != nil {
		return nil, "", err
	}
	if status.Task == "" {
		return nil, "", fmt.Errorf("the front at %s answers no texts: %s", c.URL(), status.NoText)
	}
	labels := status.Task == (task.Classification{}).Name()
	return func(ctx context.Context, texts []textmodel.Input) ([]front.Reply, error) {
		answers, err := ask(ctx, c, texts)
		if err != nil {
			return nil, err
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
	}, status.Task, nil
}

// ask asks for the answers to texts, or to pairs where the first is one.
func ask(ctx context.Context, c *client.Client, texts []textmodel.Input) ([]client.Answer, error) {
	plain, pairs := make([]string, len(texts)), make([]client.Pair, 0, len(texts))
	for i, t := range texts {
		plain[i] = t.Text
		if t.Pair != nil {
			pairs = append(pairs, client.Pair{Text: t.Text, Pair: *t.Pair})
		}
	}
	if len(pairs) > 0 {
		return c.PredictPairs(ctx, pairs...)
	}
	return c.Predict(ctx, plain...)
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
