// Package cgroup has processes run in control groups of Linux, versions 1 and 2,
// that limit the processor time and the memory they get.
//
// It does not know what the processes do.
package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Limits are what a group may use; what is 0 is not limited.
type Limits struct {
	CPU    float64       // processors
	Period time.Duration // in which the group gets its share of them
	Memory int64         // bytes; it may not be swapped out instead
}

// least is what the kernel takes as a quota, and as a period.
const least = time.Millisecond

// Valid fails when the kernel would not take the limits.
func (l Limits) Valid() error {
	switch {
	case l.CPU < 0 || l.Memory < 0:
		return errors.New("a limit is below 0")
	case l.CPU > 0 && (l.Period < least || l.Period > time.Second || l.quota() < least):
		return fmt.Errorf("%g of a processor in each %s: the kernel takes periods of 1 ms to 1 s, of which the share is 1 ms or more", l.CPU, l.Period)
	}
	return nil
}

func (l Limits) quota() time.Duration {
	return time.Duration(math.Round(l.CPU*float64(l.Period)/1000)) * 1000 // whole microseconds
}

// A Group is one group of each controller.
type Group struct{ cpu, memory place }

// New makes a group. Remove it once its processes have ended.
func (r *Root) New(name string, l Limits) (*Group, error) {
	if err := l.Valid(); err != nil {
		return nil, err
	}
	g := &Group{r.cpu.child(name), r.memory.child(name)}
	for i, dir := range g.dirs() {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, errors.Join(fmt.Errorf("make a control group: %w", err), remove(g.dirs()[:i]))
		}
	}
	for _, s := range g.settings(l) {
		err := write(s.file, s.value)
		if s.optional && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("limit a control group: %w", err), g.Remove())
		}
	}
	return g, nil
}

func (p place) child(name string) place { return place{filepath.Join(p.dir, name), p.v2} }

// dirs are the group's folders, each once.
func (g *Group) dirs() []string {
	if g.cpu.dir == g.memory.dir {
		return []string{g.cpu.dir}
	}
	return []string{g.cpu.dir, g.memory.dir}
}

// A setting is what is written into a file of a group.
type setting struct {
	file, value string
	optional    bool // the kernel may have been built without it
}

func (g *Group) settings(l Limits) []setting {
	var list []setting
	add := func(p place, file string, value any, optional bool) {
		list = append(list, setting{filepath.Join(p.dir, file), fmt.Sprint(value), optional})
	}
	// It is to get its share also when others want the processors, and so has the
	// largest weight there is.
	if period, quota := l.Period.Microseconds(), l.quota().Microseconds(); l.CPU > 0 && g.cpu.v2 {
		add(g.cpu, "cpu.max", fmt.Sprint(quota, " ", period), false)
		add(g.cpu, "cpu.weight", 10_000, false)
	} else if l.CPU > 0 {
		add(g.cpu, "cpu.cfs_period_us", period, false)
		add(g.cpu, "cpu.cfs_quota_us", quota, false)
		add(g.cpu, "cpu.shares", 1<<18, false)
	}
	if l.Memory > 0 && g.memory.v2 {
		add(g.memory, "memory.max", l.Memory, false)
		add(g.memory, "memory.swap.max", 0, true)
	} else if l.Memory > 0 {
		add(g.memory, "memory.limit_in_bytes", l.Memory, false)
		add(g.memory, "memory.memsw.limit_in_bytes", l.Memory, true) // with swap
	}
	return list
}

// enter has a shell enter the groups and become the program, which so never runs
// outside. It works alike for both versions.
const enter = `for dir in "$1" "$2"; do echo $$ >"$dir/cgroup.procs" || exit; done; shift 2; exec "$@"`

// Command is a command line that runs another one in the group.
func (g *Group) Command(line ...string) []string {
	return append([]string{"/bin/sh", "-c", enter, "sh", g.cpu.dir, g.memory.dir}, line...)
}

// Usage is what happened to the processes of a group.
type Usage struct {
	Periods   int64         // in which they wanted to run
	Throttled int64         // in how many of these they had to stop
	Stalled   time.Duration // for how long in all, on every processor
	OOMKills  int64         // of them by the kernel, for want of memory
}

// Usage is what happened so far.
func (g *Group) Usage() (Usage, error) {
	var u Usage
	stalled, unit := "throttled_time", time.Nanosecond
	if g.cpu.v2 {
		stalled, unit = "throttled_usec", time.Microsecond
	}
	events := "memory.oom_control"
	if g.memory.v2 {
		events = "memory.events"
	}
	var stalls int64
	for _, read := range []struct {
		to        *int64
		file, key string
	}{
		{&u.Periods, filepath.Join(g.cpu.dir, "cpu.stat"), "nr_periods"},
		{&u.Throttled, filepath.Join(g.cpu.dir, "cpu.stat"), "nr_throttled"},
		{&stalls, filepath.Join(g.cpu.dir, "cpu.stat"), stalled},
		{&u.OOMKills, filepath.Join(g.memory.dir, events), "oom_kill"},
	} {
		data, err := os.ReadFile(read.file)
		if err != nil {
			return Usage{}, err
		}
		if *read.to, err = value(string(data), read.key); err != nil {
			return Usage{}, fmt.Errorf("%s: %w", read.file, err)
		}
	}
	u.Stalled = time.Duration(stalls) * unit
	return u, nil
}

// Memory is what a group's processes have, in bytes.
type Memory struct {
	Anonymous int64 // their own
	Files     int64 // pages of files, which the kernel can drop
	Peak      int64 // the most of both at a time
}

// Memory is what the group has now.
func (g *Group) Memory() (m Memory, err error) {
	anonymous, files, peak := "rss", "cache", "memory.max_usage_in_bytes"
	if g.memory.v2 {
		anonymous, files, peak = "anon", "file", "memory.peak"
	}
	data, err := os.ReadFile(filepath.Join(g.memory.dir, "memory.stat"))
	if err != nil {
		return m, err
	}
	most, err := os.ReadFile(filepath.Join(g.memory.dir, peak))
	if err != nil {
		return m, err
	}
	if m.Peak, err = strconv.ParseInt(strings.TrimSpace(string(most)), 10, 64); err != nil {
		return m, err
	}
	if m.Anonymous, err = value(string(data), anonymous); err != nil {
		return m, err
	}
	m.Files, err = value(string(data), files)
	return m, err
}

// value is the number behind a key at the beginning of a line.
func value(data, key string) (int64, error) {
	for line := range strings.Lines(data) {
		if rest, ok := strings.CutPrefix(line, key+" "); ok {
			return strconv.ParseInt(strings.TrimSpace(rest), 10, 64)
		}
	}
	return 0, fmt.Errorf("there is no %q", key)
}

// Remove removes the group, whose processes have ended.
func (g *Group) Remove() error { return remove(g.dirs()) }

// patience is how long a group of ended processes may be in use. The kernel takes
// them out a moment after they were waited for.
const patience = 10 * time.Second

func remove(dirs []string) error {
	var failed error
	for _, dir := range dirs {
		end := time.Now().Add(patience)
		err := syscall.Rmdir(dir)
		for errors.Is(err, syscall.EBUSY) && time.Now().Before(end) {
			time.Sleep(time.Millisecond)
			err = syscall.Rmdir(dir)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = errors.Join(failed, fmt.Errorf("remove the control group %s: %w", dir, err))
		}
	}
	return failed
}

// write writes into a file of the kernel's, which it does not make.
func write(file, value string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %q: %w", value, err)
	}
	return nil
}
