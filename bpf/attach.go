// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Mode is where in the receive path the program runs.
type Mode uint8

const (
	Native  Mode = iota // in the driver, before the kernel makes a socket buffer
	Generic             // behind the driver, on any device; slower
)

func (m Mode) String() string {
	switch m {
	case Native:
		return "native"
	case Generic:
		return "generic"
	}
	return fmt.Sprintf("mode_%d", uint8(m))
}

// ErrOccupied means that the interface already has an XDP program. The error that
// wraps it is an *OccupiedError.
var ErrOccupied = errors.New("the interface already has an XDP program")

// OccupiedError names the program that is in the way.
type OccupiedError struct {
	ID    uint32 // the kernel's program id
	Name  string // empty where this process may not look
	cause error
}

func (e *OccupiedError) Error() string {
	name := e.Name
	if name == "" {
		name = "name not known"
	}
	return fmt.Sprintf("%v: id %d (%s); `bpftool net` shows whose it is", ErrOccupied, e.ID, name)
}

// Unwrap makes errors.Is work for ErrOccupied and for the kernel's EBUSY or EEXIST.
func (e *OccupiedError) Unwrap() []error { return []error{ErrOccupied, e.cause} }

// Attach puts the program on an interface of the calling thread's network
// namespace. Nothing that is there is replaced: the error is ErrOccupied. Others
// wrap what the kernel said: EOPNOTSUPP for a driver without native XDP, ERANGE for
// an MTU that native mode only takes with Config.Frags, ENODEV for an interface
// that does not exist. After an error nothing is attached. Some drivers restart the
// link in native mode, so that traffic stops for seconds.
func (p *Program) Attach(ifindex int, m Mode) error {
	flags := link.XDPDriverMode
	if m == Generic {
		flags = link.XDPGenericMode
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.link != nil {
		return errors.New("attach XDP program: this one is attached already; detach it first")
	}
	l, err := link.AttachXDP(link.XDPOptions{Program: p.prog, Interface: ifindex, Flags: flags})
	if err != nil {
		return fmt.Errorf("attach XDP program in %v mode to interface %d: %w", m, ifindex, diagnose(ifindex, err))
	}
	p.link = l
	return nil
}

// diagnose finds out what the kernel meant. It says EINVAL for an interface that
// does not exist, and a driver can say EBUSY for reasons of its own.
func diagnose(ifindex int, err error) error {
	id, name, look := Attached(ifindex)
	switch {
	case errors.Is(look, unix.ENODEV):
		return look
	case look == nil && id != 0 && (errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST)):
		return &OccupiedError{ID: id, Name: name, cause: err}
	}
	return explain(err)
}

// Ifindex is the interface the program is on, or 0 if it is on none: never
// attached, detached, or the device was deleted.
func (p *Program) Ifindex() (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.link == nil {
		return 0, nil
	}
	info, err := p.link.Info()
	if err != nil {
		return 0, fmt.Errorf("look at the XDP link: %w", err)
	}
	return int(info.XDP().Ifindex), nil
}

// Detach takes the program off its interface; it may be attached again. It is no
// error if it is on none, or if the device is gone.
func (p *Program) Detach() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.link == nil {
		return nil
	}
	// The kernel detaches when the last reference to the link goes, and this is the only one.
	err := p.link.Close()
	p.link = nil
	if err != nil {
		return fmt.Errorf("detach XDP program: %w", err)
	}
	return nil
}

// Attached tells which XDP program, ours or another, is on an interface of the
// calling thread's network namespace. id is 0 if none is. name is empty if this
// process may not look at programs (CAP_SYS_ADMIN). The error wraps ENODEV if there
// is no such interface.
func Attached(ifindex int) (id uint32, name string, err error) {
	l, err := netlink.LinkByIndex(ifindex)
	if errors.As(err, new(netlink.LinkNotFoundError)) || errors.Is(err, unix.ENODEV) {
		return 0, "", fmt.Errorf("there is no interface %d: %w", ifindex, unix.ENODEV)
	}
	if err != nil {
		return 0, "", fmt.Errorf("look for an XDP program on interface %d: %w", ifindex, err)
	}
	xdp := l.Attrs().Xdp
	if xdp == nil || !xdp.Attached {
		return 0, "", nil
	}
	if xdp.ProgId == 0 {
		return 0, "", fmt.Errorf("interface %s has an XDP program in the driver and one in the NIC", l.Attrs().Name)
	}
	prog, err := ebpf.NewProgramFromID(ebpf.ProgramID(xdp.ProgId))
	if err != nil {
		return xdp.ProgId, "", nil // gone meanwhile, or not ours to look at; its id is the answer
	}
	defer prog.Close()
	info, err := prog.Info()
	if err != nil {
		return xdp.ProgId, "", nil
	}
	return xdp.ProgId, info.Name, nil
}
