package main

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/server/share"
)

// peers are the addresses of machines to fetch from.
type peers []string

func addFetchFlags(f *pflag.FlagSet) {
	f.String("fetch", "", "`addresses` of machines to fetch what is missing in --bundle from, host:port,host:port")
	f.String("bundle-id", "", "`hash` that the bundle's ID has to begin with, of 12 digits or more")
}

// decodePeers reads peers as they may stand in a config file: a string, or a list.
func decodePeers(_, to reflect.Type, data any) (any, error) {
	if to != reflect.TypeFor[peers]() {
		return data, nil
	}
	var items []string
	switch d := data.(type) {
	case nil:
	case string:
		if strings.TrimSpace(d) != "" {
			items = strings.Split(d, ",")
		}
	case []any:
		for _, item := range d {
			items = append(items, fmt.Sprint(item))
		}
	default:
		return nil, fmt.Errorf("fetch: %v is not a list of addresses", data)
	}
	var list peers
	for _, a := range items {
		a = strings.TrimSpace(a)
		if err := checkAddress(a); err != nil {
			return nil, fmt.Errorf("fetch: %w", err)
		}
		list = append(list, a)
	}
	return list, nil
}

// openBundle opens the bundle, and has those of its files that the function want
// names fetched before if the settings say from where.
func (s *settings) openBundle(ctx context.Context, want func(*bundle.Manifest) ([]bundle.File, error)) (*bundle.Bundle, error) {
	if len(s.Fetch) > 0 {
		return s.fetch(ctx, want)
	}
	b, err := bundle.Open(s.Bundle)
	if err != nil {
		return nil, err
	}
	if !b.ID.HasPrefix(s.BundleID) {
		return nil, fmt.Errorf("bundle %s is %s (%s), --bundle-id asks for %.12s", b.Dir, b.ID.Short(), b.Model.Name, s.BundleID)
	}
	return b, nil
}

func (s *settings) fetch(ctx context.Context, want func(*bundle.Manifest) ([]bundle.File, error)) (*bundle.Bundle, error) {
	log := s.logger()
	for _, address := range s.Fetch {
		if err := s.permit(log, traffic{"fetching from", address, s.TLS != "", stageRemedy}); err != nil {
			return nil, err
		}
	}
	machine, err := s.stageTLS(log)
	if err != nil {
		return nil, err
	}
	o := share.Options{Peers: s.Fetch, ID: s.BundleID, Log: log}
	if machine != nil {
		o.TLS = machine.Client
	}
	if term.IsTerminal(int(os.Stderr.Fd())) {
		var bar *progressbar.ProgressBar
		o.Progress = func(done, total int64) {
			if bar == nil {
				bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(os.Stderr), progressbar.OptionSetDescription("fetching"),
					progressbar.OptionShowBytes(true), progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(100*time.Millisecond))
			}
			_ = bar.Set64(done)
		}
		defer func() {
			if bar != nil {
				_ = bar.Exit() // where it came to, if it failed
			}
		}()
	}
	return share.Fetch(ctx, s.Bundle, want, o)
}

// sliceOf are the files that the stage of the given rank needs.
func sliceOf(rank int) func(*bundle.Manifest) ([]bundle.File, error) {
	return func(m *bundle.Manifest) ([]bundle.File, error) { return m.StageFiles(rank) }
}

// textFiles are the files that a front needs.
func textFiles(m *bundle.Manifest) ([]bundle.File, error) { return m.Files, nil }
