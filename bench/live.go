// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/portolan/portolan/netns"
)

// LiveConfig is what a Live generator sends, and where.
type LiveConfig struct {
	Workload  Workload
	NS        *netns.NS // where Interface is; nil is the caller's namespace
	Interface string    // the end of a veth pair to send through
	// DstMAC is the address of the other end. SrcMAC is that of Interface if nil.
	SrcMAC, DstMAC net.HardwareAddr
	Src, Dst       netip.AddrPort // IPv4
	// CPUs are those that the sending thread may use; empty leaves it to the
	// kernel. The other end's receive interrupt runs where the sender runs,
	// and the pair's queue is the sender's CPU modulo their number.
	CPUs []int
}

// ErrNotVeth means that a Live generator was to send through a device that is no
// end of a veth pair. It floods, so it is kept from real networks.
var ErrNotVeth = errors.New("not a veth device")

// ErrNotTaken means that frames of a Live generator vanished in the device.
var ErrNotTaken = errors.New("the other end of the veth pair does not take live frames: turn generic receive offload on there (ethtool -K DEVICE gro on), or attach a native XDP program")

// Live sends frames from inside the kernel, up to some million per second and
// CPU. The frames bypass the sending namespace's IP stack and have a UDP
// checksum of 0. The kernel makes them in batches of 64 and hands over the CPU
// between them.
//
// The other end must have its receive interrupt (NAPI) on: by a native XDP program, or
// generic receive offload, as a Rig's receiver has. Otherwise the device
// drops every frame and counts it nowhere; Run then returns ErrNotTaken.
type Live struct {
	config  LiveConfig
	plan    *plan
	objects liveObjects
	frame   []byte
	hold    hold
}

// NewLive loads the program. It needs root (CAP_BPF, CAP_NET_ADMIN, and
// CAP_SYS_ADMIN to enter a namespace) and kernel 5.18.
func NewLive(c LiveConfig) (*Live, error) {
	p, err := newPlan(c.Workload)
	if err != nil {
		return nil, err
	}
	if !c.Src.Addr().Is4() || !c.Dst.Addr().Is4() {
		return nil, fmt.Errorf("live frames from %v to %v: both addresses must be IPv4", c.Src, c.Dst)
	}
	if len(c.DstMAC) != 6 || c.SrcMAC != nil && len(c.SrcMAC) != 6 {
		return nil, fmt.Errorf("live frames from %v to %v: hardware addresses have 6 bytes", c.SrcMAC, c.DstMAC)
	}
	device, err := veth(c.NS, c.Interface)
	if err != nil {
		return nil, fmt.Errorf("live frames through %s: %w", c.Interface, err)
	}
	if c.SrcMAC == nil {
		c.SrcMAC = device.HardwareAddr
	}
	l := &Live{config: c, plan: p}
	l.frame = frame(c.SrcMAC, c.DstMAC, c.Src, c.Dst, p.appendDatagram(nil, 0))
	if len(l.frame) > device.MTU+ethHeader {
		return nil, fmt.Errorf("live frames through %s: %d bytes are too long for an MTU of %d; send fewer records per datagram", c.Interface, len(l.frame), device.MTU)
	}
	if err := l.load(device.Index); err != nil {
		return nil, fmt.Errorf("load the live frame program: %w", err)
	}
	return l, nil
}

// veth looks a device up and makes sure of what it is.
func veth(ns *netns.NS, name string) (attrs *netlink.LinkAttrs, err error) {
	err = ns.Do(func() error {
		device, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		if device.Type() != "veth" {
			return fmt.Errorf("%w but one of kind %q: live frames are only sent into veth pairs", ErrNotVeth, device.Type())
		}
		attrs = device.Attrs()
		return nil
	})
	return attrs, err
}

func (l *Live) load(ifindex int) error {
	if err := rlimit.RemoveMemlock(); err != nil {
		return err
	}
	spec, err := loadLive()
	if err != nil {
		return err
	}
	p := l.plan
	err = spec.Variables[liveVarPlan].Set(livePlan{
		Seed:          p.Seed,
		Records:       uint32(p.Records),
		InternalBase:  p.internal,
		InternalCount: p.internalCount,
		ExternalBase:  p.external,
		ExternalCount: p.externalCount,
		NoneBelow:     p.noneBelow,
		OneBelow:      p.oneBelow,
		ServiceBase:   uint32(p.ServicePort),
		ServiceCount:  uint32(p.Services),
		ClientBase:    uint32(p.ClientPort),
		ClientCount:   uint32(p.Clients),
		Ifindex:       uint32(ifindex),
	})
	if err != nil {
		return fmt.Errorf("set %s: %w", liveVarPlan, err)
	}
	if err := spec.LoadAndAssign(&l.objects, nil); err != nil {
		return err
	}
	if err := l.hold.attach(l.objects.PortolanLive); err != nil {
		return errors.Join(err, l.objects.Close())
	}
	return nil
}

// livePiece is how many frames one system call sends at most. It takes some
// milliseconds and cannot be interrupted; a call costs some 30 µs beside its frames.
const livePiece = 1 << 14

// Run sends.
func (l *Live) Run(ctx context.Context, load Load) (Result, error) {
	pace, err := newPacer(load)
	if err != nil {
		return Result{}, err
	}
	first, err := l.Sent()
	if err != nil {
		return Result{}, err
	}
	err = l.thread(func() error {
		before, err := l.taken()
		if err != nil {
			return err
		}
		for {
			n := pace.wait(ctx, livePiece)
			if n == 0 {
				break
			}
			if err := l.send(first+pace.sent, n); err != nil {
				return err
			}
			pace.done(n)
		}
		after, err := l.taken()
		if err == nil && after-before < pace.sent {
			err = fmt.Errorf("%d of %d frames vanished in %s: %w", pace.sent-(after-before), pace.sent, l.config.Interface, ErrNotTaken)
		}
		return errors.Join(err, ctx.Err())
	})
	next, readErr := l.Sent()
	sent := next - first
	return Result{
		First: first, Sent: sent, Records: sent * uint64(l.plan.Records), Elapsed: pace.elapsed,
	}, errors.Join(err, readErr)
}

// thread runs fn in the namespace, on a thread that is thrown away afterwards
// and may thus be pinned.
func (l *Live) thread(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked, so the thread ends with the goroutine
		done <- l.config.NS.Do(func() error {
			if err := pin(l.config.CPUs); err != nil {
				return err
			}
			return fn()
		})
	}()
	return <-done
}

// taken is how many frames the device has handed to the other end, or has dropped
// because its ring was full. It is called in the device's namespace.
func (l *Live) taken() (uint64, error) {
	driver, err := driverCounters(l.config.Interface)
	d := Device{Driver: driver}
	return d.Queues("tx", "xdp_xmit") + d.Queues("tx", "xdp_xmit_errors"), err
}

// pin lets the calling thread run on some CPUs only.
func pin(cpus []int) error {
	if len(cpus) == 0 {
		return nil
	}
	var set unix.CPUSet
	for _, c := range cpus {
		set.Set(c)
	}
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("run on CPUs %v: %w", cpus, err)
	}
	return nil
}

// send sends n frames from number first on. The limit is the program's and not
// the kernel's repeat count: a signal makes that start again.
func (l *Live) send(first, n uint64) error {
	if err := l.objects.Controls.Put(uint32(0), liveControl{Next: first, Limit: first + n}); err != nil {
		return fmt.Errorf("direct the live frame program: %w", err)
	}
	_, err := l.objects.PortolanLive.Run(&ebpf.RunOptions{
		Data:   l.frame,
		Repeat: uint32(n),
		Flags:  unix.BPF_F_TEST_XDP_LIVE_FRAMES,
	})
	if err != nil {
		return fmt.Errorf("run the live frame program (kernel 5.18 or later is needed): %w", err)
	}
	next, err := l.Sent()
	if err == nil && next != first+n {
		err = fmt.Errorf("the live frame program sent %d frames of %d", next-first, n)
	}
	return err
}

// Sent is how many frames were sent in all runs together. Those that the veth
// then dropped are among them.
func (l *Live) Sent() (uint64, error) {
	var c liveControl
	if err := l.objects.Controls.Lookup(uint32(0), &c); err != nil {
		return 0, fmt.Errorf("read what the live frame program has sent: %w", err)
	}
	return c.Next, nil
}

// Close unloads the program.
func (l *Live) Close() error { return errors.Join(l.hold.close(), l.objects.Close()) }

// hold keeps a program in the kernel's list of XDP programs in use, by having
// it on the loopback of an empty namespace, where there is nothing to run it on.
// The kernel changes its XDP dispatcher whenever a program enters or leaves that
// list and waits for all CPUs each time. Without a hold, that is 15 to 45 ms for
// every run over more than one frame; with it, a run costs about 30 µs.
type hold struct {
	ns   *netns.NS
	link link.Link
}

func (h *hold) attach(p *ebpf.Program) (err error) {
	if h.ns, err = netns.New(); err != nil {
		return err
	}
	err = h.ns.Do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		h.link, err = link.AttachXDP(link.XDPOptions{
			Program: p, Interface: lo.Attrs().Index, Flags: link.XDPGenericMode,
		})
		return err
	})
	if err != nil {
		return errors.Join(fmt.Errorf("hold the live frame program: %w", err), h.ns.Close())
	}
	return nil
}

func (h *hold) close() error { return errors.Join(h.link.Close(), h.ns.Close()) }
