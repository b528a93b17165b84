// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bench

import (
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/vishvananda/netlink"
)

// Device is what a device counted since it was made.
type Device struct {
	Received, Transmitted uint64 // frames
	ReceiveDropped        uint64 // rx_dropped
	TransmitDropped       uint64 // tx_dropped
	// Driver holds the driver's own counters by the names that ethtool -S
	// shows. Those of a veth are per queue: rx_queue_0_xdp_redirect.
	Driver map[string]uint64
}

// Queues sums one of the driver's per-queue counters over the queues, by the
// part of its name behind the number: Queues("rx", "xdp_drops").
func (d Device) Queues(direction, name string) (sum uint64) {
	for key, n := range d.Driver {
		rest, ok := strings.CutPrefix(key, direction+"_queue_")
		if !ok {
			continue
		}
		if _, counter, _ := strings.Cut(rest, "_"); counter == name {
			sum += n
		}
	}
	return sum
}

// Counters are those of both ends of a Rig.
type Counters struct {
	Sender, Receiver Device
}

// Counters reads all counters. It reads them one after another, so they add up
// only once nothing is under way.
func (r *Rig) Counters() (c Counters, err error) {
	s, errS := r.Sender.counters()
	d, errR := r.Receiver.counters()
	return Counters{Sender: s, Receiver: d}, errors.Join(errS, errR)
}

func (e *End) counters() (d Device, err error) {
	err = e.NS.Do(func() error {
		link, err := netlink.LinkByName(e.Device)
		if err != nil {
			return err
		}
		if s := link.Attrs().Statistics; s != nil {
			d.Received, d.Transmitted = s.RxPackets, s.TxPackets
			d.ReceiveDropped, d.TransmitDropped = s.RxDropped, s.TxDropped
		}
		d.Driver, err = driverCounters(e.Device)
		return err
	})
	if err != nil {
		return d, fmt.Errorf("read the counters of %s: %w", e.Device, err)
	}
	return d, nil
}

// Since is what was counted after an earlier reading.
func (c Counters) Since(before Counters) Counters {
	return Counters{Sender: c.Sender.since(before.Sender), Receiver: c.Receiver.since(before.Receiver)}
}

func (d Device) since(before Device) Device {
	driver := maps.Clone(d.Driver)
	for key := range driver {
		driver[key] -= before.Driver[key]
	}
	return Device{
		Received:        d.Received - before.Received,
		Transmitted:     d.Transmitted - before.Transmitted,
		ReceiveDropped:  d.ReceiveDropped - before.ReceiveDropped,
		TransmitDropped: d.TransmitDropped - before.TransmitDropped,
		Driver:          driver,
	}
}

// Lost is how many frames the pair took from the sender and gave to nobody: what
// was sent less Lost is what the receiver's XDP program, or its IP stack, passed
// on. A frame that a program redirects into a full AF_XDP ring is lost here too;
// one that a program drops by its own decision is in Discarded.
//
// A ring of the receiving end that is full is counted twice by the driver for
// XDP frames (as rx_dropped there and as tx_dropped at the sender), and only
// as tx_dropped for those of sockets, so the double count is taken out.
func (c Counters) Lost() uint64 {
	return c.Receiver.ReceiveDropped + c.Sender.TransmitDropped - c.Sender.Queues("tx", "xdp_xmit_errors")
}

// Discarded is how many frames the receiver's XDP program dropped by decision.
func (c Counters) Discarded() uint64 { return c.Receiver.Queues("rx", "xdp_drops") }
