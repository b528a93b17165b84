// SPDX-License-Identifier: Apache-2.0

//go:build linux

package xsk

import (
	"errors"
	"fmt"
	"sync"
	"unsafe"

	"github.com/asavie/xdp"
	"golang.org/x/sys/unix"
)

// Mode is how frames get from the driver into the UMEM.
type Mode uint8

const (
	// ZeroCopy lets the network card write into the UMEM. Few drivers can.
	ZeroCopy Mode = iota
	// Copy lets the kernel copy each frame. It works on every device.
	Copy
)

// String returns the mode as metrics and reports name it.
func (m Mode) String() string {
	if m == ZeroCopy {
		return "zc"
	}
	return "copy"
}

// Config says which queue to receive from. There is no default mode: without an
// explicit one the kernel falls back to copying in silence.
type Config struct {
	Ifindex   int // the device, in the caller's network namespace
	Queue     int // receive queue, from 0
	Mode      Mode
	Frames    int // frames in the UMEM: a power of two, 64 to 131072; 0 means 8192
	FrameSize int // bytes of a frame's place: 2048 or 4096; 0 means 2048
}

const (
	defaultFrames    = 8192
	defaultFrameSize = 2048
	headroom         = 256 // XDP_PACKET_HEADROOM: the kernel keeps it in front of each frame
)

// MaxFrame returns the longest Ethernet frame, in bytes, that a socket of this
// frame size receives. The kernel drops longer ones and counts them in
// Stats.Dropped, so a program should pass them on instead of redirecting them.
func MaxFrame(frameSize int) int { return frameSize - headroom }

// Errors of a socket that was open. Those of Open are described there.
var (
	// ErrLinkDown means that the device is down. The socket stays good and
	// receives again when the device is up.
	ErrLinkDown = errors.New("xsk: the network device is down")
	// ErrGone means that the device no longer exists, or that it gave up the
	// queue. The socket will never receive again; close it.
	ErrGone = errors.New("xsk: the network device or its queue is gone")
	// ErrClosed means that the socket has been closed.
	ErrClosed = errors.New("xsk: the socket is closed")
)

// Stats are the socket's counters since Open. They overlap and must not be
// added up, but for this: of the frames that the XDP program redirected to the
// socket while it was bound and up, Received + Refused have been taken out of
// the ring, Dropped + RingFull were lost, and the rest still is in the ring.
type Stats struct {
	Received uint64 // frames lent to the caller
	Refused  uint64 // descriptors that were not lent: duplicate, outside the UMEM, or a part of a longer packet

	Dropped      uint64 // kernel: no free frame, or the frame was longer than MaxFrame
	RingFull     uint64 // kernel: no room in the RX ring; it has a slot for each frame, so this stays 0
	FillEmpty    uint64 // kernel: it looked for a free frame and found none; in copy mode each is in Dropped too, with zero-copy it is no number of packets
	InvalidDescs uint64 // kernel: addresses in the fill ring that it refused; no packet is lost by that
}

// Socket is a bound AF_XDP socket that only receives.
type Socket struct {
	pool   pool
	fd     int
	wakeFD int
	poll   [2]unix.PollFd // Wait's arguments, kept here so that they are not allocated
	limit  unix.Timespec

	mode  Mode
	queue int
	rings []mapping
	lib   *xdp.Socket

	mu   sync.Mutex // guards what follows, and keeps Stats and Wake off descriptors that Close has closed
	shut bool
	last Stats // the kernel's part, as of Close
}

// Receive lends up to limit frames that have arrived; none is a lease of
// Len() 0. It never blocks. The lease before must have ended.
func (s *Socket) Receive(limit int) Lease {
	l := s.pool.receive(limit)
	if l.n == 0 && s.pool.fill.needsWakeup() {
		s.kick()
	}
	return l
}

// FD returns the descriptor that goes into an XSKMAP, good until Close. It is
// not for polling or closing.
func (s *Socket) FD() int { return s.fd }

// Mode returns the mode that the kernel says the socket is in.
func (s *Socket) Mode() Mode { return s.mode }

// Queue returns the receive queue.
func (s *Socket) Queue() int { return s.queue }

// Stats returns the counters. After Close it returns the last ones, read just
// before the socket was given up.
func (s *Socket) Stats() (Stats, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.last
	if !s.shut {
		var err error
		if st, err = kernelStats(s.fd); err != nil {
			return Stats{}, err
		}
	}
	st.Received, st.Refused = s.pool.received.Load(), s.pool.refused.Load()
	return st, nil
}

func kernelStats(fd int) (Stats, error) {
	var k unix.XDPStatistics
	size := uint32(unsafe.Sizeof(k))
	if err := getsockopt(fd, unix.XDP_STATISTICS, unsafe.Pointer(&k), &size); err != nil {
		return Stats{}, fmt.Errorf("read the statistics of the AF_XDP socket: %w", err)
	}
	return Stats{
		Dropped:      k.Rx_dropped,
		RingFull:     k.Rx_ring_full,
		FillEmpty:    k.Rx_fill_ring_empty_descs,
		InvalidDescs: k.Rx_invalid_descs,
	}, nil
}

// Close gives the queue up: it reads the last counters, unmaps rings and UMEM
// and closes the descriptors. An open lease ends by it. The queue is free when
// the kernel has finished its own teardown, some milliseconds later; Open
// retries for that long.
//
// Call it from the worker, after the socket has been deleted from the XSKMAP and
// drained. Closing again does nothing.
func (s *Socket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shut {
		return nil
	}
	s.shut = true
	var errs []error
	var err error
	if s.last, err = kernelStats(s.fd); err != nil {
		errs = append(errs, err)
	}
	s.pool.close()
	// The library closes the descriptor and unmaps the UMEM, but each ring
	// mapping holds the socket too: while one exists, the queue stays bound.
	for _, m := range s.rings {
		if err := m.unmap(); err != nil {
			errs = append(errs, fmt.Errorf("unmap a ring of the AF_XDP socket: %w", err))
		}
	}
	if err := s.lib.Close(); err != nil {
		errs = append(errs, err)
	}
	if err := unix.Close(s.wakeFD); err != nil {
		errs = append(errs, fmt.Errorf("close the eventfd: %w", err))
	}
	s.rings, s.lib = nil, nil
	return errors.Join(errs...)
}

// getsockopt reads an option of level SOL_XDP into a struct.
func getsockopt(fd, opt int, p unsafe.Pointer, size *uint32) error {
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_XDP, uintptr(opt),
		uintptr(p), uintptr(unsafe.Pointer(size)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}
