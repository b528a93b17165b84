// SPDX-License-Identifier: Apache-2.0

//go:build linux

package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

// Listen opens one socket: ListenGroup of 1.
func Listen(c Config) (*Socket, error) {
	group, err := ListenGroup(c, 1)
	if err != nil {
		return nil, err
	}
	return group[0], nil
}

// ListenGroup opens n sockets on one address, among which the kernel spreads the
// sources by their addresses and ports. It opens all or none.
//
// SO_REUSEPORT would let a second process of the same user join the group
// and silently take its share of the datagrams. So the first socket is bound
// without it, which fails where anybody has the port, and gets it afterwards, so
// that the others of the group can follow. That leaves no moment in which the
// port is free or half taken, other than to a process that itself asks for
// SO_REUSEPORT on a port that is in use already.
//
// The error wraps the kernel's: unix.EADDRINUSE where another program receives
// on the port, unix.EACCES where the port is privileged, unix.EADDRNOTAVAIL where
// the machine does not have the address.
func ListenGroup(c Config, n int) ([]*Socket, error) {
	if n < 1 {
		return nil, fmt.Errorf("listen on UDP %s: %d sockets asked for, at least 1 is needed", c.Addr, n)
	}
	c = c.withDefaults()
	var group []*Socket
	for len(group) < n {
		s, err := open(c, len(group) == 0)
		if err != nil {
			for _, s := range group {
				_ = s.Close() // the reason is known already
			}
			return nil, explain(c.Addr, err)
		}
		group = append(group, s)
		c.Addr = s.local // the port that the kernel chose, the family that worked
	}
	return group, nil
}

func (c Config) withDefaults() Config {
	a := c.Addr.Addr()
	if !a.IsValid() {
		a = netip.IPv6Unspecified()
	}
	c.Addr = netip.AddrPortFrom(a.Unmap(), c.Addr.Port())
	if c.ReceiveBuffer <= 0 {
		c.ReceiveBuffer = defaultReceiveBuffer
	}
	if c.Batch <= 0 {
		c.Batch = defaultBatch
	}
	c.Batch = min(c.Batch, maxBatch)
	return c
}

// explain says what to do about an address that cannot be listened on.
func explain(addr netip.AddrPort, err error) error {
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return fmt.Errorf("UDP %s is in use by another program, or by a second run of this one "+
			"(ss -ulpn 'sport = :%d' shows which): stop it or listen on another port: %w", addr, addr.Port(), err)
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("UDP %s is a privileged port: run with CAP_NET_BIND_SERVICE or listen on a port of at least "+
			"net.ipv4.ip_unprivileged_port_start: %w", addr, err)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("UDP %s: this machine has no such address (ip address shows them): %w", addr, err)
	}
	return fmt.Errorf("listen on UDP %s: %w", addr, err)
}

// newSocket makes the descriptor. Tests replace it to be on a machine without IPv6.
var newSocket = unix.Socket

// open makes one socket, the first of its group or a later one.
func open(c Config, first bool) (*Socket, error) {
	s, err := bind(c, first)
	if c.Addr.Addr() == netip.IPv6Unspecified() && noIPv6(err) {
		c.Addr = netip.AddrPortFrom(netip.IPv4Unspecified(), c.Addr.Port())
		s, err = bind(c, first)
	}
	return s, err
}

// noIPv6 tells that the kernel was built, booted or configured without IPv6.
func noIPv6(err error) bool {
	return errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL)
}

func bind(c Config, first bool) (s *Socket, err error) {
	to, family, err := sockaddr(c.Addr)
	if err != nil {
		return nil, err
	}
	fd, err := newSocket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open a socket: %w", err)
	}
	wake := -1
	defer func() {
		if err != nil {
			_ = unix.Close(fd)
			if wake >= 0 {
				_ = unix.Close(wake)
			}
		}
	}()
	if family == unix.AF_INET6 {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0); err != nil {
			return nil, fmt.Errorf("accept IPv4 on an IPv6 socket: %w", err)
		}
	}
	// Before the bind, so that no datagram meets the small default buffer.
	got := setReceiveBuffer(fd, c.ReceiveBuffer)
	if err := bindTo(fd, to, first); err != nil {
		return nil, err
	}
	local, err := localAddr(fd)
	if err != nil {
		return nil, err
	}
	if wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("make an eventfd: %w", err)
	}
	s = &Socket{
		fd: fd, wake: wake, local: local, buffer: got, wanted: c.ReceiveBuffer,
		leftLast: make(chan struct{}), batch: newBatch(c.Batch, fd, wake),
	}
	s.SetExporters(c.Exporters)
	return s, nil
}

// bindTo binds, the first socket of a group alone on its port and open to the
// others only afterwards.
func bindTo(fd int, to unix.Sockaddr, first bool) error {
	share := func() error {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
			return fmt.Errorf("share the port: %w", err)
		}
		return nil
	}
	if !first {
		if err := share(); err != nil {
			return err
		}
	}
	if err := unix.Bind(fd, to); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	if first {
		return share()
	}
	return nil
}

// setReceiveBuffer asks for the buffer past net.core.rmem_max, which takes
// CAP_NET_ADMIN, else for what that allows, and returns what the kernel gave.
func setReceiveBuffer(fd, bytes int) int {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bytes) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, bytes) // never refuses, cuts
	}
	doubled, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	if err != nil {
		return 0
	}
	return doubled / 2 // the kernel doubles the wish to make up for its overhead, socket(7)
}

func sockaddr(a netip.AddrPort) (unix.Sockaddr, int, error) {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}, unix.AF_INET, nil
	}
	to := &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	if zone := a.Addr().Zone(); zone != "" {
		index, err := strconv.ParseUint(zone, 10, 32)
		if err != nil {
			ifi, err := net.InterfaceByName(zone)
			if err != nil {
				return nil, 0, fmt.Errorf("zone %q is no interface: %w", zone, err)
			}
			index = uint64(ifi.Index)
		}
		to.ZoneId = uint32(index)
	}
	return to, unix.AF_INET6, nil
}

func localAddr(fd int) (netip.AddrPort, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("read the bound address: %w", err)
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)), nil
	case *unix.SockaddrInet6:
		a := netip.AddrFrom16(sa.Addr)
		if sa.ZoneId != 0 {
			a = a.WithZone(strconv.Itoa(int(sa.ZoneId)))
		}
		return netip.AddrPortFrom(a, uint16(sa.Port)), nil
	}
	return netip.AddrPort{}, fmt.Errorf("the bound address has an unexpected family (%T)", sa)
}
