// SPDX-License-Identifier: Apache-2.0

package ipset

import (
	"cmp"
	"errors"
	"fmt"
	"math/bits"
	"slices"
)

type entry4 struct {
	addr uint32
	Binding
}

type entry6 struct {
	key
	hash uint64
	Binding
}

// split copies entries apart by family. IPv4 comes grouped by /16, which is all
// the order that build4 needs.
func split(entries []Entry) ([]entry4, []entry6, error) {
	var next [1<<16 + 1]uint32
	n6 := 0
	for i := range entries {
		e := &entries[i]
		k := keyOf(&e.Addr)
		if e.Binding.Gen == 0 {
			return nil, nil, fmt.Errorf("the binding of %s has generation 0: generations start at 1", k.addr())
		}
		if k.is4() {
			next[k.v4()>>16+1]++
		} else {
			n6++
		}
	}
	for i := 1; i < len(next); i++ {
		next[i] += next[i-1]
	}
	four, six := make([]entry4, len(entries)-n6), make([]entry6, 0, n6)
	for i := range entries {
		e := &entries[i]
		k := keyOf(&e.Addr)
		if k.is4() {
			a := k.v4()
			four[next[a>>16]] = entry4{a, e.Binding}
			next[a>>16]++
		} else {
			six = append(six, entry6{key: k, Binding: e.Binding})
		}
	}
	return four, six, nil
}

func duplicate(k key) error {
	return fmt.Errorf("the address %s is given twice: an address has one binding", k.addr())
}

type table4 struct {
	summary [1024]uint64
	rank    [1024]uint32
	groups  []cell
	cells   []cell
}

// build4 derives the index and puts four, which comes grouped by /16, in the
// order of addresses. It sorts by bitmap: a /16 holds at most 65,536 addresses.
func build4(four []entry4) (*table4, error) {
	t := &table4{}
	present := make([]uint64, 1024)
	slots := make([]Binding, 1<<16)
	for start := 0; start < len(four); {
		block := four[start].addr >> 16
		end := start
		for ; end < len(four) && four[end].addr>>16 == block; end++ {
			a := four[end].addr & 0xffff
			if present[a>>6]>>(a&63)&1 != 0 {
				return nil, duplicate(key4(four[end].addr))
			}
			present[a>>6] |= 1 << (a & 63)
			slots[a] = four[end].Binding
		}
		t.summary[block>>6] |= 1 << (block & 63)
		rank := start
		for g := range uint32(16) {
			group := cell{base: uint64(len(t.cells))}
			for c := range uint32(64) {
				b := present[g<<6|c]
				if b == 0 {
					continue
				}
				group.bits |= 1 << c
				t.cells = append(t.cells, cell{b, uint64(rank)})
				for ; b != 0; b &= b - 1 {
					low := g<<12 | c<<6 | uint32(bits.TrailingZeros64(b))
					four[rank] = entry4{block<<16 | low, slots[low]}
					rank++
				}
			}
			t.groups = append(t.groups, group)
		}
		clear(present)
		start = end
	}
	blocks := 0
	for i, w := range t.summary {
		t.rank[i] = uint32(blocks)
		blocks += bits.OnesCount64(w)
	}
	return t, nil
}

// table6 is the IPv6 table before it is laid out: its entries in the order of
// their hash.
type table6 struct {
	entries []entry6
	log     uint32
	probe   uint32
	seed    uint64
}

var errCrowded = errors.New("no seed spreads the IPv6 addresses")

// build6 picks the smallest table and the first seed that keep every address
// within maxProbe buckets of its home.
func build6(six []entry6) (*table6, error) {
	t := &table6{entries: six}
	if len(six) == 0 {
		return t, nil
	}
	for uint64(len(six))*10 > uint64(bucketSlots)<<t.log*7 {
		t.log++
	}
	t.seed = seedOf(six)
	return t, t.settle()
}

// settle tries eight seeds, and eight each at twice and four times the size.
func (t *table6) settle() error {
	for range 3 {
		for range 8 {
			if err := t.arrange(); err != nil {
				return err
			}
			if t.probe <= maxProbe+1 {
				return nil
			}
			t.seed = mix(t.seed + 1)
		}
		t.log = min(t.log+1, maxLog)
	}
	return errCrowded
}

// seedOf sums over all addresses, in no order, so that the first seed depends
// on every one of them: whoever chooses some cannot work towards it.
func seedOf(six []entry6) uint64 {
	h := newHasher(0)
	var sum uint64
	for i := range six {
		sum += mix(h.sum(six[i].key))
	}
	return sum
}

// arrange sorts by hash under the present seed and measures the longest probe.
func (t *table6) arrange() error {
	h := newHasher(t.seed)
	for i := range t.entries {
		t.entries[i].hash = h.sum(t.entries[i].key)
	}
	slices.SortFunc(t.entries, func(a, b entry6) int {
		if a.hash != b.hash {
			return cmp.Compare(a.hash, b.hash)
		}
		return cmp.Or(cmp.Compare(a.hi, b.hi), cmp.Compare(a.lo, b.lo))
	})
	cursor, probe := uint64(0), uint64(0)
	for i := range t.entries {
		if i > 0 && t.entries[i].key == t.entries[i-1].key {
			return duplicate(t.entries[i].key)
		}
		home := t.entries[i].hash >> (64 - t.log)
		cursor = max(cursor, home*bucketSlots)
		probe = max(probe, cursor/bucketSlots-home+1)
		cursor++
	}
	t.probe = uint32(min(probe, 1<<31))
	return nil
}

// eachSlot walks the table in file order.
func (t *table6) eachSlot(full func(*entry6), empty func()) {
	if len(t.entries) == 0 {
		return
	}
	cursor := uint64(0)
	for i := range t.entries {
		e := &t.entries[i]
		for ; cursor < e.hash>>(64-t.log)*bucketSlots; cursor++ {
			empty()
		}
		full(e)
		cursor++
	}
	for ; cursor < (1<<t.log+maxProbe)*bucketSlots; cursor++ {
		empty()
	}
}
