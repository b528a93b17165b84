// SPDX-License-Identifier: Apache-2.0

//go:build linux

package udp

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// message is struct mmsghdr of recvmmsg(2); the compiler pads it as C does.
type message struct {
	hdr unix.Msghdr
	len uint32
}

// batch is what recvmmsg fills, all of it allocated once. The headers point into
// the other slices, which live as long as the Socket; Go's heap does not move.
type batch struct {
	headers []message
	vectors []unix.Iovec
	names   []unix.RawSockaddrInet6 // room for either family
	sources [][16]byte
	index   []int32 // positions of the delivered datagrams
	buffers []byte  // BufferSize each

	poll    [2]unix.PollFd // the socket and the eventfd
	timeout unix.Timespec
	woken   [8]byte
}

func newBatch(n, fd, wake int) batch {
	b := batch{
		headers: make([]message, n),
		vectors: make([]unix.Iovec, n),
		names:   make([]unix.RawSockaddrInet6, n),
		sources: make([][16]byte, n),
		index:   make([]int32, n),
		buffers: make([]byte, n*BufferSize),
		poll: [2]unix.PollFd{
			{Fd: int32(fd), Events: unix.POLLIN},
			{Fd: int32(wake), Events: unix.POLLIN},
		},
	}
	for i := range b.headers {
		b.vectors[i].Base = &b.buffers[i*BufferSize]
		b.vectors[i].SetLen(BufferSize)
		h := &b.headers[i].hdr
		h.Name = (*byte)(unsafe.Pointer(&b.names[i]))
		h.Namelen = unix.SizeofSockaddrInet6
		h.Iov = &b.vectors[i]
		h.SetIovlen(1)
	}
	return b
}

// recvmmsg takes what is there without waiting, unix.EAGAIN if that is nothing.
func (b *batch) recvmmsg(fd int) (int, error) {
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.headers[0])),
		uintptr(len(b.headers)), unix.MSG_DONTWAIT, 0, 0)
	switch errno {
	case 0:
		return int(n), nil
	case unix.EAGAIN:
		return 0, unix.EAGAIN // boxed once, in the package, so that waiting allocates nothing
	case unix.EINTR:
		return 0, unix.EINTR
	}
	return 0, errno
}

// address writes the source of datagram i as 16 bytes and makes its header ready
// for the next call, which needs the size of the name's room in it again.
func (b *batch) address(i int) {
	b.headers[i].hdr.Namelen = unix.SizeofSockaddrInet6
	name, source := &b.names[i], &b.sources[i]
	if name.Family == unix.AF_INET {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
		*source = [16]byte{10: 0xff, 11: 0xff}
		copy(source[12:], v4.Addr[:])
		return
	}
	*source = name.Addr
}

// drainWake makes the eventfd quiet again. That it is quiet already is no error:
// Wake may have come twice.
func (b *batch) drainWake() { _, _ = unix.Read(int(b.poll[1].Fd), b.woken[:]) }

// isMapped tells IPv4 from IPv6: ::ffff:0:0/96, RFC 4291 section 2.5.5.2.
func isMapped(a *[16]byte) bool {
	return binary.BigEndian.Uint64(a[:8]) == 0 && binary.BigEndian.Uint32(a[8:12]) == 0xffff
}
