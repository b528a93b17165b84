// SPDX-License-Identifier: Apache-2.0

//go:build linux

package xsk

import (
	"errors"
	"fmt"
	"math/bits"
	"reflect"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"github.com/asavie/xdp"
	"golang.org/x/sys/unix"
)

const (
	busyLimit    = time.Second            // how long Open waits for a queue that is being given up
	lockedLimit  = 100 * time.Millisecond // and for memory that a closed socket still has locked
	busyFirst    = 2 * time.Millisecond
	busyLongest  = 50 * time.Millisecond
	completions  = 64 // the kernel wants a completion ring even without transmission
	zeroCopyFlag = 1  // XDP_OPTIONS_ZEROCOPY
)

// openMu serialises opening: the library takes the bind flags from a global
// variable, and a failed try is cleaned up by comparing the process's mappings
// before and after.
var openMu sync.Mutex

// Open binds a socket to a receive queue and hands all its frames to the
// kernel. The caller then inserts FD() into an XSKMAP. Open works in the network
// namespace of the calling thread; the socket works from any thread.
//
// A queue that is being given up is waited for, 1 s at most. What failed can be
// told with errors.Is: unix.EPERM (no CAP_NET_RAW), ENOBUFS or ENOMEM
// (RLIMIT_MEMLOCK), EOPNOTSUPP (the driver has no zero-copy), EINVAL (no such
// queue), EBUSY (another socket has the queue), ENODEV (no such device),
// ENETDOWN (the device is down). A failed Open leaves nothing behind.
func Open(c Config) (*Socket, error) {
	if c.Frames == 0 {
		c.Frames = defaultFrames
	}
	if c.FrameSize == 0 {
		c.FrameSize = defaultFrameSize
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	wait, began := busyFirst, time.Now()
	for {
		s, err := openOnce(c)
		if err == nil {
			return s, nil
		}
		if time.Since(began)+wait > patience(err) {
			return nil, &OpenError{c, err, c.advise(err)}
		}
		time.Sleep(wait)
		wait = min(2*wait, busyLongest)
	}
}

// patience returns how long a failure may still go away by itself. The kernel
// takes a closed socket apart on a work queue: for some milliseconds its queue is
// still bound, and its frames still count as locked memory.
func patience(err error) time.Duration {
	switch {
	case errors.Is(err, unix.EBUSY):
		return busyLimit
	case errors.Is(err, unix.ENOBUFS):
		return lockedLimit
	}
	return 0
}

func (c Config) check() error {
	switch {
	case c.Ifindex <= 0 || c.Queue < 0:
		return fmt.Errorf("xsk: interface index %d and queue %d: the index counts from 1, the queue from 0", c.Ifindex, c.Queue)
	case c.Mode != ZeroCopy && c.Mode != Copy:
		return fmt.Errorf("xsk: there is no mode %d", c.Mode)
	case c.Frames < 64 || c.Frames > 1<<17 || bits.OnesCount(uint(c.Frames)) != 1:
		return fmt.Errorf("xsk: %d frames: use a power of two from 64 to %d", c.Frames, 1<<17)
	case c.FrameSize != 2048 && c.FrameSize != 4096:
		return fmt.Errorf("xsk: a frame size of %d bytes: use 2048 or 4096", c.FrameSize)
	}
	return nil
}

func (c Config) bindFlags() uint16 {
	if c.Mode == ZeroCopy {
		return unix.XDP_ZEROCOPY | unix.XDP_USE_NEED_WAKEUP
	}
	return unix.XDP_COPY | unix.XDP_USE_NEED_WAKEUP
}

// openOnce tries once. Its errors wrap the unix.Errno.
func openOnce(c Config) (*Socket, error) {
	openMu.Lock()
	defer openMu.Unlock()
	if err := libraryFits(); err != nil {
		return nil, err
	}
	offsets, err := ringOffsets()
	if err != nil {
		return nil, err
	}
	rings := c.ringSizes(offsets)
	before, err := socketMappings()
	if err != nil {
		return nil, err
	}
	lib, err := c.newSocket()
	if err != nil {
		return nil, errors.Join(recoverErrno(err), unmapOrphans(before, rings))
	}
	s, err := takeOver(c, lib, offsets, rings)
	if err != nil {
		lib.Close() //nolint:errcheck // the first error is the one to report
		return nil, errors.Join(err, unmapOrphans(before, rings))
	}
	return s, nil
}

// newSocket has the library open and bind a socket. A child process that
// inherited the descriptor would keep the queue bound, so nothing is forked before
// it is marked.
func (c Config) newSocket() (*xdp.Socket, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	saved := xdp.DefaultSocketFlags
	defer func() { xdp.DefaultSocketFlags = saved }()
	xdp.DefaultSocketFlags = c.bindFlags()
	lib, err := xdp.NewSocket(c.Ifindex, c.Queue, &xdp.SocketOptions{
		NumFrames: c.Frames, FrameSize: c.FrameSize,
		FillRingNumDescs: c.Frames, CompletionRingNumDescs: completions, RxRingNumDescs: c.Frames,
	})
	if err == nil {
		unix.CloseOnExec(lib.FD())
	}
	return lib, err
}

// takeOver builds our view of a socket that the library has bound, and fills it.
func takeOver(c Config, lib *xdp.Socket, offsets unix.XDPMmapOffsets, rings ringSizes) (*Socket, error) {
	s := &Socket{fd: lib.FD(), wakeFD: -1, queue: c.Queue, lib: lib}
	mode, err := boundMode(s.fd)
	if err != nil {
		return nil, err
	}
	if mode != c.Mode {
		return nil, fmt.Errorf("xsk: the kernel bound queue %d in mode %s instead of %s", c.Queue, mode, c.Mode)
	}
	s.mode = mode
	v := reflect.ValueOf(lib).Elem()
	fill, err := ringBase(v.FieldByName("fillRing"), offsets.Fr, c.Frames)
	if err != nil {
		return nil, err
	}
	rx, err := ringBase(v.FieldByName("rxRing"), offsets.Rx, c.Frames)
	if err != nil {
		return nil, err
	}
	compl, err := ringBase(v.FieldByName("completionRing"), offsets.Cr, completions)
	if err != nil {
		return nil, err
	}
	if s.wakeFD, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("make an eventfd: %w", err)
	}
	s.rings = []mapping{{fill, rings.fill}, {rx, rings.rx}, {compl, rings.completion}}
	s.poll = [2]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}, {Fd: int32(s.wakeFD), Events: unix.POLLIN}}
	s.pool.init(lib.GetFrame(xdp.Desc{Len: uint32(c.Frames * c.FrameSize)}), c.FrameSize,
		newRxRing((*uint32)(unsafe.Add(rx, offsets.Rx.Producer)), (*uint32)(unsafe.Add(rx, offsets.Rx.Consumer)),
			unsafe.Slice((*unix.XDPDesc)(unsafe.Add(rx, offsets.Rx.Desc)), c.Frames)),
		newFillRing((*uint32)(unsafe.Add(fill, offsets.Fr.Producer)), (*uint32)(unsafe.Add(fill, offsets.Fr.Flags)),
			unsafe.Slice((*uint64)(unsafe.Add(fill, offsets.Fr.Desc)), c.Frames)))
	s.pool.fillAll()
	s.kick()
	return s, nil
}

// boundMode asks the kernel which mode a bound socket is in.
func boundMode(fd int) (Mode, error) {
	var flags uint32 // struct xdp_options
	size := uint32(unsafe.Sizeof(flags))
	if err := getsockopt(fd, unix.XDP_OPTIONS, unsafe.Pointer(&flags), &size); err != nil {
		return 0, fmt.Errorf("ask for the mode of the AF_XDP socket: %w", err)
	}
	if flags&zeroCopyFlag != 0 {
		return ZeroCopy, nil
	}
	return Copy, nil
}

// ringOffsets asks the kernel where the indices and slots lie in a ring's
// mapping. The socket that it needs for that is also the first thing to fail,
// with an errno that nobody has hidden.
func ringOffsets() (o unix.XDPMmapOffsets, err error) {
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return o, fmt.Errorf("make an AF_XDP socket: %w", err)
	}
	defer unix.Close(fd)
	size := uint32(unsafe.Sizeof(o))
	if err := getsockopt(fd, unix.XDP_MMAP_OFFSETS, unsafe.Pointer(&o), &size); err != nil {
		return o, fmt.Errorf("ask for the layout of the AF_XDP rings: %w", err)
	}
	if size != uint32(unsafe.Sizeof(o)) {
		return o, fmt.Errorf("the kernel's AF_XDP rings have no flags (before Linux 5.4): %w", unix.EOPNOTSUPP)
	}
	return o, nil
}
