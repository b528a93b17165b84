// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/portolan/portolan/bpf"
	"github.com/portolan/portolan/ingest/xsk"
)

// The frames of one AF_XDP socket, as the daemon opens it.
const (
	framesPerQueue = 8192
	smallFrame     = 2048 // bytes
	largeFrame     = 4096
	// overhead is what a frame holds besides the MTU: an Ethernet header and two
	// VLAN tags.
	overhead = 14 + 2*4
)

// frameSize is the place that a frame needs in the memory of a socket.
func frameSize(mtu int) int {
	if mtu+overhead > xsk.MaxFrame(smallFrame) {
		return largeFrame
	}
	return smallFrame
}

// tryLadder climbs the receive ladder on queue 0 of an interface of the calling
// thread's network namespace, in the order of the daemon, and takes everything
// away again. The program looks for no port, so that no packet is steered. reason
// tells why not a rung above.
func tryLadder(a *netlink.LinkAttrs) (rung, reason string) {
	var refusals []string
	for _, mode := range []bpf.Mode{bpf.Native, bpf.Generic} {
		rung, refused := tryMode(a, mode)
		for _, err := range refused {
			refusals = append(refusals, err.Error())
		}
		if rung != "" {
			if len(refusals) == 0 {
				refusals = []string{"the best there is"}
			}
			return rung, strings.Join(refusals, "; ")
		}
		if hopeless(errors.Join(refused...)) {
			break
		}
	}
	return rungUDP, strings.Join(refusals, "; ")
}

// hopeless tells that a lower rung would be refused just the same: the interface
// is taken, or the refusal is about this process.
func hopeless(err error) bool {
	return errors.Is(err, bpf.ErrOccupied) || errors.Is(err, bpf.ErrPrivilege) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOBUFS)
}

// tryMode attaches the program in one mode and opens the best socket there is. It
// returns the rung, empty if there is none, and what was refused on the way.
func tryMode(a *netlink.LinkAttrs, mode bpf.Mode) (rung string, refused []error) {
	program, err := attachIdle(a, mode)
	if err != nil {
		return "", []error{fmt.Errorf("%s XDP: %w", mode, err)}
	}
	defer func() {
		if err := program.Close(); err != nil {
			refused = append(refused, fmt.Errorf("taking the program off again: %w", err))
		}
	}()
	if mode == bpf.Native {
		err := trySocket(a, program, xsk.ZeroCopy)
		if err == nil {
			return rungZeroCopy, nil
		}
		refused = append(refused, fmt.Errorf("zero-copy: %w", err))
		if hopeless(err) {
			return "", refused
		}
	}
	if err := trySocket(a, program, xsk.Copy); err != nil {
		return "", append(refused, fmt.Errorf("%s XDP, copy: %w", mode, err))
	}
	if mode == bpf.Native {
		return rungCopy, refused
	}
	return rungGeneric, refused
}

// attachIdle attaches the program, without a port to steer, in the form for
// frames of several buffers where the MTU demands it.
func attachIdle(a *netlink.LinkAttrs, mode bpf.Mode) (*bpf.Program, error) {
	c := bpf.Config{MaxFrame: xsk.MaxFrame(frameSize(a.MTU)), Queues: max(a.NumRxQueues, 1)}
	for {
		p, err := bpf.Load(c)
		if err != nil {
			return nil, err
		}
		if err = p.Attach(a.Index, mode); err == nil {
			return p, nil
		}
		err = errors.Join(err, p.Close())
		if !errors.Is(err, unix.ERANGE) || c.Frags {
			return nil, err
		}
		c.Frags = true
	}
}

// trySocket opens a socket on queue 0 as the daemon would, hands it to the
// program and closes it.
func trySocket(a *netlink.LinkAttrs, program *bpf.Program, mode xsk.Mode) error {
	s, err := xsk.Open(xsk.Config{Ifindex: a.Index, Mode: mode, Frames: framesPerQueue, FrameSize: frameSize(a.MTU)})
	if err != nil {
		return err
	}
	err = program.Register(0, s.FD())
	if err == nil {
		err = program.Unregister(0)
	}
	return errors.Join(err, s.Close())
}
