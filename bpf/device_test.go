// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bpf

import (
	"net"
	"net/netip"
	"testing"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/portolan/portolan/netns"
)

// cable is a veth pair between two namespaces: an exporter's end and ours.
type cable struct {
	exporter, ours *netns.NS
	ifindex        int // of our end
}

var exporterAddr = netip.MustParseAddr("192.0.2.1")

func newCable(t testing.TB, o netns.VethOptions) *cable {
	t.Helper()
	needRoot(t)
	if err := netns.Supported(); err != nil {
		t.Skip("needs network namespaces:", err)
	}
	c := &cable{exporter: newNS(t), ours: newNS(t)}
	o.AddrA = []netip.Prefix{netip.PrefixFrom(exporterAddr, 24)}
	o.AddrB = []netip.Prefix{netip.PrefixFrom(local4, 24)}
	if err := netns.Veth(c.exporter, "exporter", c.ours, "ours", o); err != nil {
		t.Fatal(err)
	}
	c.in(t, func() error {
		l, err := netlink.LinkByName("ours")
		if err == nil {
			c.ifindex = l.Attrs().Index
		}
		return err
	})
	return c
}

func newNS(t testing.TB) *netns.NS {
	t.Helper()
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns
}

// in runs fn in our namespace, where it must work.
func (c *cable) in(t testing.TB, fn func() error) {
	t.Helper()
	if err := c.ours.Do(fn); err != nil {
		t.Fatal(err)
	}
}

func (c *cable) attach(p *Program, m Mode) error {
	return c.ours.Do(func() error { return p.Attach(c.ifindex, m) })
}

func (c *cable) attached(t testing.TB) (id uint32, name string) {
	t.Helper()
	c.in(t, func() (err error) {
		id, name, err = Attached(c.ifindex)
		return err
	})
	return id, name
}

// listen opens a UDP socket at our end.
func (c *cable) listen(t testing.TB, port uint16) *net.UDPConn {
	t.Helper()
	var conn *net.UDPConn
	c.in(t, func() (err error) {
		conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(local4, port)))
		return err
	})
	t.Cleanup(func() { conn.Close() })
	return conn
}

// send sends n datagrams from the exporter.
func (c *cable) send(t testing.TB, n int, port uint16) {
	t.Helper()
	var conn net.Conn
	err := c.exporter.Do(func() (err error) {
		conn, err = net.Dial("udp4", netip.AddrPortFrom(local4, port).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range n {
		if _, err := conn.Write(make([]byte, exportSize)); err != nil {
			t.Fatal(err)
		}
	}
}

// receive counts the datagrams that come until n are there, or none comes for the
// time given.
func receive(t testing.TB, conn *net.UDPConn, n int, patience time.Duration) (got int) {
	t.Helper()
	for got < n {
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 2048)); err != nil {
			return got
		}
		got++
	}
	return got
}

// waitFor polls a counter until it has the value, and returns it.
func waitFor(t testing.TB, p *Program, e Exit, want uint64) uint64 {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; {
		c, err := p.Counters()
		if err != nil {
			t.Fatal(err)
		}
		if c[e] >= want || time.Now().After(deadline) {
			return c[e]
		}
		time.Sleep(time.Millisecond)
	}
}

// openXSK binds an AF_XDP socket with the smallest rings that work to queue 0 of our
// end. Nobody reads it.
func (c *cable) openXSK(t testing.TB) int {
	t.Helper()
	const frames, frameSize = 64, 2048
	fd := -1
	umem, err := unix.Mmap(-1, 0, frames*frameSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(umem) })
	c.in(t, func() (err error) {
		fd, err = unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		return err
	})
	t.Cleanup(func() { unix.Close(fd) })
	reg := unix.XDPUmemReg{Addr: uint64(uintptr(unsafe.Pointer(&umem[0]))), Len: uint64(len(umem)), Size: frameSize}
	raw := unsafe.Slice((*byte)(unsafe.Pointer(&reg)), unsafe.Sizeof(reg))
	if err := unix.SetsockoptString(fd, unix.SOL_XDP, unix.XDP_UMEM_REG, string(raw)); err != nil {
		t.Fatal(err)
	}
	for _, ring := range []int{unix.XDP_UMEM_FILL_RING, unix.XDP_UMEM_COMPLETION_RING, unix.XDP_RX_RING} {
		if err := unix.SetsockoptInt(fd, unix.SOL_XDP, ring, frames); err != nil {
			t.Fatal(err)
		}
	}
	err = unix.Bind(fd, &unix.SockaddrXDP{Flags: unix.XDP_COPY, Ifindex: uint32(c.ifindex), QueueID: 0})
	if err != nil {
		t.Fatal("bind AF_XDP socket:", err)
	}
	return fd
}
