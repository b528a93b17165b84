// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestRandomSets holds the decoders against each other on sequences that are
// made, not mutated: templates of elements that a Record is made of, in any
// order and several times, of widths that they should and should not have, and
// data with values at which something happens.
func TestRandomSets(t *testing.T) {
	h := newHarness(t)
	for _, v := range []Version{V9, IPFIX} {
		for seed := range uint64(3_000) {
			m := newMaker(v, seed)
			var all []delivery
			for range 1 + m.IntN(5) {
				all = append(all, delivery{byte(m.IntN(2)), m.datagram()})
			}
			if h.agree(t, v, all); t.Failed() {
				for _, x := range all {
					t.Logf("from %d: %x", x.exporter, x.datagram)
				}
				t.Fatalf("%v, seed %d", v, seed)
			}
		}
	}
}

// maker makes datagrams.
type maker struct {
	*rand.Rand
	version   Version
	templates map[uint16]slowTemplate
	elements  []uint16
}

func newMaker(v Version, seed uint64) *maker {
	m := &maker{Rand: rand.New(rand.NewPCG(seed, uint64(v))), version: v, templates: map[uint16]slowTemplate{}}
	for id := range slowKinds {
		m.elements = append(m.elements, id)
	}
	m.elements = append(m.elements, 40005, 9, 15, 82, 83, 311, 291)
	slices.Sort(m.elements)
	return m
}

// one tells n times out of a hundred that it is so.
func (m *maker) one(percent int) bool { return m.IntN(100) < percent }

func pick[T any](m *maker, of ...T) T { return of[m.IntN(len(of))] }

func (m *maker) datagram() []byte {
	b := m.message()
	for m.version == IPFIX && m.one(20) {
		b = append(b, m.message()...)
	}
	if m.one(3) {
		b = b[:m.IntN(len(b)+1)]
	}
	if m.one(3) {
		b = append(b, make([]byte, m.IntN(6))...)
	}
	return b
}

func (m *maker) message() []byte {
	var sets []byte
	for range 1 + m.IntN(5) {
		sets = append(sets, m.set()...)
	}
	be := binary.BigEndian
	var b []byte
	if m.version == V9 {
		b = be.AppendUint16(b, 9)
		b = be.AppendUint16(b, pick(m, uint16(1), 0, 2, 40))
		b = be.AppendUint32(b, pick(m, uint32(badUptime), 0, 1<<32-1, 1<<31, m.Uint32()))
	} else {
		b = be.AppendUint16(b, 10)
		b = be.AppendUint16(b, uint16(16+len(sets)))
	}
	b = be.AppendUint32(b, pick(m, uint32(0x6a000000), 0, 1<<31-1, 1<<32-1))
	b = be.AppendUint32(b, m.Uint32())
	b = be.AppendUint32(b, uint32(m.IntN(2)))
	return append(b, sets...)
}

func (m *maker) id() uint16 { return 256 + uint16(m.IntN(4)) }

// set makes a set of one kind or another.
func (m *maker) set() []byte {
	ids := map[Version][2]uint16{V9: {0, 1}, IPFIX: {2, 3}}[m.version]
	var id uint16
	var body []byte
	switch n := m.IntN(100); {
	case n < 30:
		id = ids[0]
		for range 1 + m.IntN(2) {
			body = append(body, m.template(false)...)
		}
	case n < 45:
		id = ids[1]
		body = m.template(true)
	case n < 97:
		id = m.id()
		body = m.data(id)
	default:
		id = uint16(m.IntN(260))
	}
	length := 4 + len(body)
	if m.one(2) {
		length += m.IntN(9) - 4
	}
	b := binary.BigEndian.AppendUint16(nil, id)
	b = binary.BigEndian.AppendUint16(b, uint16(length))
	return append(b, body...)
}

func (m *maker) template(options bool) []byte {
	id := m.id()
	if m.one(2) {
		id = uint16(m.IntN(256))
	}
	t := slowTemplate{options: options}
	scopes := 0
	if options {
		scopes = m.IntN(3)
	}
	var list []byte
	count := scopes + m.IntN(8)
	for i := range count {
		f := m.field(options, i < scopes)
		t.fields = append(t.fields, f)
		bit := uint16(0)
		if m.version == IPFIX && f.element.enterprise != 0 {
			bit = 0x8000
		}
		list = binary.BigEndian.AppendUint16(list, f.element.id|bit)
		list = binary.BigEndian.AppendUint16(list, uint16(f.width))
		if bit != 0 {
			list = binary.BigEndian.AppendUint32(list, f.element.enterprise)
		}
	}
	m.templates[id] = t
	b := binary.BigEndian.AppendUint16(nil, id)
	switch {
	case options && m.version == V9:
		b = binary.BigEndian.AppendUint16(b, uint16(4*scopes))
		b = binary.BigEndian.AppendUint16(b, uint16(4*(count-scopes)))
	case options:
		b = binary.BigEndian.AppendUint16(b, uint16(count))
		b = binary.BigEndian.AppendUint16(b, uint16(scopes))
	default:
		b = binary.BigEndian.AppendUint16(b, uint16(count))
	}
	return append(b, list...)
}

func (m *maker) field(options, scope bool) (f slowField) {
	f.element.id = pick(m, m.elements...)
	switch {
	case scope && m.version == V9:
		f.element = slowElement{slowScopeOfV9, uint16(1 + m.IntN(3))}
	case options && m.one(80):
		f.element.id = pick(m, uint16(34), 50, 48, 302, 305, 306, 309, 310, 311, 160, 10, 14, 82, 83)
	case m.version == IPFIX && m.one(15):
		f.element = slowElement{29305, pick(m, uint16(1), 2, 6, 85, 86, 150, 152, 154, 156, 8)}
	case m.version == IPFIX && m.one(3):
		f.element.enterprise = pick(m, uint32(9), 0, 35632)
	}
	f.width = m.width(f.element)
	return f
}

// width is what the element should have, mostly.
func (m *maker) width(e slowElement) int {
	switch {
	case m.one(3):
		return pick(m, 0, 1, 3, 4, 6, 8, 9, 16, slowVarying, slowVarying)
	case e.enterprise == 0 && slices.Contains([]uint16{82, 83, 104, 313, 315, 291}, e.id):
		return pick(m, 8, 20, 60, slowVarying, slowVarying)
	case e.enterprise == 0 && e.id == 311:
		return pick(m, 4, 8)
	}
	kind := slowKinds[e.id]
	if e.enterprise == 29305 {
		kind = slowReverseKinds[e.id]
	}
	switch kind {
	case slowIPv4:
		return 4
	case slowIPv6:
		return 16
	case slowMAC:
		return 6
	case slowNTP:
		return 8
	}
	return pick(m, 1, 2, 4, 4, 8, 8, 3, 5)
}

// data makes records of a template, or of nothing in particular.
func (m *maker) data(id uint16) (b []byte) {
	t, known := m.templates[id]
	if !known {
		return m.bytes(m.IntN(40))
	}
	for range m.IntN(4) {
		for _, f := range t.fields {
			n := f.width
			if n == slowVarying {
				n = pick(m, 0, 1, 4, 8, 20, 54, 60, 300)
				if n < 255 && m.one(80) {
					b = append(b, byte(n))
				} else {
					b = binary.BigEndian.AppendUint16(append(b, 255), uint16(n))
				}
			}
			b = append(b, m.value(f, n)...)
		}
	}
	return append(b, m.bytes(m.IntN(4))...)
}

func (m *maker) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(m.Uint32())
	}
	return b
}

// value makes a value at which something may happen.
func (m *maker) value(f slowField, n int) []byte {
	b := make([]byte, n)
	switch {
	case slices.Contains([]uint16{104, 313, 315}, f.element.id) && m.one(80):
		frame := annotated(`020000000001 020000000002 8100 000a 0800
			45 00 0028 0001 0000 40 06 0000 0a000001 0a000002
			c000 0035 00000000 00000000 50 12 0000 0000 0000`)
		if f.element.id == 313 {
			frame = frame[18:]
		}
		copy(b, frame)
	case slices.Contains([]uint16{82, 83}, f.element.id):
		copy(b, pick(m, "Gi0/1", "", "ä€", "\xff\xfe", "a\x00b", fmt.Sprint("Ethernet", m.IntN(4))))
	case m.one(20):
	case m.one(10):
		for i := range b {
			b[i] = 0xff
		}
	case m.one(40) && n > 0:
		b[n-1] = byte(m.IntN(64))
	case m.one(50) && n == 8:
		binary.BigEndian.PutUint64(b, pick(m, uint64(badExport/nsPerMs), 9223372036854, 9223372036855, 0x83aa7e8080000000, 1<<63, 2047)+uint64(m.IntN(3)))
	default:
		copy(b, m.bytes(n))
	}
	return b
}
