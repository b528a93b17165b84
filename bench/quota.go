// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bench

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNoQuota means that this machine gives this process no control group with a
// CPU quota: no cpu controller is mounted, delegated or writable.
var ErrNoQuota = errors.New("no CPU quota to be had")

// Quota holds down the CPU time of a process or thread, through a control group
// of its own: version 1 or 2 of the cpu controller, whichever the machine has.
type Quota struct {
	group  string // directory of our group
	home   string // directory of the group that the task came from
	tasks  string // file in both that takes the id
	id     int
	limits func(cpus float64) map[string]string
}

// quotaPeriod is how often the quota is handed out: short, so that a receiver
// that is held down stops for less than its buffers hold.
const quotaPeriod = 10 * time.Millisecond

// minQuota is the kernel's smallest quota, 1 ms, as a share of the period.
const minQuota = float64(time.Millisecond) / float64(quotaPeriod)

// LimitProcess lets all threads of a process have cpus of CPU time together, in
// CPUs: 0.1 or more. pid 0 is the calling process. Threads and children that it
// starts meanwhile are held down too. The error wraps ErrNoQuota where that
// is for the machine to allow.
func LimitProcess(pid int, cpus float64) (*Quota, error) {
	if pid == 0 {
		pid = os.Getpid()
	}
	return limit(pid, cpus, false)
}

// LimitThread does the same for one thread; tid 0 is the calling one, which must
// be locked to its goroutine. It needs version 1 of the cpu controller; version
// 2 knows threads only in groups that the whole process was made for.
func LimitThread(tid int, cpus float64) (*Quota, error) {
	if tid == 0 {
		tid = unix.Gettid()
	}
	return limit(tid, cpus, true)
}

func limit(id int, cpus float64, thread bool) (*Quota, error) {
	q, err := findQuota(id, thread)
	if err != nil {
		return nil, fmt.Errorf("limit the CPU of task %d: %w", id, err)
	}
	if err := os.Mkdir(q.group, 0o755); err != nil {
		return nil, fmt.Errorf("limit the CPU of task %d: %w: %w", id, ErrNoQuota, err)
	}
	if err := q.Set(cpus); err != nil {
		return nil, errors.Join(err, os.Remove(q.group))
	}
	if err := q.move(q.group); err != nil {
		return nil, errors.Join(fmt.Errorf("limit the CPU of task %d: %w", id, err), os.Remove(q.group))
	}
	return q, nil
}

// findQuota decides on the groups' directories. It changes nothing.
func findQuota(id int, thread bool) (*Quota, error) {
	mount, v2, err := cpuController()
	if err != nil {
		return nil, err
	}
	path, err := groupOf(id, v2)
	if err != nil {
		return nil, err
	}
	home := filepath.Join(mount, path)
	if _, err := os.Stat(home); err != nil {
		home = mount // in a container, where the path is the host's
	}
	if v2 {
		return quotaV2(mount, home, id, thread)
	}
	return quotaV1(home, id, thread), nil
}

func groupName(id int) string { return fmt.Sprintf("portolan-bench-%d-%d", os.Getpid(), id) }

func quotaV1(home string, id int, thread bool) *Quota {
	tasks := "cgroup.procs"
	if thread {
		tasks = "tasks"
	}
	return &Quota{group: filepath.Join(home, groupName(id)), home: home, tasks: tasks, id: id, limits: limitsV1}
}

func quotaV2(mount, home string, id int, thread bool) (*Quota, error) {
	if thread {
		return nil, fmt.Errorf("%w: version 2 of the cpu controller cannot move one thread only; limit the process", ErrNoQuota)
	}
	// But for the root, a group with processes in it cannot have children with a
	// controller: go beside it.
	parent := home
	if home != mount {
		parent = filepath.Dir(home)
	}
	on, err := os.ReadFile(filepath.Join(parent, "cgroup.subtree_control"))
	if err != nil || !slices.Contains(strings.Fields(string(on)), "cpu") {
		return nil, fmt.Errorf("%w: the cpu controller is not on in %s/cgroup.subtree_control", ErrNoQuota, parent)
	}
	return &Quota{group: filepath.Join(parent, groupName(id)), home: home, tasks: "cgroup.procs", id: id, limits: limitsV2}, nil
}

func limitsV1(cpus float64) map[string]string {
	return map[string]string{
		"cpu.cfs_period_us": strconv.FormatInt(quotaPeriod.Microseconds(), 10),
		"cpu.cfs_quota_us":  strconv.FormatInt(quotaMicroseconds(cpus), 10),
	}
}

func limitsV2(cpus float64) map[string]string {
	return map[string]string{"cpu.max": fmt.Sprintf("%d %d", quotaMicroseconds(cpus), quotaPeriod.Microseconds())}
}

func quotaMicroseconds(cpus float64) int64 {
	return int64(math.Round(cpus * float64(quotaPeriod.Microseconds())))
}

// Set changes the quota, in CPUs, 0.1 or more.
func (q *Quota) Set(cpus float64) error {
	if !(cpus >= minQuota && cpus <= 1024) {
		return fmt.Errorf("CPU quota of %g: not in %g to 1024 CPUs", cpus, minQuota)
	}
	for file, value := range q.limits(cpus) {
		if err := write(filepath.Join(q.group, file), value); err != nil {
			return fmt.Errorf("set CPU quota: %w: %w", ErrNoQuota, err)
		}
	}
	return nil
}

// Throttled is how often the group has used up its quota before the period's end.
func (q *Quota) Throttled() (uint64, error) {
	b, err := os.ReadFile(filepath.Join(q.group, "cpu.stat"))
	if err != nil {
		return 0, fmt.Errorf("read CPU quota statistics: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		if n, ok := strings.CutPrefix(line, "nr_throttled "); ok {
			return strconv.ParseUint(strings.TrimSpace(n), 10, 64)
		}
	}
	return 0, fmt.Errorf("read CPU quota statistics: no nr_throttled in %s/cpu.stat", q.group)
}

// Close moves the task back to where it came from, if it still runs, and removes
// the group. Children that the task left in the group go the same way.
func (q *Quota) Close() error {
	deadline := time.Now().Add(2 * time.Second)
	for {
		err := q.empty()
		if err == nil {
			err = os.Remove(q.group)
		}
		if err == nil || errors.Is(err, os.ErrNotExist) {
			return nil
		}
		// A task that is ending stays in the group for a moment, and new ones may appear.
		if time.Now().After(deadline) {
			return fmt.Errorf("remove CPU quota: %w", err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// empty moves whatever is in the group home.
func (q *Quota) empty() error {
	b, err := os.ReadFile(filepath.Join(q.group, q.tasks))
	if err != nil {
		return err
	}
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		err := write(filepath.Join(q.home, q.tasks), s.Text())
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}

func (q *Quota) move(to string) error {
	return write(filepath.Join(to, q.tasks), strconv.Itoa(q.id))
}

// write writes to a file that exists.
func write(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}
