package load

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// A line is a client's connection to the service, kept from request to request. It
// speaks HTTP/1.1, follows no redirects and uses no proxy, so that it measures the
// service and nothing else.
//
// An http.Transport would hand every request to goroutines of its own and back, which
// takes about as long as all the rest, on the processors of the service that is measured.
type line struct {
	tls  *tls.Config
	to   string // scheme and host; "" while there is no connection
	conn net.Conn
	in   *bufio.Reader
	out  *bufio.Writer
}

// exchange sends a request and reads the whole answer, up to maxAnswer and one byte.
// The service may have closed a connection that was idle, just when it was used again;
// then the request is sent anew.
func (l *line) exchange(request *http.Request, body *bytes.Buffer) (status int, err error) {
	again := l.to != ""
	status, err = l.attempt(request, body)
	if err == nil || !again || !errors.Is(err, errUnanswered) || request.Context().Err() != nil {
		return status, err
	}
	if request.GetBody != nil {
		if request.Body, err = request.GetBody(); err != nil {
			return 0, err
		}
	}
	return l.attempt(request, body)
}

// errUnanswered is of a connection that ended before the first byte of an answer.
var errUnanswered = errors.New("the connection was closed before the answer")

func (l *line) attempt(request *http.Request, body *bytes.Buffer) (status int, err error) {
	ctx := request.Context()
	defer func() {
		if err == nil {
			return
		}
		l.close()
		switch {
		case ctx.Err() != nil:
			err = ctx.Err()
		case errors.Is(err, os.ErrDeadlineExceeded):
			err = context.DeadlineExceeded
		}
	}()
	if err := l.connect(ctx, request); err != nil {
		return 0, err
	}
	deadline, _ := ctx.Deadline()
	if err := l.conn.SetDeadline(deadline); err != nil {
		return 0, err
	}
	conn := l.conn
	hurried := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer func() {
		if !hurried() && err == nil { // a deadline that is over may be set at any moment
			l.close()
		}
	}()
	if err := request.Write(l.out); err != nil {
		return 0, errors.Join(errUnanswered, err)
	}
	if err := l.out.Flush(); err != nil {
		return 0, errors.Join(errUnanswered, err)
	}
	if _, err := l.in.Peek(1); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return 0, err
		}
		return 0, errors.Join(errUnanswered, err)
	}
	response, err := http.ReadResponse(l.in, request)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode < http.StatusOK {
		return 0, fmt.Errorf("it answered %s, which was not asked for", response.Status)
	}
	body.Reset()
	if _, err := body.ReadFrom(io.LimitReader(response.Body, maxAnswer+1)); err != nil {
		return 0, err
	}
	if response.Close || body.Len() > maxAnswer {
		l.close()
	}
	return response.StatusCode, nil
}

// connect has a connection to where the request goes.
func (l *line) connect(ctx context.Context, request *http.Request) error {
	to := request.URL.Scheme + "://" + request.URL.Host
	if l.to == to {
		return nil
	}
	l.close()
	port := request.URL.Port()
	secure := request.URL.Scheme == "https"
	switch {
	case port != "":
	case secure:
		port = "443"
	default:
		port = "80"
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(request.URL.Hostname(), port))
	if err != nil {
		return err
	}
	if secure {
		config := l.tls.Clone() // nil stays nil
		if config == nil {
			config = &tls.Config{}
		}
		config.ServerName = request.URL.Hostname()
		client := tls.Client(conn, config)
		if err := client.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return err
		}
		conn = client
	}
	l.conn, l.to = conn, to
	l.in, l.out = bufio.NewReader(conn), bufio.NewWriter(conn)
	return nil
}

func (l *line) close() {
	if l.to == "" {
		return
	}
	_ = l.conn.Close()
	l.to = ""
}
