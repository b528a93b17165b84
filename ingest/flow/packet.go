// SPDX-License-Identifier: Apache-2.0

package flow

import "encoding/binary"

// The beginning of a sampled packet, as sFlow and the sections of IPFIX
// (elements 104, 313 and 315) carry it. An exporter cuts it anywhere: a field
// is read where it is whole, and only then present. What is read is the packet
// that was on the wire where it was observed, which is the outer one of a
// tunnel: behind GRE, VXLAN or an IP packet in another nothing is looked for.
// Labels of MPLS are no tunnel in this sense, since they have no addresses.

// layer is what comes next in a packet.
type layer uint8

const (
	otherLayer    layer = iota // nothing that is read
	missingLayer               // the packet ends too early or is not what was promised
	ethernetLayer              // from the destination on
	tagLayer                   // behind the EtherType of a tag
	llcLayer                   // behind a length in place of an EtherType
	pppoeLayer                 // behind its EtherType
	pppLayer
	mplsLayer
	ipv4Layer
	ipv6Layer
)

// Sizes below layer 3, in bytes.
const (
	macsSize  = 12 // destination and source, in front of the EtherType
	tagSize   = 4  // priority and identifier, and the next EtherType
	snapSize  = 8  // LLC's three bytes, an organization and an EtherType
	pppoeSize = 6
	labelSize = 4

	// maxTags is the most VLAN tags that a frame may have. The standards know
	// two; a frame with more than these counts as one that ends there.
	maxTags = 8
)

// readEthernet sets the fields of a record that the beginning of an Ethernet
// frame tells: MAC addresses, VLAN, addresses, protocol, ports, TCP flags. It
// sets Bytes where the record has none and an IP header tells the packet's
// length, and Packets, to 1, where the record has none. ProblemHeaderCut is
// the only problem.
func (r *Record) readEthernet(b []byte) ProblemSet {
	_, s := r.readLayers(b, ethernetLayer)
	return s
}

// readIP does the same with the beginning of an IPv4 or IPv6 packet.
func (r *Record) readIP(b []byte) ProblemSet {
	next := missingLayer
	if len(b) > 0 {
		next = ipLayer(b[0])
	}
	_, s := r.readLayers(b, next)
	return s
}

// ipLayer tells by the first byte of a packet which IP it is, if one.
func ipLayer(first byte) layer {
	switch first >> 4 {
	case 4:
		return ipv4Layer
	case 6:
		return ipv6Layer
	}
	return otherLayer
}

// readLayers reads b, which begins with next, and tells how many bytes were
// read below layer 3. Each turn consumes bytes or is the last.
func (r *Record) readLayers(b []byte, next layer) (below int, s ProblemSet) {
	if r.lacks(HasPackets) {
		r.Packets = 1
	}
	whole := len(b)
	inner := false // in a frame inside MPLS: its addresses and tags are not those of this link
	for tags := 0; ; {
		switch next {
		case ethernetLayer:
			if !inner {
				r.readMACs(b)
			}
			next = missingLayer
			if len(b) >= macsSize+2 {
				b, next = readType(b[macsSize:])
			}
		case tagLayer:
			tags++
			next = missingLayer
			if tags > maxTags {
				continue
			}
			if !inner {
				r.readTag(b)
			}
			if len(b) >= tagSize {
				b, next = readType(b[2:])
			}
		case llcLayer:
			b, next = readSNAP(b)
		case pppoeLayer:
			next = missingLayer
			if len(b) >= pppoeSize {
				b, next = b[pppoeSize:], pppLayer
			}
		case pppLayer:
			b, next = readPPP(b)
		case mplsLayer:
			inner = true
			b, next = readLabels(b)
		case ipv4Layer:
			return whole - len(b), r.readIPv4(b)
		case ipv6Layer:
			return whole - len(b), r.readIPv6(b)
		case missingLayer:
			return whole - len(b), s.With(ProblemHeaderCut)
		default:
			return whole - len(b), s
		}
	}
}

// lacks tells whether a field is not present, and makes it present.
func (r *Record) lacks(field Fields) bool {
	absent := r.Present&field == 0
	r.Present |= field
	return absent
}

func (r *Record) readMACs(b []byte) {
	if len(b) >= 6 {
		r.DstMAC = [6]byte(b)
		r.Present |= HasDstMAC
	}
	if len(b) >= macsSize {
		r.SrcMAC = [6]byte(b[6:])
		r.Present |= HasSrcMAC
	}
}

// readTag takes the VLAN of the outermost tag that names one; identifier 0
// carries a priority alone (IEEE 802.1Q section 9.6).
func (r *Record) readTag(b []byte) {
	const identifier = 0x0fff
	if len(b) < 2 {
		return
	}
	id := binary.BigEndian.Uint16(b) & identifier
	if id != 0 && r.lacks(HasVLAN) {
		r.VLAN = id
	}
}

// readType reads the EtherType that b begins with.
func readType(b []byte) (rest []byte, next layer) {
	const leastType = 0x0600 // below it the field is a length
	t := binary.BigEndian.Uint16(b)
	switch b = b[2:]; t {
	case 0x0800:
		return b, ipv4Layer
	case 0x86dd:
		return b, ipv6Layer
	case 0x8100, 0x88a8, 0x9100: // a customer's tag, a service's, and the same before 802.1ad
		return b, tagLayer
	case 0x8847, 0x8848: // RFC 5332
		return b, mplsLayer
	case 0x8864: // RFC 2516: a session
		return b, pppoeLayer
	}
	if t < leastType {
		return b, llcLayer
	}
	return b, otherLayer
}

// readSNAP reads the headers that put an EtherType behind a length: LLC
// (IEEE 802.2) that announces SNAP, and SNAP (RFC 1042).
func readSNAP(b []byte) (rest []byte, next layer) {
	const announced = "\xaa\xaa\x03\x00\x00\x00"
	n := min(len(b), len(announced))
	switch {
	case string(b[:n]) != announced[:n]:
		return b, otherLayer
	case len(b) < snapSize:
		return b, missingLayer
	}
	return readType(b[len(announced):])
}

// readPPP reads PPP's header (RFC 1661, RFC 1662): address and control, which
// PPPoE leaves out, and the protocol, which may be shortened to an odd byte.
func readPPP(b []byte) (rest []byte, next layer) {
	if len(b) >= 2 && b[0] == 0xff && b[1] == 0x03 {
		b = b[2:]
	}
	if len(b) == 0 || len(b) == 1 && b[0] == 0xff {
		return b, missingLayer
	}
	protocol := uint16(b[0])
	size := 1
	if protocol&1 == 0 {
		if len(b) < 2 {
			return b, missingLayer
		}
		protocol = protocol<<8 | uint16(b[1])
		size = 2
	}
	switch b = b[size:]; protocol {
	case 0x0021: // RFC 1332
		return b, ipv4Layer
	case 0x0057: // RFC 5072
		return b, ipv6Layer
	case 0x0281, 0x0283: // RFC 3032
		return b, mplsLayer
	}
	return b, otherLayer
}

// readLabels reads a stack of MPLS labels (RFC 3032). No field tells what
// follows its bottom: an IP packet begins with its version, and a pseudowire's
// control word with 0 to tell itself from one (RFC 4385). Ethernet follows that.
func readLabels(b []byte) (rest []byte, next layer) {
	const bottom, controlWord = 1, 4
	for last := false; !last; b = b[labelSize:] {
		if len(b) < labelSize {
			return b, missingLayer
		}
		last = b[2]&bottom != 0
	}
	switch {
	case len(b) == 0:
		return b, missingLayer
	case b[0]>>4 != 0:
		return b, ipLayer(b[0])
	case len(b) < controlWord:
		return b, missingLayer
	}
	return b[controlWord:], ethernetLayer
}
