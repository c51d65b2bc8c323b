package front

import (
	"context"
	"net"
	"net/http"

	"github.com/distinfer/distinfer/server/hostcheck"
)

type guardKey struct{}

// guard has requests that come in by a listener know whether they may be a stranger's web page's. Of
// such pages only this machine has to be kept: what listens elsewhere others reach anyway, and
// no page has a token.
func (f *Front) guard(l net.Listener) (func(net.Listener) context.Context, error) {
	ctx := context.Background()
	if f.Tokens == nil && hostcheck.IsLoopback(l.Addr()) {
		g, err := hostcheck.New(hostcheck.Config{Listener: l.Addr(), Hosts: f.AllowedHosts, Origins: f.Origins})
		if err != nil {
			return nil, err
		}
		ctx = context.WithValue(ctx, guardKey{}, g)
	}
	return func(net.Listener) context.Context { return ctx }, nil
}

// strange answers a request that may be a stranger's web page's, and reports whether it did.
func strange(w http.ResponseWriter, r *http.Request) bool {
	g, _ := r.Context().Value(guardKey{}).(*hostcheck.Guard)
	err := g.Check(r)
	if err == nil {
		return false
	}
	fail(w, r, err)
	return true
}
