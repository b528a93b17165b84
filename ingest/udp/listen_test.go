// SPDX-License-Identifier: Apache-2.0

//go:build linux

package udp

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

func TestGroupSharesOnePort(t *testing.T) {
	group, err := ListenGroup(local("127.0.0.1:0"), 3)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range group {
		defer s.Close()
		if s.LocalAddr() != group[0].LocalAddr() || s.LocalAddr().Port() == 0 {
			t.Fatalf("bound to %v and %v", s.LocalAddr(), group[0].LocalAddr())
		}
	}
	// Many sources spread over the sockets, each datagram to one of them.
	const sources = 200
	for range sources {
		c := dial(t, group[0], "127.0.0.1")
		send(t, c, []byte("x"))
		c.Close()
	}
	got := make([]int, len(group))
	eventually(t, "all datagrams arrived", func() bool {
		sum := 0
		for i, s := range group {
			n, err := s.Receive(0)
			if err != nil {
				t.Fatal(err)
			}
			got[i] += n
			sum += got[i]
		}
		return sum == sources
	})
	// 200 fair draws leave one of three sockets without any in 1 of 10^35 runs.
	if slices.Contains(got, 0) {
		t.Errorf("datagrams per socket: %v", got)
	}
}

func TestPortInUse(t *testing.T) {
	group, err := ListenGroup(local("[::]:0"), 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range group {
		defer s.Close()
	}
	port := group[0].LocalAddr().Port()
	for _, addr := range []string{"::", "0.0.0.0", "127.0.0.1", "::1"} {
		at := netip.AddrPortFrom(netip.MustParseAddr(addr), port)
		s, err := ListenGroup(Config{Addr: at}, 2)
		if !errors.Is(err, unix.EADDRINUSE) || s != nil {
			t.Fatalf("a second group on %v: %v", at, err)
		}
		if !strings.Contains(err.Error(), "ss -ulpn") || !strings.Contains(err.Error(), at.String()) {
			t.Errorf("the message does not help: %v", err)
		}
	}

	// A program without SO_REUSEPORT in front of us.
	other, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	at := other.LocalAddr().(*net.UDPAddr).AddrPort()
	if _, err := Listen(Config{Addr: at}); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("another program's port: %v", err)
	}
	// And after it has gone the port is ours.
	other.Close()
	listen(t, Config{Addr: at})
}

func TestPrivilegedPort(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: takes CAP_NET_BIND_SERVICE from one thread")
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&hdr, &none[0]); err != nil {
			done <- err
			return
		}
		_, err := Listen(local("127.0.0.1:1"))
		done <- err
	}()
	err := <-done
	if !errors.Is(err, unix.EACCES) || !strings.Contains(err.Error(), "CAP_NET_BIND_SERVICE") {
		t.Errorf("port 1 without privileges: %v", err)
	}
}

func TestForeignAddress(t *testing.T) {
	_, err := Listen(local("192.0.2.1:0"))
	if !errors.Is(err, unix.EADDRNOTAVAIL) || !strings.Contains(err.Error(), "no such address") {
		t.Errorf("an address of another machine: %v", err)
	}
	if _, err := Listen(local("[fe80::1%nosuchif0]:0")); err == nil || !strings.Contains(err.Error(), "nosuchif0") {
		t.Errorf("a zone that does not exist: %v", err)
	}
	if _, err := ListenGroup(local("127.0.0.1:0"), 0); err == nil {
		t.Error("a group of none was opened")
	}
}

func TestWithoutIPv6(t *testing.T) {
	defer func() { newSocket = unix.Socket }()
	newSocket = func(family, typ, proto int) (int, error) {
		if family == unix.AF_INET6 {
			return -1, unix.EAFNOSUPPORT
		}
		return unix.Socket(family, typ, proto)
	}
	group, err := ListenGroup(local("[::]:0"), 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range group {
		defer s.Close()
		if s.LocalAddr() != group[0].LocalAddr() || s.LocalAddr().Addr() != netip.IPv4Unspecified() {
			t.Errorf("bound to %v", s.LocalAddr())
		}
	}
	if _, err := Listen(local("[::1]:0")); !errors.Is(err, unix.EAFNOSUPPORT) {
		t.Errorf("one IPv6 address without IPv6: %v", err)
	}
}

func TestReceiveBufferTellsWhatItGot(t *testing.T) {
	s := listen(t, Config{ReceiveBuffer: 64 << 10})
	if got, wanted := s.ReceiveBuffer(); got != 64<<10 || wanted != 64<<10 {
		t.Errorf("got %d, wanted %d; 64 KiB is below every default of rmem_max", got, wanted)
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: the rest passes rmem_max by SO_RCVBUFFORCE")
	}
	s = listen(t, Config{})
	if got, wanted := s.ReceiveBuffer(); got != 64<<20 || wanted != 64<<20 {
		t.Errorf("got %d, wanted %d by default", got, wanted)
	}
}

func TestExporterListAgreesWithPrefixes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		address := rapid.Custom(func(t *rapid.T) netip.Addr {
			// Few different bits, so that prefixes nest, touch and match.
			var a [16]byte
			for i := range a {
				a[i] = rapid.SampledFrom([]byte{0, 0xff, 0x80, 1}).Draw(t, "byte")
			}
			if rapid.Bool().Draw(t, "IPv4") {
				return netip.AddrFrom4([4]byte(a[:4]))
			}
			return netip.AddrFrom16(a).Unmap()
		})
		prefixes := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) netip.Prefix {
			a := address.Draw(t, "address")
			return netip.PrefixFrom(a, rapid.IntRange(0, a.BitLen()).Draw(t, "bits"))
		}), 0, 8).Draw(t, "prefixes")
		if prefixes == nil {
			prefixes = []netip.Prefix{}
		}
		list := newExporters(prefixes)
		for range 20 {
			a := address.Draw(t, "source")
			want := slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
			sixteen := a.As16()
			if got := list.contain(&sixteen); got != want {
				t.Fatalf("%v in %v: %v, want %v", a, prefixes, got, want)
			}
		}
	})
	if newExporters(nil) != nil {
		t.Error("no list is not nil")
	}
	if newExporters([]netip.Prefix{{}}).contain(&[16]byte{15: 1}) {
		t.Error("an invalid prefix admits")
	}
}

func TestReceiverIsWokenByADatagram(t *testing.T) {
	s := listen(t, local("127.0.0.1:0"))
	conn := dial(t, s, "127.0.0.1")
	done := make(chan int)
	go func() {
		n, err := s.Receive(patience)
		if err != nil {
			n = -1
		}
		done <- n
	}()
	eventually(t, "the receiver is inside", func() bool { return s.state.Load() == receiving })
	start := time.Now()
	send(t, conn, []byte("x"))
	if n := <-done; n != 1 || time.Since(start) > patience/2 {
		t.Errorf("%d datagrams after %v", n, time.Since(start))
	}
}
