package main

import (
	"fmt"
	"os"
	"slices"
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
	all                time.Duration // of every process there is, and of the kernel
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
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return t, err
	}
	t.all, err = parseBusy(string(data))
	return t, err
}

func (t times) less(before times) times {
	d := times{front: t.front - before.front, proxy: t.proxy - before.proxy, load: t.load - before.load, all: t.all - before.all}
	for i := range t.machines {
		d.machines = append(d.machines, t.machines[i]-before.machines[i])
	}
	return d
}

// others is what was used by none of the processes that are measured.
func (t times) others() time.Duration {
	others := t.all - t.front - t.proxy - t.load
	for _, m := range t.machines {
		others -= m
	}
	return max(0, others)
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
	return ticks(fields[11:13])
}

// parseBusy adds up the first line of /proc/stat, but for what was idle: the
// fourth and fifth number. What virtual machines had is part of the first.
func parseBusy(stat string) (time.Duration, error) {
	line, _, _ := strings.Cut(stat, "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, fmt.Errorf("/proc/stat begins with %q", line)
	}
	return ticks(slices.Concat(fields[1:4], fields[6:9]))
}

func ticks(fields []string) (time.Duration, error) {
	var sum int64
	for _, f := range fields {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return time.Duration(sum) * tick, nil
}

// peakMemory is the most that a process had resident, in bytes, without the pages
// of files, such as ONNX Runtime's library: these the kernel can drop.
func peakMemory(p *rig.Process) (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		return 0, err
	}
	most, err := parseKB(string(data), "VmHWM:")
	if err != nil {
		return 0, err
	}
	files, err := parseKB(string(data), "RssFile:")
	return most - files, err
}

// parseKB is a line of /proc/PID/status, in bytes.
func parseKB(status, key string) (int64, error) {
	for line := range strings.Lines(status) {
		if rest, ok := strings.CutPrefix(line, key); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("the kernel does not say %s of a process", key)
}
