package mtls

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// authorityName begins the names of authorities that `distinfer certs` makes.
const authorityName = "distinfer "

// A NameError is a certificate without the name by which its machine is called.
type NameError struct {
	Called string
	Names  []string
	// Ours says that `distinfer certs` made the certificate. First then names its folder.
	Ours  bool
	First string
}

func (e *NameError) Error() string {
	has := "no name"
	if len(e.Names) > 0 {
		has = strings.Join(e.Names, ", ")
	}
	return fmt.Sprintf("tls: its certificate is for %s, and it is called by %s; %s", has, e.Called, e.remedy())
}

func (e *NameError) remedy() string {
	if !e.Ours {
		return "make it one that has this name as well"
	}
	return fmt.Sprintf("`distinfer certs %s,%s` beside the authority adds the name: copy the folder %s to that machine again, the others keep theirs", e.First, e.Called, e.First)
}

// Explain makes a *NameError of an error that verifying a server's certificate ended with, if it
// lacks the name that was called. Other errors stay as they are.
func Explain(err error) error {
	var host x509.HostnameError
	if !errors.As(err, &host) || host.Certificate == nil {
		return err
	}
	i := identityOf(host.Certificate)
	e := &NameError{Called: host.Host, Names: i.Names, First: host.Certificate.Subject.CommonName}
	if e.First == "" && len(i.Names) > 0 {
		e.First = i.Names[0]
	}
	e.Ours = e.First != "" && strings.HasPrefix(host.Certificate.Issuer.CommonName, authorityName)
	return e
}

func identityOf(leaf *x509.Certificate) Identity {
	i := Identity{Names: slices.Clone(leaf.DNSNames), Authority: leaf.Issuer.String(), NotAfter: leaf.NotAfter}
	for _, ip := range leaf.IPAddresses {
		i.Names = append(i.Names, ip.String())
	}
	return i
}

// Covers reports whether the certificate is for a host name or an IP address.
func (i Identity) Covers(host string) bool {
	var c x509.Certificate
	for _, name := range i.Names {
		if ip := net.ParseIP(name); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else {
			c.DNSNames = append(c.DNSNames, name)
		}
	}
	return c.VerifyHostname(host) == nil
}

// Lacks is the address at which a server listens, host:port, if the certificate is for no name
// that leads there as far as this machine knows; else it is empty. own are the machine's
// addresses, for a server that listens at all of them.
func (i Identity) Lacks(ctx context.Context, listen string, own []netip.Addr) string {
	host, _, err := net.SplitHostPort(listen)
	if err != nil || i.Covers(host) {
		return ""
	}
	at, err := netip.ParseAddr(host)
	switch {
	case host == "" || err == nil && at.IsUnspecified():
	case err != nil: // a name: callers may use its addresses
		if own, err = net.DefaultResolver.LookupNetIP(ctx, "ip", host); err != nil {
			return ""
		}
	default:
		own = []netip.Addr{at}
	}
	for _, name := range i.Names {
		ips := []netip.Addr{}
		if ip, err := netip.ParseAddr(name); err == nil {
			ips = append(ips, ip)
		} else if ips, err = net.DefaultResolver.LookupNetIP(ctx, "ip", name); err != nil {
			return "" // others may know it
		}
		for _, ip := range ips {
			if slices.ContainsFunc(own, func(o netip.Addr) bool { return o.Unmap() == ip.Unmap() }) {
				return ""
			}
		}
	}
	if len(own) == 0 {
		return ""
	}
	return own[0].Unmap().String()
}
