// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bench

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/portolan/portolan/netns"
)

// RigConfig describes a Rig. The zero value is one queue, the kernel's MTU and
// IPv4 only.
type RigConfig struct {
	Queues int // of each end, 0 means 1
	MTU    int // bytes, 0 means 1500
	// IPv6 leaves it on. Its multicast reports then cross the pair unasked,
	// and Counters have a few frames more than were sent.
	IPv6 bool
	// ThreadedNAPI gives the receiver's receive interrupt a kernel thread of
	// its own for each queue, instead of the sender's time on the sender's CPU.
	ThreadedNAPI bool
}

// Rig is two network namespaces of our own with a veth pair between them: one
// to send from, one to receive in. The machine's own namespace is not touched.
// The namespaces have no names, so that they end with the process at the latest.
type Rig struct {
	Sender, Receiver End
}

// End is one side of a Rig.
type End struct {
	NS      *netns.NS
	Device  string
	Ifindex int
	MAC     net.HardwareAddr
	Addr    netip.Addr // 192.0.2.1 at the sender, 192.0.2.2 at the receiver
}

// NewRig makes namespaces and pair. The receiver has generic receive offload on,
// so that its receive interrupt is there for live frames without any XDP program,
// and both ends know each other's hardware address, so that no datagram waits
// for ARP. It needs root; netns.Supported tells.
func NewRig(c RigConfig) (_ *Rig, err error) {
	r := &Rig{
		Sender:   End{Device: "send0", Addr: netip.MustParseAddr("192.0.2.1")},
		Receiver: End{Device: "recv0", Addr: netip.MustParseAddr("192.0.2.2")},
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("make a rig: %w", err), r.Close())
		}
	}()
	if r.Sender.NS, err = netns.New(); err != nil {
		return nil, err
	}
	if r.Receiver.NS, err = netns.New(); err != nil {
		return nil, err
	}
	if !c.IPv6 {
		if err := errors.Join(r.Sender.NS.Do(noIPv6), r.Receiver.NS.Do(noIPv6)); err != nil {
			return nil, err
		}
	}
	err = netns.Veth(r.Sender.NS, r.Sender.Device, r.Receiver.NS, r.Receiver.Device, netns.VethOptions{
		AddrA:  []netip.Prefix{netip.PrefixFrom(r.Sender.Addr, 24)},
		AddrB:  []netip.Prefix{netip.PrefixFrom(r.Receiver.Addr, 24)},
		Queues: c.Queues,
		MTU:    c.MTU,
	})
	if err != nil {
		return nil, err
	}
	if err := errors.Join(r.Sender.look(), r.Receiver.look()); err != nil {
		return nil, err
	}
	if err := errors.Join(r.Sender.knows(r.Receiver), r.Receiver.knows(r.Sender)); err != nil {
		return nil, err
	}
	err = r.Receiver.NS.Do(func() error {
		if err := receiveOffload(r.Receiver.Device, true); err != nil {
			return err
		}
		if c.ThreadedNAPI {
			return threadedNAPI(r.Receiver.Device)
		}
		return nil
	})
	return r, err
}

// threadedNAPI turns threads on for a device of the calling thread's namespace,
// whose devices only a sysfs mounted there shows. The mount is seen by this
// thread alone and goes with it; so it must be one that is thrown away.
func threadedNAPI(device string) error {
	err := unix.Unshare(unix.CLONE_NEWNS)
	if err == nil {
		err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	}
	if err == nil {
		err = unix.Mount("sysfs", "/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	}
	if err == nil {
		err = os.WriteFile("/sys/class/net/"+device+"/threaded", []byte("1"), 0)
	}
	if err != nil {
		return fmt.Errorf("give %s receive threads: %w", device, err)
	}
	return nil
}

// noIPv6 keeps IPv6 off the devices that are yet to come to the namespace.
func noIPv6() error {
	err := os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil // a kernel without it
	}
	return err
}

// look fills in what the kernel chose.
func (e *End) look() error {
	return e.NS.Do(func() error {
		link, err := netlink.LinkByName(e.Device)
		if err != nil {
			return fmt.Errorf("look at %s: %w", e.Device, err)
		}
		e.Ifindex, e.MAC = link.Attrs().Index, link.Attrs().HardwareAddr
		return nil
	})
}

// knows makes a permanent neighbour of the other end.
func (e *End) knows(other End) error {
	return e.NS.Do(func() error {
		err := netlink.NeighSet(&netlink.Neigh{
			LinkIndex: e.Ifindex, State: netlink.NUD_PERMANENT,
			IP: other.Addr.AsSlice(), HardwareAddr: other.MAC,
		})
		if err != nil {
			return fmt.Errorf("tell %s its neighbour: %w", e.Device, err)
		}
		return nil
	})
}

// Live is the configuration of a generator of live frames across the rig, to a
// port of the receiver.
func (r *Rig) Live(w Workload, port uint16) LiveConfig {
	return LiveConfig{
		Workload: w, NS: r.Sender.NS, Interface: r.Sender.Device,
		SrcMAC: r.Sender.MAC, DstMAC: r.Receiver.MAC,
		Src: netip.AddrPortFrom(r.Sender.Addr, port), Dst: netip.AddrPortFrom(r.Receiver.Addr, port),
	}
}

// UDP is the same for a generator of plain datagrams.
func (r *Rig) UDP(w Workload, port uint16) UDPConfig {
	return UDPConfig{Workload: w, NS: r.Sender.NS, Dst: netip.AddrPortFrom(r.Receiver.Addr, port)}
}

// Close removes the pair and lets go of the namespaces, which end once no
// process is in them and nothing holds a socket or program of theirs.
func (r *Rig) Close() error {
	var all error
	if r.Sender.NS != nil {
		err := r.Sender.NS.Do(func() error {
			link, err := netlink.LinkByName(r.Sender.Device)
			if errors.As(err, new(netlink.LinkNotFoundError)) {
				return nil
			}
			if err != nil {
				return err
			}
			return netlink.LinkDel(link) // the other end goes with it
		})
		if err != nil {
			all = fmt.Errorf("remove %s: %w", r.Sender.Device, err)
		}
	}
	for _, e := range []*End{&r.Sender, &r.Receiver} {
		if e.NS != nil {
			all = errors.Join(all, e.NS.Close())
			e.NS = nil
		}
	}
	return all
}
