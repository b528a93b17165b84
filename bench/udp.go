// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/portolan/portolan/netns"
)

// UDPConfig is what a UDP generator sends, and where.
type UDPConfig struct {
	Workload Workload
	NS       *netns.NS      // where the socket is opened; nil is the caller's namespace
	Src      netip.AddrPort // optional
	Dst      netip.AddrPort // IPv4 or IPv6
}

// UDP sends datagrams through a plain socket, some 100,000 per second. It needs no privilege where
// NS is nil, and works over any network.
type UDP struct {
	plan *plan
	conn *net.UDPConn
	next atomic.Uint64 // number of the next datagram
	size int           // bytes of a datagram

	// One batch for sendmmsg(2). The headers point to the buffers behind them.
	messages [udpBatch]mmsghdr
	vectors  [udpBatch]unix.Iovec
	buffer   []byte
}

// udpBatch is how many datagrams one system call sends at most.
const udpBatch = 64

// mmsghdr is struct mmsghdr of the kernel.
type mmsghdr struct {
	header unix.Msghdr
	length uint32
}

// NewUDP opens the socket.
func NewUDP(c UDPConfig) (*UDP, error) {
	p, err := newPlan(c.Workload)
	if err != nil {
		return nil, err
	}
	var src *net.UDPAddr
	if c.Src.IsValid() {
		src = net.UDPAddrFromAddrPort(c.Src)
	}
	u := &UDP{plan: p}
	err = c.NS.Do(func() (err error) {
		u.conn, err = net.DialUDP("udp", src, net.UDPAddrFromAddrPort(c.Dst))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open a socket to send to %v: %w", c.Dst, err)
	}
	// What the kernel does not grant only makes sends block earlier.
	if err := u.conn.SetWriteBuffer(4 << 20); err != nil {
		u.conn.Close()
		return nil, fmt.Errorf("set the socket's send buffer: %w", err)
	}
	u.size = len(p.appendDatagram(nil, 0))
	u.buffer = make([]byte, 0, udpBatch*u.size)
	for i := range u.messages {
		u.vectors[i].Base = &u.buffer[:cap(u.buffer)][i*u.size]
		u.vectors[i].SetLen(u.size)
		u.messages[i].header.Iov = &u.vectors[i]
		u.messages[i].header.Iovlen = 1
	}
	return u, nil
}

// Run sends.
func (u *UDP) Run(ctx context.Context, load Load) (Result, error) {
	pace, err := newPacer(load)
	if err != nil {
		return Result{}, err
	}
	raw, err := u.conn.SyscallConn()
	if err != nil {
		return Result{}, err
	}
	// A send that waits for room in the socket's buffer ends with the run.
	timed, cancel := context.WithDeadline(ctx, pace.deadline)
	defer cancel()
	expired := make(chan struct{})
	stop := context.AfterFunc(timed, func() {
		u.conn.SetWriteDeadline(time.Unix(1, 0))
		close(expired)
	})
	defer func() {
		if !stop() {
			<-expired
		}
		u.conn.SetWriteDeadline(time.Time{})
	}()

	r := Result{First: u.next.Load()}
	for err == nil {
		n := pace.wait(ctx, udpBatch)
		if n == 0 {
			break
		}
		var sent uint64
		sent, err = u.send(raw, r.First+pace.sent, n)
		pace.done(sent)
		u.next.Store(r.First + pace.sent)
		if errors.Is(err, unix.ECONNREFUSED) {
			// An answer to an earlier datagram: nobody listens, for now.
			r.Refused++
			err = nil
		}
	}
	r.Sent, r.Records, r.Elapsed = pace.sent, pace.sent*uint64(u.plan.Records), pace.elapsed
	switch {
	case ctx.Err() != nil:
		return r, ctx.Err()
	case timed.Err() != nil:
		return r, nil // whatever the last send said, its time was over
	}
	return r, err
}

// send sends n datagrams from number first on and returns how many the kernel took.
func (u *UDP) send(raw syscall.RawConn, first, n uint64) (uint64, error) {
	u.buffer = u.buffer[:0]
	for i := range n {
		u.buffer = u.plan.appendDatagram(u.buffer, first+i)
	}
	var sent uintptr
	var errno unix.Errno
	err := raw.Write(func(fd uintptr) bool {
		sent, _, errno = unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&u.messages[0])), uintptr(n), unix.MSG_DONTWAIT, 0, 0)
		return errno != unix.EAGAIN && errno != unix.EINTR
	})
	switch {
	case err != nil:
		return 0, fmt.Errorf("send datagrams: %w", err)
	case errno == unix.ENOBUFS || errno == unix.EINTR:
		return 0, nil // the device's queue is full: the next turn tries again
	case errno != 0:
		return 0, fmt.Errorf("send datagrams: %w", errno)
	}
	return uint64(sent), nil
}

// Sent is how many datagrams the kernel took in all runs together.
func (u *UDP) Sent() (uint64, error) { return u.next.Load(), nil }

// Close closes the socket.
func (u *UDP) Close() error { return u.conn.Close() }
