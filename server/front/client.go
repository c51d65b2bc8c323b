package front

import (
	"context"
	"crypto/sha256"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/distinfer/distinfer/server/batch"
)

// client names whom a request counts for: the owner of its token, or else the address it comes
// from.
func (f *Front) client(r *http.Request) string {
	if f.config.Tokens != nil {
		if token, ok := bearer(r.Header["Authorization"]); ok && f.config.Tokens.Allow(r.Header["Authorization"]) {
			sum := sha256.Sum256([]byte(token))
			return string(sum[:8])
		}
	}
	return clientAddress(r.RemoteAddr)
}

// named is a request's context, in which texts count for its client. Its connection's context
// names the address already.
func (f *Front) named(r *http.Request) context.Context {
	if f.config.Tokens == nil {
		return r.Context()
	}
	return batch.WithClient(r.Context(), f.client(r))
}

// clientAddress is the part of host:port that tells clients apart. For IPv6 it is the /64 network:
// one client has all addresses of it.
func clientAddress(remote string) string {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return remote
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	ip = ip.Unmap().WithZone("")
	if ip.Is6() {
		if network, err := ip.Prefix(64); err == nil {
			return network.String()
		}
	}
	return ip.String()
}

// bearer is the token of the header Authorization, when there is exactly one.
func bearer(headers []string) (token string, ok bool) {
	if len(headers) != 1 {
		return "", false
	}
	scheme, token, _ := strings.Cut(headers[0], " ")
	return strings.TrimSpace(token), strings.EqualFold(scheme, "Bearer")
}
