package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/distinfer/distinfer/bench/rig"
)

// times are the processor times that were used so far.
type times struct {
	machines           []time.Duration
	front, proxy, load time.Duration
}

func (c *cluster) processorTimes() (t times, err error) {
	for _, p := range c.machines {
		used, err := processorTime(p)
		if err != nil {
			return t, err
		}
		t.machines = append(t.machines, used)
	}
	if t.front, err = processorTime(c.front); err != nil {
		return t, err
	}
	if c.proxy != nil {
		if t.proxy, err = processorTime(c.proxy); err != nil {
			return t, err
		}
	}
	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
		return t, fmt.Errorf("read the own processor time: %w", err)
	}
	t.load = time.Duration(own.Utime.Nano() + own.Stime.Nano())
	return t, nil
}

func (t times) less(before times) times {
	d := times{front: t.front - before.front, proxy: t.proxy - before.proxy, load: t.load - before.load}
	for i := range t.machines {
		d.machines = append(d.machines, t.machines[i]-before.machines[i])
	}
	return d
}

// processorTime is what a process used so far.
func processorTime(p *rig.Process) (time.Duration, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
	if err != nil {
		return 0, fmt.Errorf("read the processor time of %s: %w", p.Name, err)
	}
	used, err := parseStat(string(data))
	if err != nil {
		return 0, fmt.Errorf("read the processor time of %s: %w", p.Name, err)
	}
	return used, nil
}

// tick is the unit of /proc/PID/stat: USER_HZ is 100 on every architecture that
// is in use.
const tick = 10 * time.Millisecond

// parseStat adds up the 14th and 15th field; the second may have spaces in it.
func parseStat(stat string) (time.Duration, error) {
	_, rest, ok := strings.Cut(stat[max(0, strings.LastIndexByte(stat, ')')):], ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 13 {
		return 0, fmt.Errorf("%q is not what the kernel writes", stat)
	}
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * tick, nil
}

// peakMemory is the most that a process had resident, in bytes.
func peakMemory(p *rig.Process) (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("the kernel does not say how much memory %s had", p.Name)
}
