// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bench

import (
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// limited skips where the machine has no quota for us.
func limited(t *testing.T, q *Quota, err error) *Quota {
	t.Helper()
	if errors.Is(err, ErrNoQuota) {
		t.Skipf("needs root and a cpu control group: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func TestQuotaHoldsAProcessDown(t *testing.T) {
	cmd := exec.Command("sh", "-c", "while :; do :; done")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Kill()
		cmd.Wait()
	}()
	pid := cmd.Process.Pid
	q, err := LimitProcess(pid, 0.1)
	q = limited(t, q, err)
	defer q.Close()
	_, v2, _ := cpuController()
	during, err := groupOf(pid, v2)
	if err != nil || filepath.Base(during) != filepath.Base(q.group) {
		t.Fatalf("the process is in group %q, %v", during, err)
	}

	// A process that spins uses up 10 ms of CPU every 100 ms, until it is let go.
	deadline := time.Now().Add(10 * time.Second)
	for n := uint64(0); n < 5; {
		if n, err = q.Throttled(); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatalf("throttled %d times in 10 s", n)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := q.Set(0.5); err != nil {
		t.Error(err)
	}
	for _, wrong := range []float64{0, -1, 0.05, 2000} {
		if q.Set(wrong) == nil {
			t.Errorf("a quota of %g is accepted", wrong)
		}
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(q.group); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", q.group, err)
	}
	if after, err := groupOf(pid, v2); err != nil || after == during {
		t.Errorf("the process is in group %q, %v", after, err)
	}
	if err := q.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
}

func TestQuotaOutlivesItsProcess(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	q, err := LimitProcess(cmd.Process.Pid, 0.5)
	cmd.Process.Kill()
	cmd.Wait()
	q = limited(t, q, err)
	if err := q.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(q.group); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", q.group, err)
	}
}

func TestQuotaOfThisThread(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	q, err := LimitThread(0, 0.1)
	q = limited(t, q, err)
	var n uint64
	for end := time.Now().Add(10 * time.Second); n < 3 && time.Now().Before(end); {
		for spin := time.Now(); time.Since(spin) < 20*time.Millisecond; {
		}
		if n, err = q.Throttled(); err != nil {
			t.Fatal(err)
		}
	}
	if n < 3 {
		t.Errorf("throttled %d times", n)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	if path, err := groupOf(unix.Gettid(), false); err != nil || filepath.Base(path) == filepath.Base(q.group) {
		t.Errorf("the thread is in group %q, %v", path, err)
	}
}

func TestQuotaOfNobody(t *testing.T) {
	if q, err := LimitProcess(1<<22+1, 0.5); err == nil {
		q.Close()
		t.Error("a process that cannot exist is limited")
	}
}

func TestGroupTables(t *testing.T) {
	info := "31 24 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n" +
		"short line\n" +
		"35 24 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n"
	got := mounts(info)
	if len(got) != 2 || got[0].dir != "/sys/fs/cgroup/cpu,cpuacct" || got[0].kind != "cgroup" || got[0].options[1] != "cpu" ||
		got[1].dir != "/sys/fs/cgroup/unified" || got[1].kind != "cgroup2" {
		t.Errorf("%+v", got)
	}
	table := "12:cpuset:/a\n4:cpu,cpuacct:/b:c\n0::/d\n"
	if path, ok := groupPath(table, false); !ok || path != "/b:c" {
		t.Errorf("version 1: %q, %v", path, ok)
	}
	if path, ok := groupPath(table, true); !ok || path != "/d" {
		t.Errorf("version 2: %q, %v", path, ok)
	}
	if path, ok := groupPath("1:cpuset:/a\n", false); ok {
		t.Errorf("found %q", path)
	}
}

func TestQuotaPlaces(t *testing.T) {
	mount := t.TempDir()
	home := filepath.Join(mount, "system.slice", "ssh.service")
	if err := os.MkdirAll(home, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := quotaV2(mount, home, 7, false); !errors.Is(err, ErrNoQuota) {
		t.Errorf("without the controller: %v", err)
	}
	control := filepath.Join(mount, "system.slice", "cgroup.subtree_control")
	if err := os.WriteFile(control, []byte("cpuset cpu io\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	q, err := quotaV2(mount, home, 7, false)
	if err != nil || filepath.Dir(q.group) != filepath.Join(mount, "system.slice") || q.home != home || q.tasks != "cgroup.procs" {
		t.Errorf("%+v, %v", q, err)
	}
	if _, err := quotaV2(mount, home, 7, true); !errors.Is(err, ErrNoQuota) {
		t.Errorf("a thread: %v", err)
	}
	if q := quotaV1(home, 7, true); filepath.Dir(q.group) != home || q.tasks != "tasks" {
		t.Errorf("%+v", q)
	}
	if got, want := limitsV2(0.3), map[string]string{"cpu.max": "3000 10000"}; !maps.Equal(got, want) {
		t.Errorf("limits %v, want %v", got, want)
	}
}
