// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bpf

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// MinFrame is the smallest Config.MaxFrame: two VLAN tags, the IPv6 and UDP
// headers and the shortest flow export header still fit.
const MinFrame = 128

// Config is what a Program starts with.
type Config struct {
	Ports     []uint16       // UDP destination ports, 1 to 65535
	Locals    []netip.Addr   // our addresses, at most MaxLocals; zones are ignored
	Exporters []netip.Prefix // who may export, at most MaxExporters of each family; empty means everybody
	MaxFrame  int            // bytes, Ethernet header included, that an AF_XDP socket can take: MinFrame to 65535
	Queues    int            // receive queues of the interface, at least 1
	Frags     bool           // load the form for frames of several buffers (jumbo MTU, kernel 5.18)
}

// Program is steer.c in the kernel, for one interface. It is made by Load and
// freed by Close. Any goroutine may call any method; changes are serialised by
// one mutex that no packet ever waits for.
type Program struct {
	queues   int
	prog     *ebpf.Program
	coll     *ebpf.Collection
	xsks     *ebpf.Map
	counters *ebpf.Map

	mu         sync.Mutex
	link       link.Link // nil: not attached
	ports      portSet
	locals     table[steerAddress]
	exporters4 table[steerPrefix4]
	exporters6 table[steerPrefix6]
}

// Load puts the program and its maps into the kernel. It attaches nothing.
// It needs CAP_BPF and CAP_NET_ADMIN, before kernel 5.18 CAP_PERFMON as well; without
// them the error is ErrPrivilege.
func Load(c Config) (*Program, error) { return load(c, lengthHelper()) }

func load(c Config, lengthHelper bool) (*Program, error) {
	if c.MaxFrame < MinFrame || c.MaxFrame > 65535 {
		return nil, fmt.Errorf("load XDP program: MaxFrame %d is not in %d to 65535", c.MaxFrame, MinFrame)
	}
	if c.Queues < 1 {
		return nil, fmt.Errorf("load XDP program: %d queues; at least one is needed", c.Queues)
	}
	spec, err := loadSteer()
	if err != nil {
		return nil, fmt.Errorf("load XDP program: %w", err)
	}
	use, drop := steerProgPortolanSteer, steerProgPortolanFrags
	if c.Frags {
		use, drop = drop, use
	}
	delete(spec.Programs, drop) // a kernel without frags would refuse it
	if err := spec.Variables[steerVarMaxFrame].Set(uint32(c.MaxFrame)); err != nil {
		return nil, fmt.Errorf("load XDP program: set %s: %w", steerVarMaxFrame, err)
	}
	if lengthHelper {
		if err := spec.Variables[steerVarLengthHelper].Set(uint8(1)); err != nil {
			return nil, fmt.Errorf("load XDP program: set %s: %w", steerVarLengthHelper, err)
		}
	}
	spec.Maps[steerMapXsks].MaxEntries = uint32(c.Queues)
	coll, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, fmt.Errorf("load XDP program: %w", explain(err))
	}
	p := &Program{
		queues:     c.Queues,
		prog:       coll.Programs[use],
		coll:       coll,
		xsks:       coll.Maps[steerMapXsks],
		counters:   coll.Maps[steerMapCounters],
		ports:      portSet{m: coll.Maps[steerMapPorts]},
		locals:     newTable[steerAddress](coll.Maps[steerMapLocals], MaxLocals),
		exporters4: newTable[steerPrefix4](coll.Maps[steerMapExporters4], MaxExporters),
		exporters6: newTable[steerPrefix6](coll.Maps[steerMapExporters6], MaxExporters),
	}
	err = errors.Join(p.SetPorts(c.Ports), p.SetLocals(c.Locals), p.SetExporters(c.Exporters))
	if err != nil {
		p.Close()
		return nil, fmt.Errorf("load XDP program: %w", err)
	}
	return p, nil
}

// ID is the kernel's id of the program, as bpftool shows it.
func (p *Program) ID() (uint32, error) {
	info, err := p.prog.Info()
	if err != nil {
		return 0, fmt.Errorf("look at the XDP program: %w", err)
	}
	id, ok := info.ID()
	if !ok {
		return 0, errors.New("look at the XDP program: the kernel gives it no id")
	}
	return uint32(id), nil
}

// Register makes the program redirect the exports that arrive on a receive queue
// to the AF_XDP socket fd, which must be bound to that queue of the interface. A
// socket that was there before is replaced.
func (p *Program) Register(queue, fd int) error {
	if queue < 0 || queue >= p.queues {
		return fmt.Errorf("register AF_XDP socket: queue %d is not in 0 to %d", queue, p.queues-1)
	}
	if err := p.xsks.Update(uint32(queue), uint32(fd), ebpf.UpdateAny); err != nil {
		return fmt.Errorf("register AF_XDP socket for queue %d: %w", queue, err)
	}
	return nil
}

// Unregister lets the exports of a queue pass to the kernel again. The socket may
// still hold frames and should be drained after. An empty slot is no error: the
// kernel empties it by itself when the socket ends.
func (p *Program) Unregister(queue int) error {
	if queue < 0 || queue >= p.queues {
		return fmt.Errorf("unregister AF_XDP socket: queue %d is not in 0 to %d", queue, p.queues-1)
	}
	err := p.xsks.Delete(uint32(queue))
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("unregister AF_XDP socket of queue %d: %w", queue, err)
	}
	return nil
}

// Counters sums the packet counters over all CPUs. Packets go on while it reads,
// so two counters need not be of the same instant.
func (p *Program) Counters() (Counters, error) {
	var sum Counters
	var cpus []uint64
	for e := range sum {
		if err := p.counters.Lookup(uint32(e), &cpus); err != nil {
			return sum, fmt.Errorf("read XDP counter %v: %w", Exit(e), err)
		}
		for _, n := range cpus {
			sum[e] += n
		}
	}
	return sum, nil
}

// Run gives the program one frame, as if it had arrived on queue 0, without any
// device, and returns the XDP action and the frame afterwards. It counts like any
// other. The kernel refuses a frame of less than 14 bytes, and one of more than
// about a page unless the program was loaded with Frags. Tests and diagnosis.
func (p *Program) Run(frame []byte) (action uint32, out []byte, err error) {
	out = make([]byte, len(frame)+256) // room to see a frame that grew
	opts := ebpf.RunOptions{Data: frame, DataOut: out}
	action, err = p.prog.Run(&opts)
	if err != nil {
		return 0, nil, fmt.Errorf("run XDP program on %d bytes: %w", len(frame), err)
	}
	return action, opts.DataOut, nil
}

// Close detaches the program and frees it. Packets pass from then on. The
// sockets in its slots are not touched.
func (p *Program) Close() error {
	err := p.Detach()
	p.coll.Close()
	return err
}
