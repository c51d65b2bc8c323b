package main

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

// availableMemory is how many bytes this process can have yet: what the machine
// has available, and what the control groups it is in leave it; 0 when the system
// does not tell. root is the root of the file system.
func availableMemory(root string) int64 {
	least := machineMemory(root)
	for version, dir := range controlGroups(root, "memory") {
		if version == 1 {
			least = min(least, left(root, dir, "memory.limit_in_bytes", "memory.usage_in_bytes"))
		} else {
			least = min(least, left(root, dir, "memory.max", "memory.current"))
		}
	}
	if least == math.MaxInt64 {
		return 0
	}
	return max(least, 1)
}

// machineMemory is what the machine has available, and groupMemory the limit of the
// control groups; the largest number when there is none.
func machineMemory(root string) int64 {
	for line := range strings.Lines(content(root, "proc/meminfo")) {
		if rest, ok := strings.CutPrefix(line, "MemAvailable:"); ok {
			if kB, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64); err == nil {
				return kB << 10
			}
		}
	}
	return math.MaxInt64
}

func groupMemory(root string) int64 {
	least := int64(math.MaxInt64)
	for version, dir := range controlGroups(root, "memory") {
		file := "memory.max"
		if version == 1 {
			file = "memory.limit_in_bytes"
		}
		if n, err := strconv.ParseInt(strings.TrimSpace(content(root, filepath.Join(dir, file))), 10, 64); err == nil {
			least = min(least, n)
		}
	}
	return least
}

// memoryNow tells what this process has resident and what it could have yet. Whoever
// asks more often than every second gets the last answer: it takes reading several files.
func memoryNow(root string) func() (used, available int64) {
	var mu sync.Mutex
	var read time.Time
	var used, available int64
	return func() (int64, int64) {
		mu.Lock()
		defer mu.Unlock()
		if now := time.Now(); now.Sub(read) > time.Second {
			used, available, read = residentMemory(root), availableMemory(root), now
		}
		return used, available
	}
}

// controlGroups are the folders of the control groups that this process is in and
// that may have the controller, each with the version of its hierarchy, from the
// group itself to the top, since a group is bound by those above it as well. In a
// container the group's own folder may be the top one.
func controlGroups(root, controller string) iter.Seq2[int, string] {
	return func(yield func(int, string) bool) {
		for line := range strings.Lines(content(root, "proc/self/cgroup")) {
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

// residentMemory is how many bytes of memory this process has; 0 when the system
// does not tell. root is the root of the file system.
func residentMemory(root string) int64 {
	fields := strings.Fields(content(root, "proc/self/statm"))
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
func left(root, dir, limit, usage string) int64 {
	most, err := strconv.ParseInt(strings.TrimSpace(content(root, dir, limit)), 10, 64)
	if err != nil { // "max", or not there
		return math.MaxInt64
	}
	used, err := strconv.ParseInt(strings.TrimSpace(content(root, dir, usage)), 10, 64)
	if err != nil {
		return most
	}
	for line := range strings.Lines(content(root, dir, "memory.stat")) {
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
func content(parts ...string) string {
	b, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		return ""
	}
	return string(b)
}
