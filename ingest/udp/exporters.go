// SPDX-License-Identifier: Apache-2.0

//go:build linux

package udp

import (
	"bytes"
	"net/netip"
	"slices"
)

// exporters is an immutable set of prefixes, asked once per datagram. Per
// family it is a sorted list of disjoint ranges, found by binary search.
type exporters struct{ v4, v6 []span }

// span is the first and the last address of a range.
type span struct{ first, last [16]byte }

// newExporters returns nil, which allows everybody, for nil. Invalid prefixes
// are left out.
func newExporters(prefixes []netip.Prefix) *exporters {
	if prefixes == nil {
		return nil
	}
	e := new(exporters)
	for _, p := range prefixes {
		if !p.IsValid() {
			continue
		}
		s := spanOf(p)
		if isMapped(&s.first) && isMapped(&s.last) {
			e.v4 = append(e.v4, s)
		} else {
			e.v6 = append(e.v6, s)
		}
	}
	e.v4, e.v6 = disjoint(e.v4), disjoint(e.v6)
	return e
}

func spanOf(p netip.Prefix) span {
	bits := p.Bits()
	if p.Addr().Is4() {
		bits += 96
	}
	s := span{first: p.Masked().Addr().As16()}
	s.last = s.first
	for i := bits; i < 128; i++ {
		s.last[i/8] |= 0x80 >> (i % 8)
	}
	return s
}

// disjoint sorts spans and drops those within another: prefixes either nest or
// do not touch.
func disjoint(spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int {
		if c := bytes.Compare(a.first[:], b.first[:]); c != 0 {
			return c
		}
		return bytes.Compare(b.last[:], a.last[:]) // the wider one first
	})
	kept := spans[:0]
	for _, s := range spans {
		if n := len(kept); n == 0 || bytes.Compare(kept[n-1].last[:], s.last[:]) < 0 {
			kept = append(kept, s)
		}
	}
	return kept
}

func (e *exporters) contain(a *[16]byte) bool {
	list := e.v6
	if isMapped(a) {
		list = e.v4
	}
	low, high := 0, len(list)
	for low < high {
		mid := int(uint(low+high) >> 1)
		if bytes.Compare(list[mid].last[:], a[:]) < 0 {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low < len(list) && bytes.Compare(list[low].first[:], a[:]) <= 0
}
