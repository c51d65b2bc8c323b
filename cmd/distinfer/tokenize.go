package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/text"
	"github.com/distinfer/distinfer/runtime/textmodel"
)

func newTokenize() *cobra.Command {
	var in input
	var file string
	cmd := &cobra.Command{
		Use:   "tokenize [FILE]",
		Short: "Show the token ids and tokens of texts",
		Long: `Show what the bundle's tokenizer.json makes of texts, exactly as the file says and
as Hugging Face's tokenizers answer, truncation and padding included.

The input is read as by "predict". The output is one line a text: the tokens and
the ids, parted by a tab, or with -o json an object. A line without a text is
reported with its number and gets an empty line (in JSON: an "error"), and the
exit code is 1.`,
		Example: `  echo 'a lovely film' | distinfer tokenize
  distinfer tokenize reviews.txt -o json
  distinfer tokenize --tokenizer models/sst2-minilm/tokenizer.json reviews.txt`,
		Args: arguments(true, "FILE"),
	}
	in.addFlags(cmd.Flags())
	cmd.Flags().StringVar(&file, "tokenizer", "", "tokenizer.json `file` to use instead of the bundle's")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := load(cmd)
		if err != nil {
			return err
		}
		if file != "" {
			if err := refuse(cmd, "with --tokenizer", "bundle"); err != nil {
				return err
			}
		}
		t, err := s.tokenizer(file)
		if err != nil {
			return err
		}
		r, err := in.open(args, cmd.InOrStdin())
		if err != nil {
			return err
		}
		defer func() { _ = r.Close() }()
		w := bufio.NewWriter(cmd.OutOrStdout())
		bad := 0
		err = in.texts(r, func(l textLine) error {
			if err := cmd.Context().Err(); err != nil {
				return err
			}
			var e text.Encoding
			if l.err == nil {
				e, l.err = t.EncodeTokens(l.text)
			}
			if l.err != nil {
				bad++
				fmt.Fprintf(cmd.ErrOrStderr(), "line %d: %v\n", l.number, l.err)
			}
			return writeTokens(w, s.Output, e, l.err)
		})
		if err == nil && bad > 0 {
			err = fmt.Errorf("%d lines could not be tokenised", bad)
		}
		return errors.Join(err, w.Flush())
	}
	return cmd
}

func (s *settings) tokenizer(file string) (*text.Tokenizer, error) {
	if file == "" {
		b, err := bundle.Open(s.Bundle)
		if err != nil {
			return nil, err
		}
		return textmodel.Tokenizer(b)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	t, err := text.LoadTokenizer(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return t, nil
}

func writeTokens(w io.Writer, format string, e text.Encoding, failed error) error {
	if format == "json" {
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
