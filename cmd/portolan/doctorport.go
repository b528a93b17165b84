// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/portolan/portolan/ingest/udp"
)

// udpPort tries whether the daemon could listen, or tells who does already.
func (d *doctor) udpPort(a netip.AddrPort) {
	subject := fmt.Sprintf("UDP %s", a)
	group, err := udp.ListenGroup(udp.Config{Addr: a}, 1)
	if err == nil {
		err = group[0].Close()
		if err == nil {
			d.report.add("udp", subject, good, "free: a socket was opened there and closed again", "")
			return
		}
	}
	if !errors.Is(err, unix.EADDRINUSE) {
		d.report.add("udp", subject, problem, err.Error(), "")
		d.noUDP = errors.Join(d.noUDP, err)
		return
	}
	owners := portOwners("/proc", a)
	if len(owners) > 0 && !slices.ContainsFunc(owners, func(o owner) bool { return o.name != programName }) {
		d.report.add("udp", subject, good, fmt.Sprintf("in use by %s: Portolan is running, 'portolan status' tells how it is", ownerNames(owners)), "")
		return
	}
	who := "a program that this user may not look at"
	do := "run doctor as root to see which, or ss -ulpn"
	if len(owners) > 0 {
		who, do = ownerNames(owners), "stop it, or listen elsewhere with --listen"
	}
	d.report.add("udp", subject, problem, "in use by "+who, do)
	d.noUDP = errors.Join(d.noUDP, fmt.Errorf("%s is in use by %s", subject, who))
}

// programName is what the kernel calls the daemon's process.
const programName = "portolan"

// owner is a process that has a socket.
type owner struct {
	pid  int
	name string
}

func ownerNames(owners []owner) string {
	var names []string
	for _, o := range owners {
		names = append(names, fmt.Sprintf("%s (pid %d)", o.name, o.pid))
	}
	return strings.Join(names, ", ")
}

// portOwners finds the processes whose sockets keep others from binding to a, in
// the network namespace of the calling thread, as far as this process may see.
func portOwners(proc string, a netip.AddrPort) []owner {
	inodes := map[string]bool{}
	for _, table := range []string{"udp", "udp6"} {
		// net below /proc itself would be that of the process's first thread.
		text, err := os.ReadFile(filepath.Join(proc, "thread-self", "net", table))
		if err != nil {
			continue // no IPv6
		}
		for _, s := range parseUDPTable(string(text)) {
			if inTheWay(s.addr, a) {
				inodes["socket:["+s.inode+"]"] = true
			}
		}
	}
	if len(inodes) == 0 {
		return nil
	}
	return socketOwners(proc, inodes)
}

// udpSocket is a line of /proc/net/udp.
type udpSocket struct {
	addr  netip.AddrPort
	inode string
}

// parseUDPTable reads /proc/net/udp or udp6, proc_pid_net(5). Lines that make no
// sense are passed over.
func parseUDPTable(text string) (sockets []udpSocket) {
	for _, line := range strings.Split(text, "\n") {
		fields := strings.Fields(line)
		if len(fields) < 10 {
			continue
		}
		if a, ok := parseHexAddr(fields[1]); ok {
			sockets = append(sockets, udpSocket{a, fields[9]})
		}
	}
	return sockets
}

// parseHexAddr reads ADDRESS:PORT, where the address is printed as 32-bit words
// in the order of the machine and the port as a number.
func parseHexAddr(s string) (a netip.AddrPort, ok bool) {
	host, port, found := strings.Cut(s, ":")
	b, err := hex.DecodeString(host)
	if !found || err != nil {
		return a, false
	}
	for i := 0; i+4 <= len(b); i += 4 {
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(b[i:]))
	}
	addr, ok := netip.AddrFromSlice(b)
	n, err := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil {
		return a, false
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(n)), true
}

// inTheWay tells whether a socket bound to have keeps another from binding to want.
func inTheWay(have, want netip.AddrPort) bool {
	return have.Port() == want.Port() &&
		(have.Addr() == want.Addr().Unmap().WithZone("") || have.Addr().IsUnspecified() || want.Addr().IsUnspecified())
}

// socketOwners finds the processes that hold one of the sockets, which are named
// as the links below /proc/PID/fd name them.
func socketOwners(proc string, sockets map[string]bool) (owners []owner) {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		dir := filepath.Join(proc, e.Name())
		fds, err := os.ReadDir(filepath.Join(dir, "fd"))
		if err != nil {
			continue // gone, or somebody else's
		}
		if !slices.ContainsFunc(fds, func(fd os.DirEntry) bool {
			target, err := os.Readlink(filepath.Join(dir, "fd", fd.Name()))
			return err == nil && sockets[target]
		}) {
			continue
		}
		name, err := os.ReadFile(filepath.Join(dir, "comm"))
		if err != nil {
			continue // it has just ended
		}
		owners = append(owners, owner{pid, strings.TrimSpace(string(name))})
	}
	return owners
}
