// SPDX-License-Identifier: Apache-2.0

//go:build linux

package ingest

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/portolan/portolan/bpf"
	"github.com/portolan/portolan/ingest/xsk"
)

// Requirement is the least rung of the ladder that a user accepts.
type Requirement uint8

const (
	// RequireNothing: an interface is a wish; the UDP sockets will do.
	RequireNothing Requirement = iota
	// RequireGeneric: any AF_XDP socket.
	RequireGeneric
	// RequireCopy: native XDP.
	RequireCopy
	// RequireZeroCopy: native XDP and zero-copy.
	RequireZeroCopy
)

// ParseRequirement reads "zc", "copy", "generic" or "".
func ParseRequirement(s string) (Requirement, error) {
	i := slices.Index([]string{"", "generic", "copy", "zc"}, s)
	if i < 0 {
		return 0, fmt.Errorf("unknown rung %q: zc, copy or generic", s)
	}
	return Requirement(i), nil
}

var (
	// ErrNoInterface: a named interface does not exist.
	ErrNoInterface = errors.New("no such interface")
	// ErrRequirement: an interface did not get the rung that was demanded.
	ErrRequirement = errors.New("the demanded receive path cannot be had")
)

// iface is one interface that is, or was to be, received from.
type iface struct {
	name    string
	program *bpf.Program
	sources []*source     // one per queue that has a socket
	refused []ReceivePath // the queues that have none
	reason  string        // why there is no source
}

// largeMTU is the greatest MTU whose frames, with two VLAN tags, fit a 2,048-byte
// place in the UMEM.
const largeMTU = 2048 - 256 - etherSize - maxVLANs*vlanSize

// openInterface climbs the ladder for one interface: native XDP with zero-copy,
// native with copy, generic with copy, and below all the UDP sockets. Each rung
// is tried, and every refusal is kept with its cause. Only an interface that does not
// exist is an error here.
func (r *receiver) openInterface(name string, s *shared, wake chan<- struct{}) error {
	link, err := netlink.LinkByName(name)
	var notFound netlink.LinkNotFoundError
	if errors.As(err, &notFound) {
		return fmt.Errorf("%w: %q (ip link shows those that exist)", ErrNoInterface, name)
	}
	if err != nil {
		return fmt.Errorf("look at interface %q: %w", name, err)
	}
	f := &iface{name: name}
	r.ifaces = append(r.ifaces, f)
	locals, err := r.locals()
	if err != nil {
		return err
	}
	attrs := link.Attrs()
	c := bpf.Config{
		Ports: r.ports(), Locals: locals, Exporters: r.config.Exporters,
		MaxFrame: xsk.MaxFrame(frameSize(attrs.MTU)), Queues: max(attrs.NumRxQueues, 1),
	}
	var refusals []string
	for _, mode := range []bpf.Mode{bpf.Native, bpf.Generic} {
		program, err := attach(c, attrs.Index, mode)
		if err != nil {
			refusals = append(refusals, fmt.Sprintf("%s XDP: %v", mode, err))
			if errors.Is(err, bpf.ErrOccupied) || errors.Is(err, bpf.ErrPrivilege) {
				break // a lower rung would be refused just the same
			}
			continue
		}
		f.program = program
		if refusals = f.openQueues(attrs, mode, refusals, s, wake); len(f.sources) > 0 {
			r.sources = append(r.sources, f.sources...)
			return nil
		}
		f.program = nil
		if err := program.Close(); err != nil {
			return fmt.Errorf("detach the XDP program from %s again: %w", name, err)
		}
	}
	f.reason = strings.Join(refusals, "; ")
	s.log.Warn("no AF_XDP on an interface that was asked for: its exports come by the UDP sockets", "interface", name, "reason", f.reason)
	return nil
}

// attach loads the program and puts it on the interface, in the form for frames
// of several buffers where the MTU demands it.
func attach(c bpf.Config, ifindex int, mode bpf.Mode) (*bpf.Program, error) {
	for {
		p, err := bpf.Load(c)
		if err != nil {
			return nil, err
		}
		if err = p.Attach(ifindex, mode); err == nil {
			return p, nil
		}
		if cerr := p.Close(); cerr != nil {
			return nil, errors.Join(err, cerr)
		}
		if !errors.Is(err, unix.ERANGE) || c.Frags {
			return nil, err
		}
		c.Frags = true
	}
}

// openQueues opens a socket for every queue of the interface. It adds its
// refusals to those of the rungs above and returns all of them.
func (f *iface) openQueues(attrs *netlink.LinkAttrs, mode bpf.Mode, above []string, s *shared, wake chan<- struct{}) []string {
	refusals := slices.Clone(above)
	f.refused = nil
	for q := range max(attrs.NumRxQueues, 1) {
		socket, refused, err := openQueue(attrs, q, mode)
		if errors.Is(err, unix.EINVAL) && q > 0 {
			break // the device was made for more queues than it has
		}
		if err == nil {
			if err = f.program.Register(q, socket.FD()); err != nil {
				err = errors.Join(err, socket.Close())
			}
		}
		if err != nil {
			reason := strings.Join(append(refused, fmt.Sprintf("queue %d: %s", q, shortly(err))), "; ")
			refusals = append(refusals, reason)
			f.refused = append(f.refused, ReceivePath{Interface: f.name, Queue: &q, Path: PathUDP.String(), State: "off", Reason: reason})
			s.log.Warn("a queue has no AF_XDP socket: its exports come by the UDP sockets", "interface", f.name, "queue", q, "reason", err)
			continue
		}
		reason := "the best there is"
		if why := append(slices.Clone(above), refused...); len(why) > 0 {
			reason = strings.Join(why, "; ")
		}
		f.sources = append(f.sources, &source{
			worker: newWorker(s, wake),
			in:     &xskInput{socket: socket},
			path:   rung(mode, socket.Mode()),
			about:  ReceivePath{Interface: f.name, Queue: &q, Reason: reason},
			leave:  func() error { return f.program.Unregister(q) },
		})
	}
	return refusals
}

// openQueue tries zero-copy, where the program is in the driver, and then copy.
func openQueue(attrs *netlink.LinkAttrs, queue int, mode bpf.Mode) (socket *xsk.Socket, refused []string, err error) {
	c := xsk.Config{Ifindex: attrs.Index, Queue: queue, FrameSize: frameSize(attrs.MTU)}
	if mode == bpf.Native {
		c.Mode = xsk.ZeroCopy
		if socket, err = xsk.Open(c); err == nil {
			return socket, nil, nil
		}
		refused = append(refused, "zero-copy: "+shortly(err))
	}
	c.Mode = xsk.Copy
	socket, err = xsk.Open(c)
	return socket, refused, err
}

// shortly is a refusal without what was tried, which stands beside it.
func shortly(err error) string {
	var open *xsk.OpenError
	if errors.As(err, &open) {
		return open.Short()
	}
	return err.Error()
}

// frameSize is the place that a frame needs in the UMEM.
func frameSize(mtu int) int {
	if mtu > largeMTU {
		return 4096
	}
	return 2048
}

func rung(m bpf.Mode, x xsk.Mode) Path {
	switch {
	case m == bpf.Generic:
		return PathGeneric
	case x == xsk.ZeroCopy:
		return PathZeroCopy
	default:
		return PathCopy
	}
}

// check refuses where an interface got less than was demanded.
func (q Requirement) check(ifaces []*iface) error {
	most := map[Requirement]Path{RequireGeneric: PathGeneric, RequireCopy: PathCopy, RequireZeroCopy: PathZeroCopy}
	limit, demanded := most[q]
	if !demanded {
		return nil
	}
	if len(ifaces) == 0 {
		return fmt.Errorf("%w: %s was demanded, but no interface is configured", ErrRequirement, limit)
	}
	for _, f := range ifaces {
		if len(f.sources) == 0 {
			return fmt.Errorf("%w: %s was demanded on %s; %s", ErrRequirement, limit, f.name, f.reason)
		}
		if len(f.refused) > 0 {
			return fmt.Errorf("%w: %s was demanded on %s, queue %d gets udp; %s", ErrRequirement, limit, f.name, *f.refused[0].Queue, f.refused[0].Reason)
		}
		for _, s := range f.sources {
			if s.path > limit {
				return fmt.Errorf("%w: %s was demanded on %s, queue %d gets %s; %s", ErrRequirement, limit, f.name, *s.about.Queue, s.path, s.about.Reason)
			}
		}
	}
	return nil
}

// exits counts the packets by the program's exits.
func (f *iface) exits() map[string]uint64 {
	if f.program == nil {
		return nil
	}
	return exits(f.program)
}

func (f *iface) close() error {
	if f.program == nil {
		return nil
	}
	return f.program.Close()
}

// interfaceNames resolves "auto" to every physical interface that is up and has
// an address, in the caller's namespace.
func interfaceNames(wanted []string) ([]string, error) {
	var names []string
	for _, name := range wanted {
		if name != "auto" {
			names = append(names, name)
			continue
		}
		links, err := netlink.LinkList()
		if err != nil {
			return nil, fmt.Errorf("list the interfaces: %w", err)
		}
		for _, link := range links {
			a := link.Attrs()
			addrs, err := netlink.AddrList(link, netlink.FAMILY_ALL)
			if err != nil {
				return nil, fmt.Errorf("list the addresses of %s: %w", a.Name, err)
			}
			if a.ParentDev != "" && a.Flags&net.FlagUp != 0 && len(addrs) > 0 {
				names = append(names, a.Name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}
