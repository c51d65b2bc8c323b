package cluster

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

// Group are the addresses of the pods of one group of a Kubernetes LeaderWorkerSet, one a rank: the
// leader, called name-GROUP.rest, is rank 0, and its workers are called name-GROUP-RANK.rest.
func Group(leader string, size int, port string) (Addresses, error) {
	name, rest, _ := strings.Cut(leader, ".")
	if name == "" || size < 1 {
		return nil, fmt.Errorf("%q with %d pods is no group of a LeaderWorkerSet", leader, size)
	}
	if rest != "" {
		rest = "." + rest
	}
	list := Addresses{{net.JoinHostPort(leader, port)}}
	for rank := 1; rank < size; rank++ {
		list = append(list, []string{net.JoinHostPort(name+"-"+strconv.Itoa(rank)+rest, port)})
	}
	return list, CheckAddress(list[0][0])
}
