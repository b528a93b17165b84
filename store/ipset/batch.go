// SPDX-License-Identifier: Apache-2.0

package ipset

import "math/bits"

// lanes is how many lookups a batch keeps in flight. The core's miss buffers
// are fewer; more lanes only cost scratch.
const lanes = 32

// LookupBatch looks up every address of addrs into the same place of out,
// which must be as long; the zero Binding means external. IPv4 is written
// ::ffff:a.b.c.d.
//
// Each level of the index is read for many addresses before the next one, so
// that their cache misses overlap.
func (v *View) LookupBatch(addrs [][16]byte, out []Binding) {
	out = out[:len(addrs)]
	for len(addrs) > 0 {
		n := min(lanes, len(addrs))
		v.lookupLanes(addrs[:n], out[:n])
		addrs, out = addrs[n:], out[n:]
	}
}

// lookupLanes runs at most lanes addresses through the three levels. Of each
// address only its number in the batch and the next index survive a level.
func (v *View) lookupLanes(addrs [][16]byte, out []Binding) {
	s := v.base
	var (
		lane [lanes]uint8
		at   [lanes]uint32 // index of the cell, then of the binding
		six  [lanes]uint8
		n    int
		n6   int
	)
	for i := range addrs {
		k := keyOf(&addrs[i])
		out[i] = Binding{}
		if !k.is4() {
			six[n6] = uint8(i)
			n6++
			continue
		}
		a := k.v4()
		w := s.summary[a>>22]
		if w>>(a>>16&63)&1 == 0 {
			continue
		}
		block := s.rank[a>>22] + uint32(bits.OnesCount64(w&(1<<(a>>16&63)-1)))
		g := &s.groups[block<<4|a>>12&15]
		c := a >> 6 & 63
		lane[n&(lanes-1)] = uint8(i)
		at[n&(lanes-1)] = uint32(g.base) + uint32(bits.OnesCount64(g.bits&(1<<c-1)))
		n += int(g.bits >> c & 1)
	}
	m := 0
	for j := range n {
		i := lane[j]
		c := &s.cells[at[j]]
		a := keyOf(&addrs[i]).lo >> 56 & 63
		lane[m] = i
		at[m] = uint32(c.base) + uint32(bits.OnesCount64(c.bits&(1<<a-1)))
		m += int(c.bits >> a & 1)
	}
	for j := range m {
		out[lane[j]] = s.bind4[at[j]]
	}
	if n6 > 0 && s.n6 > 0 {
		s.lookupLanes6(addrs, out, six[:n6])
	}
	if v.over != nil {
		v.overBatch(addrs, out)
	}
}

// lookupLanes6 hashes all addresses and touches their home buckets before it
// compares any, and compares all before it loads a binding.
func (s *Set) lookupLanes6(addrs [][16]byte, out []Binding, six []uint8) {
	var at [lanes]uint64 // home bucket, then slot
	touched := uint64(0)
	for j, i := range six {
		home := s.hash.sum(keyOf(&addrs[i])) >> s.shift
		at[j&(lanes-1)] = home
		touched |= s.keys6[home][0].lo
	}
	sink(touched)
	m := 0
	for j, i := range six {
		k := keyOf(&addrs[i])
		home := at[j&(lanes-1)]
		slot, found := s.keys6[home].match(k)
		if found == 0 && s.keys6[home][bucketSlots-1] != emptyKey {
			var ok bool
			if slot, ok = s.slot6(k, home); ok {
				found = 1
			}
		} else {
			slot += home * bucketSlots
		}
		six[m] = i
		at[m] = slot
		m += int(found)
	}
	for j, i := range six[:m] {
		out[i] = s.bind6[at[j&(lanes-1)]]
	}
}

// match compares all slots without a branch: which of them matches cannot be
// predicted. It returns its number, and 1 if there is one.
func (q *bucket) match(k key) (slot, found uint64) {
	for j := range uint64(bucketSlots) {
		d := (q[j].hi ^ k.hi) | (q[j].lo ^ k.lo)
		same := 1 - (d|-d)>>63
		found |= same
		slot |= j & -same
	}
	return slot, found
}

// sink keeps the compiler from dropping loads made for their misses.
//
//go:noinline
func sink(uint64) {}

// overBatch corrects what the base said.
func (v *View) overBatch(addrs [][16]byte, out []Binding) {
	for i := range addrs {
		k := keyOf(&addrs[i])
		if k.is4() && v.Member4(k.v4()) == 0 {
			continue
		}
		if b, known := v.over.find(k); known {
			out[i], _ = b.orNone()
		}
	}
}
