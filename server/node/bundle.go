package node

import (
	"context"
	"fmt"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/server/transfer"
)

// A BundleError says that the bundle is not the one that Options.BundleID names.
type BundleError struct {
	Bundle *bundle.Bundle
	Want   string
}

func (e *BundleError) Error() string {
	return fmt.Sprintf("bundle %s is %s (%s), wanted is %.12s", e.Bundle.Dir, e.Bundle.ID.Short(), e.Bundle.Model.Name, e.Want)
}

// openBundle opens the bundle, and first has those of its files that the function want names
// fetched if the options say from where.
func (o *Options) openBundle(ctx context.Context, want func(*bundle.Manifest) ([]bundle.File, error)) (*bundle.Bundle, error) {
	if len(o.Fetch) > 0 {
		return o.fetch(ctx, want)
	}
	b, err := bundle.Open(o.Bundle)
	if err != nil {
		return nil, err
	}
	if !b.ID.HasPrefix(o.BundleID) {
		return nil, &BundleError{b, o.BundleID}
	}
	return b, nil
}

func (o *Options) fetch(ctx context.Context, want func(*bundle.Manifest) ([]bundle.File, error)) (*bundle.Bundle, error) {
	for _, address := range o.Fetch {
		if err := o.permit("fetching from", address, Machines, o.TLS != ""); err != nil {
			return nil, err
		}
	}
	machine, err := MachineTLS(o.TLS, o.Log)
	if err != nil {
		return nil, err
	}
	options := transfer.Options{Peers: o.Fetch, ID: o.BundleID, Log: o.Log, Progress: o.Progress}
	if machine != nil {
		options.TLS = machine.Client
	}
	return transfer.Fetch(ctx, o.Bundle, want, options)
}

// sliceOf are the files that the stage of the given rank needs.
func sliceOf(rank int) func(*bundle.Manifest) ([]bundle.File, error) {
	return func(m *bundle.Manifest) ([]bundle.File, error) { return m.StageFiles(rank) }
}

// textFiles are the files that a front needs.
func textFiles(m *bundle.Manifest) ([]bundle.File, error) { return m.Files, nil }
