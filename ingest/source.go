// SPDX-License-Identifier: Apache-2.0

//go:build linux

package ingest

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portolan/portolan/ingest/udp"
	"github.com/portolan/portolan/ingest/xsk"
)

const (
	// patience is how long a worker blocks for datagrams before it looks
	// around; what is urgent wakes it.
	patience = 100 * time.Millisecond
	// drainTime bounds how long a worker empties a source that traffic still
	// reaches, when the sensor stops.
	drainTime = 500 * time.Millisecond
	// grace is how long a worker waits for frames that were on their way into
	// the ring when its queue was taken out of the socket map.
	grace = 10 * time.Millisecond
)

// input is where datagrams come from: an AF_XDP socket or a UDP socket. It is
// called once per burst, never per datagram.
type input interface {
	// receive fills b with what has arrived, after waiting up to d for it.
	// Nothing is no error. The datagrams are borrowed until release.
	receive(b *burst, d time.Duration) error
	release()
	// wake makes a receive that waits return. Any goroutine may call it.
	wake()
	close() error
	// drops are the kernel's counts of losses at this input, by kind.
	drops() map[string]uint64
}

// source is one input with the worker that reads it.
type source struct {
	*worker
	in    input
	path  Path
	about ReceivePath // what does not change: names, rung, reason
	cpu   int         // the core that the worker is pinned to, -1: none
	tid   atomic.Int32
	fault atomic.Pointer[fault]
	leave func() error // turns traffic away from the input
}

// fault is why a source does not receive.
type fault struct {
	state  string
	reason string
}

// run receives until stop is closed and the input is empty, or until the input
// is gone for good.
func (s *source) run(now func() time.Time, stop <-chan struct{}) {
	runtime.LockOSThread()
	s.tid.Store(int32(unix.Gettid()))
	s.pin()
	defer s.reader.Close()
	defer s.publish()
	wait, drainUntil := patience, time.Time{}
	for {
		err := s.in.receive(&s.burst, 0)
		if err == nil && s.burst.empty() {
			s.reader.Park()
			err = s.in.receive(&s.burst, wait)
			if err == nil && s.burst.empty() && !drainUntil.IsZero() {
				return // nothing for as long as grace
			}
		}
		if err != nil && !s.endure(err) {
			s.abandon()
			return
		}
		if err == nil && s.fault.Load() != nil {
			s.fault.Store(nil)
		}
		if !s.burst.empty() {
			s.process(s.path, now().UnixNano())
			s.in.release()
			s.burst.reset()
		}
		select {
		case <-stop:
			if drainUntil.IsZero() {
				wait, drainUntil = grace, time.Now().Add(drainTime)
			} else if time.Now().After(drainUntil) {
				return
			}
		default:
		}
	}
}

// abandon turns the traffic of an input that does not work any more to the
// others: a ring that nobody reads would swallow it.
func (s *source) abandon() {
	if s.leave == nil {
		return
	}
	if err := s.leave(); err != nil {
		s.log.Warn("cannot turn traffic away from a receive path that has ended", "path", s.path.String(), "interface", s.about.Interface, "listen", s.about.Listen, "error", err)
	}
}

// endure notes why nothing can be received and tells whether to go on trying.
func (s *source) endure(err error) bool {
	f := fault{"failed", err.Error()}
	goOn := false
	switch {
	case errors.Is(err, xsk.ErrLinkDown):
		f, goOn = fault{"link down", "the network device is down; the socket waits for it"}, true
	case errors.Is(err, xsk.ErrGone):
		f = fault{"gone", "the network device was deleted; restart Portolan once it is back"}
	}
	if old := s.fault.Load(); old == nil || *old != f {
		s.fault.Store(&f)
		s.log.Warn("receive path "+f.state, "path", s.path.String(), "interface", s.about.Interface, "listen", s.about.Listen, "reason", f.reason)
	}
	return goOn
}

// pin binds the locked thread to its core. A refusal costs speed, nothing else.
func (s *source) pin() {
	if s.cpu < 0 {
		return
	}
	var set unix.CPUSet
	set.Set(s.cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		s.log.Warn("cannot pin a worker to its core", "cpu", s.cpu, "error", err)
	}
}

// status is the source as people see it.
func (s *source) status() ReceivePath {
	p := s.about
	p.Path, p.State = s.path.String(), "up"
	p.Thread = int(s.tid.Load())
	if s.cpu >= 0 {
		p.CPU = &s.cpu
	}
	if f := s.fault.Load(); f != nil {
		p.State, p.Reason = f.state, f.reason
	}
	var t tally
	s.page.addTo(&t)
	p.Packets = t.received[s.path]
	p.Drops = s.in.drops()
	return p
}

func (b *burst) empty() bool {
	return b.n == 0 && b.dropped == [datagramDrops]uint64{}
}

func (b *burst) reset() {
	b.n = 0
	b.dropped = [datagramDrops]uint64{}
}

// xskInput reads an AF_XDP socket.
type xskInput struct {
	socket *xsk.Socket
	lease  xsk.Lease
}

func (x *xskInput) receive(b *burst, d time.Duration) error {
	lease := x.socket.Receive(burstSize)
	if lease.Len() == 0 {
		if d == 0 {
			return nil
		}
		if err := x.socket.Wait(d); err != nil {
			return err
		}
		if lease = x.socket.Receive(burstSize); lease.Len() == 0 {
			return nil
		}
	}
	x.lease = lease
	for i := range lease.Len() {
		if parseFrame(lease.Frame(i), &b.datagrams[b.n]) {
			b.n++
		} else {
			b.dropped[dropBadFrame]++
		}
	}
	return nil
}

func (x *xskInput) release()     { x.lease.End() }
func (x *xskInput) wake()        { x.socket.Wake() }
func (x *xskInput) close() error { return x.socket.Close() }

func (x *xskInput) drops() map[string]uint64 {
	st, err := x.socket.Stats()
	if err != nil {
		return nil
	}
	return map[string]uint64{
		"rx_dropped":         st.Dropped,
		"rx_ring_full":       st.RingFull,
		"rx_fill_ring_empty": st.FillEmpty,
		"rx_refused":         st.Refused,
	}
}

// udpInput reads a UDP socket. It tells denied and truncated datagrams by the
// socket's counts, so that they are received and dropped in the books.
type udpInput struct {
	socket            *udp.Socket
	denied, truncated uint64 // as last seen
}

func (u *udpInput) receive(b *burst, d time.Duration) error {
	n, err := u.socket.Receive(d)
	if err != nil {
		return fmt.Errorf("receive on UDP %s: %w", u.socket.LocalAddr(), err)
	}
	for i := range n {
		payload, from := u.socket.Datagram(i)
		b.datagrams[i] = datagram{payload, *from}
	}
	b.n = n
	if v := u.socket.Denied(); v != u.denied {
		b.dropped[dropDenied] += v - u.denied
		u.denied = v
	}
	if v := u.socket.Truncated(); v != u.truncated {
		b.dropped[dropTruncated] += v - u.truncated
		u.truncated = v
	}
	return nil
}

func (u *udpInput) release()     {}
func (u *udpInput) wake()        { u.socket.Wake() }
func (u *udpInput) close() error { return u.socket.Close() }

func (u *udpInput) drops() map[string]uint64 {
	return map[string]uint64{"udp_socket": u.socket.Drops()}
}
