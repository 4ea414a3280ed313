// SPDX-License-Identifier: Apache-2.0

// Package machine tells what else had the processors while something was measured. On a machine that is shared, no time
// means anything without it.
package machine

import (
	"fmt"
	"os"
	"strings"
)

// LoadAverage returns the load averages of one and five minutes, or "unknown" where there is no /proc.
func LoadAverage() string {
	content, err := os.ReadFile("/proc/loadavg")
	fields := strings.Fields(string(content))
	if err != nil || len(fields) < 2 {
		return "unknown"
	}
	return fields[0] + " and " + fields[1]
}

// Time is what the processors did since the machine started, in hundredths of a second (proc_stat(5)).
type Time struct {
	total, stolen uint64
}

// Now reads it. Where there is no /proc, all is 0.
func Now() Time {
	content, err := os.ReadFile("/proc/stat")
	if err != nil {
		return Time{}
	}
	var user, nice, system, idle, iowait, irq, softirq, steal uint64
	if _, err := fmt.Sscanf(string(content), "cpu %d %d %d %d %d %d %d %d", &user, &nice, &system, &idle, &iowait, &irq, &softirq, &steal); err != nil {
		return Time{}
	}
	return Time{total: user + nice + system + idle + iowait + irq + softirq + steal, stolen: steal}
}

// StolenSince returns the share, from 0 to 1, of the processors' time that the host gave to other machines. The counters
// may go back a little (proc_stat(5)); then it is 0.
func (t Time) StolenSince(before Time) float64 {
	if t.total <= before.total || t.stolen <= before.stolen {
		return 0
	}
	return float64(t.stolen-before.stolen) / float64(t.total-before.total)
}
