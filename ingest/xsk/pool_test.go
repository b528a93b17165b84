// SPDX-License-Identifier: Apache-2.0

//go:build linux

package xsk

import (
	"encoding/binary"
	"math"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// fakeKernel is the other end of the rings, over plain memory. It does what the
// kernel does in copy mode, and on request what a broken one might.
type fakeKernel struct {
	pool     *pool
	umem     []byte
	rxProd   uint32 // shared
	rxCons   uint32 // shared
	fillProd uint32 // shared
	flags    uint32 // shared
	descs    []unix.XDPDesc
	addrs    []uint64
	prod     uint32 // its own truth about the RX ring
	cons     uint32 // and about the fill ring
}

const fakeHeadroom = headroom

// newFake makes a pool and its kernel, with all ring indices starting at start.
func newFake(frames int, start uint32) *fakeKernel {
	k := &fakeKernel{
		pool: new(pool), umem: make([]byte, frames*2048),
		rxProd: start, rxCons: start, fillProd: start, prod: start, cons: start,
		descs: make([]unix.XDPDesc, frames), addrs: make([]uint64, frames),
	}
	k.pool.init(k.umem, 2048, newRxRing(&k.rxProd, &k.rxCons, k.descs), newFillRing(&k.fillProd, &k.flags, k.addrs))
	k.pool.fillAll()
	return k
}

// take takes a free frame, as the kernel does for an arriving packet.
func (k *fakeKernel) take() (addr uint64, ok bool) {
	if k.cons == atomic.LoadUint32(&k.fillProd) {
		return 0, false
	}
	addr = k.addrs[k.cons&uint32(len(k.addrs)-1)]
	k.cons++
	return addr, true
}

// push puts a descriptor into the RX ring.
func (k *fakeKernel) push(d unix.XDPDesc) {
	if k.prod-atomic.LoadUint32(&k.rxCons) == uint32(len(k.descs)) {
		panic("the RX ring is as large as the UMEM, and yet full")
	}
	k.descs[k.prod&uint32(len(k.descs)-1)] = d
	k.prod++
	atomic.StoreUint32(&k.rxProd, k.prod)
}

// deliver receives packet n, of 64 bytes, into a free frame.
func (k *fakeKernel) deliver(n uint64) bool {
	addr, ok := k.take()
	if !ok {
		return false
	}
	addr += fakeHeadroom
	for at := addr; at < addr+64; at += 8 {
		binary.LittleEndian.PutUint64(k.umem[at:], n)
	}
	k.push(unix.XDPDesc{Addr: addr, Len: 64})
	return true
}

func mustDeliver(t *testing.T, k *fakeKernel, n uint64) {
	t.Helper()
	if !k.deliver(n) {
		t.Fatalf("no free frame for packet %d", n)
	}
}

// number returns the number of a delivered packet, or false if the frame was
// written into while it was lent.
func number(frame []byte) (n uint64, ok bool) {
	n = binary.LittleEndian.Uint64(frame)
	for at := 8; at < len(frame); at += 8 {
		if binary.LittleEndian.Uint64(frame[at:]) != n {
			return n, false
		}
	}
	return n, len(frame) == 64
}

// The indices wrap around at 2^32; nothing may notice.
func TestRingIndicesWrap(t *testing.T) {
	for _, start := range []uint32{0, math.MaxUint32, math.MaxUint32 - 5, math.MaxUint32 - 8, 1<<31 - 3} {
		k := newFake(8, start)
		var next, sent uint64
		for round := range 40 {
			for range round % 9 {
				mustDeliver(t, k, sent)
				sent++
			}
			for next < sent {
				l := k.pool.receive(1 + round%4)
				if l.Len() == 0 || l.Len() > 1+round%4 {
					t.Fatalf("start %d: a lease of %d frames, asked for %d", start, l.Len(), 1+round%4)
				}
				for i := range l.Len() {
					if n, ok := number(l.Frame(i)); !ok || n != next {
						t.Fatalf("start %d: packet %d, want %d", start, n, next)
					}
					next++
				}
				l.End()
			}
			if l := k.pool.receive(8); l.Len() != 0 {
				t.Fatalf("start %d: %d frames from an empty ring", start, l.Len())
			}
		}
		if free := k.fillProd - k.cons; free != 8 {
			t.Errorf("start %d: the kernel has %d of 8 frames at the end", start, free)
		}
	}
}

// Kernel and worker run at the same time, over few frames, so that every frame
// changes hands thousands of times. Under the race detector this also shows that
// the rings order all accesses to the frames.
func TestRingsBetweenTwoGoroutines(t *testing.T) {
	const packets = 200_000
	k := newFake(16, math.MaxUint32-1000)
	go func() {
		for n := uint64(0); n < packets; {
			if k.deliver(n) {
				n++
			} else {
				runtime.Gosched()
			}
		}
	}()
	for next := uint64(0); next < packets; {
		l := k.pool.receive(5)
		if l.Len() == 0 {
			runtime.Gosched()
		}
		for i := range l.Len() {
			if n, ok := number(l.Frame(i)); !ok || n != next {
				t.Fatalf("packet %d (intact: %t), want %d", n, ok, next)
			}
			next++
		}
		l.End()
	}
	if got := k.pool.received.Load(); got != packets {
		t.Errorf("received %d, want %d", got, packets)
	}
}

// A descriptor that cannot be is counted and not lent, and the good ones around
// it are. Afterwards every frame is in the fill ring exactly once, apart from
// those that a broken kernel lost.
func TestBadDescriptorsAreRefused(t *testing.T) {
	const frames = 8
	own := func(k *fakeKernel) unix.XDPDesc {
		addr, _ := k.take()
		return unix.XDPDesc{Addr: addr + fakeHeadroom, Len: 64}
	}
	for name, tc := range map[string]struct {
		bad     func(k *fakeKernel) // pushes bad descriptors
		refused uint64
		lost    int // frames that the kernel took and never named
		batch   int // the smallest lease in which it shows
	}{
		"same frame twice": {func(k *fakeKernel) {
			d := own(k)
			k.push(d)
			d.Addr += 8 // somewhere else in the same frame
			k.push(d)
		}, 1, 0, 8},
		"beyond the UMEM": {func(k *fakeKernel) {
			own(k)
			k.push(unix.XDPDesc{Addr: frames * 2048, Len: 64})
		}, 1, 1, 1},
		"beyond all addresses": {func(k *fakeKernel) {
			own(k)
			k.push(unix.XDPDesc{Addr: math.MaxUint64, Len: 64})
		}, 1, 1, 1},
		"across two frames": {func(k *fakeKernel) {
			d := own(k)
			d.Len = 2048
			k.push(d)
		}, 1, 0, 1},
		"length overflows": {func(k *fakeKernel) {
			d := own(k)
			d.Len = math.MaxUint32
			k.push(d)
		}, 1, 0, 1},
		"packet in three buffers": {func(k *fakeKernel) {
			for i := range 3 {
				d := own(k)
				if i < 2 {
					d.Options = pktContd
				}
				k.push(d)
			}
		}, 3, 0, 1},
	} {
		for batch := tc.batch; batch <= 8; batch++ {
			k := newFake(frames, math.MaxUint32-2)
			mustDeliver(t, k, 1)
			tc.bad(k)
			mustDeliver(t, k, 2)
			var got []uint64
			for range frames + 1 {
				l := k.pool.receive(batch)
				for i := range l.Len() {
					if n, _ := number(l.Frame(i)); n == 1 || n == 2 {
						got = append(got, n)
					}
				}
				l.End()
			}
			if len(got) != 2 || got[0] != 1 || got[1] != 2 {
				t.Errorf("%s, batch %d: received %d, want packets 1 and 2", name, batch, got)
			}
			if n := k.pool.refused.Load(); n != tc.refused {
				t.Errorf("%s, batch %d: refused %d, want %d", name, batch, n, tc.refused)
			}
			seen := make(map[uint64]bool)
			for {
				addr, ok := k.take()
				if !ok {
					break
				}
				if seen[addr] || addr%2048 != 0 {
					t.Errorf("%s, batch %d: frame %d is in the fill ring twice or askew", name, batch, addr)
				}
				seen[addr] = true
			}
			if len(seen) != frames-tc.lost {
				t.Errorf("%s, batch %d: %d frames in the fill ring, want %d", name, batch, len(seen), frames-tc.lost)
			}
		}
	}
}

func TestLeaseMisusePanics(t *testing.T) {
	open := func(t *testing.T) (*fakeKernel, Lease) {
		k := newFake(8, 0)
		mustDeliver(t, k, 1)
		l := k.pool.receive(8)
		if l.Len() != 1 {
			t.Fatalf("a lease of %d frames, want 1", l.Len())
		}
		return k, l
	}
	for says, misuse := range map[string]func(k *fakeKernel, l Lease){
		"Receive before End": func(k *fakeKernel, l Lease) { k.pool.receive(1) },
		"Receive after Close": func(k *fakeKernel, l Lease) {
			l.End()
			k.pool.close()
			k.pool.receive(1)
		},
		"Frame of a lease after its End": func(k *fakeKernel, l Lease) {
			l.End()
			l.Frame(0)
		},
		"Frame of a lease after its End, or after Close": func(k *fakeKernel, l Lease) {
			k.pool.close()
			l.Frame(0)
		},
		"End of a lease after its End": func(k *fakeKernel, l Lease) {
			l.End()
			l.End()
		},
		"Frame(1) of a lease of 1 frames":  func(k *fakeKernel, l Lease) { l.Frame(1) },
		"Frame(-1) of a lease of 1 frames": func(k *fakeKernel, l Lease) { l.Frame(-1) },
		"Frame(0) of a lease of 0 frames":  func(k *fakeKernel, l Lease) { Lease{}.Frame(0) },
	} {
		k, l := open(t)
		func() {
			defer func() {
				if text, _ := recover().(string); !strings.Contains(text, says) {
					t.Errorf("panic %q, want it to say %q", text, says)
				}
			}()
			misuse(k, l)
		}()
	}
	_, l := open(t)
	l.End()
	Lease{}.End() // an empty lease may be ended, as often as one likes
}

func TestReturnedFramesAreMangled(t *testing.T) {
	k := newFake(8, 0)
	mustDeliver(t, k, 7)
	l := k.pool.receive(1)
	f := l.Frame(0)
	l.End()
	n, intact := number(f)
	if invariants && n != 0xCCCC_CCCC_CCCC_CCCC {
		t.Errorf("a frame read after End still holds %#x", n)
	}
	if !invariants && (!intact || n != 7) {
		t.Errorf("the production build touched a frame at End: %#x", n)
	}
}

func TestFrameCannotGrowIntoItsNeighbour(t *testing.T) {
	k := newFake(8, 0)
	mustDeliver(t, k, 1)
	l := k.pool.receive(1)
	if f := l.Frame(0); cap(f) != len(f) {
		t.Errorf("a frame of %d bytes has room for %d", len(f), cap(f))
	}
	l.End()
}

func TestPoolAllocatesNothing(t *testing.T) {
	k := newFake(64, 0)
	n := uint64(0)
	if allocs := testing.AllocsPerRun(1000, func() {
		for range 8 {
			mustDeliver(t, k, n)
		}
		l := k.pool.receive(64)
		for i := range l.Len() {
			if len(l.Frame(i)) != 64 {
				t.Fatal("short frame")
			}
		}
		l.End()
	}); allocs != 0 {
		t.Errorf("%v allocations for a lease, want none", allocs)
	}
}

// BenchmarkLease is the cost of lending and returning one frame without touching
// its bytes: Receive, Frame and End in batches of 64. The kernel's part is one
// store: the same descriptors come round again, as frames return in their order.
func BenchmarkLease(b *testing.B) {
	const frames, batch = 8192, 64
	k := newFake(frames, 0)
	for i := range k.descs {
		k.descs[i] = unix.XDPDesc{Addr: uint64(i)*2048 + fakeHeadroom, Len: 64}
	}
	sum := 0
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; n += batch {
		k.prod += batch
		atomic.StoreUint32(&k.rxProd, k.prod)
		l := k.pool.receive(batch)
		for i := range l.Len() {
			sum += len(l.Frame(i))
		}
		l.End()
	}
	if got := k.pool.received.Load(); got < uint64(b.N) || sum != int(got)*64 {
		b.Fatalf("%d frames of %d bytes for %d rounds", got, sum, b.N)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(k.pool.received.Load()), "ns/frame")
}
