// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bpf

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/portolan/portolan/netns"
)

var modes = []Mode{Native, Generic}

// On a live interface: exports pass to the UDP socket while no AF_XDP socket is
// there, go to it while one is, and are dropped when their exporter is denied.
func TestSteerLive(t *testing.T) {
	for _, m := range modes {
		t.Run(m.String(), func(t *testing.T) {
			c := newCable(t, netns.VethOptions{})
			p := loaded(t, testConfig())
			if err := c.attach(p, m); err != nil {
				t.Fatal(err)
			}
			if i, err := p.Ifindex(); i != c.ifindex || err != nil {
				t.Errorf("Ifindex: %d, %v; want %d", i, err, c.ifindex)
			}
			udp, other := c.listen(t, testPort), c.listen(t, testPort+1)

			c.send(t, 20, testPort)
			if got := receive(t, udp, 20, 2*time.Second); got != 20 {
				t.Errorf("empty slot: %d of 20 exports reached the UDP socket", got)
			}
			if got := waitFor(t, p, PassNoSocket, 20); got != 20 {
				t.Errorf("%v: %d, want 20", PassNoSocket, got)
			}

			if err := p.Register(0, c.openXSK(t)); err != nil {
				t.Fatal(err)
			}
			c.send(t, 20, testPort)
			if got := waitFor(t, p, Redirect, 20); got != 20 {
				t.Errorf("%v: %d, want 20", Redirect, got)
			}
			c.send(t, 5, testPort+1)
			if got := receive(t, other, 5, 2*time.Second); got != 5 {
				t.Errorf("%d of 5 datagrams to another port arrived", got)
			}
			if err := p.Unregister(0); err != nil {
				t.Fatal(err)
			}

			if err := p.SetExporters([]netip.Prefix{netip.PrefixFrom(peer4, 32)}); err != nil {
				t.Fatal(err)
			}
			c.send(t, 20, testPort)
			if got := waitFor(t, p, Deny, 20); got != 20 {
				t.Errorf("%v: %d, want 20", Deny, got)
			}
			if got := receive(t, udp, 1, 50*time.Millisecond); got != 0 {
				t.Error("an export that was redirected or denied reached the UDP socket as well")
			}
		})
	}
}

// The kernel's test run answers what the NIC would: 4 with a socket in the slot, 2
// without.
func TestSlot(t *testing.T) {
	forms(t, func(t *testing.T, config Config, p *Program) {
		c := newCable(t, netns.VethOptions{})
		f := frame{from: peer4, to: local4}.bytes()
		step := func(what string, err error, want Exit) {
			t.Helper()
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if got := runFrame(t, p, f); got != want {
				t.Errorf("%s: %v, want %v", what, got, want)
			}
		}
		fd := c.openXSK(t)
		step("nothing", nil, PassNoSocket)
		step("another queue's socket", p.Register(1, fd), PassNoSocket)
		step("socket", p.Register(0, fd), Redirect)
		if got := runFrame(t, p, frame{from: peer4, to: local4, payload: 1792}.bytes()); got != PassLong {
			t.Errorf("too long for the socket: %v", got)
		}
		step("the same again", p.Register(0, fd), Redirect)
		step("unregistered", p.Unregister(0), PassNoSocket)
		step("unregistered twice", p.Unregister(0), PassNoSocket)
		for _, queue := range []int{-1, config.Queues} {
			if p.Register(queue, fd) == nil || p.Unregister(queue) == nil {
				t.Errorf("queue %d of %d was taken", queue, config.Queues)
			}
		}
		if err := p.Register(0, 0); err == nil {
			t.Error("a file that is no socket was taken")
		}
	})
}

func TestOccupied(t *testing.T) {
	for _, first := range modes {
		for _, second := range modes {
			t.Run(first.String()+" then "+second.String(), func(t *testing.T) {
				c := newCable(t, netns.VethOptions{})
				p, q := loaded(t, testConfig()), loaded(t, testConfig())
				if err := c.attach(p, first); err != nil {
					t.Fatal(err)
				}
				id, err := p.ID()
				if err != nil {
					t.Fatal(err)
				}
				err = c.attach(q, second)
				var occupied *OccupiedError
				if !errors.Is(err, ErrOccupied) || !errors.As(err, &occupied) {
					t.Fatalf("a second program: %v", err)
				}
				if occupied.ID != id || occupied.Name != steerProgPortolanSteer {
					t.Errorf("the owner is %d %q, not %v", id, steerProgPortolanSteer, err)
				}
				if want := pick(first == second, unix.EBUSY, unix.EEXIST); !errors.Is(err, want) {
					t.Errorf("%v does not wrap %v", err, want)
				}
				if got, name := c.attached(t); got != id || name != steerProgPortolanSteer {
					t.Errorf("on the interface now: %d %q, want %d", got, name, id)
				}
				if err := c.attach(p, first); err == nil || errors.Is(err, ErrOccupied) {
					t.Errorf("attached twice: %v", err)
				}
				if err := p.Detach(); err != nil {
					t.Fatal(err)
				}
				if got, _ := c.attached(t); got != 0 {
					t.Errorf("program %d is there after Detach", got)
				}
				if err := c.attach(q, second); err != nil {
					t.Errorf("after the first has gone: %v", err)
				}
			})
		}
	}
}

// A program that somebody put there with netlink, as `ip link set xdp` does.
func TestOccupiedByNetlink(t *testing.T) {
	c := newCable(t, netns.VethOptions{})
	p, q := loaded(t, testConfig()), loaded(t, testConfig())
	c.in(t, func() error {
		l, err := netlink.LinkByIndex(c.ifindex)
		if err != nil {
			return err
		}
		return netlink.LinkSetXdpFd(l, p.prog.FD())
	})
	id, _ := c.attached(t)
	if id == 0 {
		t.Fatal("netlink attached nothing")
	}
	for _, m := range modes {
		var occupied *OccupiedError
		if err := c.attach(q, m); !errors.As(err, &occupied) || occupied.ID != id {
			t.Errorf("%v: %v", m, err)
		}
	}
	if got, _ := c.attached(t); got != id {
		t.Errorf("on the interface: %d, want %d", got, id)
	}
}

// A large MTU is refused in native mode by the plain form and taken by frags.
func TestLargeMTU(t *testing.T) {
	c := newCable(t, netns.VethOptions{MTU: 9000})
	p := loaded(t, testConfig())
	if err := c.attach(p, Native); !errors.Is(err, unix.ERANGE) {
		t.Fatalf("MTU 9000: %v, want ERANGE", err)
	}
	if id, _ := c.attached(t); id != 0 {
		t.Errorf("program %d was left behind", id)
	}
	if i, err := p.Ifindex(); i != 0 || err != nil {
		t.Errorf("Ifindex after a failed Attach: %d, %v", i, err)
	}
	config := testConfig()
	config.Frags = true
	frags := loaded(t, config)
	if err := c.attach(frags, Native); err != nil {
		t.Fatal(err)
	}
	if _, name := c.attached(t); name != steerProgPortolanFrags {
		t.Errorf("attached: %q, want %q", name, steerProgPortolanFrags)
	}
	if err := frags.Detach(); err != nil {
		t.Fatal(err)
	}
	if err := c.attach(p, Generic); err != nil {
		t.Errorf("the program whose native Attach failed, in generic mode: %v", err)
	}
}

func TestDeletedDevice(t *testing.T) {
	for _, m := range modes {
		t.Run(m.String(), func(t *testing.T) {
			c := newCable(t, netns.VethOptions{})
			p := loaded(t, testConfig())
			if err := c.attach(p, m); err != nil {
				t.Fatal(err)
			}
			c.in(t, func() error {
				l, err := netlink.LinkByIndex(c.ifindex)
				if err != nil {
					return err
				}
				return netlink.LinkDel(l)
			})
			if i, err := p.Ifindex(); i != 0 || err != nil {
				t.Errorf("Ifindex: %d, %v", i, err)
			}
			if err := p.Detach(); err != nil {
				t.Error("Detach:", err)
			}
			if err := c.attach(p, m); !errors.Is(err, unix.ENODEV) {
				t.Errorf("Attach: %v, want ENODEV", err)
			}
			err := c.ours.Do(func() error { _, _, err := Attached(c.ifindex); return err })
			if !errors.Is(err, unix.ENODEV) {
				t.Errorf("Attached: %v, want ENODEV", err)
			}
		})
	}
}

// Loopback has no native XDP: the next rung of the ladder must be told why.
func TestNoNativeXDP(t *testing.T) {
	needRoot(t)
	const loopback = 1
	ns := newNS(t)
	p := loaded(t, testConfig())
	err := ns.Do(func() error { return p.Attach(loopback, Native) })
	if !errors.Is(err, unix.EOPNOTSUPP) {
		t.Fatalf("native: %v, want EOPNOTSUPP", err)
	}
	if err := ns.Do(func() error { return p.Attach(loopback, Generic) }); err != nil {
		t.Errorf("generic: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Error("Close:", err)
	}
	if err := p.Close(); err != nil {
		t.Error("Close once more:", err)
	}
}
