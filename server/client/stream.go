package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"net/http"
	"sync/atomic"

	"github.com/distinfer/distinfer/runtime/errcode"
)

// Stream sends each text when the sequence yields it, and hands over the answers one by
// one and in their order while further texts are sent. A text that cannot be answered has
// an Answer with Err, and the stream goes on. An error of handle ends it and is returned.
//
// truncated are the texts, from 0 on, that the model has not read all of. A stream is not
// tried again; when it fails, texts without an answer have none. The sequence may then
// still wait for its next text.
func (c *Client) Stream(ctx context.Context, texts iter.Seq[string], handle func(Answer) error) (truncated []int, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	body, lines := io.Pipe()
	defer func() { _ = body.Close() }() // the sender ends with its next text
	var sent atomic.Int64
	go func() { _ = lines.CloseWithError(send(lines, texts, &sent)) }()
	request, err := c.request(ctx, http.MethodPost, "/predict", body)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/x-ndjson")
	response, err := c.http.HTTPClient.Do(request)
	if err != nil {
		return nil, errcode.Errorf(codeOf(err), "ask the front: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		data, _ := io.ReadAll(io.LimitReader(response.Body, 1<<20))
		return nil, refusal(response, data)
	}
	answers := bufio.NewReader(response.Body)
	answered := int64(0)
	for {
		line, err := answers.ReadBytes('\n')
		switch {
		case errors.Is(err, io.EOF) && len(line) == 0:
			if n := sent.Load(); n != answered {
				return nil, errcode.Errorf(errcode.Unavailable, "the front answered %d texts of %d", answered, n)
			}
			for _, number := range places(response.Trailer) {
				truncated = append(truncated, number-1) // lines count from 1
			}
			return truncated, nil
		case err != nil:
			return nil, errcode.Errorf(codeOf(err), "read the front's answer: %w", err)
		}
		answered++
		if err := handle(lineAnswer(line)); err != nil {
			return nil, err
		}
	}
}

// send writes texts as lines of JSON and counts them.
func send(w io.Writer, texts iter.Seq[string], sent *atomic.Int64) error {
	e := json.NewEncoder(w)
	for text := range texts {
		sent.Add(1)
		if err := e.Encode(text); err != nil {
			return err
		}
	}
	return nil
}

func lineAnswer(line []byte) Answer {
	var problem struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(line, &problem) == nil && problem.Error != "" {
		return Answer{Err: errors.New(problem.Error)}
	}
	return Answer{JSON: bytes.TrimSpace(line)}
}
