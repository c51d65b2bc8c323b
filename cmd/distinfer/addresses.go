package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/distinfer/distinfer/server/stage"
)

// firstStagePort is the port of rank 0 unless the stages are named; rank r has
// the r-th port after it. The system this one replaces used the same.
const firstStagePort = 2222

// addresses are the replicas of each rank.
type addresses [][]string

// parseAddresses reads "host:port,host:port|host:port": ranks parted by commas,
// replicas of a rank by bars. dns:///host:port is a replica for each address that
// the name stands for.
func parseAddresses(s string) (addresses, error) {
	if strings.TrimSpace(s) == "" {
		return nil, nil
	}
	var list addresses
	for rank, replicas := range strings.Split(s, ",") {
		var r []string
		for _, a := range strings.Split(replicas, "|") {
			a = strings.TrimSpace(a)
			if err := checkAddress(strings.TrimPrefix(a, stage.ManyReplicas)); err != nil {
				return nil, fmt.Errorf("rank %d: %w", rank, err)
			}
			r = append(r, a)
		}
		list = append(list, r)
	}
	return list, nil
}

func checkAddress(a string) error {
	host, port, err := net.SplitHostPort(a)
	if err != nil || host == "" {
		return fmt.Errorf("%q is not host:port", a)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return fmt.Errorf("%q: %q is not a port", a, port)
	}
	return nil
}

// String is what parseAddresses reads.
func (a addresses) String() string {
	ranks := make([]string, len(a))
	for rank, replicas := range a {
		ranks[rank] = strings.Join(replicas, "|")
	}
	return strings.Join(ranks, ",")
}

// forStages is the addresses of n stages: those configured, or one after the
// other on this machine.
func (a addresses) forStages(n int) ([][]string, error) {
	if len(a) == 0 {
		var list [][]string
		for rank := range n {
			list = append(list, []string{defaultAddress(rank)})
		}
		return list, nil
	}
	if len(a) != n {
		return nil, fmt.Errorf("the bundle has %d stages, but --stages names %d", n, len(a))
	}
	return a, nil
}

func defaultAddress(rank int) string {
	return net.JoinHostPort("localhost", strconv.Itoa(firstStagePort+rank))
}

// ranksHere is how many of n stages are on this machine, given where one of them
// listens.
func (a addresses) ranksHere(ctx context.Context, n int, listen string) int {
	if len(a) == 0 { // whoever can call it at a loopback address is here as well
		if stage.IsLoopback(listen) {
			return n
		}
		return 1
	}
	return max(a.here(ctx), 1)
}

// here is how many ranks have a replica on this machine, as far as that can be told.
func (a addresses) here(ctx context.Context) int {
	own, err := localAddresses()
	if err != nil {
		return 0
	}
	n := 0
	for _, replicas := range a {
		if slices.ContainsFunc(replicas, func(replica string) bool { return len(ownIPs(ctx, own, replica)) > 0 }) {
			n++
		}
	}
	return n
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

// listenAddress is where the stage of the given rank listens when --listen does
// not say: at the one of its configured addresses that is this machine's.
func (a addresses) listenAddress(ctx context.Context, rank int) (string, error) {
	if len(a) == 0 {
		return defaultAddress(rank), nil
	}
	if rank >= len(a) {
		return "", fmt.Errorf("--stages names %d ranks, so there is no address for rank %d", len(a), rank)
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
		return "", fmt.Errorf("none of the addresses of rank %d (%s) is this machine's; say where to listen with --listen host:port", rank, strings.Join(a[rank], ", "))
	}
	return "", fmt.Errorf("several addresses of rank %d (%s) are this machine's; say which with --listen host:port", rank, strings.Join(found, ", "))
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
