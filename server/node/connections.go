package node

import (
	"fmt"
	"math"
	"syscall"
)

// What a front has open beside its clients' connections: the libraries and files it was
// started with, its listeners, streams to and from stages, and some to look at each replica.
const (
	ownFiles     = 128
	replicaFiles = 8
)

// connections are how many clients may be connected: as many as configured, or fewer where the
// process may not have as many files open. Go has raised the limit to the hard one.
func (o *FrontOptions) connections() (int, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("read how many files may be open: %w", err)
	}
	most := int64(min(limit.Cur, math.MaxInt32)) - ownFiles
	for _, replicas := range o.Stages {
		most -= int64(replicaFiles * len(replicas))
	}
	switch {
	case most >= int64(o.MaxConnections):
		return o.MaxConnections, nil
	case most < LeastConnections:
		return 0, fmt.Errorf("this process may have %d files open, which is too few for a front; raise the limit with `ulimit -n 8192`, or LimitNOFILE= of systemd", limit.Cur)
	}
	o.Log.Warn("fewer connections than configured are taken",
		"most", most, "configured", o.MaxConnections, "files", limit.Cur, "raise", "the limit of open files, with ulimit -n, or LimitNOFILE= of systemd")
	return int(most), nil
}
