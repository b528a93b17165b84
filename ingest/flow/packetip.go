// SPDX-License-Identifier: Apache-2.0

package flow

import "encoding/binary"

// IP protocols whose headers are read.
const (
	protoHopByHop    = 0 // RFC 8200 section 4, as the four others of IPv6
	protoICMP        = 1
	protoTCP         = 6
	protoUDP         = 17
	protoDCCP        = 33
	protoRouting     = 43
	protoFragment    = 44
	protoAH          = 51 // RFC 4302
	protoICMP6       = 58
	protoDestination = 60
	protoSCTP        = 132
	protoUDPLite     = 136
)

// headerCut is what the readers of layers 3 and 4 say of a header that ends
// before what it promises.
const headerCut = ProblemSet(1) << ProblemHeaderCut

// readIPv4 reads a packet of RFC 791 section 3.1. A total length of 0 is what
// offloading leaves in packets that a host sampled before they were divided: it
// is unknown then. One that is less than the header is none.
func (r *Record) readIPv4(b []byte) ProblemSet {
	const least, offset = 20, 0x1fff
	be := binary.BigEndian
	if len(b) == 0 || b[0]>>4 != 4 || b[0]&15 < least/4 {
		return headerCut
	}
	header := int(b[0]&15) * 4
	total := 0
	if len(b) >= 4 {
		total = int(be.Uint16(b[2:]))
		if total >= header && r.lacks(HasBytes) {
			r.Bytes = uint64(total)
		}
	}
	if len(b) >= 10 {
		r.Proto = b[9]
		r.Present |= HasProto
	}
	if len(b) >= 16 {
		mapIPv4(&r.Src, b[12:])
		r.Present |= HasSrc
	}
	if len(b) < least {
		return headerCut
	}
	mapIPv4(&r.Dst, b[16:])
	r.Present |= HasDst
	if be.Uint16(b[6:])&offset != 0 {
		return 0 // the ports are in another fragment
	}
	proto := b[9]
	if total != 0 {
		b = b[:min(len(b), total)] // behind it stands what fills up a short frame
	}
	return r.readTransport(proto, b[min(len(b), header):])
}

// readIPv6 reads a packet of RFC 8200 and its extension headers, as far as they
// lead to the ports. A payload length of 0 is unknown, as a total length of 0 is
// of IPv4. The protocol is that of the first header that is no extension.
func (r *Record) readIPv6(b []byte) ProblemSet {
	const header = 40
	if len(b) == 0 || b[0]>>4 != 6 {
		return headerCut
	}
	payload := 0
	if len(b) >= 6 {
		payload = int(binary.BigEndian.Uint16(b[4:]))
		if payload != 0 && r.lacks(HasBytes) {
			r.Bytes = uint64(header + payload)
		}
	}
	if len(b) >= 24 {
		r.Src = [16]byte(b[8:])
		r.Present |= HasSrc
	}
	if len(b) < header {
		return headerCut
	}
	r.Dst = [16]byte(b[24:])
	r.Present |= HasDst
	next := b[6]
	if payload != 0 {
		b = b[:min(len(b), header+payload)]
	}
	return r.readExtensions(next, b[header:])
}

// readExtensions reads what follows an IPv6 header that announces next. Each
// turn consumes 8 bytes or more, or is the last.
func (r *Record) readExtensions(next uint8, b []byte) ProblemSet {
	for isExtension(next) {
		if len(b) < 8 {
			return headerCut
		}
		size := 8
		switch next {
		case protoFragment:
		case protoAH:
			size = (int(b[1]) + 2) * 4
		default:
			size = (int(b[1]) + 1) * 8
		}
		if len(b) < size {
			return headerCut
		}
		later := next == protoFragment && binary.BigEndian.Uint16(b[2:])>>3 != 0
		next, b = b[0], b[size:]
		if later {
			if !isExtension(next) {
				r.Proto = next
				r.Present |= HasProto
			}
			return 0 // the rest is in another fragment
		}
	}
	r.Proto = next
	r.Present |= HasProto
	return r.readTransport(next, b)
}

func isExtension(next uint8) bool {
	switch next {
	case protoHopByHop, protoRouting, protoFragment, protoAH, protoDestination:
		return true
	}
	return false
}

// readTransport reads the ports, which TCP (RFC 9293), UDP (RFC 768), UDP-Lite
// (RFC 3828), SCTP (RFC 9260) and DCCP (RFC 4340) have at the same place, TCP's
// flags, and ICMP's type and code (RFC 792, RFC 4443) as a destination port.
func (r *Record) readTransport(proto uint8, b []byte) ProblemSet {
	const flags = 13
	be := binary.BigEndian
	switch proto {
	case protoTCP, protoUDP, protoDCCP, protoSCTP, protoUDPLite:
		if len(b) >= 2 {
			r.SrcPort = be.Uint16(b)
			r.Present |= HasSrcPort
		}
		if len(b) < 4 {
			return headerCut
		}
		r.DstPort = be.Uint16(b[2:])
		r.Present |= HasDstPort
		if proto != protoTCP {
			return 0
		}
		if len(b) <= flags {
			return headerCut
		}
		r.TCPFlags = b[flags]
		r.Present |= HasTCPFlags
	case protoICMP, protoICMP6:
		if len(b) < 2 {
			return headerCut
		}
		r.DstPort = be.Uint16(b)
		r.Present |= HasDstPort
	}
	return 0
}
