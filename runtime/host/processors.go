package host

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// Processors is how many processors this process may use.
type Processors struct {
	Count int
	// Machine is the same for all processes that use the same processors.
	Machine uint64
}

// Processors are what this process really has: the processors it may run on
// (affinity; GOMAXPROCS allows for fewer), but no more than its control groups let it
// keep busy. Threads that wait for each other are slowed down by every one that has
// to stand still, so a part of a processor does not count.
func (root Root) Processors() Processors {
	p := Processors{Count: runtime.GOMAXPROCS(0)}
	least, binding := math.Inf(1), ""
	for version, dir := range root.controlGroups("cpu") {
		if quota := root.cpuQuota(dir, version); quota < least {
			least, binding = quota, dir
		}
	}
	if least < float64(p.Count) {
		p.Count = max(1, int(least))
	}
	// Containers on one machine have the same boot_id, and share its processors
	// unless they have a quota.
	allowed := ""
	for line := range strings.Lines(root.content("proc/self/status")) {
		if strings.HasPrefix(line, "Cpus_allowed:") {
			allowed = line
		}
	}
	hash := sha256.Sum256([]byte(root.content("proc/sys/kernel/random/boot_id") + allowed + binding))
	p.Machine = binary.LittleEndian.Uint64(hash[:])
	return p
}

// cpuQuota is how many processors a control group can keep busy; infinity when that
// is not limited.
func (root Root) cpuQuota(dir string, version int) float64 {
	var quota, period string
	if version == 1 {
		quota, period = root.content(dir, "cpu.cfs_quota_us"), root.content(dir, "cpu.cfs_period_us")
	} else if fields := strings.Fields(root.content(dir, "cpu.max")); len(fields) == 2 {
		quota, period = fields[0], fields[1]
	}
	of, err := strconv.ParseFloat(strings.TrimSpace(quota), 64)
	each, errPeriod := strconv.ParseFloat(strings.TrimSpace(period), 64)
	if err != nil || errPeriod != nil || of <= 0 || each <= 0 { // "max", -1, or not there
		return math.Inf(1)
	}
	return of / each
}

// LimitScheduler has Go's own work, which is to receive and to send, use a part of the
// processors, at least one. Where a model is computed on the same ones, what Go does
// for lower latency costs more than it gains: threads that look for work on all of them.
// Who sets GOMAXPROCS decides.
func LimitScheduler(part int) {
	if _, chosen := os.LookupEnv("GOMAXPROCS"); !chosen {
		runtime.GOMAXPROCS(max(1, Here.Processors().Count/part))
	}
}
