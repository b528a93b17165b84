// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"encoding/binary"
	"net/netip"
)

// slowPacket reads the beginning of a packet from the first byte to the last,
// one field after the other, as the standards list them. Running out of bytes
// is a panic, which ends the reading wherever it stands: what was read until
// there counts.
type slowPacket struct {
	cursor
	r     *Record
	below int // bytes of the headers below layer 3 that were whole
	tags  int
	inner bool // inside MPLS
}

// cursor reads from the beginning of its bytes.
type cursor struct {
	b  []byte
	at int
}

type endOfBytes struct{}

func (c *cursor) left() int { return len(c.b) - c.at }

func (c *cursor) take(n int) []byte {
	if n > c.left() {
		panic(endOfBytes{})
	}
	c.at += n
	return c.b[c.at-n : c.at]
}

func (c *cursor) u8() int  { return int(c.take(1)[0]) }
func (c *cursor) u16() int { return c.u8()<<8 | c.u8() }
func (c *cursor) u32() int { return int(binary.BigEndian.Uint32(c.take(4))) }

func (c *cursor) ip(size int) [16]byte {
	a, _ := netip.AddrFromSlice(c.take(size))
	return a.As16()
}

// attempt tells whether f ran without running out of bytes.
func attempt(f func()) (whole bool) {
	defer func() {
		switch e := recover().(type) {
		case nil:
		case endOfBytes:
			whole = false
		default:
			panic(e)
		}
	}()
	f()
	return true
}

// slowHeader reads b into r by what it begins with, as sFlow numbers it.
func slowHeader(protocol int, b []byte, r *Record) (below int, p ProblemSet) {
	s := &slowPacket{cursor: cursor{b: b}, r: r}
	if r.Present&HasPackets == 0 {
		r.Packets = 1
		r.Present |= HasPackets
	}
	whole := attempt(func() {
		switch protocol {
		case 1:
			s.ethernet()
		case 7, 14:
			s.ppp()
		case 11:
			s.ipv4()
		case 12:
			s.ipv6()
		case 13:
			s.mpls()
		}
	})
	if !whole {
		p = p.With(ProblemHeaderCut)
	}
	return s.below, p
}

func (s *slowPacket) mark() { s.below = s.at }

func (s *slowPacket) ethernet() {
	to := s.take(6)
	if !s.inner {
		copy(s.r.DstMAC[:], to)
		s.r.Present |= HasDstMAC
	}
	from := s.take(6)
	if !s.inner {
		copy(s.r.SrcMAC[:], from)
		s.r.Present |= HasSrcMAC
	}
	s.etherType()
}

func (s *slowPacket) etherType() {
	t := s.u16()
	s.mark()
	switch {
	case t <= 0x05ff:
		for _, want := range []int{0xaa, 0xaa, 3, 0, 0, 0} {
			if s.u8() != want {
				return
			}
		}
		s.etherType()
	case t == 0x0800:
		s.ipv4()
	case t == 0x86dd:
		s.ipv6()
	case t == 0x8847, t == 0x8848:
		s.mpls()
	case t == 0x8864:
		s.take(6) // version and type, code, session, length
		s.mark()
		s.ppp()
	case t == 0x8100, t == 0x88a8, t == 0x9100:
		s.tags++
		if s.tags == 9 {
			panic(endOfBytes{})
		}
		id := s.u16() % 4096
		if id > 0 && !s.inner && s.r.Present&HasVLAN == 0 {
			s.r.VLAN = uint16(id)
			s.r.Present |= HasVLAN
		}
		s.etherType()
	}
}

func (s *slowPacket) ppp() {
	first := s.u8()
	if first == 0xff {
		if s.u8() != 3 {
			s.below = s.at - 1 // a protocol of one byte
			return
		}
		s.mark()
		first = s.u8()
		if first == 0xff && s.left() == 0 {
			panic(endOfBytes{})
		}
	}
	protocol := first
	if first%2 == 0 {
		protocol = first<<8 + s.u8()
	}
	s.mark()
	switch protocol {
	case 0x21:
		s.ipv4()
	case 0x57:
		s.ipv6()
	case 0x281, 0x283:
		s.mpls()
	}
}

func (s *slowPacket) mpls() {
	s.inner = true
	for bottom := false; !bottom; {
		label := s.u32()
		s.mark()
		bottom = label&0x100 != 0
	}
	nibble := s.u8() / 16
	s.at--
	switch nibble {
	case 4:
		s.ipv4()
	case 6:
		s.ipv6()
	case 0:
		s.take(4)
		s.mark()
		s.ethernet()
	}
}

func (s *slowPacket) ipv4() {
	begin := s.at
	versionAndLength := s.u8()
	header := versionAndLength % 16 * 4
	if versionAndLength/16 != 4 || header < 20 {
		panic(endOfBytes{})
	}
	s.u8() // TOS
	total := s.u16()
	if total >= header && s.r.Present&HasBytes == 0 {
		s.r.Bytes = uint64(total)
		s.r.Present |= HasBytes
	}
	s.u16() // identification
	offset := s.u16() % 8192
	s.u8() // time to live
	s.r.Proto = uint8(s.u8())
	s.r.Present |= HasProto
	s.u16() // checksum
	s.r.Src = s.ip(4)
	s.r.Present |= HasSrc
	s.r.Dst = s.ip(4)
	s.r.Present |= HasDst
	if offset > 0 {
		return
	}
	if total > 0 {
		s.end(begin + total)
	}
	s.at = min(begin+header, len(s.b)) // options
	s.transport()
}

// end makes the packet end at a place, or before it.
func (s *slowPacket) end(at int) {
	s.b = s.b[:min(at, len(s.b))]
}

func (s *slowPacket) ipv6() {
	begin := s.at
	if s.u8()/16 != 6 {
		panic(endOfBytes{})
	}
	s.take(3) // traffic class, flow label
	payload := s.u16()
	if payload > 0 && s.r.Present&HasBytes == 0 {
		s.r.Bytes = uint64(40 + payload)
		s.r.Present |= HasBytes
	}
	next := s.u8()
	s.u8() // hop limit
	s.r.Src = s.ip(16)
	s.r.Present |= HasSrc
	s.r.Dst = s.ip(16)
	s.r.Present |= HasDst
	if payload > 0 {
		s.end(begin + 40 + payload)
	}
	extensions := map[int]string{0: "hop-by-hop", 43: "routing", 44: "fragment", 51: "authentication", 60: "destination"}
	for extensions[next] != "" {
		begin := s.at
		this := extensions[next]
		next = s.u8()
		length := s.u8()
		offset := s.u16() / 8
		switch this {
		case "fragment":
			s.take(begin + 8 - s.at)
		case "authentication":
			s.take(begin + 8 + 4*length - s.at)
		default:
			s.take(begin + 8 + 8*length - s.at)
		}
		if this == "fragment" && offset > 0 {
			if extensions[next] == "" {
				s.r.Proto = uint8(next)
				s.r.Present |= HasProto
			}
			return
		}
	}
	s.r.Proto = uint8(next)
	s.r.Present |= HasProto
	s.transport()
}

func (s *slowPacket) transport() {
	switch s.r.Proto {
	case 1, 58: // type and code
		s.r.DstPort = uint16(s.u16())
		s.r.Present |= HasDstPort
	case 6, 17, 33, 132, 136:
		s.r.SrcPort = uint16(s.u16())
		s.r.Present |= HasSrcPort
		s.r.DstPort = uint16(s.u16())
		s.r.Present |= HasDstPort
	}
	if s.r.Proto == 6 {
		s.take(4 + 4 + 1) // sequence, acknowledgement, data offset
		s.r.TCPFlags = uint8(s.u8())
		s.r.Present |= HasTCPFlags
	}
}
