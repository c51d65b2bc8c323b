package main

import (
	"errors"
	"strings"

	"github.com/distinfer/distinfer/runtime/textfile"
	"github.com/distinfer/distinfer/server/cluster"
)

// A usageError is a command line that cannot be understood.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// oneLine is an error's message without the line breaks that some libraries put into theirs, and
// with the flags that help against it: packages below this one know none.
func oneLine(err error) string {
	message := strings.Join(strings.Fields(err.Error()), " ")
	if r := remedy(err); r != "" {
		return message + "; " + r
	}
	return message
}

func remedy(err error) string {
	var (
		count *cluster.CountError
		rank  *cluster.RankError
		here  *cluster.HereError
		table *textfile.ColumnError
	)
	switch {
	case errors.As(err, &count), errors.As(err, &rank):
		return "--stages names the addresses"
	case errors.As(err, &here) && here.Several:
		return "say which with --listen host:port"
	case errors.As(err, &here):
		return "say where to listen with --listen host:port"
	case errors.As(err, &table) && table.Column == "":
		return "name it with --column"
	}
	return ""
}
