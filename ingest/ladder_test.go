// SPDX-License-Identifier: Apache-2.0

//go:build linux

package ingest

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/google/go-cmp/cmp"

	"github.com/portolan/portolan/ingest/flow"
	"github.com/portolan/portolan/ingest/xsk"
)

// occupy puts a program of somebody else on the device.
func (l *lab) occupy(t *testing.T) {
	t.Helper()
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "somebody_else", Type: ebpf.XDP, License: "MIT",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { prog.Close() })
	if err := l.receiver.Do(func() error {
		dev, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		x, err := link.AttachXDP(link.XDPOptions{Program: prog, Interface: dev.Index})
		if err == nil {
			t.Cleanup(func() { x.Close() })
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

func TestOccupiedInterface(t *testing.T) {
	l := newLab(t, 1)
	l.occupy(t)
	// As a wish: everything by UDP, with the reason.
	s := l.start(t, Config{Set: setOf(t, "10.0.0.1"), Sink: newMemorySink(), Interfaces: []string{device}})
	l.send(t, 0, 3)
	st := eventually(t, s, "3 datagrams", received(3))
	if p := st.Paths[0]; p.State != "off" || p.Path != "udp" || !strings.Contains(p.Reason, "somebody_else") {
		t.Errorf("%+v", p)
	}
	stop(t, s)

	// As a demand: refused, and nothing is left open.
	s, err := New(Config{Set: setOf(t, "10.0.0.1"), Sink: newMemorySink(), Interfaces: []string{device}, Require: RequireGeneric, Inside: l.receiver.Do})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); !errors.Is(err, ErrRequirement) || !strings.Contains(err.Error(), "somebody_else") {
		t.Fatalf("Start: %v", err)
	}
}

// A queue that another socket holds is shown, and no demand is met by the others.
func TestOccupiedQueue(t *testing.T) {
	l := newLab(t, 2)
	var other *xsk.Socket
	if err := l.receiver.Do(func() error {
		dev, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		other, err = xsk.Open(xsk.Config{Ifindex: dev.Index, Queue: 1, Mode: xsk.Copy})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	c := Config{Set: setOf(t, "10.0.0.1"), Sink: newMemorySink(), Interfaces: []string{device}}
	s := l.start(t, c)
	var off int
	for _, p := range s.Status().Paths {
		if p.State == "off" && p.Queue != nil && *p.Queue == 1 && strings.Contains(p.Reason, "another socket") {
			off++
		}
	}
	if off != 1 {
		t.Errorf("%+v", s.Status().Paths)
	}
	stop(t, s)
	c.Require, c.Inside = RequireCopy, l.receiver.Do
	demanding, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := demanding.Start(); !errors.Is(err, ErrRequirement) || !strings.Contains(err.Error(), "queue 1") {
		t.Fatalf("Start: %v", err)
	}
}

func TestStartRefusals(t *testing.T) {
	l := newLab(t, 1)
	base := Config{Set: setOf(t, "10.0.0.1"), Sink: newMemorySink(), Inside: l.receiver.Do}
	for _, c := range []struct {
		name   string
		change func(*Config)
		want   error
	}{
		{"interface that does not exist", func(c *Config) { c.Interfaces = []string{"nosuch0"} }, ErrNoInterface},
		{"zero-copy on a veth", func(c *Config) { c.Interfaces, c.Require = []string{device}, RequireZeroCopy }, ErrRequirement},
		{"a demand without an interface", func(c *Config) { c.Require = RequireCopy }, ErrRequirement},
		{"an address the machine does not have", func(c *Config) { c.Listen = []netip.AddrPort{netip.MustParseAddrPort("203.0.113.1:2055")} }, syscall.EADDRNOTAVAIL},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := base
			c.change(&config)
			s, err := New(config)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Start(); !errors.Is(err, c.want) {
				t.Fatalf("Start: %v, want %v", err, c.want)
			}
		})
	}
	// After every refusal the port and the device are free: a start works.
	base.Interfaces = []string{device}
	s := l.start(t, base)
	defer stop(t, s)
	if st := s.Status(); st.Paths[0].Path != "copy" {
		t.Errorf("%+v", st.Paths)
	}

	t.Run("a port that is in use", func(t *testing.T) {
		second, err := New(base)
		if err != nil {
			t.Fatal(err)
		}
		if err := second.Start(); !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatalf("Start: %v", err)
		}
	})
}

func TestConfigIsChecked(t *testing.T) {
	for _, c := range []Config{
		{},
		{Set: setOf(t), Sink: newMemorySink(), Interval: time.Minute},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("accepted %+v", c)
		}
	}
	if _, err := ParseRequirement("fast"); err == nil {
		t.Error("accepted the rung fast")
	}
	for i, name := range []string{"", "generic", "copy", "zc"} {
		if r, err := ParseRequirement(name); err != nil || r != Requirement(i) {
			t.Error(fmt.Sprint(name, r, err))
		}
	}
}

// brokenInput is an input that fails for good.
type brokenInput struct{}

func (*brokenInput) receive(*burst, time.Duration) error { return errors.New("the ring is broken") }
func (*brokenInput) release()                            {}
func (*brokenInput) wake()                               {}
func (*brokenInput) close() error                        { return nil }
func (*brokenInput) drops() map[string]uint64            { return nil }

// A worker that ends turns the traffic of its input away: nobody reads it any more.
func TestBrokenInputTurnsItsTrafficAway(t *testing.T) {
	c := Config{Set: setOf(t, "10.0.0.1"), Sink: newMemorySink()}
	if err := c.complete(); err != nil {
		t.Fatal(err)
	}
	left := 0
	s := &source{
		worker: newWorker(newShared(&c, flow.Limits{}), make(chan struct{}, 1)),
		in:     &brokenInput{}, path: PathCopy, cpu: -1,
		leave: func() error { left++; return nil },
	}
	ended := make(chan struct{})
	go func() { s.run(time.Now, make(chan struct{})); close(ended) }()
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Fatal("the worker goes on with a broken input")
	}
	if left != 1 {
		t.Errorf("traffic was turned away %d times", left)
	}
	if st := s.status(); st.State != "failed" || st.Reason != "the ring is broken" {
		t.Errorf("%+v", st)
	}
}

// Every format is received on every port that is listened on, through a ring and
// through sockets: sFlow has a port of its own by custom, and nothing tells an
// administrator of it.
func TestEveryFormatOnTwoPorts(t *testing.T) {
	l := newLab(t, 1)
	records := []flow.Record{tcp("10.0.0.1", 22, "10.0.0.2", 50000), tcp("10.0.0.1", 23, "8.8.8.8", 50001)}
	at := time.Now()
	h := flow.IPFIXHeader{ExportTime: at.UnixNano()}
	datagrams := [][]byte{v5(0, at, records...), flow.AppendIPFIX(flow.AppendIPFIXTemplates(nil, h), h, records),
		flow.AppendSFlow(nil, flow.SFlowHeader{Agent: addr(exporterAddr), Sampling: 1}, records)}
	datagrams = append(datagrams, v9(at, records...)...)
	byVersion := map[string]uint64{"v1": 0, "v5": 4, "v7": 0, "v9": 4, "ipfix": 4, "sflow5": 4}
	for _, path := range []struct {
		name       string
		interfaces []string
	}{{"udp", nil}, {"copy", []string{device}}} {
		t.Run(path.name, func(t *testing.T) {
			c := Config{Set: setOf(t, "10.0.0.1", "10.0.0.2"), Sink: newMemorySink(), Interfaces: path.interfaces}
			for _, port := range []uint16{DefaultPort, 6343} {
				c.Listen = append(c.Listen, netip.AddrPortFrom(netip.IPv6Unspecified(), port))
			}
			s := l.start(t, c)
			for _, to := range []string{":2055", ":6343"} {
				var conn net.Conn
				if err := l.exporter.Do(func() (err error) {
					conn, err = net.Dial("udp", receiverAddr+to)
					return err
				}); err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				for _, d := range datagrams {
					sendTo(t, conn, d)
				}
			}
			sent := uint64(2 * len(datagrams))
			st := eventually(t, s, "every datagram", received(sent))
			checkBooks(t, &st.Ledger)
			if diff := cmp.Diff(byVersion, st.Ledger.ByVersion); diff != "" || st.Ledger.ByPath[path.name] != sent || st.Ledger.Datagrams.Decoded != sent {
				t.Errorf("%s\n%+v", diff, st.Ledger)
			}
			if len(st.Exporters) != 4 || st.Ledger.Posts.Acknowledged != 3 {
				t.Errorf("exporters %+v\n%+v", st.Exporters, st.Ledger.Posts)
			}
			stop(t, s)
		})
	}
}
