// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/portolan/portolan/store/ipset"
)

// # How an address becomes an endpoint
//
// A worker that meets an external address inside the internal prefixes writes it
// into a ring of its own and goes on; the side is external and counts so. One
// goroutine, the finder, empties the rings and has what is left admitted, in
// batches, by whoever keeps the endpoints. From the set's next view on the
// address is looked up like any other. So the hot path waits for nothing, and the
// first records of a device, those of some tens of milliseconds, are external.
//
// Who writes a ring: its worker. Who reads it: the finder. Who changes the
// prefixes: the control path, by an atomic pointer to an immutable list. Rejected:
// a channel (a lock per address) and one queue for all workers (they would
// contend for it in the very moment, a scan, in which it is full).
//
// What bounds it: the ring, which drops and counts; a small filter, because a
// busy address is met thousands of times before it is admitted, and one that is
// refused for ever after; and the limit of whoever admits.

const (
	// foundSize is how many addresses of one worker wait for the finder.
	foundSize = 1 << 10
	// seenSize is how many addresses a worker remembers to have noted, 8 bytes
	// each; seenFor is after what time it forgets all of them.
	seenSize = 1 << 12
	seenFor  = int64(10 * time.Second)
	// admitBatch is how many addresses at most are admitted at once.
	admitBatch = 4 << 10
	// MaxInternal is how many internal prefixes there can be: each is compared
	// with every external address.
	MaxInternal = 64
)

// discoverDrop is why an address inside the internal prefixes became no endpoint.
type discoverDrop uint8

const (
	discoverQueueFull discoverDrop = iota // the finder did not keep up; it is found again
	discoverLimit                         // there are as many as there may be
	discoverFailed                        // the profiler did not take it

	discoverDrops = iota
)

var discoverDropNames = [discoverDrops]string{"queue_full", "limit", "failed"}

func (d discoverDrop) String() string { return discoverDropNames[d] }

// prefixSet is a list of prefixes as pairs of words, in the byte order in which
// addresses are loaded. IPv4 is ::ffff:0:0/96 and what is below.
type prefixSet struct {
	masks []prefixMask
	list  []netip.Prefix
}

type prefixMask struct{ hi, lo, maskHi, maskLo uint64 }

// newPrefixSet returns nil for no prefixes.
func newPrefixSet(list []netip.Prefix) (*prefixSet, error) {
	if len(list) > MaxInternal {
		return nil, fmt.Errorf("%d prefixes are more than the %d that can be internal: name wider ones", len(list), MaxInternal)
	}
	if len(list) == 0 {
		return nil, nil
	}
	s := &prefixSet{}
	for _, p := range list {
		if !p.IsValid() {
			return nil, errors.New("an internal prefix is none")
		}
		bits := p.Bits()
		if p.Addr().Is4() {
			bits += 96
		}
		var mask [16]byte
		for i := range bits {
			mask[i/8] |= 0x80 >> (i % 8)
		}
		a := p.Masked().Addr().As16()
		le := binary.LittleEndian
		s.masks = append(s.masks, prefixMask{le.Uint64(a[:8]), le.Uint64(a[8:]), le.Uint64(mask[:8]), le.Uint64(mask[8:])})
		s.list = append(s.list, p.Masked())
	}
	return s, nil
}

func (s *prefixSet) contains(hi, lo uint64) bool {
	for i := range s.masks {
		m := &s.masks[i]
		if (hi^m.hi)&m.maskHi|(lo^m.lo)&m.maskLo == 0 {
			return true
		}
	}
	return false
}

// device tells whether an address can be a single device's: no multicast, no
// broadcast, also of a prefix itself, no loopback, and no link-local address, which
// another device on another link may have as well. Where a prefix holds several
// networks, their broadcast addresses cannot be told.
func (s *prefixSet) device(a netip.Addr) bool {
	if a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a.IsLinkLocalUnicast() || a == limitedBroadcast {
		return false
	}
	inside := false
	for _, p := range s.list {
		if !p.Contains(a) {
			continue
		}
		inside = true
		if p.Addr().Is4() && p.Bits() < 31 && (a == p.Addr() || !p.Contains(a.Next())) {
			return false
		}
	}
	return inside
}

// limitedBroadcast is 255.255.255.255, RFC 919 section 7.
var limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// foundRing carries addresses from one worker to the finder. See queue, whose
// little sister it is.
type foundRing struct {
	entries [foundSize][16]byte
	seen    [seenSize]uint64
	since   int64 // when seen began

	_    [64]byte
	tail atomic.Uint64 // written by the worker
	_    [64]byte
	head atomic.Uint64 // written by the finder
	_    [64]byte
}

// seek notes the external addresses that are inside the internal prefixes.
func (w *worker) seek(addresses [][16]byte, bindings []ipset.Binding, arrival int64) {
	internal := w.finder.internal.Load()
	if internal == nil {
		return
	}
	f := w.found
	if arrival-f.since > seenFor || arrival < f.since {
		clear(f.seen[:])
		f.since = arrival
	}
	tail := f.tail.Load()
	was := tail
	for i := range bindings {
		if bindings[i].Gen != 0 {
			continue
		}
		a := &addresses[i]
		hi, lo := binary.LittleEndian.Uint64(a[:8]), binary.LittleEndian.Uint64(a[8:])
		if !internal.contains(hi, lo) {
			continue
		}
		h := pairHash(hi*0x9e3779b97f4a7c15^lo) | 1
		place := &f.seen[h>>52&(seenSize-1)]
		if *place == h {
			continue
		}
		*place = h
		if tail-f.head.Load() == foundSize {
			w.finder.dropped[discoverQueueFull].Add(1)
			continue
		}
		f.entries[tail%foundSize] = *a
		tail++
	}
	if tail != was {
		f.tail.Store(tail)
		select {
		case w.finder.wake <- struct{}{}:
		default: // it has been told already
		}
	}
}
