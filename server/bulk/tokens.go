package bulk

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/distinfer/distinfer/runtime/text"
	"github.com/distinfer/distinfer/runtime/textfile"
)

// Tokenize writes what a tokenizer makes of the texts of a file, a line each, as Text or JSON.
func Tokenize(ctx context.Context, file *textfile.File, t *text.Tokenizer, form string, to, errs io.Writer) error {
	w := bufio.NewWriter(to)
	bad := 0
	err := file.Read(func(l textfile.Row) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		var e text.Encoding
		if l.Err == nil {
			e, l.Err = t.EncodeTokens(l.Text)
		}
		if l.Err != nil {
			bad++
			fmt.Fprintf(errs, "line %d: %v\n", l.Line, l.Err)
		}
		return writeTokens(w, form, e, l.Err)
	})
	if err == nil && bad > 0 {
		err = fmt.Errorf("%d lines could not be tokenised", bad)
	}
	return errors.Join(err, w.Flush())
}

func writeTokens(w io.Writer, form string, e text.Encoding, failed error) error {
	if form == JSON {
		encoder := json.NewEncoder(w)
		encoder.SetEscapeHTML(false)
		if failed != nil {
			return encoder.Encode(map[string]string{"error": failed.Error()})
		}
		return encoder.Encode(struct {
			IDs    []int64  `json:"ids"`
			Tokens []string `json:"tokens"`
		}{e.IDs, e.Tokens})
	}
	ids := strings.Trim(fmt.Sprint(e.IDs), "[]")
	if failed != nil {
		ids = ""
	}
	_, err := fmt.Fprintf(w, "%s\t%s\n", strings.Join(e.Tokens, " "), ids)
	return err
}
