// SPDX-License-Identifier: Apache-2.0

//go:build linux

package netns

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/vishvananda/netlink"
)

// VethOptions describes a pair. The zero value is one queue, the kernel's MTU
// and no addresses.
type VethOptions struct {
	AddrA, AddrB []netip.Prefix // addresses with their prefix lengths
	Queues       int            // transmit and receive queues of each end, 0 means 1
	MTU          int            // bytes, 0 means the kernel's 1500
}

// Veth makes a pair of virtual Ethernet devices, nameA in a and nameB in b, and
// brings both up. Their namespaces do no IPv6 address configuration of their
// own, so that only the caller's traffic crosses the pair.
func Veth(a *NS, nameA string, b *NS, nameB string, o VethOptions) error {
	queues := max(o.Queues, 1)
	err := a.Do(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = nameA, o.MTU
		attrs.NumTxQueues, attrs.NumRxQueues = queues, queues
		link := netlink.NewVeth(attrs)
		link.PeerName = nameB
		link.PeerNamespace = netlink.NsFd(int(b.fd))
		link.PeerNumTxQueues, link.PeerNumRxQueues = uint32(queues), uint32(queues)
		link.PeerMTU = uint32(o.MTU)
		return netlink.LinkAdd(link)
	})
	if err != nil {
		return fmt.Errorf("make veth pair %s–%s: %w", nameA, nameB, err)
	}
	if err := a.up(nameA, o.AddrA); err != nil {
		return err
	}
	if err := b.up(nameB, o.AddrB); err != nil {
		return err
	}
	return a.waitUp(nameA)
}

// up configures one device and sets it up.
func (n *NS) up(name string, addrs []netip.Prefix) error {
	err := n.Do(func() error {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		// No router solicitations, no duplicate address detection.
		for _, key := range []string{"autoconf", "accept_ra", "accept_dad"} {
			path := fmt.Sprintf("/proc/sys/net/ipv6/conf/%s/%s", name, key)
			if err := os.WriteFile(path, []byte("0"), 0); err != nil && !os.IsNotExist(err) {
				return err
			}
		}
		for _, p := range addrs {
			ip := &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
			if err := netlink.AddrAdd(link, &netlink.Addr{IPNet: ip}); err != nil {
				return fmt.Errorf("add address %s: %w", p, err)
			}
		}
		return netlink.LinkSetUp(link)
	})
	if err != nil {
		return fmt.Errorf("set up device %s: %w", name, err)
	}
	return nil
}

// waitUp waits until the device's carrier is there: a frame sent before is lost.
func (n *NS) waitUp(name string) error {
	deadline := time.Now().Add(5 * time.Second)
	for {
		var state netlink.LinkOperState
		err := n.Do(func() error {
			link, err := netlink.LinkByName(name)
			if err == nil {
				state = link.Attrs().OperState
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("look at device %s: %w", name, err)
		}
		if state == netlink.OperUp {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("device %s has no carrier after 5 s", name)
		}
		time.Sleep(time.Millisecond)
	}
}
