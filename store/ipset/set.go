// SPDX-License-Identifier: Apache-2.0

package ipset

import (
	"errors"
	"math/bits"
)

// Set is one mapped file. It never changes; lookups neither lock nor allocate.
// Whoever has opened it owns it, until a Live takes it over.
type Set struct {
	summary *[1024]uint64
	rank    *[1024]uint32
	groups  []cell
	cells   []cell
	bind4   []Binding
	keys6   []bucket
	bind6   []Binding
	hash    hasher
	shift   uint32 // 64: one home bucket
	probe   uint32
	n6      int

	data  []byte
	unmap func([]byte) error // unix.Munmap, but in tests
}

// nothing is the set without a file.
var nothing = &Set{summary: new([1024]uint64), rank: new([1024]uint32)}

// Len counts the addresses.
func (s *Set) Len() int { return len(s.bind4) + s.n6 }

// Bytes is the size of the mapping, all of which is resident.
func (s *Set) Bytes() int { return len(s.data) }

// Close unmaps the file. No lookup may be under way or follow. A set that was
// given to a Live is closed by it and by nobody else.
func (s *Set) Close() error {
	if s.data == nil {
		return nil
	}
	data := s.data
	unmap := s.unmap
	*s = Set{summary: nothing.summary, rank: nothing.rank}
	if err := unmap(data); err != nil {
		return errors.Join(errors.New("unmap the endpoint-IP set"), err)
	}
	return nil
}

// Lookup returns the binding of addr. An IPv4-mapped address is IPv4.
func (s *Set) Lookup(addr *[16]byte) (Binding, bool) {
	return s.find(keyOf(addr))
}

// Lookup4 returns the binding of an IPv4 address in host order.
func (s *Set) Lookup4(a uint32) (Binding, bool) {
	h := a >> 16
	w := s.summary[h>>6]
	if w>>(h&63)&1 == 0 {
		return Binding{}, false
	}
	block := s.rank[h>>6] + uint32(bits.OnesCount64(w&(1<<(h&63)-1)))
	g := &s.groups[block<<4|a>>12&15]
	c := a >> 6 & 63
	if g.bits>>c&1 == 0 {
		return Binding{}, false
	}
	l := &s.cells[g.base+uint64(bits.OnesCount64(g.bits&(1<<c-1)))]
	if l.bits>>(a&63)&1 == 0 {
		return Binding{}, false
	}
	return s.bind4[l.base+uint64(bits.OnesCount64(l.bits&(1<<(a&63)-1)))], true
}

func (s *Set) find(k key) (Binding, bool) {
	if k.is4() {
		return s.Lookup4(k.v4())
	}
	return s.find6(k)
}

func (s *Set) find6(k key) (Binding, bool) {
	if s.n6 == 0 {
		return Binding{}, false
	}
	slot, ok := s.slot6(k, s.hash.sum(k)>>s.shift)
	if !ok {
		return Binding{}, false
	}
	return s.bind6[slot], true
}

// slot6 looks for k from its home bucket on.
func (s *Set) slot6(k key, home uint64) (uint64, bool) {
	for b := home; b < home+uint64(s.probe); b++ {
		q := &s.keys6[b]
		for j := range q {
			if q[j] == k {
				return b*bucketSlots + uint64(j), true
			}
		}
		if q[bucketSlots-1] == emptyKey {
			break
		}
	}
	return 0, false
}
