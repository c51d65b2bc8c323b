package main

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// processors are those that this process may use.
type processors struct {
	count int
	// machine is the same for all processes that use the same ones.
	machine uint64
}

// ownProcessors is what this process really has: the processors it may run on
// (affinity; GOMAXPROCS allows for fewer), but no more than its control groups let it
// keep busy. Threads that wait for each other are slowed down by every one that has
// to stand still, so a part of a processor does not count. root is the root of the
// file system.
func ownProcessors(root string) processors {
	p := processors{count: runtime.GOMAXPROCS(0)}
	least, binding := math.Inf(1), ""
	for version, dir := range controlGroups(root, "cpu") {
		if quota := cpuQuota(root, dir, version); quota < least {
			least, binding = quota, dir
		}
	}
	if least < float64(p.count) {
		p.count = max(1, int(least))
	}
	// Containers on one machine have the same boot_id, and share its processors
	// unless they have a quota.
	allowed := ""
	for line := range strings.Lines(content(root, "proc/self/status")) {
		if strings.HasPrefix(line, "Cpus_allowed:") {
			allowed = line
		}
	}
	hash := sha256.Sum256([]byte(content(root, "proc/sys/kernel/random/boot_id") + allowed + binding))
	p.machine = binary.LittleEndian.Uint64(hash[:])
	return p
}

// cpuQuota is how many processors a control group can keep busy; infinity when that
// is not limited.
func cpuQuota(root, dir string, version int) float64 {
	var quota, period string
	if version == 1 {
		quota, period = content(root, dir, "cpu.cfs_quota_us"), content(root, dir, "cpu.cfs_period_us")
	} else if fields := strings.Fields(content(root, dir, "cpu.max")); len(fields) == 2 {
		quota, period = fields[0], fields[1]
	}
	of, err := strconv.ParseFloat(strings.TrimSpace(quota), 64)
	each, errPeriod := strconv.ParseFloat(strings.TrimSpace(period), 64)
	if err != nil || errPeriod != nil || of <= 0 || each <= 0 { // "max", -1, or not there
		return math.Inf(1)
	}
	return of / each
}

// threads is how many threads to compute with: as configured, else one a processor.
func (o *threadsOptions) threads() int {
	if o.Threads > 0 {
		return o.Threads
	}
	return ownProcessors("/").count
}

// leaveProcessors has Go's own work, which is to receive and to send, use a part of the
// processors, at least one. Where a model is computed on the same ones, what Go does
// for lower latency costs more than it gains: threads that look for work on all of them.
// Who sets GOMAXPROCS decides.
func leaveProcessors(part int) {
	if _, chosen := os.LookupEnv("GOMAXPROCS"); !chosen {
		runtime.GOMAXPROCS(max(1, ownProcessors("/").count/part))
	}
}
