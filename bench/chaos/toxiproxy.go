package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// toxiproxy is the HTTP interface of a toxiproxy server: as much of it as is
// needed here. (Its own client would bring the server's dependencies with it.)
type toxiproxy struct{ url string }

// Both directions of a link.
var streams = []string{"upstream", "downstream"}

// A toxic is what a proxy does to the bytes of one direction.
type toxic struct {
	Name       string         `json:"name,omitempty"`
	Type       string         `json:"type,omitempty"`
	Stream     string         `json:"stream,omitempty"`
	Toxicity   float64        `json:"toxicity"` // share of connections; 0 is none
	Attributes map[string]int `json:"attributes"`
}

func (t toxiproxy) version(ctx context.Context) error {
	return t.call(ctx, http.MethodGet, "/version", nil)
}

func (t toxiproxy) addProxy(ctx context.Context, name, listen, upstream string) error {
	return t.call(ctx, http.MethodPost, "/proxies", map[string]any{"name": name, "listen": listen, "upstream": upstream, "enabled": true})
}

func (t toxiproxy) addToxic(ctx context.Context, proxy string, x toxic) error {
	return t.call(ctx, http.MethodPost, "/proxies/"+proxy+"/toxics", x)
}

func (t toxiproxy) setToxicity(ctx context.Context, proxy, name string, toxicity float64) error {
	return t.call(ctx, http.MethodPost, "/proxies/"+proxy+"/toxics/"+name, toxic{Toxicity: toxicity, Attributes: map[string]int{}})
}

func (t toxiproxy) removeToxic(ctx context.Context, proxy, name string) error {
	return t.call(ctx, http.MethodDelete, "/proxies/"+proxy+"/toxics/"+name, nil)
}

func (t toxiproxy) call(ctx context.Context, method, path string, body any) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, method, t.url+path, bytes.NewReader(data))
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("toxiproxy: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("toxiproxy: %s %s: %w", method, path, err)
	}
	if response.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("toxiproxy: %s %s: %s: %s", method, path, response.Status, bytes.TrimSpace(answer))
	}
	return nil
}
