// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package udp owns kernel UDP sockets: it receives flow-export datagrams with
// recvmmsg into buffers that are allocated once, and knows what the kernel
// dropped. Workers use it; nobody else touches the sockets.
//
// # Who does what
//
// A Socket has one receiver, the worker that calls Receive and then reads the
// batch through Datagram. The batch (buffers, source addresses, index) belongs
// to that goroutine alone and is overwritten by its next Receive. Everything
// else is the control side and may be called by any goroutine at any time:
// Wake, Close, the counters, SetExporters.
//
// The two sides meet in three places. The exporter list is an atomic pointer to
// an immutable value. The counters are atomic words that only the receiver
// adds to. And state has two bits, receiving and closed: Receive enters by
// setting the one, Close sets the other and, if a receiver is inside, wakes it
// and waits until it has left before the descriptors are closed. So a
// descriptor number is never used after the kernel may have given it to
// somebody else, and the receiver takes no lock. Between themselves the control
// calls share a mutex.
//
// Rejected: net.UDPConn (its ReadBatch in x/net allocates and its deadline goes
// through the runtime's poller, which hands the goroutine to another thread,
// against pinning). A receive timeout of the socket itself (SO_RCVTIMEO) instead
// of ppoll: recvmmsg looks at it only between datagrams, and Close could not end
// the wait. SO_RXQ_OVFL for counting drops: see Drops.
package udp

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// BufferSize is the greatest payload that is delivered, in bytes. Routers
	// keep exports within the path's MTU, of which 9,216 is the greatest in
	// use; what is longer is counted by Truncated. Buffers for the full 65,535
	// bytes would lie 64 KiB apart and compete for the same cache sets.
	BufferSize = 9216

	defaultBatch         = 64
	maxBatch             = 1024 // UIO_MAXIOV, the kernel's limit for one recvmmsg
	defaultReceiveBuffer = 64 << 20
)

// ErrClosed is returned by Receive once Close was called.
var ErrClosed = errors.New("UDP socket is closed")

// Config says what to listen on.
type Config struct {
	// Addr is the local address and port. The zero or unspecified IPv6
	// address takes IPv4 as well, and IPv4 alone where the kernel has no IPv6.
	// Port 0 lets the kernel choose.
	Addr netip.AddrPort
	// ReceiveBuffer is the wish for the kernel's buffer per socket in bytes,
	// 0 for 64 MiB. A smaller one is accepted; see Socket.ReceiveBuffer.
	ReceiveBuffer int
	// Batch is the most datagrams of one Receive, 0 for 64, at most 1,024.
	Batch int
	// Exporters are the sources that may send, nil for all. An IPv4 source is
	// matched by IPv4 prefixes only, whichever socket it arrives on.
	Exporters []netip.Prefix
}

// Socket is one UDP socket and the batch it receives into.
type Socket struct {
	fd       int
	local    netip.AddrPort
	buffer   int // bytes of payload and overhead that the kernel will hold
	wanted   int
	allowed  atomic.Pointer[exporters] // nil: everybody
	denied   atomic.Uint64
	tooLong  atomic.Uint64
	state    atomic.Uint32 // receiving | closed
	leftLast chan struct{} // closed by a receiver that finds the socket closed

	// The receiver's.
	batch batch

	// The control side's.
	mu       sync.Mutex
	wake     int // eventfd; -1 when closed
	drops    uint64
	dropsWas uint32
}

const (
	receiving = 1 << iota
	closed
)

// Receive waits up to d for datagrams and takes as many as are there, at most
// Config.Batch. A negative d waits for ever. It returns their number, which is 0
// after d, after Wake, and where all that came was denied or too long. It fails
// with ErrClosed, or with the kernel's error.
func (s *Socket) Receive(d time.Duration) (n int, err error) {
	if !s.state.CompareAndSwap(0, receiving) {
		if s.state.Load()&closed != 0 {
			return 0, ErrClosed
		}
		panic("udp: two goroutines receive from one socket")
	}
	n, err = s.receive(d)
	if !s.state.CompareAndSwap(receiving, 0) {
		close(s.leftLast)
		return 0, ErrClosed
	}
	return n, err
}

func (s *Socket) receive(d time.Duration) (int, error) {
	b := &s.batch
	b.timeout = unix.NsecToTimespec(max(int64(d), 0))
	timeout := &b.timeout
	if d < 0 {
		timeout = nil
	}
	for {
		got, err := b.recvmmsg(s.fd)
		if err == nil {
			return s.sift(got), nil
		}
		if err == unix.EINTR {
			continue
		}
		if err != unix.EAGAIN {
			return 0, fmt.Errorf("receive on UDP %s: %w", s.local, err)
		}
		// Interrupted by a signal, ppoll leaves the rest of the time in
		// timeout (Linux does, the C library hides it).
		ready, err := unix.Ppoll(b.poll[:], timeout, nil)
		if err != nil && err != unix.EINTR {
			return 0, fmt.Errorf("wait for UDP %s: %w", s.local, err)
		}
		switch {
		case err != nil:
		case ready == 0:
			return 0, nil
		case b.poll[1].Revents != 0:
			b.drainWake()
			return 0, nil
		}
	}
}

// sift fills the index of the datagrams that are delivered, out of got received.
func (s *Socket) sift(got int) int {
	b := &s.batch
	allowed := s.allowed.Load()
	n := 0
	for i := range got {
		b.address(i)
		if b.headers[i].hdr.Flags&unix.MSG_TRUNC != 0 {
			s.tooLong.Add(1)
			continue
		}
		if allowed != nil && !allowed.contain(&b.sources[i]) {
			s.denied.Add(1)
			continue
		}
		b.index[n] = int32(i)
		n++
	}
	return n
}

// Datagram is the payload, 0 to BufferSize bytes, and the source address of
// datagram i < n of the last Receive; IPv4 as ::ffff:a.b.c.d. Both are valid
// until the next Receive.
func (s *Socket) Datagram(i int) (payload []byte, source *[16]byte) {
	b := &s.batch
	at := int(b.index[i])
	start := at * BufferSize
	length := int(b.headers[at].len)
	return b.buffers[start : start+length : start+length], &b.sources[at]
}

// Truncated counts datagrams longer than BufferSize. They are not delivered.
func (s *Socket) Truncated() uint64 { return s.tooLong.Load() }

// Denied counts datagrams from sources that Config.Exporters or SetExporters
// does not name. They are not delivered.
func (s *Socket) Denied() uint64 { return s.denied.Load() }

// SetExporters replaces the list of sources that may send, from the next
// Receive on. nil means all, an empty list nobody.
func (s *Socket) SetExporters(prefixes []netip.Prefix) { s.allowed.Store(newExporters(prefixes)) }

// LocalAddr is the address that the socket is bound to, with the port that the
// kernel chose for port 0.
func (s *Socket) LocalAddr() netip.AddrPort { return s.local }

// ReceiveBuffer is how many bytes the kernel holds for the socket, and how many
// were asked for. Both count the way net.core.rmem_max does, which limits the
// first for a process without CAP_NET_ADMIN: every datagram takes the memory of
// its buffer in the kernel, over loopback 832 bytes for the smallest and 2,304
// for 1,464 bytes of NetFlow v5, and twice got is available for that.
func (s *Socket) ReceiveBuffer() (got, wanted int) { return s.buffer, s.wanted }

// Drops is the number of datagrams that the kernel dropped at this socket since
// it was opened: no room in the receive buffer, mostly, or a wrong checksum.
// After Close it is the last value.
//
// It reads SO_MEMINFO, which has the socket's own counter as it stands.
// SO_RXQ_OVFL tells the same counter, but only in a datagram that arrives later,
// so that the end of a burst would be told late or never. The kernel counts in
// 32 bits; the wrap is followed as long as somebody asks once in 4 billion drops.
func (s *Socket) Drops() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wake < 0 {
		return s.drops
	}
	return s.readDrops()
}

// readDrops extends the kernel's counter to 64 bits. The caller holds mu.
func (s *Socket) readDrops() uint64 {
	var info [unix.SK_MEMINFO_VARS]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(s.fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno == 0 {
		s.followDrops(info[unix.SK_MEMINFO_DROPS])
	}
	return s.drops
}

func (s *Socket) followDrops(now uint32) {
	s.drops += uint64(now - s.dropsWas)
	s.dropsWas = now
}

// Wake makes a Receive that waits, or the next one that would, return at once.
func (s *Socket) Wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wakeLocked()
}

func (s *Socket) wakeLocked() {
	if s.wake < 0 {
		return
	}
	one := [8]byte{0: 1}
	// The write can only fail because the counter is full: it is awake already.
	_, _ = unix.Write(s.wake, one[:])
}

// Close ends a Receive that waits, waits until it has returned, and closes the
// socket. It must not be called by the receiver from within a Receive. A second
// Close does nothing.
func (s *Socket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.state.Or(closed)
	if was&closed != 0 {
		return nil
	}
	if was&receiving != 0 {
		s.wakeLocked()
		<-s.leftLast
	}
	s.readDrops()
	err := errors.Join(unix.Close(s.fd), unix.Close(s.wake))
	s.wake = -1
	return err
}
