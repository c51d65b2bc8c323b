// Package cluster reads the addresses of a cluster's stages, and finds this machine among them.
package cluster

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/distinfer/distinfer/server/stage"
)

// firstStagePort is the port of rank 0 unless the stages are named; rank r has
// the r-th port after it. The system this one replaces used the same.
const firstStagePort = 2222

// Addresses are the replicas of each rank.
type Addresses [][]string

// Parse reads "host:port,host:port|host:port": ranks parted by commas,
// replicas of a rank by bars. dns:///host:port is a replica for each address that
// the name stands for.
func Parse(s string) (Addresses, error) {
	if strings.TrimSpace(s) == "" {
		return nil, nil
	}
	var list Addresses
	for rank, replicas := range strings.Split(s, ",") {
		var r []string
		for _, a := range strings.Split(replicas, "|") {
			a = strings.TrimSpace(a)
			if err := CheckAddress(strings.TrimPrefix(a, stage.ManyReplicas)); err != nil {
				return nil, fmt.Errorf("rank %d: %w", rank, err)
			}
			r = append(r, a)
		}
		list = append(list, r)
	}
	return list, nil
}

// CheckAddress checks for host:port.
func CheckAddress(a string) error {
	host, port, err := net.SplitHostPort(a)
	if err != nil || host == "" {
		return fmt.Errorf("%q is not host:port", a)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return fmt.Errorf("%q: %q is not a port", a, port)
	}
	return nil
}

// String is what Parse reads.
func (a Addresses) String() string {
	ranks := make([]string, len(a))
	for rank, replicas := range a {
		ranks[rank] = strings.Join(replicas, "|")
	}
	return strings.Join(ranks, ",")
}

// ForStages are the addresses of n stages: a, or when that is empty one port after the other on
// this machine. The error is a *CountError.
func (a Addresses) ForStages(n int) (Addresses, error) {
	if len(a) == 0 {
		var list Addresses
		for rank := range n {
			list = append(list, []string{DefaultAddress(rank)})
		}
		return list, nil
	}
	if len(a) != n {
		return nil, &CountError{Stages: n, Named: len(a)}
	}
	return a, nil
}

// DefaultAddress is where the stage of a rank is when nothing names another address.
func DefaultAddress(rank int) string {
	return net.JoinHostPort("localhost", strconv.Itoa(firstStagePort+rank))
}

// RanksHere is how many of n stages are on this machine, given where one of them
// listens.
func (a Addresses) RanksHere(ctx context.Context, n int, listen string) int {
	if len(a) == 0 { // whoever can call it at a loopback address is here as well
		if stage.IsLoopback(listen) {
			return n
		}
		return 1
	}
	return max(a.Here(ctx), 1)
}

// Here is how many ranks have a replica on this machine, as far as is known.
func (a Addresses) Here(ctx context.Context) int {
	n := 0
	for _, replicas := range a.ReplicasHere(ctx) {
		if replicas > 0 {
			n++
		}
	}
	return n
}

// ReplicasHere is how many replicas of each rank are on this machine, as far as is known: nil
// when this machine's addresses are not.
func (a Addresses) ReplicasHere(ctx context.Context) []int {
	own, err := localAddresses()
	if err != nil {
		return nil
	}
	here := make([]int, len(a))
	for rank, replicas := range a {
		for _, replica := range replicas {
			if len(ownIPs(ctx, own, replica)) > 0 {
				here[rank]++
			}
		}
	}
	return here
}

// ownIPs are the addresses of this machine that a replica's address stands for.
func ownIPs(ctx context.Context, own map[string]bool, replica string) []netip.Addr {
	host, _, _ := net.SplitHostPort(strings.TrimPrefix(replica, stage.ManyReplicas))
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil // a name this machine cannot resolve is not its own
	}
	var found []netip.Addr
	for _, ip := range ips {
		if ip = ip.Unmap(); ip.IsLoopback() || own[ip.String()] {
			found = append(found, ip)
		}
	}
	return found
}

// ListenAddress is where the stage of the given rank listens: at the one of its addresses that
// is this machine's. The error is a *RankError or a *HereError.
func (a Addresses) ListenAddress(ctx context.Context, rank int) (string, error) {
	if len(a) == 0 {
		return DefaultAddress(rank), nil
	}
	if rank >= len(a) {
		return "", &RankError{Rank: rank, Named: len(a)}
	}
	own, err := localAddresses()
	if err != nil {
		return "", err
	}
	var found []string
	for _, replica := range a[rank] {
		ips := ownIPs(ctx, own, replica)
		if len(ips) == 0 {
			continue
		}
		if name, many := strings.CutPrefix(replica, stage.ManyReplicas); many {
			_, port, _ := net.SplitHostPort(name)
			replica = net.JoinHostPort(ips[0].String(), port)
		}
		found = append(found, replica)
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", &HereError{Rank: rank, Addresses: a[rank]}
	}
	return "", &HereError{Rank: rank, Addresses: found, Several: true}
}

func localAddresses() (map[string]bool, error) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list this machine's addresses: %w", err)
	}
	own := map[string]bool{}
	for _, a := range list {
		if n, ok := a.(*net.IPNet); ok {
			own[n.IP.String()] = true
		}
	}
	return own, nil
}

// Own are this machine's addresses beyond loopback, as far as they can be listed.
func Own() (list []netip.Addr) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range all {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		if ip, ok := netip.AddrFromSlice(n.IP); ok && !ip.IsLoopback() && !ip.IsLinkLocalUnicast() {
			list = append(list, ip.Unmap())
		}
	}
	return list
}
