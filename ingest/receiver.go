// SPDX-License-Identifier: Apache-2.0

//go:build linux

package ingest

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/portolan/portolan/bpf"
	"github.com/portolan/portolan/ingest/udp"
)

// receiver is all that a sensor receives from: UDP sockets, which are always
// open, and above them the interfaces that AF_XDP sockets could be had for.
type receiver struct {
	config  *Config
	sources []*source
	udp     []*udp.Socket
	ifaces  []*iface
	stop    chan struct{}
	watcher sync.WaitGroup
}

// maxUDPSockets is how many sockets share one address where no interface is
// received from through AF_XDP.
const maxUDPSockets = 4

// openReceiver opens everything in the order that loses nothing: UDP sockets,
// then programs with empty socket maps, then queue by queue.
func openReceiver(c *Config, s *shared, wake chan<- struct{}) (*receiver, error) {
	r := &receiver{config: c, stop: make(chan struct{})}
	err := c.Inside(func() error {
		if err := r.openUDP(s, wake); err != nil {
			return err
		}
		names, err := interfaceNames(c.Interfaces)
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := r.openInterface(name, s, wake); err != nil {
				return err
			}
		}
		return c.Require.check(r.ifaces)
	})
	if err != nil {
		r.turnAway()
		return nil, errors.Join(err, r.close())
	}
	r.assignCores()
	return r, nil
}

// openUDP opens the sockets of every listen address.
func (r *receiver) openUDP(s *shared, wake chan<- struct{}) error {
	n := 1
	if len(r.config.Interfaces) == 0 {
		n = min(maxUDPSockets, len(allowedCores()))
	}
	for _, addr := range r.config.Listen {
		sockets, err := udp.ListenGroup(udp.Config{
			Addr:          addr,
			ReceiveBuffer: r.config.ReceiveBuffer,
			Batch:         burstSize,
			Exporters:     r.config.Exporters,
		}, n)
		if err != nil {
			return err
		}
		for _, socket := range sockets {
			r.udp = append(r.udp, socket)
			r.sources = append(r.sources, &source{
				worker: newWorker(s, wake),
				in:     &udpInput{socket: socket},
				path:   PathUDP,
				about:  ReceivePath{Listen: socket.LocalAddr().String(), Reason: r.udpReason(socket)},
				leave:  socket.Close, // the others of its group get its share
			})
		}
	}
	return nil
}

// udpReason says what the socket is for and how much the kernel holds for it.
func (r *receiver) udpReason(socket *udp.Socket) string {
	why := "no interface is configured for AF_XDP"
	if len(r.config.Interfaces) > 0 {
		why = "always open: fragments, IP options and whatever no AF_XDP queue takes"
	}
	if got, wanted := socket.ReceiveBuffer(); got < wanted {
		why += fmt.Sprintf("; receive buffer %d KiB of the %d KiB asked for (net.core.rmem_max)", got>>10, wanted>>10)
	}
	return why
}

// addresses are those of the UDP sockets, each once.
func (r *receiver) addresses() (list []netip.AddrPort) {
	for _, socket := range r.udp {
		if a := socket.LocalAddr(); !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	return list
}

// ports are the UDP destination ports that the XDP programs redirect.
func (r *receiver) ports() (list []uint16) {
	for _, a := range r.addresses() {
		if !slices.Contains(list, a.Port()) {
			list = append(list, a.Port())
		}
	}
	return list
}

// locals are the namespace's own addresses that the UDP sockets receive on. It
// is called inside the namespace. Ports and addresses are matched apart: with
// sockets on [::]:2055 and 192.0.2.1:9995, port 9995 counts on all addresses.
func (r *receiver) locals() ([]netip.Addr, error) {
	all, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list the local addresses: %w", err)
	}
	var list []netip.Addr
	for _, a := range all {
		addr, ok := netip.AddrFromSlice(a.IP)
		if addr = addr.Unmap(); ok && !addr.IsLoopback() && r.listensOn(addr) && !slices.Contains(list, addr) {
			list = append(list, addr)
		}
	}
	return list, nil
}

func (r *receiver) listensOn(addr netip.Addr) bool {
	return slices.ContainsFunc(r.addresses(), func(l netip.AddrPort) bool {
		switch listen := l.Addr().Unmap(); {
		case listen == addr, listen == netip.IPv6Unspecified():
			return true
		default:
			return listen == netip.IPv4Unspecified() && addr.Is4()
		}
	})
}

// watch follows changes of the namespace's addresses until close.
func (r *receiver) watch() {
	if len(r.ifaces) > 0 {
		r.watcher.Go(func() {
			for r.follow() {
			}
		})
	}
}

// watchPause is between two tries to follow address changes.
const watchPause = time.Second

// follow subscribes to address changes, takes all addresses as they then are, and
// applies what changes. The subscription ends when the kernel had more to tell than
// it could hold; follow then returns true to be called again.
func (r *receiver) follow() bool {
	log := r.config.Log
	updates, done := make(chan netlink.AddrUpdate, 64), make(chan struct{})
	err := r.config.Inside(func() error {
		if err := netlink.AddrSubscribe(updates, done); err != nil {
			close(updates)
			return err
		}
		return r.updateLocals()
	})
	defer func() {
		close(done)
		for range updates { // until the library has let go of it
		}
	}()
	if err != nil {
		log.Warn("cannot follow address changes: exports to addresses added later come by the UDP sockets", "error", err)
	}
	for {
		select {
		case <-r.stop:
			return false
		case _, ok := <-updates:
			if !ok {
				select {
				case <-r.stop:
					return false
				case <-time.After(watchPause):
					return true
				}
			}
			if err := r.config.Inside(r.updateLocals); err != nil {
				log.Warn("cannot tell the XDP program of a changed address", "error", err)
			}
		}
	}
}

func (r *receiver) updateLocals() error {
	locals, err := r.locals()
	if err != nil {
		return err
	}
	for _, f := range r.ifaces {
		if f.program != nil {
			err = errors.Join(err, f.program.SetLocals(locals))
		}
	}
	return err
}

// workers are the workers of all sources.
func (r *receiver) workers() []*worker {
	list := make([]*worker, len(r.sources))
	for i, s := range r.sources {
		list[i] = s.worker
	}
	return list
}

// turnAway makes the traffic of all queues pass to the UDP sockets.
func (r *receiver) turnAway() {
	for _, f := range r.ifaces {
		for _, s := range f.sources {
			if err := s.leave(); err != nil {
				s.log.Warn("cannot take a queue out of the socket map", "interface", f.name, "queue", *s.about.Queue, "error", err)
			}
		}
	}
}

func (r *receiver) wake() {
	for _, s := range r.sources {
		s.in.wake()
	}
}

// close gives up everything. The workers have ended.
func (r *receiver) close() error {
	close(r.stop)
	r.watcher.Wait()
	var errs []error
	for _, s := range r.sources {
		errs = append(errs, s.in.close())
	}
	for _, f := range r.ifaces {
		errs = append(errs, f.close())
	}
	return errors.Join(errs...)
}

// addTo completes a status with what the receive paths know.
func (r *receiver) addTo(st *Status) {
	for _, f := range r.ifaces {
		exits := f.exits()
		for exit, n := range exits {
			st.XDP[exit] += n
		}
		if len(f.sources) == 0 {
			st.Paths = append(st.Paths, ReceivePath{Interface: f.name, Path: PathUDP.String(), State: "off", Reason: f.reason})
		}
		if len(f.sources) > 0 {
			st.Paths = append(st.Paths, f.refused...)
		}
		for i, s := range f.sources {
			p := s.status()
			if i == 0 {
				p.Program = exits
			}
			st.Paths = append(st.Paths, p)
		}
	}
	for _, s := range r.sources {
		if s.path == PathUDP {
			st.Paths = append(st.Paths, s.status())
		}
	}
	for _, p := range st.Paths {
		for kind, n := range p.Drops {
			st.RingDrops[kind] += n
		}
	}
}

// assignCores spreads the workers over the cores that the process may use, the
// AF_XDP queues first and from the last core down: the first ones are where
// everything else tends to run.
func (r *receiver) assignCores() {
	cores := allowedCores()
	next := len(cores) - 1
	give := func(s *source) {
		s.cpu = cores[next]
		next = (next + len(cores) - 1) % len(cores)
	}
	for _, s := range r.sources {
		if s.path != PathUDP {
			give(s)
		}
	}
	for _, s := range r.sources {
		if s.path == PathUDP {
			give(s)
		}
	}
}

// allowedCores are the CPUs that this process may run on.
func allowedCores() []int {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return []int{0}
	}
	var list []int
	for i := 0; len(list) < set.Count(); i++ {
		if set.IsSet(i) {
			list = append(list, i)
		}
	}
	return list
}

// exits names a program's counters.
func exits(p *bpf.Program) map[string]uint64 {
	m := map[string]uint64{}
	c, err := p.Counters()
	if err != nil {
		return m
	}
	for exit, n := range c {
		m[bpf.Exit(exit).String()] = n
	}
	return m
}
