// Package client asks a front over HTTP for what its model answers texts with.
//
// It knows HTTP and JSON, and not how a front works. Every failure has a code of
// package errcode; what the front itself answered is an *Error.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	neturl "net/url"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/distinfer/distinfer/runtime/errcode"
)

// Config says which front to ask, and how. All but the URL may be left out.
type Config struct {
	URL     string      // such as http://localhost:8008
	Token   string      // the bearer token that the front wants
	TLS     *tls.Config // of https; nil trusts the system's authorities
	Retries int         // of requests that the front cannot answer now, or that do not reach it
}

// A Client asks one front. It may be used by many goroutines at a time.
type Client struct {
	url   string // without a slash at its end
	token string
	tls   *tls.Config
	http  *retryablehttp.Client
}

// ParseURL checks the address of a front.
func ParseURL(s string) (*neturl.URL, error) {
	url, err := neturl.Parse(s)
	if err != nil || url.Scheme != "http" && url.Scheme != "https" || url.Host == "" {
		return nil, errcode.Errorf(errcode.Invalid, "the front's URL is %q; it must begin with http:// or https://", s)
	}
	return url, nil
}

// New makes a client. It does not connect.
func New(c Config) (*Client, error) {
	if _, err := ParseURL(c.URL); err != nil {
		return nil, err
	}
	h := retryablehttp.NewClient()
	h.Logger = nil
	h.RetryWaitMin = 100 * time.Millisecond
	h.RetryWaitMax = 5 * time.Second
	h.RetryMax = c.Retries
	h.CheckRetry = func(ctx context.Context, response *http.Response, err error) (bool, error) {
		if response != nil && response.StatusCode == http.StatusInternalServerError {
			return false, nil // a bug does not go away
		}
		return retryablehttp.DefaultRetryPolicy(ctx, response, err)
	}
	h.ErrorHandler = retryablehttp.PassthroughErrorHandler
	if c.TLS != nil {
		h.HTTPClient.Transport = &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: c.TLS.Clone(), ForceAttemptHTTP2: true}
	}
	if c.Token != "" {
		// It is for this front only, and not for where that may redirect to.
		h.HTTPClient.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	return &Client{url: strings.TrimSuffix(c.URL, "/"), token: c.Token, tls: c.TLS, http: h}, nil
}

// URL is the front's, without a slash at its end.
func (c *Client) URL() string { return c.url }

// TLS is that of the Config.
func (c *Client) TLS() *tls.Config { return c.tls }

// A Status is what a front says of its model.
type Status struct {
	Task   string `json:"task"`    // such as text-classification; empty if texts are not answered
	NoText string `json:"no_text"` // why texts are not answered
}

// Status asks the front what it answers texts with.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	data, err := c.get(ctx, "/status")
	if err == nil && (json.Unmarshal(data, &s) != nil || s.Task == "" && s.NoText == "") {
		err = errcode.Errorf(errcode.Unavailable, "%s/status does not tell a task, as a front's does; is it the URL of one?", c.url)
	}
	return s, err
}

// Ready returns nil when the front can reach every stage.
func (c *Client) Ready(ctx context.Context) error {
	_, err := c.get(ctx, "/readyz")
	return err
}

// Label asks for the most probable label of a text.
func (c *Client) Label(ctx context.Context, text string) (string, error) {
	request, err := c.LabelRequest(ctx, text)
	if err != nil {
		return "", err
	}
	data, _, err := c.do(request)
	return strings.TrimSuffix(string(data), "\n"), err
}

// An Answer is what the model answers a text with.
type Answer struct {
	JSON      json.RawMessage // as the task gives it: labels, entities or a vector
	Truncated bool            // the model has not read all of the text
	Err       error           // why there is no JSON; only in streams
}

// A Label is a label of a text with its probability.
type Label struct {
	Name  string  `json:"label"`
	Score float64 `json:"score"`
}

// Labels are the labels of an answer, the most probable first.
func (a Answer) Labels() ([]Label, error) {
	var labels []Label
	err := a.Err
	if err == nil {
		err = json.Unmarshal(a.JSON, &labels)
	}
	if err == nil && len(labels) == 0 {
		err = errors.New("there is no label")
	}
	return labels, err
}

// truncatedHeader lists the texts that were cut to what the model reads, by their place.
const truncatedHeader = "X-Truncated"

// Predict asks for the answers to texts, one each and in their order. One text that the
// front refuses fails all of them.
func (c *Client) Predict(ctx context.Context, texts ...string) ([]Answer, error) {
	return predict(ctx, c, texts)
}

// A Pair is two texts that the model reads as one.
type Pair struct {
	Text string `json:"text"`
	Pair string `json:"text_pair"`
}

// PredictPairs is Predict for pairs of texts.
func (c *Client) PredictPairs(ctx context.Context, pairs ...Pair) ([]Answer, error) {
	return predict(ctx, c, pairs)
}

func predict[T any](ctx context.Context, c *Client, texts []T) ([]Answer, error) {
	request, err := predictRequest(ctx, c, texts)
	if err != nil {
		return nil, err
	}
	data, header, err := c.do(request)
	if err != nil {
		return nil, err
	}
	var results []json.RawMessage
	switch err := json.Unmarshal(data, &results); {
	case err != nil:
		return nil, errcode.Errorf(errcode.Unavailable, "%s/predict did not answer as a front does: %w", c.url, err)
	case len(results) != len(texts):
		return nil, errcode.Errorf(errcode.Unavailable, "the front answered %d texts of %d", len(results), len(texts))
	}
	answers := make([]Answer, len(texts))
	for i, r := range results {
		answers[i].JSON = r
	}
	for _, place := range places(header) {
		if place < len(answers) {
			answers[place].Truncated = true
		}
	}
	return answers, nil
}

// places reads what X-Truncated lists.
func places(h http.Header) (list []int) {
	for s := range strings.SplitSeq(h.Get(truncatedHeader), ",") {
		if n, err := strconv.Atoi(strings.TrimSpace(s)); err == nil && n >= 0 {
			list = append(list, n)
		}
	}
	return list
}

// LabelRequest is the request that Label makes, for callers that send it themselves.
func (c *Client) LabelRequest(ctx context.Context, text string) (*http.Request, error) {
	return c.request(ctx, http.MethodGet, "/?text="+neturl.QueryEscape(text), nil)
}

// PredictRequest is the request that Predict makes, for callers that send it themselves.
func (c *Client) PredictRequest(ctx context.Context, texts ...string) (*http.Request, error) {
	return predictRequest(ctx, c, texts)
}

func predictRequest[T any](ctx context.Context, c *Client, texts []T) (*http.Request, error) {
	body, err := json.Marshal(map[string][]T{"inputs": texts})
	if err != nil {
		return nil, err
	}
	request, err := c.request(ctx, http.MethodPost, "/predict", bytes.NewReader(body))
	if err == nil {
		request.Header.Set("Content-Type", "application/json")
	}
	return request, err
}

func (c *Client) request(ctx context.Context, method, path string, body io.Reader) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.url+path, body)
	if err == nil && c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	return request, err
}

func (c *Client) get(ctx context.Context, path string) ([]byte, error) {
	request, err := c.request(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	data, _, err := c.do(request)
	return data, err
}

// do sends a request, again if need be, and reads the answer.
func (c *Client) do(request *http.Request) ([]byte, http.Header, error) {
	again, err := retryablehttp.FromRequest(request)
	if err != nil {
		return nil, nil, err
	}
	response, err := c.http.Do(again)
	if err != nil {
		return nil, nil, errcode.Errorf(codeOf(err), "ask the front: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, nil, errcode.Errorf(codeOf(err), "read the front's answer: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, nil, refusal(response, data)
	}
	return data, response.Header, nil
}

// codeOf is the code of an error that the network gave.
func codeOf(err error) errcode.Code {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return errcode.Of(err)
	}
	return errcode.Unavailable
}

// An Error is another answer of a front than the one asked for.
type Error struct {
	URL     string
	Status  int    // of HTTP
	Message string // the front's; empty if it is none of a front
}

func (e *Error) Error() string {
	status := fmt.Sprintf("%d %s", e.Status, http.StatusText(e.Status))
	switch {
	case e.Status == http.StatusUnauthorized:
		return fmt.Sprintf("%s answered %s: it wants a token that it knows", e.URL, status)
	case e.Message == "":
		return fmt.Sprintf("%s answered %s, and not as a front does; is it the URL of one?", e.URL, status)
	}
	return fmt.Sprintf("%s answered %s: %s", e.URL, status, e.Message)
}

var codes = map[int]errcode.Code{
	http.StatusBadRequest:            errcode.Invalid,
	http.StatusInternalServerError:   errcode.Internal,
	http.StatusRequestEntityTooLarge: errcode.TooLarge,
	http.StatusUnprocessableEntity:   errcode.Quarantined,
	http.StatusTooManyRequests:       errcode.Overloaded,
	http.StatusGatewayTimeout:        errcode.Deadline,
}

// refusal is the error that the front answered with: as JSON, or as a line of text where
// it answers texts.
func refusal(response *http.Response, data []byte) error {
	url := *response.Request.URL
	e := &Error{Status: response.StatusCode}
	var problem struct {
		Error string `json:"error"`
	}
	switch {
	case json.Unmarshal(data, &problem) == nil && problem.Error != "":
		e.Message = problem.Error
	case (url.Path == "/" || url.Path == "/readyz") && strings.HasPrefix(response.Header.Get("Content-Type"), "text/plain"):
		e.Message = strings.TrimSpace(string(data[:min(len(data), 1000)]))
	}
	url.RawQuery = ""
	e.URL = url.String()
	code, known := codes[e.Status]
	if !known {
		code = errcode.Unavailable
	}
	return errcode.Wrap(code, e)
}
