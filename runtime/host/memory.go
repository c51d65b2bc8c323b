// Package host reads how much memory and how many processors this process may use, from what the
// Linux kernel says of the machine and of the control groups.
package host

import (
	"iter"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Root is the root of the file system that is read.
type Root string

// Here is this process's file system.
const Here Root = "/"

// AvailableMemory is how many bytes this process can have yet: what the machine has available,
// and what its control groups leave it; 0 when the system does not say.
func (root Root) AvailableMemory() int64 {
	least := root.MachineMemory()
	for version, dir := range root.controlGroups("memory") {
		if version == 1 {
			least = min(least, root.left(dir, "memory.limit_in_bytes", "memory.usage_in_bytes"))
		} else {
			least = min(least, root.left(dir, "memory.max", "memory.current"))
		}
	}
	if least == math.MaxInt64 {
		return 0
	}
	return max(least, 1)
}

// MachineMemory is what the machine has available, in bytes; the largest number when it does
// not say.
func (root Root) MachineMemory() int64 {
	for line := range strings.Lines(root.content("proc/meminfo")) {
		if rest, ok := strings.CutPrefix(line, "MemAvailable:"); ok {
			if kB, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64); err == nil {
				return kB << 10
			}
		}
	}
	return math.MaxInt64
}

// GroupMemory is the limit of the control groups, in bytes; the largest number when there is none.
func (root Root) GroupMemory() int64 {
	least := int64(math.MaxInt64)
	for version, dir := range root.controlGroups("memory") {
		file := "memory.max"
		if version == 1 {
			file = "memory.limit_in_bytes"
		}
		if n, err := strconv.ParseInt(strings.TrimSpace(root.content(dir, file)), 10, 64); err == nil {
			least = min(least, n)
		}
	}
	return least
}

// MemoryNow returns a function for what this process has resident and what it could have yet. It reads several files, so it does at most once a second.
func (root Root) MemoryNow() func() (used, available int64) {
	var mu sync.Mutex
	var read time.Time
	var used, available int64
	return func() (int64, int64) {
		mu.Lock()
		defer mu.Unlock()
		if now := time.Now(); now.Sub(read) > time.Second {
			used, available, read = root.ResidentMemory(), root.AvailableMemory(), now
		}
		return used, available
	}
}

// controlGroups are the folders of the control groups that this process is in and
// that may have the controller, each with the version of its hierarchy, from the
// group itself to the top, since a group is bound by those above it as well. In a
// container the group's own folder may be the top one.
func (root Root) controlGroups(controller string) iter.Seq2[int, string] {
	return func(yield func(int, string) bool) {
		for line := range strings.Lines(root.content("proc/self/cgroup")) {
			// hierarchy:controllers:path; version 2 has no controllers
			parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
			if len(parts) != 3 {
				continue
			}
			version, top := 2, "sys/fs/cgroup"
			switch {
			case strings.Contains(","+parts[1]+",", ","+controller+","):
				version, top = 1, filepath.Join("sys/fs/cgroup", controller)
			case parts[1] != "":
				continue
			}
			for dir := filepath.Join("/", parts[2]); ; dir = filepath.Dir(dir) {
				if !yield(version, filepath.Join(top, dir)) {
					return
				}
				if dir == "/" {
					break
				}
			}
		}
	}
}

// ResidentMemory is how many bytes of memory this process has; 0 when the system does not say.
func (root Root) ResidentMemory() int64 {
	fields := strings.Fields(root.content("proc/self/statm"))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

// left is what a control group leaves. Pages of files that it uses can be had back.
func (root Root) left(dir, limit, usage string) int64 {
	most, err := strconv.ParseInt(strings.TrimSpace(root.content(dir, limit)), 10, 64)
	if err != nil { // "max", or not there
		return math.MaxInt64
	}
	used, err := strconv.ParseInt(strings.TrimSpace(root.content(dir, usage)), 10, 64)
	if err != nil {
		return most
	}
	for line := range strings.Lines(root.content(dir, "memory.stat")) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name == "inactive_file" {
			if n, err := strconv.ParseInt(value, 10, 64); err == nil {
				used -= n
			}
		}
	}
	return max(most-used, 0)
}

// content is what a file holds, or "".
func (root Root) content(parts ...string) string {
	b, err := os.ReadFile(filepath.Join(append([]string{string(root)}, parts...)...))
	if err != nil {
		return ""
	}
	return string(b)
}
