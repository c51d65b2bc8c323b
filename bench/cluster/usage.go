package cluster

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tick is the unit of processor time in /proc: USER_HZ is 100 on every architecture that
// is in use.
const tick = 10 * time.Millisecond

// Memory is what the process has resident, in bytes (on Linux).
func (p *Process) Memory() (float64, error) { return p.status("VmRSS") }

// PeakMemory is the most that the process had resident, in bytes, without the pages of
// files, such as ONNX Runtime's library: these the kernel can drop (on Linux).
func (p *Process) PeakMemory() (float64, error) {
	most, err := p.status("VmHWM")
	if err != nil {
		return 0, err
	}
	files, err := p.status("RssFile")
	return most - files, err
}

// status is a size in /proc/PID/status, in bytes.
func (p *Process) status(key string) (float64, error) {
	data, err := p.proc("status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(data) {
		if rest, ok := strings.CutPrefix(line, key+":"); ok {
			kb, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
			return kb * 1024, err
		}
	}
	return 0, fmt.Errorf("the kernel does not say %s of %s", key, p.Name)
}

// Computed is the processor time that the process has used (on Linux).
func (p *Process) Computed() (time.Duration, error) {
	data, err := p.proc("stat")
	if err != nil {
		return 0, err
	}
	used, err := parseStat(data)
	if err != nil {
		return 0, fmt.Errorf("the processor time of %s: %w", p.Name, err)
	}
	return used, nil
}

func (p *Process) proc(file string) (string, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.PID(), file))
	if err != nil {
		return "", fmt.Errorf("look at %s: %w", p.Name, err)
	}
	return string(data), nil
}

// parseStat adds up the 14th and 15th field of /proc/PID/stat; the second may have spaces
// in it.
func parseStat(stat string) (time.Duration, error) {
	_, rest, ok := strings.Cut(stat[max(0, strings.LastIndexByte(stat, ')')):], ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 13 {
		return 0, fmt.Errorf("%q is not what the kernel writes", stat)
	}
	return ticks(fields[11:13])
}

// Own is the processor time that this process has used, without its children.
func Own() (time.Duration, error) {
	var own syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &own)
	return time.Duration(own.Utime.Nano() + own.Stime.Nano()), err
}

// All is the processor time that all of the machine has used, the kernel included (on
// Linux).
func All() (time.Duration, error) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	return parseBusy(string(data))
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
