// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// mountPoint is a mounted control group hierarchy, as a line of
// /proc/self/mountinfo tells (proc(5)).
type mountPoint struct {
	dir     string
	kind    string   // cgroup or cgroup2
	options []string // of the super block: the controllers, for version 1
}

// cpuController finds the hierarchy that has the cpu controller.
func cpuController() (mount string, v2 bool, err error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", false, fmt.Errorf("%w: %w", ErrNoQuota, err)
	}
	for _, m := range mounts(string(b)) {
		switch m.kind {
		case "cgroup":
			if slices.Contains(m.options, "cpu") {
				return m.dir, false, nil
			}
		case "cgroup2":
			have, err := os.ReadFile(filepath.Join(m.dir, "cgroup.controllers"))
			if err == nil && slices.Contains(strings.Fields(string(have)), "cpu") {
				return m.dir, true, nil
			}
		}
	}
	return "", false, fmt.Errorf("%w: no cpu controller is mounted", ErrNoQuota)
}

// mounts reads mountinfo. Lines that are not as expected are left out.
func mounts(info string) (all []mountPoint) {
	for line := range strings.Lines(info) {
		before, after, ok := strings.Cut(line, " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 5 || len(right) < 3 {
			continue
		}
		all = append(all, mountPoint{dir: left[4], kind: right[0], options: strings.Split(right[2], ",")})
	}
	return all
}

// groupOf is the path of a task's group below the mount point.
func groupOf(id int, v2 bool) (string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", id))
	if err != nil {
		return "", err
	}
	path, ok := groupPath(string(b), v2)
	if !ok {
		return "", fmt.Errorf("%w: task %d is in no group of the cpu controller", ErrNoQuota, id)
	}
	return path, nil
}

// groupPath picks a path from /proc/PID/cgroup (cgroups(7)): 0::/path of version
// 2, or N:cpu,cpuacct:/path of version 1.
func groupPath(table string, v2 bool) (string, bool) {
	for line := range strings.Lines(table) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(fields) != 3 {
			continue
		}
		if v2 && fields[0] == "0" || !v2 && slices.Contains(strings.Split(fields[1], ","), "cpu") {
			return fields[2], true
		}
	}
	return "", false
}
