package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/server/transfer"
)

// openBundle opens the bundle, and has those of its files that the function want
// names fetched before if the settings say from where.
func (o *nodeOptions) openBundle(ctx context.Context, want func(*bundle.Manifest) ([]bundle.File, error)) (*bundle.Bundle, error) {
	if len(o.Fetch) > 0 {
		return o.fetch(ctx, want)
	}
	b, err := bundle.Open(o.Bundle)
	if err != nil {
		return nil, err
	}
	if !b.ID.HasPrefix(o.BundleID) {
		return nil, fmt.Errorf("bundle %s is %s (%s), --bundle-id asks for %.12s", b.Dir, b.ID.Short(), b.Model.Name, o.BundleID)
	}
	return b, nil
}

func (o *nodeOptions) fetch(ctx context.Context, want func(*bundle.Manifest) ([]bundle.File, error)) (*bundle.Bundle, error) {
	log := o.logger()
	for _, address := range o.Fetch {
		if err := o.permit(log, traffic{"fetching from", address, o.TLS != "", stageRemedy}); err != nil {
			return nil, err
		}
	}
	machine, err := o.stageTLS(log)
	if err != nil {
		return nil, err
	}
	options := transfer.Options{Peers: o.Fetch, ID: o.BundleID, Log: log}
	if machine != nil {
		options.TLS = machine.Client
	}
	if term.IsTerminal(int(os.Stderr.Fd())) {
		var bar *progressbar.ProgressBar
		options.Progress = func(done, total int64) {
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
	return transfer.Fetch(ctx, o.Bundle, want, options)
}

// sliceOf are the files that the stage of the given rank needs.
func sliceOf(rank int) func(*bundle.Manifest) ([]bundle.File, error) {
	return func(m *bundle.Manifest) ([]bundle.File, error) { return m.StageFiles(rank) }
}

// textFiles are the files that a front needs.
func textFiles(m *bundle.Manifest) ([]bundle.File, error) { return m.Files, nil }
