// Package hostcheck rejects requests that a foreign web page has a browser send to a server meant
// for its own machine. Such a page reaches a loopback address in two ways. It makes its own name
// resolve to 127.0.0.1 (DNS rebinding), which the header Host shows. Or it posts without being
// able to read the answer, which Sec-Fetch-Site and Origin show.
//
// It knows HTTP requests. It must not know what is served.
package hostcheck

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/distinfer/distinfer/server/httpx"
)

// Config says which requests pass a Guard.
type Config struct {
	// Listener is the server's address. At a loopback address only localhost and loopback
	// addresses pass as Host. Elsewhere localhost and every address pass: only names can be rebound.
	Listener net.Addr

	// Hosts are names and addresses that pass too, without ports.
	Hosts []string

	// Origins are the web pages that may post, beside the server's own, such as
	// https://example.org; "*" is any.
	Origins []string
}

// A Guard checks requests. A nil Guard lets all pass.
type Guard struct {
	local     bool            // the listener is on a loopback address
	hosts     map[string]bool // as they are compared
	origins   *http.CrossOriginProtection
	anyOrigin bool
}

// New makes a Guard. It fails when one of the hosts or origins is not valid.
func New(c Config) (*Guard, error) {
	g := &Guard{local: IsLoopback(c.Listener), hosts: map[string]bool{}, origins: http.NewCrossOriginProtection(), anyOrigin: slices.Contains(c.Origins, "*")}
	for _, h := range c.Hosts {
		host, err := ParseHost(h)
		if err != nil {
			return nil, err
		}
		g.hosts[host] = true
	}
	for _, o := range c.Origins {
		if o == "*" {
			continue
		}
		if err := g.origins.AddTrustedOrigin(o); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// IsLoopback reports whether a listener's address can be reached from its machine only.
func IsLoopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// ParseHost parses a host for Config.Hosts, a name or an address without a port. It returns the
// form that is compared.
func ParseHost(s string) (string, error) {
	text := s
	if a, err := netip.ParseAddr(s); err == nil && a.Is6() {
		text = "[" + s + "]" // as it stands in a Host
	}
	h, ok := parse(text)
	if !ok || h.ported || !h.addr.IsValid() && !isName(h.form) {
		return "", fmt.Errorf("%q is not a host; it can be a name or an address without a port, such as distinfer.example.org", s)
	}
	return h.form, nil
}

func isName(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool {
		return c != '-' && c != '_' && c != '.' && (c < '0' || c > '9') && (c < 'a' || c > 'z')
	})
}

// A host is the value of a Host.
type host struct {
	form   string     // as it is compared: without the port
	addr   netip.Addr // if it is one
	ported bool       // a port is there, if an empty one
}

// parse parses a Host. Names are compared in lower case and without the dot of the root, addresses
// as package netip writes them. What only some programs read as an address, such as 127.1 or
// 0x7f.1, is a name.
func parse(s string) (h host, ok bool) {
	var port string
	if rest, bracketed := strings.CutPrefix(s, "["); bracketed {
		inside, after, closed := strings.Cut(rest, "]")
		addr, err := netip.ParseAddr(inside)
		if !closed || err != nil || !addr.Is6() || addr.Zone() != "" {
			return h, false
		}
		if port, h.ported = strings.CutPrefix(after, ":"); !h.ported && after != "" {
			return h, false
		}
		h.addr = addr.Unmap()
	} else {
		s, port, h.ported = strings.Cut(s, ":")
		if addr, err := netip.ParseAddr(s); err == nil {
			h.addr = addr
		}
	}
	if strings.Trim(port, "0123456789") != "" {
		return h, false
	}
	if h.addr.IsValid() {
		h.form = h.addr.String()
		return h, true
	}
	h.form = strings.ToLower(strings.TrimSuffix(s, "."))
	return h, h.form != "" && !strings.HasSuffix(h.form, ".")
}

// passes reports whether a Host does.
func (g *Guard) passes(s string) bool {
	h, ok := parse(s)
	switch {
	case !ok:
		return false
	case g.hosts[h.form] || h.form == "localhost":
		return true
	}
	return h.addr.IsValid() && (h.addr.IsLoopback() || !g.local)
}

// Check returns nil for a request that passes. Else the error, a httpx.Error with status 403, says
// in one line why not, and what to do.
func (g *Guard) Check(r *http.Request) error {
	if why := g.check(r); why != "" {
		return &httpx.Error{Status: http.StatusForbidden, Message: why}
	}
	return nil
}

func (g *Guard) check(r *http.Request) (why string) {
	switch {
	case g == nil:
		return ""
	case r.Host == "":
		return "the request names no host, so it may be anybody's; send the header Host, such as Host: localhost"
	case !g.passes(r.Host):
		own := "localhost and loopback addresses are"
		if !g.local {
			own = "localhost and addresses are"
		}
		return fmt.Sprintf("the host %.100q is not allowed: only %s, so that no web page can have its own name stand for this machine; if the name is yours, add %.100s to the allowed hosts of the server", r.Host, own, named(r.Host))
	case g.anyOrigin:
		return ""
	}
	if err := g.origins.Check(r); err != nil && !g.behindProxy(r) {
		return fmt.Sprintf("the request comes from a web page of another origin (%.100q), which may not use this server; if the page is yours, add its origin to the CORS origins of the server", r.Header.Get("Origin"))
	}
	return ""
}

// named is a Host as Config.Hosts takes it.
func named(s string) string {
	if h, ok := parse(s); ok && isName(h.form) {
		return h.form
	}
	return "NAME"
}

// behindProxy reports whether a request without Sec-Fetch-Site comes from a page at one of
// Config.Hosts. A proxy may put its own name for the server into Host, and browsers send
// Sec-Fetch-Site only to HTTPS or localhost.
func (g *Guard) behindProxy(r *http.Request) bool {
	if r.Header.Get("Sec-Fetch-Site") != "" {
		return false
	}
	origin, err := url.Parse(r.Header.Get("Origin"))
	if err != nil {
		return false
	}
	h, ok := parse(origin.Host)
	return ok && g.hosts[h.form]
}

// Wrap puts the Guard before a handler. A request that does not pass gets a 403.
func (g *Guard) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := g.Check(r); err != nil {
			httpx.Fail(w, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}
