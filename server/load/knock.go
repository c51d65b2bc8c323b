package load

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/distinfer/distinfer/server/client"
)

//go:embed sentences.txt
var sentences string

// Sentences are texts of a few words to a paragraph.
func Sentences() []string { return strings.Split(strings.TrimSpace(sentences), "\n") }

// Knock sends one request, to find out before a run whether there is a front that lets us in.
// What else it answers, the run counts.
func Knock(ctx context.Context, front *client.Client, text string, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	_, err := front.Predict(ctx, text)
	var refused *client.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("nothing listens at %s; start a front, such as with `distinfer up`, or name the URL of one", front.URL())
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s did not answer within %s", front.URL(), timeout)
	case errors.As(err, &refused) && refused.Status == http.StatusUnauthorized:
		return err
	case errors.As(err, new(*url.Error)): // no answer at all
		return err
	}
	return nil
}
