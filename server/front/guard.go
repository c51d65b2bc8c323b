package front

import (
	"context"
	"net"
	"net/http"

	"github.com/distinfer/distinfer/server/hostcheck"
)

type guardKey struct{}

// guard puts a hostcheck.Guard into the context of a listener's requests, when one is needed: at a
// loopback address without tokens. Other machines reach other addresses anyway, and a foreign page
// has no token.
func (f *Front) guard(l net.Listener) (func(net.Listener) context.Context, error) {
	ctx := context.Background()
	if f.config.Tokens == nil && hostcheck.IsLoopback(l.Addr()) {
		g, err := hostcheck.New(hostcheck.Config{Listener: l.Addr(), Hosts: f.config.AllowedHosts, Origins: f.config.Origins})
		if err != nil {
			return nil, err
		}
		ctx = context.WithValue(ctx, guardKey{}, g)
	}
	return func(net.Listener) context.Context { return ctx }, nil
}

// rejected answers a request that the Guard rejects, and reports whether it did.
func rejected(w http.ResponseWriter, r *http.Request) bool {
	g, _ := r.Context().Value(guardKey{}).(*hostcheck.Guard)
	err := g.Check(r)
	if err == nil {
		return false
	}
	fail(w, r, err)
	return true
}
