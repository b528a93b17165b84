// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"

	"github.com/portolan/portolan/bpf"
	"github.com/portolan/portolan/ingest/udp"
)

// grant is how a process gets what it lacks.
const grant = "run it as root, or grant CAP_BPF, CAP_NET_ADMIN and CAP_NET_RAW (systemd: AmbientCapabilities=)"

// kernel looks at the version and at AF_XDP sockets.
func (d *doctor) kernel() {
	var u unix.Utsname
	release := "unknown"
	if unix.Uname(&u) == nil {
		release = unix.ByteSliceToString(u.Release[:])
	}
	major, minor, ok := kernelVersion(release)
	text := "Linux " + release
	switch since := major*1000 + minor; {
	case !ok:
		d.report.add("kernel", "version", note, text+": the version cannot be told; AF_XDP needs 5.15 here", "")
	case since < 5015:
		d.report.add("kernel", "version", problem, text+": AF_XDP needs 5.15 or later here", "use a later kernel, or receive by UDP alone")
	case since < 5018:
		d.report.add("kernel", "version", note, text+": AF_XDP needs CAP_PERFMON as well, and takes no frames over a page; 5.18 is better", "")
	default:
		d.report.add("kernel", "version", good, text, "")
	}
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		_ = unix.Close(fd)
		d.report.add("kernel", "AF_XDP sockets", good, "one was opened", "")
		return
	}
	d.noXDP = fmt.Errorf("an AF_XDP socket cannot be opened: %w", err)
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		d.report.add("kernel", "AF_XDP sockets", problem, d.noXDP.Error(), "grant CAP_NET_RAW")
	case errors.Is(err, unix.EAFNOSUPPORT):
		d.report.add("kernel", "AF_XDP sockets", problem, d.noXDP.Error()+": the kernel is built without CONFIG_XDP_SOCKETS", "receive by UDP, or use a kernel with it")
	default:
		d.report.add("kernel", "AF_XDP sockets", problem, d.noXDP.Error(), "")
	}
}

// kernelVersion reads the first two numbers of a release.
func kernelVersion(release string) (major, minor int, ok bool) {
	n, err := fmt.Sscanf(release, "%d.%d", &major, &minor)
	return major, minor, err == nil && n == 2
}

// privileges looks at the capabilities, and tries whether a program can be loaded.
func (d *doctor) privileges() {
	have := cap.GetProc()
	has := func(v cap.Value) bool {
		on, err := have.GetFlag(cap.Effective, v)
		return err == nil && on
	}
	var lacks []string
	for _, c := range []struct {
		value, instead cap.Value
		use            string
	}{
		{cap.BPF, cap.SYS_ADMIN, "load the XDP program and its maps"},
		{cap.NET_ADMIN, cap.NET_ADMIN, "attach the XDP program, and get UDP receive buffers past net.core.rmem_max"},
		{cap.NET_RAW, cap.NET_RAW, "open AF_XDP sockets"},
	} {
		name := strings.ToUpper(c.value.String())
		switch {
		case has(c.value):
			d.report.add("privileges", name, good, "to "+c.use, "")
		case has(c.instead):
			d.report.add("privileges", name, good, fmt.Sprintf("to %s: %s stands in for it", c.use, strings.ToUpper(c.instead.String())), "")
		default:
			lacks = append(lacks, name)
			d.report.add("privileges", name, problem, fmt.Sprintf("this process lacks %s, which it takes to %s", name, c.use), grant)
		}
	}
	if err := bpf.Probe(); err != nil {
		d.noXDP = errors.Join(err, d.noXDP) // the program comes before the socket
		do := ""
		if len(lacks) > 0 {
			do = grant
		}
		d.report.add("privileges", "XDP programs", problem, err.Error(), do)
	} else {
		d.report.add("privileges", "XDP programs", good, "one was loaded and let go", "")
	}
	if len(lacks) > 0 {
		d.noXDP = fmt.Errorf("this process lacks %s", strings.Join(lacks, " and "))
	}
	d.memlock(has(cap.IPC_LOCK))
}

// memlock looks at the limit that the frames of AF_XDP sockets count against.
func (d *doctor) memlock(lockAny bool) {
	const subject = "RLIMIT_MEMLOCK"
	d.locked = unix.RLIM_INFINITY
	if lockAny {
		d.report.add("privileges", subject, good, "does not apply, with CAP_IPC_LOCK", "")
		return
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
		d.report.add("privileges", subject, note, "unknown: "+err.Error(), "")
		return
	}
	d.locked = limit.Cur
	each := uint64(framesPerQueue * smallFrame)
	text := fmt.Sprintf("%s; the frames of a receive queue take %s", size(limit.Cur), size(each))
	switch {
	case limit.Cur == unix.RLIM_INFINITY:
		d.report.add("privileges", subject, good, "no limit", "")
	case limit.Cur < each:
		d.report.add("privileges", subject, problem, text, "raise it (systemd: LimitMEMLOCK=infinity; shell: ulimit -l unlimited) or grant CAP_IPC_LOCK")
	default:
		d.report.add("privileges", subject, good, text+fmt.Sprintf(": enough for %s", amount(limit.Cur/each, "queue")), "")
	}
}

// limits asks for a receive buffer as large as the daemon wants it, on a socket
// of its own.
func (d *doctor) limits() {
	ceiling := fmt.Sprintf("net.core.rmem_max is %s, rmem_default %s", sysctl("rmem_max"), sysctl("rmem_default"))
	s, err := udp.Listen(udp.Config{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0)})
	if err != nil {
		d.report.add("limits", "receive buffer", note, fmt.Sprintf("cannot be tried: %v; %s", err, ceiling), "")
		return
	}
	got, wanted := s.ReceiveBuffer()
	_ = s.Close() // nothing was received
	if got >= wanted {
		d.report.add("limits", "receive buffer", good, fmt.Sprintf("a UDP socket got the %s that it asked for; %s", size(uint64(wanted)), ceiling), "")
		return
	}
	d.report.add("limits", "receive buffer", note,
		fmt.Sprintf("a UDP socket got %s of the %s that it asked for, and a burst of exports can overflow that; %s", size(uint64(got)), size(uint64(wanted)), ceiling),
		fmt.Sprintf("grant CAP_NET_ADMIN, or sysctl -w net.core.rmem_max=%d", wanted))
}

// sysctl is a size below net.core, as text. The calling thread's namespace counts.
func sysctl(name string) string {
	b, err := os.ReadFile("/proc/sys/net/core/" + name)
	if err != nil {
		return "unknown" // a namespace on a kernel that shows it in the first one only
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return "unknown"
	}
	return size(n)
}

// size is a number of bytes for people.
func size(n uint64) string {
	switch {
	case n >= 1<<20 && n%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 10<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d bytes", n)
}
