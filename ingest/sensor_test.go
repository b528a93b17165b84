// SPDX-License-Identifier: Apache-2.0

//go:build linux

package ingest

import (
	"context"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"

	"github.com/portolan/portolan/netns"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lab is an exporter's and a receiver's namespace with a cable between them.
type lab struct {
	exporter, receiver *netns.NS
	conn               net.Conn // from the exporter to port 2055 of the receiver
}

const (
	exporterAddr = "192.0.2.1"
	receiverAddr = "192.0.2.2"
	device       = "vrecv"
)

func newLab(t *testing.T, queues int) *lab {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: it makes network namespaces and attaches XDP programs in them")
	}
	l := &lab{}
	for _, ns := range []**netns.NS{&l.exporter, &l.receiver} {
		made, err := netns.New()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { made.Close() })
		*ns = made
	}
	err := netns.Veth(l.exporter, "vexp", l.receiver, device, netns.VethOptions{
		AddrA:  []netip.Prefix{netip.MustParsePrefix(exporterAddr + "/24")},
		AddrB:  []netip.Prefix{netip.MustParsePrefix(receiverAddr + "/24")},
		Queues: queues,
	})
	if err != nil {
		t.Fatal(err)
	}
	err = l.exporter.Do(func() error {
		l.conn, err = net.Dial("udp", receiverAddr+":2055")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.conn.Close() })
	return l
}

// start starts a sensor in the receiver's namespace.
func (l *lab) start(t *testing.T, c Config) *Sensor {
	t.Helper()
	c.Inside = l.receiver.Do
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	return s
}

func stop(t *testing.T, s *Sensor) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Errorf("stop: %v", err)
	}
}

// send sends n datagrams of one record each, with their own ports.
func (l *lab) send(t *testing.T, first, n int) {
	t.Helper()
	for i := first; i < first+n; i++ {
		if _, err := l.conn.Write(v5(uint32(i), time.Now(), tcp("10.0.0.1", uint16(1+i%60000), "198.51.100.1", 443))); err != nil {
			t.Fatalf("send %d: %v", i, err)
		}
	}
}

// eventually waits for a condition on the sensor's status.
func eventually(t *testing.T, s *Sensor, what string, ok func(Status) bool) Status {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		st := s.Status()
		if ok(st) {
			return st
		}
		if time.Now().After(deadline) {
			t.Fatalf("never: %s\n%+v", what, st)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func received(n uint64) func(Status) bool {
	return func(st Status) bool { return st.Ledger.Datagrams.Received == n && st.Ledger.Posts.InFlight == 0 }
}

func TestReceivesByTheBestRungThereIs(t *testing.T) {
	l := newLab(t, 2)
	sink := newMemorySink()
	s := l.start(t, Config{Set: setOf(t, "10.0.0.1"), Sink: sink, Interfaces: []string{device}})
	l.send(t, 0, 1000)
	st := eventually(t, s, "1000 datagrams", received(1000))
	checkBooks(t, &st.Ledger)
	if st.Ledger.ByPath["copy"] != 1000 {
		t.Errorf("by path %v", st.Ledger.ByPath)
	}
	if sink.offered() != 1000 {
		t.Errorf("%d posts", sink.offered())
	}
	if len(st.Exporters) != 1 || st.Exporters[0].Exporter != exporterAddr || st.Exporters[0].Lost != 0 || st.Exporters[0].Datagrams != 1000 {
		t.Errorf("exporters %+v", st.Exporters)
	}
	var queues, sockets int
	for _, p := range st.Paths {
		switch {
		case p.Queue != nil:
			queues++
			if p.Path != "copy" || p.State != "up" || !strings.Contains(p.Reason, "zero-copy") {
				t.Errorf("%+v", p)
			}
		case p.Listen != "":
			sockets++
		}
	}
	if queues != 2 || sockets != 1 {
		t.Errorf("paths %+v", st.Paths)
	}
	stop(t, s)
	after := s.Status()
	if after.Ledger.Datagrams.Received != 1000 {
		t.Errorf("the books after the stop: %+v", after.Ledger)
	}
}

// What steer.c does not redirect comes by the UDP sockets: here a datagram in
// two IP fragments.
func TestFragmentsComeByTheSocket(t *testing.T) {
	l := newLab(t, 1)
	s := l.start(t, Config{Set: setOf(t, "10.0.0.1"), Sink: newMemorySink(), Interfaces: []string{device}})
	defer stop(t, s)
	payload := v5(0, time.Now(), tcp("10.0.0.1", 22, "198.51.100.1", 443))
	if _, err := l.conn.Write(append(payload, make([]byte, 3000)...)); err != nil {
		t.Fatal(err)
	}
	st := eventually(t, s, "one datagram", received(1))
	if st.Ledger.ByPath["udp"] != 1 || st.Ledger.Problems["trailing_bytes"] != 1 || st.XDP["pass_fragment"] != 3 {
		t.Errorf("by path %v, problems %v, exits %v", st.Ledger.ByPath, st.Ledger.Problems, st.XDP)
	}
}

// Taking a queue out of the socket map under load moves the traffic to the UDP
// sockets and back, and every datagram is in exactly one count.
func TestQueueLeavesAndComesBackUnderLoad(t *testing.T) {
	l := newLab(t, 1)
	s := l.start(t, Config{Set: setOf(t, "10.0.0.1"), Sink: newMemorySink(), Interfaces: []string{device}})
	defer stop(t, s)
	f := s.receive.ifaces[0]
	fd := f.sources[0].in.(*xskInput).socket.FD()
	sent := 0
	for round := range 6 {
		stop, done := make(chan struct{}), make(chan int)
		go func() {
			for i := sent; ; i++ {
				if i%64 == 0 {
					select {
					case <-stop:
						done <- i
						return
					case <-time.After(200 * time.Microsecond): // a rate that no socket buffer overflows at
					}
				}
				l.conn.Write(v5(uint32(i), time.Now(), tcp("10.0.0.1", uint16(i), "198.51.100.1", 443)))
			}
		}()
		// The change comes while this round's datagrams arrive, and some more
		// arrive after it.
		more := func(n int) {
			eventually(t, s, "traffic in this round", func(st Status) bool { return st.Ledger.Datagrams.Received > uint64(sent+n) })
		}
		more(500)
		var err error
		if round%2 == 0 {
			err = f.program.Unregister(0)
		} else {
			err = f.program.Register(0, fd)
		}
		if err != nil {
			t.Fatal(err)
		}
		more(1500)
		close(stop)
		sent = <-done
	}
	st := eventually(t, s, "all datagrams", received(uint64(sent)))
	checkBooks(t, &st.Ledger)
	byPath := st.Ledger.ByPath
	if byPath["copy"]+byPath["udp"] != uint64(sent) || byPath["copy"] == 0 || byPath["udp"] == 0 {
		t.Errorf("sent %d, by path %v", sent, byPath)
	}
	if st.XDP["redirect"] != byPath["copy"] || st.XDP["pass_no_socket"] != byPath["udp"] {
		t.Errorf("exits %v, by path %v", st.XDP, byPath)
	}
	if st.Exporters[0].Lost != 0 {
		t.Errorf("two paths faked a gap of %d flows", st.Exporters[0].Lost)
	}
}

func TestDeletedDeviceEndsItsSourceAndNothingElse(t *testing.T) {
	l := newLab(t, 1)
	s := l.start(t, Config{Set: setOf(t, "10.0.0.1"), Sink: newMemorySink(), Interfaces: []string{device}})
	defer stop(t, s)
	l.send(t, 0, 10)
	eventually(t, s, "10 datagrams", received(10))
	if err := l.exporter.Do(func() error {
		v, err := netlink.LinkByName("vexp")
		if err != nil {
			return err
		}
		return netlink.LinkDel(v)
	}); err != nil {
		t.Fatal(err)
	}
	eventually(t, s, "the queue is reported gone", func(st Status) bool { return st.Paths[0].State == "gone" })

	// The UDP socket goes on.
	err := l.receiver.Do(func() error {
		c, err := net.Dial("udp", "127.0.0.1:2055")
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write(v5(10, time.Now(), tcp("10.0.0.1", 22, "198.51.100.1", 443)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	st := eventually(t, s, "one more datagram", received(11))
	checkBooks(t, &st.Ledger)
}

func TestLinkDownAndUp(t *testing.T) {
	l := newLab(t, 1)
	s := l.start(t, Config{Set: setOf(t, "10.0.0.1"), Sink: newMemorySink(), Interfaces: []string{device}})
	defer stop(t, s)
	set := func(up bool) {
		t.Helper()
		if err := l.receiver.Do(func() error {
			v, err := netlink.LinkByName(device)
			if err != nil {
				return err
			}
			if up {
				return netlink.LinkSetUp(v)
			}
			return netlink.LinkSetDown(v)
		}); err != nil {
			t.Fatal(err)
		}
	}
	set(false)
	eventually(t, s, "link down", func(st Status) bool { return st.Paths[0].State == "link down" })
	set(true)
	// The state tells without any traffic.
	eventually(t, s, "up again", func(st Status) bool { return st.Paths[0].State == "up" })
	n := 0
	eventually(t, s, "receives again", func(st Status) bool {
		l.send(t, n, 1)
		n++
		return st.Ledger.ByPath["copy"] > 0
	})
}

// An address that is added later is received for through AF_XDP as well.
func TestFollowsAddresses(t *testing.T) {
	l := newLab(t, 1)
	s := l.start(t, Config{Set: setOf(t, "10.0.0.1"), Sink: newMemorySink(), Interfaces: []string{device}})
	defer stop(t, s)
	if err := l.receiver.Do(func() error {
		v, err := netlink.LinkByName(device)
		if err != nil {
			return err
		}
		a, err := netlink.ParseAddr("192.0.2.9/24")
		if err != nil {
			return err
		}
		return netlink.AddrAdd(v, a)
	}); err != nil {
		t.Fatal(err)
	}
	var conn net.Conn
	if err := l.exporter.Do(func() (err error) { conn, err = net.Dial("udp", "192.0.2.9:2055"); return err }); err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	n := uint32(0)
	eventually(t, s, "an export to the new address by AF_XDP", func(st Status) bool {
		if _, err := conn.Write(v5(n, time.Now(), tcp("10.0.0.1", 22, "198.51.100.1", 443))); err != nil {
			t.Fatal(err)
		}
		n++
		return st.Ledger.ByPath["copy"] > 0
	})
}

func TestDeniedExporter(t *testing.T) {
	l := newLab(t, 1)
	s := l.start(t, Config{
		Set: setOf(t, "10.0.0.1"), Sink: newMemorySink(), Interfaces: []string{device},
		Exporters: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")},
	})
	defer stop(t, s)
	l.send(t, 0, 5)
	if _, err := l.conn.Write(make([]byte, 3000)); err != nil { // fragments: by the socket
		t.Fatal(err)
	}
	st := eventually(t, s, "all denied", func(st Status) bool {
		return st.XDP["deny"] == 5 && st.Ledger.Datagrams.Dropped["denied"] == 1
	})
	checkBooks(t, &st.Ledger)
	if st.Ledger.Datagrams.Decoded != 0 {
		t.Errorf("%+v", st.Ledger)
	}
}
