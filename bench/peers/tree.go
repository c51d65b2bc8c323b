package peers

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// parents reads who the parent of every process is.
func parents(proc string) (map[int]int, error) {
	stats, err := filepath.Glob(filepath.Join(proc, "[0-9]*", "stat"))
	if err != nil {
		return nil, err
	}
	parents := map[int]int{}
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it ended meanwhile
		}
		pid, parent, err := parseStat(stat)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		parents[pid] = parent
	}
	return parents, nil
}

// parseStat reads the first fields of /proc/PID/stat: the number, the name in
// parentheses, which may hold anything, the state and the parent.
func parseStat(stat []byte) (pid, parent int, err error) {
	open, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	if open < 0 || end < open {
		return 0, 0, errors.New("no name in parentheses")
	}
	after := strings.Fields(string(stat[end+1:]))
	if len(after) < 2 {
		return 0, 0, errors.New("no parent")
	}
	if pid, err = strconv.Atoi(strings.TrimSpace(string(stat[:open]))); err != nil {
		return 0, 0, err
	}
	parent, err = strconv.Atoi(after[1])
	return pid, parent, err
}

// descendants are the processes that a process started, those that these
// started, and so on.
func descendants(parents map[int]int, of int) []int {
	children := map[int][]int{}
	for pid, parent := range parents {
		children[parent] = append(children[parent], pid)
	}
	var found []int
	for next := []int{of}; len(next) > 0; next = next[1:] {
		found = append(found, children[next[0]]...)
		next = append(next, children[next[0]]...)
	}
	return found
}

// resident is the memory of processes in bytes. Pages that several of them share
// are counted once where the kernel says how large each one's part is (Pss).
func resident(proc string, pids []int) (int64, error) {
	var sum int64
	for _, pid := range pids {
		n, err := kilobytes(filepath.Join(proc, strconv.Itoa(pid), "smaps_rollup"), "Pss:")
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
			n, err = kilobytes(filepath.Join(proc, strconv.Itoa(pid), "status"), "VmRSS:")
		}
		if err != nil {
			if _, gone := os.Stat(filepath.Join(proc, strconv.Itoa(pid))); gone != nil {
				continue
			}
			return 0, err
		}
		sum += n << 10
	}
	return sum, nil
}

// kilobytes finds a line such as "Pss: 12 kB" in a file. A process that has ended
// and was not waited for has none, and no memory.
func kilobytes(path, key string) (int64, error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer func() { _ = file.Close() }()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if fields := strings.Fields(lines.Text()); len(fields) >= 2 && fields[0] == key {
			return strconv.ParseInt(fields[1], 10, 64)
		}
	}
	// Of a process that has ended, smaps_rollup cannot be read.
	return 0, nil
}
