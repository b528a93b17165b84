// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"math/bits"
	"sync/atomic"

	"github.com/portolan/portolan/profiler"
)

// Table is what is remembered of endpoints' ports that nothing is certain of
// yet. See the package comment for who may do what.
type Table struct {
	chunks [maxChunks]atomic.Pointer[chunk]
	proven proven

	active  atomic.Int64  // endpoints with a place
	limit   int64         // of them
	evicted atomic.Uint64 // slots that made room for others
}

const (
	chunkSize = 256
	// maxChunks is for 4 million endpoints; bindings beyond are not judged.
	maxChunks = 1 << 14
	slots     = 10
)

type chunk [chunkSize]endpoint

// endpoint is 256 bytes: a head and ten slots of 24 bytes.
type endpoint struct {
	head   atomic.Uint64 // isBusy; generation, low 16 bits; when it was first seen, Unix seconds
	budget atomic.Uint64 // see budget.go
	slots  [slots]slot
}

// isBusy says of a place that it is being emptied for another holder.
const isBusy = 1 << 63

// slot is a port of an endpoint that is under observation. Workers only add to
// it, by OR, by a minimum or by counting a bit, so that the order of records
// does not matter.
type slot struct {
	// state is 0 while the slot is free. From the top: when the port was first
	// seen, 32 bits of Unix seconds; the port, 16; flags, 14; the protocol, 2.
	state atomic.Uint64
	// fan has a bit for each of 64 groups of counterparts.
	fan atomic.Uint64
	// far is the lowest of the other ends that it met: binding, port, generation.
	far atomic.Uint64
}

// The flags of a slot's state.
const (
	isOut    = 1 << (2 + iota) // a record from it
	isIn                       // a record to it that its end answered, by the flags
	isSoft                     // a record to it that proves the sender only
	isClient                   // a connection was opened from it
	isBetter                   // its port ranks better than the other one
	isWorse
	isSame     // the ports are equal
	isSampled  // by an exporter that samples
	isPosted   // settled, and told
	isTransfer // asked for a file by TFTP, which a port of the moment serves

	protoMask = 3
	portShift = 16
	flagMask  = 0xfffc
)

// key names a port of an endpoint: binding, 32 bits; port, 16; generation, 10;
// protocol, 2.
type key uint64

func makeKey(proto uint8, binding, gen uint32, port uint16) key {
	return key(uint64(binding)<<32 | uint64(port)<<16 | uint64(gen&1023)<<2 | uint64(protoCode(proto)))
}

func (s *Side) key() key { return makeKey(s.Proto, s.Binding, s.Gen, s.Port) }

func (k key) binding() uint32 { return uint32(k >> 32) }
func (k key) port() uint16    { return uint16(k >> 16) }
func (k key) proto() uint8    { return protoOf(uint64(k)) }

func protoCode(proto uint8) uint8 {
	switch proto {
	case tcp:
		return 1
	case udp:
		return 2
	case 132:
		return 3
	}
	return 0
}

// New makes a table for at most so many endpoints with ports under observation,
// and about so many proven ports.
func New(endpoints, ports int) *Table {
	t := &Table{limit: int64(endpoints)}
	t.proven.init(ports)
	return t
}

// Evicted is how many ports under observation made room for others.
func (t *Table) Evicted() uint64 { return t.evicted.Load() }

// endpoint returns the place of a binding, in its generation. create: where it
// has none, it gets one, unless there is no room.
func (t *Table) endpoint(binding, gen uint32, now uint32, create bool) *endpoint {
	n := binding / chunkSize
	if n >= maxChunks {
		return nil
	}
	c := t.chunks[n].Load()
	if c == nil {
		if !create || t.active.Load() >= t.limit {
			return nil
		}
		if t.chunks[n].CompareAndSwap(nil, new(chunk)) {
			t.active.Add(chunkSize)
		}
		c = t.chunks[n].Load()
	}
	e := &c[binding%chunkSize]
	want := uint64(gen&0xffff) << 32
	for {
		h := e.head.Load()
		switch {
		case h>>32 == want>>32:
			return e
		case !create || h&isBusy != 0:
			return nil // what is being emptied takes nothing for a moment
		case h == 0:
			if e.head.CompareAndSwap(0, want|uint64(now)) {
				return e
			}
		case e.head.CompareAndSwap(h, h|isBusy):
			// Another holder: what was observed of the last one is not its.
			for i := range e.slots {
				e.slots[i].free()
			}
			e.budget.Store(0)
			e.head.Store(want | uint64(now))
			return e
		}
	}
}

// seen is when the endpoint was first seen.
func (e *endpoint) seen() uint32 { return uint32(e.head.Load()) }

const matchMask = 0xffff<<portShift | protoMask

func match(proto uint8, port uint16) uint64 {
	return uint64(port)<<portShift | uint64(protoCode(proto))
}

// look finds the slot of a port.
func (e *endpoint) look(proto uint8, port uint16) *slot {
	want := match(proto, port)
	for i := range e.slots {
		if e.slots[i].state.Load()&matchMask == want {
			return &e.slots[i]
		}
	}
	return nil
}

// slot finds or takes the slot of a side's port.
func (t *Table) slot(s *Side, now uint32) *slot {
	e := t.endpoint(s.Binding, s.Gen, now, true)
	if e == nil {
		return nil
	}
	want := match(s.Proto, s.Port)
	for {
		var empty *slot
		for i := range e.slots {
			x := &e.slots[i]
			switch state := x.state.Load(); {
			case state&matchMask == want:
				return x
			case state == 0 && empty == nil:
				empty = x
			}
		}
		if empty == nil {
			empty = e.victim()
			if empty == nil {
				return nil
			}
			t.evicted.Add(1)
		}
		if empty.state.CompareAndSwap(0, uint64(now)<<32|want) {
			return empty
		}
	}
}

// victim frees the slot that has shown the least: not posted, the fewest
// counterparts, the oldest.
func (e *endpoint) victim() *slot {
	worst, least := (*slot)(nil), ^uint64(0)
	for i := range e.slots {
		x := &e.slots[i]
		state := x.state.Load()
		if state&isPosted != 0 {
			continue
		}
		value := uint64(bits.OnesCount64(x.fan.Load()))<<34 | state>>32
		if value < least {
			worst, least = x, value
		}
	}
	if worst != nil {
		worst.free()
	}
	return worst
}

// add sets flags of a slot, unless it was freed, or is another port's by now.
func (s *slot) add(want, set uint64) bool {
	for {
		state := s.state.Load()
		switch {
		case state&matchMask != want:
			return false
		case state&set == set || s.state.CompareAndSwap(state, state|set):
			return true
		}
	}
}

// free empties a slot.
func (s *slot) free() {
	s.fan.Store(0)
	s.far.Store(0)
	s.state.Store(0)
}

func (s *slot) first() uint32 { return uint32(s.state.Load() >> 32) }

// count adds a counterpart. Those of an earlier window do not count any more.
func (s *slot) count(bit uint64, window, now uint32) {
	if s.fan.Load() != 0 && now > s.first()+window {
		s.fan.Store(0)
		for {
			old := s.state.Load()
			if s.state.CompareAndSwap(old, old&(1<<32-1)|uint64(now)<<32) {
				break
			}
		}
	}
	if s.fan.Load()&bit == 0 {
		s.fan.Or(bit)
	}
}

// meet notes the other end.
func (s *slot) meet(binding, gen uint32, port uint16) {
	far := uint64(binding)<<32 | uint64(port)<<16 | uint64(gen&1023)
	for {
		old := s.far.Load()
		if old != 0 && old <= far || s.far.CompareAndSwap(old, far) {
			return
		}
	}
}

// farKey names the other end's port, 0 where that is nobody's.
func (s *slot) farKey(proto uint8) key {
	far := s.far.Load()
	if far>>32 == 0 {
		return 0
	}
	return makeKey(proto, uint32(far>>32), uint32(far&1023), uint16(far>>16))
}

// mark says of a side's port that a connection was opened from it.
func (t *Table) mark(s *Side, flag uint64, now uint32) {
	if x := t.slot(s, now); x != nil && x.add(match(s.Proto, s.Port), flag) {
		x.meet(s.Far, s.FarGen, s.FarPort)
	}
}

// farSlot is the slot of the other end's port, nil where it has none.
func (t *Table) farSlot(k key) *slot {
	if k == 0 {
		return nil
	}
	n := k.binding() / chunkSize
	if n >= maxChunks {
		return nil
	}
	c := t.chunks[n].Load()
	if c == nil {
		return nil
	}
	e := &c[k.binding()%chunkSize]
	if uint32(e.head.Load()>>32)&1023 != uint32(k>>2)&1023 {
		return nil
	}
	return e.look(k.proto(), k.port())
}

// proven remembers ports that are certain, eight bytes each, in buckets of eight.
// It is a cache: what it forgets is proved again.
type proven struct {
	words []atomic.Uint64
	mask  uint64
}

func (p *proven) init(n int) {
	size := uint64(1) << bits.Len(uint(max(n, 1024)-1))
	p.words = make([]atomic.Uint64, size)
	p.mask = size - 1
}

func (p *proven) bucket(k key) []atomic.Uint64 {
	h := uint64(k) * 0x9e3779b97f4a7c15
	i := h >> 20 & p.mask &^ 7
	return p.words[i : i+8]
}

const evidenceShift = 12

// confirmed tells what proves a port, if anything does.
func (t *Table) confirmed(k key) profiler.Evidence {
	b := t.proven.bucket(k)
	for i := range b {
		if w := b[i].Load(); w&^(15<<evidenceShift) == uint64(k) {
			return profiler.Evidence(w >> evidenceShift & 15)
		}
	}
	return profiler.NoEvidence
}

// confirm remembers what proves a port: the strongest.
func (t *Table) confirm(k key, e profiler.Evidence) {
	b := t.proven.bucket(k)
	word := uint64(k) | uint64(e)<<evidenceShift
	for {
		at := -1
		for i := range b {
			w := b[i].Load()
			if w&^(15<<evidenceShift) == uint64(k) {
				if profiler.Evidence(w>>evidenceShift&15) >= e {
					return
				}
				at = i
				break
			}
			if w == 0 && at < 0 {
				at = i
			}
		}
		if at < 0 {
			at = int(uint64(k) * 0xd1342543de82ef95 >> 61)
		}
		if old := b[at].Load(); b[at].CompareAndSwap(old, word) {
			return
		}
	}
}
