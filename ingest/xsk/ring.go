// SPDX-License-Identifier: Apache-2.0

//go:build linux

package xsk

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// The two rings of a receive socket, and who may touch what.
//
// Both rings are memory shared with the kernel: an array whose length is a
// power of two, and two free-running 32-bit indices that wrap around at 2^32.
// A slot is index & mask; producer - consumer is how many slots are filled,
// whatever has wrapped.
//
//	ring  producer index     consumer index     slots
//	fill  we write           kernel writes      we write a frame's address, the kernel reads it
//	RX    kernel writes      we write           the kernel writes a descriptor, we read it
//
// On our side one goroutine, the worker, is the only writer and the only
// reader. So each index that we write has a private copy that is the truth, and
// the shared word is only its publication. Of the RX producer we keep the last
// value seen and look again only when it does not satisfy a request.
//
// Memory order. The kernel publishes with smp_store_release and looks with
// smp_load_acquire (net/xdp/xsk_queue.h); we have to pair with both:
//
//   - RX: the acquire load of the producer comes before the plain loads of the
//     slots, or we could read a slot from before it was written.
//   - RX: the plain loads of the slots come before the release store of the
//     consumer, or the kernel could overwrite what we are still reading.
//   - fill: the plain stores of the slots, and everything that we read from the
//     frames, come before the release store of the producer, or the kernel could
//     take an old address, or write into a frame that we still decode.
//
// sync/atomic is stronger than acquire and release, and it is what Go has. On
// amd64 a load is a MOV, ordered by the hardware, and a store is an XCHG, some
// 20 cycles; on arm64 they are LDAR and STLR, which is acquire and release. As
// important as the instructions: the compiler neither moves plain accesses
// across them nor keeps an atomic load in a register. One load and one store per
// ring and batch make the price vanish.
//
// The fill ring has as many slots as there are frames. A frame is in at most
// one place, so the ring cannot overflow and its consumer index is never read:
// one shared cache line less.
//
// Rejected: the data path of the library that opens the socket. It loads and
// stores the shared indices plainly, with its fences as comments: on arm64
// slots and index may be seen in either order, and on amd64 the compiler turns
// an inlined loop that waits for the ring into one that never reads memory
// again. It finds free frames by walking all of them (5.5 µs at 8192), divides
// by the frame size for each descriptor, writes the consumer index of an empty
// ring, and calls a frame free before its reader has seen it. Also rejected: an
// mmap of the rings of our own beside the library's. It works here, but older
// kernels refuse it after bind, and each mapping is one more reference that
// keeps the queue bound.

// rxRing is our end of the RX ring: the consumer's.
type rxRing struct {
	producer *uint32 // shared; the kernel writes
	consumer *uint32 // shared; we write
	descs    []unix.XDPDesc
	mask     uint32
	seen     uint32 // the producer, when last looked at
	cons     uint32 // the next slot to take; *consumer lags until release
}

func newRxRing(producer, consumer *uint32, descs []unix.XDPDesc) rxRing {
	cons := atomic.LoadUint32(consumer)
	return rxRing{
		producer: producer, consumer: consumer, descs: descs,
		mask: uint32(len(descs) - 1), seen: cons, cons: cons,
	}
}

// available returns how many slots may be read from cons on, at most limit.
func (r *rxRing) available(limit uint32) uint32 {
	n := r.seen - r.cons
	if n < limit {
		r.seen = atomic.LoadUint32(r.producer)
		n = r.seen - r.cons
	}
	return min(n, limit)
}

// release gives the next n slots back to the kernel. They must have been read.
func (r *rxRing) release(n uint32) {
	r.cons += n
	atomic.StoreUint32(r.consumer, r.cons)
}

// fillRing is our end of the fill ring: the producer's.
type fillRing struct {
	producer *uint32 // shared; we write
	flags    *uint32 // shared; the kernel writes
	addrs    []uint64
	mask     uint32
	prod     uint32 // the next slot to fill; *producer lags until publish
}

func newFillRing(producer, flags *uint32, addrs []uint64) fillRing {
	return fillRing{
		producer: producer, flags: flags, addrs: addrs,
		mask: uint32(len(addrs) - 1), prod: atomic.LoadUint32(producer),
	}
}

// put writes the next slot. The kernel sees it after publish.
func (r *fillRing) put(addr uint64) {
	r.addrs[r.prod&r.mask] = addr
	r.prod++
}

// publish hands all slots put so far to the kernel.
func (r *fillRing) publish() { atomic.StoreUint32(r.producer, r.prod) }

// needsWakeup says whether the driver sleeps until somebody tells it that there
// are frames again. Only zero-copy drivers ask for that on the receive side.
func (r *fillRing) needsWakeup() bool {
	return atomic.LoadUint32(r.flags)&unix.XDP_RING_NEED_WAKEUP != 0
}
