package node

import (
	"context"
	"fmt"
	"io"
	"net/url"
)

// Greet tells how to use what is up now, with an answered example. That one goes past HTTP, for
// which this process may have neither a token nor the authority of the certificate. Without one
// to answer it shows a text to try.
func (f *Front) Greet(ctx context.Context, out io.Writer, example string) error {
	if example == "" {
		example = "a lovely film"
	} else {
		ctx, cancel := context.WithTimeout(ctx, f.options.Timeout)
		defer cancel()
		label, err := f.Label(ctx, example)
		if err != nil {
			return fmt.Errorf("answer the example: %w", err)
		}
		fmt.Fprintf(out, "\n  %q is %s\n", example, label)
	}
	token, base := "", f.URL()
	if f.options.Tokens != "" {
		token = ` -H "Authorization: Bearer $TOKEN"`
	}
	if f.Labels() {
		fmt.Fprintf(out, "\nup at %s, Ctrl-C stops it. Try:\n\n  curl%s '%s/?text=%s'\n\n", base, token, base, url.PathEscape(example))
	} else {
		fmt.Fprintf(out, "\nup at %s, Ctrl-C stops it. Try:\n\n  curl%s %s/predict -d '{\"inputs\": \"%s\"}'\n\n", base, token, base, example)
	}
	return nil // that nobody reads it is no reason to stop
}
