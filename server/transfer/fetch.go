package transfer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/server/transfer/transferpb"
)

// Options say where to fetch from, and how.
type Options struct {
	// Peers are the addresses (host:port) of machines that share a bundle. The
	// first that answers says which bundle it is; its files may come from any.
	Peers []string
	// TLS secures connections, and is called anew for each; nil is plain text.
	TLS func() *tls.Config
	// ID is what the bundle's ID has to begin with.
	ID string
	// Patience is how long no peer may give anything before Fetch gives up; 0 is
	// a minute.
	Patience time.Duration
	// Progress receives how many of the missing bytes are there. Without it, the log
	// says so now and then.
	Progress func(done, total int64)
	Log      *slog.Logger
}

const (
	defaultPatience = time.Minute
	// logTime is how often the log tells how far a transfer is.
	logTime = 10 * time.Second
)

// Fetch makes folder dir hold those files of the peers' bundle that the function
// want names, and opens the bundle. What dir holds already is not fetched. When no
// peer can tell its bundle and dir holds one with all that is wanted, that is taken.
func Fetch(ctx context.Context, dir string, want func(*bundle.Manifest) ([]bundle.File, error), o Options) (*bundle.Bundle, error) {
	if o.Patience == 0 {
		o.Patience = defaultPatience
	}
	f := &fetcher{options: o, want: want, stall: o.Patience / 4}
	for _, address := range o.Peers {
		p, err := dial(address, o.TLS)
		if err != nil {
			return nil, err
		}
		defer func() { _ = p.conn.Close() }()
		f.peers = append(f.peers, p)
	}
	if o.ID != "" { // equal IDs are equal bundles: there is nothing to ask
		if b := f.cached(dir); b != nil {
			f.options.Log.Info("bundle is here already", "bundle", b.ID.Short())
			return b, nil
		}
	}
	manifest, cached, err := f.manifest(ctx, dir)
	switch {
	case err != nil:
		return nil, err
	case cached != nil:
		f.options.Log.Warn("no peer tells which bundle to use; the one that is here is used", "bundle", cached.ID.Short(), "error", f.reasons())
		return cached, nil
	}
	return f.gather(ctx, dir, manifest)
}

// A WholeError is that the folder holds a whole bundle, and the peer has another: which one
// to use has to be said.
type WholeError struct {
	Dir     string
	Has     bundle.ID
	Peer    string
	Offered bundle.ID
}

// Error names both bundles.
func (e *WholeError) Error() string {
	return fmt.Sprintf("%s holds a whole bundle (%s…), and %s has another (%s…): name the one to use, or remove the folder", e.Dir, e.Has.Short(), e.Peer, e.Offered.Short())
}

// A fetcher fetches once.
type fetcher struct {
	options Options
	want    func(*bundle.Manifest) ([]bundle.File, error)
	stall   time.Duration

	peers []*peer
	turn  int       // whose turn it is; a peer keeps it as long as it gives
	moved time.Time // when one gave something

	total    int64 // bytes of all missing files
	done     int64 // bytes that are there now
	resumed  int64 // bytes that were there before
	received int64 // bytes that came, repeated ones included
	logged   time.Time
}

// cached is the bundle in dir, if it is one that can be used and has everything.
func (f *fetcher) cached(dir string) *bundle.Bundle {
	b, err := bundle.Open(dir)
	if err != nil || !b.ID.HasPrefix(f.options.ID) {
		return nil
	}
	want, err := f.want(&b.Manifest)
	if err != nil || len(b.Missing(want)) > 0 {
		return nil
	}
	return b
}

// A localError is one that no peer can help with.
type localError struct{ error }

func (e localError) Unwrap() error { return e.error }

// round has every peer try once, until one succeeds. It reports whether one did,
// and whether another round may be of use. An error is a local one, or the context's.
func (f *fetcher) round(ctx context.Context, try func(*peer) error) (ok, again bool, err error) {
	for range f.peers {
		p := f.peers[f.turn]
		err := try(p)
		var local localError
		switch {
		case err == nil:
			p.err = nil
			return true, false, nil
		case ctx.Err() != nil:
			return false, false, ctx.Err()
		case errors.As(err, &local):
			return false, false, local.error
		}
		if p.err == nil || p.err.Error() != err.Error() {
			f.options.Log.Warn("cannot fetch from peer", "peer", p.address, "error", err)
		}
		p.err = err
		again = again || !lasting(err)
		f.turn = (f.turn + 1) % len(f.peers)
	}
	return false, again, nil
}

// persist goes on with rounds until a peer succeeds, no peer can, or nothing came
// for too long.
func (f *fetcher) persist(ctx context.Context, what string, try func(*peer) error) error {
	delay := backoff.NewExponentialBackOff()
	delay.InitialInterval, delay.MaxInterval = min(200*time.Millisecond, f.options.Patience/10), min(5*time.Second, f.options.Patience/4)
	for f.moved = time.Now(); ; {
		before := f.received
		ok, again, err := f.round(ctx, try)
		switch {
		case ok || err != nil:
			return err
		case !again:
			return fmt.Errorf("no peer gives %s: %s", what, f.reasons())
		case time.Since(f.moved) > f.options.Patience:
			return fmt.Errorf("no peer gave %s for %s: %s", what, f.options.Patience, f.reasons())
		case f.received > before:
			delay.Reset()
		}
		select {
		case <-time.After(delay.NextBackOff()):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// reasons are what went wrong with each peer.
func (f *fetcher) reasons() string {
	var list []string
	for _, p := range f.peers {
		list = append(list, fmt.Sprintf("%s: %v", p.address, p.err))
	}
	return strings.Join(list, "; ")
}

// manifest fetches the manifest from the first peer that has a right one. When none
// has after one round, and dir holds a bundle that can be used, it returns that.
func (f *fetcher) manifest(ctx context.Context, dir string) (data []byte, cached *bundle.Bundle, err error) {
	try := func(p *peer) (err error) {
		data, err = f.manifestOf(ctx, p)
		return err
	}
	ok, again, err := f.round(ctx, try)
	if ok || err != nil {
		return data, nil, err
	}
	if b := f.cached(dir); b != nil {
		return nil, b, nil
	}
	if !again {
		return nil, nil, fmt.Errorf("no peer gives its manifest: %s", f.reasons())
	}
	err = f.persist(ctx, "its manifest", try)
	return data, nil, err
}

func (f *fetcher) manifestOf(ctx context.Context, p *peer) ([]byte, error) {
	// However slowly it comes, it has to be there in time: it is short. A deadline
	// would reach the peer, which ends the stream a moment earlier, without a
	// reason.
	timed, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer time.AfterFunc(f.options.Patience, func() { cancel(errStalled) }).Stop()
	var data []byte
	err := p.receive(timed, manifestMethod, &transferpb.ManifestRequest{}, f.stall, func(b []byte) error {
		if len(data)+len(b) > bundle.MaxManifest {
			return lastingError{fmt.Errorf("its manifest is larger than %d MB", bundle.MaxManifest>>20)}
		}
		data = append(data, b...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	m, err := bundle.Decode(data)
	if err != nil {
		return nil, lastingError{fmt.Errorf("its manifest is refused: %w", err)}
	}
	if id := bundle.IDOf(data); !id.HasPrefix(f.options.ID) {
		return nil, lastingError{fmt.Errorf("it has bundle %s (%s), wanted is %.12s", id.Short(), m.Model.Name, f.options.ID)}
	}
	return data, nil
}

// gather fetches what is missing of the bundle with the given manifest.
func (f *fetcher) gather(ctx context.Context, dir string, manifest []byte) (_ *bundle.Bundle, err error) {
	m, err := bundle.Decode(manifest)
	if err != nil {
		return nil, err
	}
	want, err := f.want(m)
	if err != nil {
		return nil, fmt.Errorf("bundle of %s: %w", f.peers[f.turn].address, err)
	}
	log := f.options.Log.With("bundle", bundle.IDOf(manifest).Short(), "model", m.Model.Name)
	g, err := bundle.Gather(ctx, dir, manifest, want, func() {
		log.Info("waiting for another process that fetches into the same folder", "folder", dir)
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	if len(g.Missing()) == 0 {
		log.Info("bundle is here already")
		return g.Commit()
	}
	if old := g.Replaces(); old != "" {
		// A slice was fetched; a whole bundle may be the only copy of a newer one.
		if f.options.ID == "" && g.ReplacesWhole() {
			return nil, &WholeError{Dir: dir, Has: old, Peer: f.peers[f.turn].address, Offered: bundle.IDOf(manifest)}
		}
		log.Warn("another bundle is here, and will be replaced", "folder", dir, "old", old.Short())
	}
	for _, file := range g.Missing() {
		f.total += file.Bytes
	}
	log.Info("fetching", "files", len(g.Missing()), "bytes", f.total, "from", f.peers[f.turn].address)
	started := time.Now()
	f.logged = started
	for _, file := range g.Missing() {
		if err := f.file(ctx, g, file); err != nil {
			return nil, err
		}
	}
	b, err := g.Commit()
	if err != nil {
		return nil, err
	}
	took := time.Since(started)
	log.Info("fetched", "bytes", f.received, "resumed", f.resumed, "took", took.Round(time.Millisecond),
		"rate", fmt.Sprintf("%.1f MB/s", float64(f.received)/1e6/took.Seconds()))
	return b, nil
}

// file fetches one file, or what is missing of it.
func (f *fetcher) file(ctx context.Context, g *bundle.Gathering, file bundle.File) error {
	part, err := g.Resume(ctx, file)
	if err != nil {
		return err
	}
	defer func() { part.Close() }()
	f.resumed += part.Have()
	f.add(part.Have())
	again := false
	return f.persist(ctx, file.Name, func(p *peer) error {
		// Bytes that came before a stream broke off are good, so that what counts is
		// whether the file is whole.
		if err := f.read(ctx, p, part); err != nil && (part.Have() < part.Bytes || errors.Is(err, bundle.ErrTooLong)) {
			return err
		}
		if part.Have() < part.Bytes {
			return fmt.Errorf("it ended after %d of %d bytes", part.Have(), part.Bytes)
		}
		err := part.Finish()
		var wrong *bundle.HashError
		switch {
		case err == nil:
			return nil
		case !errors.As(err, &wrong):
			return localError{err}
		case again:
			return localError{fmt.Errorf("%w, though it was fetched twice; the last bytes came from %s", wrong, p.address)}
		}
		again = true
		f.add(-part.Have())
		anew, err := g.Resume(ctx, file)
		if err != nil {
			return localError{err}
		}
		part = anew
		return fmt.Errorf("%w; it is fetched once more", wrong)
	})
}

// read reads from a peer what is missing of a file.
func (f *fetcher) read(ctx context.Context, p *peer, part *bundle.Partial) error {
	if part.Have() == part.Bytes {
		return nil
	}
	in := &transferpb.ReadRequest{Sha256: part.SHA256, Offset: part.Have()}
	// While a piece is written, the next ones come in.
	pieces := make(chan []byte, ahead)
	failed := make(chan struct{})
	wrote := make(chan error, 1)
	go func() {
		for b := range pieces {
			if err := f.write(part, b); err != nil {
				close(failed)
				wrote <- err
				return
			}
		}
		wrote <- nil
	}()
	err := p.receive(ctx, readMethod, in, f.stall, func(b []byte) error {
		if len(b) == 0 {
			return lastingError{errors.New("it sends messages with nothing in them")}
		}
		select {
		case pieces <- b:
			return nil
		case <-failed:
			return errStopped
		}
	})
	close(pieces)
	if errWrite := <-wrote; errWrite != nil {
		return errWrite
	}
	return err
}

// ahead is how many pieces may wait to be written.
const ahead = 4

// errStopped ends a stream whose pieces cannot be written.
var errStopped = errors.New("writing failed")

func (f *fetcher) write(part *bundle.Partial, b []byte) error {
	n, err := part.Write(b)
	f.received += int64(n)
	f.moved = time.Now()
	f.add(int64(n))
	switch {
	case errors.Is(err, bundle.ErrTooLong):
		return lastingError{err}
	case err != nil:
		return localError{err}
	}
	return nil
}

// add counts bytes that are there, and reports them now and then.
func (f *fetcher) add(n int64) {
	f.done += n
	if f.options.Progress != nil {
		f.options.Progress(f.done, f.total)
		return
	}
	if time.Since(f.logged) >= logTime {
		f.logged = time.Now()
		f.options.Log.Info("fetching", "done", f.done, "bytes", f.total)
	}
}
