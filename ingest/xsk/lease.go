// SPDX-License-Identifier: Apache-2.0

//go:build linux

package xsk

import (
	"fmt"
	"math/bits"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A frame is always in exactly one of three hands:
//
//	the kernel's   in the fill ring, in the kernel's pool, or in the RX ring
//	the lease's    between Receive and End
//	nobody's       lost: the kernel named an address that cannot be
//
// pool.kernel is the truth about the first. A descriptor of a frame that the
// kernel does not own is a fault of the kernel or of a driver (duplicates have
// been reported); without the check such a frame would be put into the fill ring
// twice, and from then on two packets would share one buffer.
//
// The check catches a duplicate that comes while the first is lent, as when both
// are in one batch. After End the frame is the kernel's again, and a late
// duplicate looks like the next packet. To compare with the fill ring's consumer
// index would not tell them apart: the kernel publishes that only when it has
// used up all the entries it knew of, long after it has used a frame.

const pktContd = 1 << 0 // XDP_PKT_CONTD: more buffers of the same packet follow

// What the pool's owner may do next.
const (
	idle   uint8 = iota
	lent         // a lease is open
	closed       // the memory is gone
)

// frame is a received frame: a place in the UMEM.
type frame struct {
	addr uint64
	size uint32
}

// pool is the UMEM, both rings, and who owns which frame. It makes no system
// call, so tests run it over plain memory. It belongs to the worker, apart from
// the two counters.
type pool struct {
	rx        rxRing
	fill      fillRing
	umem      []byte
	kernel    []bool // by frame: the kernel owns it
	shift     uint   // frame number = address >> shift
	frameSize uint64

	state uint8
	contd bool    // the next descriptor continues a packet that is being skipped
	gen   uint64  // counts Receive, End and Close: tells an old lease from the open one
	lent  []frame // the frames of the open lease
	skip  []uint64

	received atomic.Uint64
	refused  atomic.Uint64
}

// init prepares the pool for frames of a size that is a power of two. All frames
// are with the caller until fillAll.
func (p *pool) init(umem []byte, frameSize int, rx rxRing, fill fillRing) {
	frames := len(umem) / frameSize
	p.umem, p.rx, p.fill = umem, rx, fill
	p.kernel = make([]bool, frames)
	p.frameSize = uint64(frameSize)
	p.shift = uint(bits.TrailingZeros(uint(frameSize)))
	p.lent = make([]frame, 0, len(rx.descs))
	p.skip = make([]uint64, 0, len(rx.descs))
}

// fillAll hands every frame to the kernel.
func (p *pool) fillAll() {
	for i := range p.kernel {
		p.kernel[i] = true
		p.fill.put(uint64(i) << p.shift)
	}
	p.fill.publish()
}

// receive takes up to limit frames off the RX ring.
func (p *pool) receive(limit int) Lease {
	if p.state != idle {
		p.misused()
	}
	if limit <= 0 {
		return Lease{}
	}
	n := p.rx.available(uint32(min(limit, len(p.rx.descs))))
	if n == 0 {
		return Lease{}
	}
	got, kernel, descs, mask := p.lent[:n], p.kernel, p.rx.descs, p.rx.mask
	size, shift, cons := p.frameSize, p.shift&63, p.rx.cons
	good := 0
	for i := range n {
		d := &descs[(cons+i)&mask]
		num := d.Addr >> shift
		inside := d.Addr&(size-1) + uint64(d.Len)
		if num >= uint64(len(kernel)) || !kernel[num] || inside > size || d.Options&pktContd != 0 || p.contd {
			p.refuse(*d)
			continue
		}
		kernel[num] = false
		got[good] = frame{addr: d.Addr, size: d.Len}
		good++
	}
	got = got[:good]
	p.rx.release(n)
	p.lent = got
	p.gen++
	if len(got) == 0 {
		p.giveBack() // what was refused; there is no lease whose End would do it
		return Lease{}
	}
	p.received.Add(uint64(len(got)))
	p.state = lent
	return Lease{pool: p, gen: p.gen, n: len(got)}
}

// refuse counts a descriptor that is not lent, and keeps its frame for the next
// giveBack where that frame is really ours now. Inlined, it would take the
// registers of the loop that never calls it.
//
//go:noinline
func (p *pool) refuse(d unix.XDPDesc) {
	p.refused.Add(1)
	p.contd = d.Options&pktContd != 0
	num := d.Addr >> p.shift
	if num < uint64(len(p.kernel)) && p.kernel[num] {
		p.kernel[num] = false
		p.skip = append(p.skip, num<<p.shift)
	}
}

// giveBack returns the lent and the refused frames in one store. A frame's
// address may lie behind the headroom that the kernel or a driver left; the fill
// ring takes the frame's own.
func (p *pool) giveBack() {
	kernel, addrs, mask := p.kernel, p.fill.addrs, p.fill.mask
	own, shift, prod := ^(p.frameSize - 1), p.shift&63, p.fill.prod
	for _, f := range p.lent {
		if invariants {
			p.beforeGiving(f.addr >> shift)
		}
		kernel[f.addr>>shift] = true
		addrs[prod&mask] = f.addr & own
		prod++
	}
	p.fill.prod = prod
	for _, addr := range p.skip {
		p.kernel[addr>>shift] = true
		p.fill.put(addr)
	}
	p.lent, p.skip = p.lent[:0], p.skip[:0]
	p.fill.publish()
}

func (p *pool) beforeGiving(num uint64) {
	if p.kernel[num] {
		panic("xsk: a frame would be given to the kernel twice")
	}
	mangle(p.umem[num<<p.shift : (num+1)<<p.shift])
}

func (p *pool) misused() {
	if p.state == closed {
		panic("xsk: Receive after Close")
	}
	panic("xsk: Receive before End of the lease before")
}

// close forgets the memory, so that a late use panics instead of faulting.
func (p *pool) close() {
	p.state = closed
	p.gen++
	p.umem = nil
}

// Lease is the loan of some received frames, in the order of their arrival. The
// bytes may be read, and changed, until End; then the kernel writes the next
// packets into them. A lease of no frames needs no End.
//
// It is a small value that its holder passes by copying; all copies end
// together. Use after End, or after Close of the socket, panics.
type Lease struct {
	pool *pool
	gen  uint64
	n    int
}

// Len returns the number of frames.
func (l Lease) Len() int { return l.n }

// Frame returns frame i, from its Ethernet header on, without the checksum.
// 0 ≤ i < Len().
func (l Lease) Frame(i int) []byte {
	p := l.pool
	if uint(i) >= uint(l.n) || l.gen != p.gen {
		l.misused("Frame", i)
	}
	f := &p.lent[i]
	end := f.addr + uint64(f.size)
	return p.umem[f.addr:end:end]
}

// End gives the frames back to the kernel.
func (l Lease) End() {
	if l.n == 0 {
		return
	}
	p := l.pool
	if l.gen != p.gen {
		l.misused("End", 0)
	}
	p.giveBack()
	p.gen++
	p.state = idle
}

func (l Lease) misused(method string, i int) {
	if l.n == 0 || l.gen == l.pool.gen {
		panic(fmt.Sprintf("xsk: %s(%d) of a lease of %d frames", method, i, l.n))
	}
	panic(fmt.Sprintf("xsk: %s of a lease after its End, or after Close of its socket", method))
}
