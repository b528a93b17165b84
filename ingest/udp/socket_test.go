// SPDX-License-Identifier: Apache-2.0

//go:build linux

package udp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const patience = 5 * time.Second

func listen(t testing.TB, c Config) *Socket {
	t.Helper()
	s, err := Listen(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func local(addr string) Config { return Config{Addr: netip.MustParseAddrPort(addr)} }

// dial sends to the port of s at an address.
func dial(t testing.TB, s *Socket, addr string) *net.UDPConn {
	t.Helper()
	to := netip.AddrPortFrom(netip.MustParseAddr(addr), s.LocalAddr().Port())
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func send(t testing.TB, c *net.UDPConn, payload []byte) {
	t.Helper()
	if _, err := c.Write(payload); err != nil {
		t.Fatal(err)
	}
}

// receive waits for the next non-empty batch.
func receive(t testing.TB, s *Socket) int {
	t.Helper()
	n, err := s.Receive(patience)
	if err != nil {
		t.Fatal(err)
	}
	if n == 0 {
		t.Fatalf("nothing arrived within %v", patience)
	}
	return n
}

// eventually polls a condition.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

func TestReceivesFromBothFamilies(t *testing.T) {
	for _, c := range []struct{ name, listen, to, source string }{
		{"IPv4", "127.0.0.1:0", "127.0.0.1", "::ffff:127.0.0.1"},
		{"IPv6", "[::1]:0", "::1", "::1"},
		{"IPv4 on a dual-stack socket", "[::]:0", "127.0.0.1", "::ffff:127.0.0.1"},
		{"IPv6 on a dual-stack socket", "[::]:0", "::1", "::1"},
		{"every IPv4 address", "0.0.0.0:0", "127.0.0.1", "::ffff:127.0.0.1"},
		{"a mapped address is IPv4", "[::ffff:127.0.0.1]:0", "127.0.0.1", "::ffff:127.0.0.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := listen(t, local(c.listen))
			conn := dial(t, s, c.to)
			for _, size := range []int{0, 1, 1464, BufferSize} {
				want := bytes.Repeat([]byte{byte(size)}, size)
				send(t, conn, want)
				if n := receive(t, s); n != 1 {
					t.Fatalf("%d datagrams, sent one", n)
				}
				payload, source := s.Datagram(0)
				if !bytes.Equal(payload, want) || payload == nil {
					t.Errorf("%d bytes arrived, %d sent", len(payload), size)
				}
				if got := netip.AddrFrom16(*source); got != netip.MustParseAddr(c.source) {
					t.Errorf("source %v, want %v", got, c.source)
				}
			}
		})
	}
}

func TestBatchHoldsEveryDatagram(t *testing.T) {
	s := listen(t, Config{Addr: netip.MustParseAddrPort("127.0.0.1:0"), Batch: 8})
	conn := dial(t, s, "127.0.0.1")
	for i := range 20 {
		send(t, conn, []byte{byte(i)})
	}
	var got []byte
	for len(got) < 20 {
		n := receive(t, s)
		if n > 8 {
			t.Fatalf("a batch of %d, configured 8", n)
		}
		for i := range n {
			payload, _ := s.Datagram(i)
			if cap(payload) != len(payload) {
				t.Fatal("the payload reaches beyond the datagram")
			}
			got = append(got, payload...)
		}
	}
	for i := range got {
		if int(got[i]) != i {
			t.Fatalf("order %v", got)
		}
	}
}

func TestOverflowIsCountedExactly(t *testing.T) {
	// More datagrams than fit into the smallest buffer that the kernel gives.
	s := listen(t, Config{Addr: netip.MustParseAddrPort("127.0.0.1:0"), ReceiveBuffer: 1})
	conn := dial(t, s, "127.0.0.1")
	const sent = 500
	for i := range sent {
		send(t, conn, binary.BigEndian.AppendUint32(make([]byte, 60), uint32(i)))
	}
	// Loopback delivers within the send, so what is not queued is dropped now.
	drops := s.Drops()
	if drops == 0 || drops >= sent {
		t.Fatalf("%d of %d dropped by a tiny buffer", drops, sent)
	}
	received, last := uint64(0), -1
	for {
		n, err := s.Receive(0)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
		for i := range n {
			payload, _ := s.Datagram(i)
			number := int(binary.BigEndian.Uint32(payload[60:]))
			if number <= last {
				t.Fatalf("number %d after %d", number, last)
			}
			last = number
		}
		received += uint64(n)
	}
	if received+s.Drops() != sent {
		t.Errorf("received %d + dropped %d ≠ sent %d", received, s.Drops(), sent)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s.Drops() != drops {
		t.Errorf("%d drops after Close, %d before", s.Drops(), drops)
	}
}

func TestDropsFollowTheWrapOfTheKernelsCounter(t *testing.T) {
	var s Socket
	for _, now := range []uint32{5, math.MaxUint32, 3, 3} {
		s.followDrops(now)
	}
	if want := uint64(1<<32 + 3); s.drops != want {
		t.Errorf("%d drops, want %d", s.drops, want)
	}
}

func TestTooLongIsCountedNotDelivered(t *testing.T) {
	s := listen(t, local("127.0.0.1:0"))
	conn := dial(t, s, "127.0.0.1")
	send(t, conn, make([]byte, BufferSize+1))
	send(t, conn, []byte("short"))
	send(t, conn, make([]byte, 65507))
	eventually(t, "two datagrams are too long", func() bool {
		n, err := s.Receive(0)
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			if payload, _ := s.Datagram(i); string(payload) != "short" {
				t.Errorf("delivered %d bytes", len(payload))
			}
		}
		return s.Truncated() == 2
	})
}

func TestWakeAndTimeout(t *testing.T) {
	s := listen(t, local("127.0.0.1:0"))
	start := time.Now()
	if n, err := s.Receive(20 * time.Millisecond); n != 0 || err != nil {
		t.Fatalf("%d, %v on a silent socket", n, err)
	}
	if d := time.Since(start); d < 20*time.Millisecond {
		t.Errorf("waited %v, asked for 20 ms", d)
	}

	// A wake before the wait counts, two are one, and none is left behind.
	s.Wake()
	s.Wake()
	if n, err := s.Receive(-1); n != 0 || err != nil {
		t.Fatalf("%d, %v after Wake", n, err)
	}
	start = time.Now()
	if n, err := s.Receive(20 * time.Millisecond); n != 0 || err != nil || time.Since(start) < 20*time.Millisecond {
		t.Errorf("%d, %v after %v: an old wake ended a new wait", n, err, time.Since(start))
	}

	// A wake during the wait.
	done := make(chan error, 1)
	go func() {
		_, err := s.Receive(-1)
		done <- err
	}()
	eventually(t, "the receiver is inside", func() bool { return s.state.Load() == receiving })
	s.Wake()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("Wake did not end the wait")
	}
}

func TestCloseEndsTheWait(t *testing.T) {
	for range 50 {
		s, err := Listen(local("127.0.0.1:0"))
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() {
			for {
				if _, err := s.Receive(-1); err != nil {
					done <- err
					return
				}
			}
		}()
		eventually(t, "the receiver is inside", func() bool { return s.state.Load() == receiving })
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-done:
			if !errors.Is(err, ErrClosed) {
				t.Fatalf("Receive returned %v", err)
			}
		case <-time.After(patience):
			t.Fatal("Close did not end the wait")
		}
		if err := s.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
		if _, err := s.Receive(0); !errors.Is(err, ErrClosed) {
			t.Errorf("Receive after Close: %v", err)
		}
		s.Wake() // must not write to a descriptor that is somebody else's by now
	}
}

func TestCloseGivesTheDescriptorsBack(t *testing.T) {
	next := func() int {
		fd, err := unix.Dup(0)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(fd)
		return fd
	}
	before := next()
	for range 100 {
		group, err := ListenGroup(local("[::]:0"), 3)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Listen(Config{Addr: group[0].LocalAddr()}); err == nil {
			t.Fatal("listened on a port in use")
		}
		for _, s := range group {
			s.Close()
		}
	}
	if after := next(); after > before+8 {
		t.Errorf("lowest free descriptor was %d and is %d", before, after)
	}
}

func TestExporters(t *testing.T) {
	s := listen(t, local("[::]:0"))
	v4, v6 := dial(t, s, "127.0.0.1"), dial(t, s, "::1")
	denied := uint64(0)
	for _, c := range []struct {
		list   []netip.Prefix
		v4, v6 bool
	}{
		{nil, true, true},
		{[]netip.Prefix{}, false, false},
		{[]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, true, false},
		{[]netip.Prefix{netip.MustParsePrefix("::/0")}, false, true},
		{[]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}, false, true},
	} {
		s.SetExporters(c.list)
		var want []string
		for _, x := range []struct {
			ok   bool
			conn *net.UDPConn
			name string
		}{{c.v4, v4, "v4"}, {c.v6, v6, "v6"}} {
			send(t, x.conn, []byte(x.name))
			if x.ok {
				want = append(want, x.name)
			} else {
				denied++
			}
		}
		var got []string
		eventually(t, "both datagrams are delivered or denied", func() bool {
			n, err := s.Receive(0)
			if err != nil {
				t.Fatal(err)
			}
			for i := range n {
				payload, _ := s.Datagram(i)
				got = append(got, string(payload))
			}
			return len(got) >= len(want) && s.Denied() == denied
		})
		if len(got) != len(want) || len(want) > 0 && got[0] != want[0] {
			t.Errorf("list %v delivered %v, want %v", c.list, got, want)
		}
	}
}
