// SPDX-License-Identifier: Apache-2.0

package flow

import "encoding/binary"

// The records of a flow sample that tell of its packet, each behind its format
// and length:
//
//	raw header  0 protocol       4 frame length   8 stripped    12 header length
//	           16 header
//	Ethernet    0 length         4 source        12 destination 20 EtherType
//	IPv4        0 length         4 protocol       8 source      12 destination
//	           16 source port   20 dest. port    24 TCP flags   28 TOS
//	IPv6        0 length         4 protocol       8 source      24 destination
//	           40 source port   44 dest. port    48 TCP flags   52 priority
//	switch      0 VLAN in        4 priority in    8 VLAN out    12 priority out
//
// A raw header counts before what the agent made of it. Of the other records
// each tells what those before it did not. All may be longer than here.

// told is what a flow sample tells besides, for where its headers are silent.
type told struct {
	raw  bool   // there was a raw header
	vlan uint16 // of the frame that came in
	// The length of the IP packet, and of the frame less what is known not to
	// be layer 3. 0 is unknown.
	packet, frame uint64
}

// packetRecords reads the records of a flow sample, count by its own claim.
// Each turn consumes 8 bytes or is the last.
func (d *Decoder) packetRecords(r *Record, b []byte, count uint32) {
	var t told
	for ; count > 0; count-- {
		if len(b) < sflowFrame {
			d.problem(ProblemSampleLength)
			break
		}
		format, record, rest := nextSFlow(b)
		if record == nil {
			d.problem(ProblemSampleLength)
			break
		}
		d.packetRecord(r, &t, format, record)
		b = rest
	}
	if t.vlan != 0 && r.lacks(HasVLAN) {
		r.VLAN = t.vlan
	}
	length := t.packet
	if length == 0 {
		length = t.frame
	}
	if length != 0 && r.lacks(HasBytes) {
		r.Bytes = length
	}
}

// packetRecord reads one record, unless it is too short.
func (d *Decoder) packetRecord(r *Record, t *told, format uint32, b []byte) {
	const (
		rawSize, ipv4Size, ipv6Size, switchSize = 16, 32, 56, 16
		ethernetSize                            = 20 // without padding

		greatestVLAN = 4094
	)
	least := 0
	switch format {
	case formatRawHeader:
		least = rawSize
	case formatEthernet:
		least = ethernetSize
	case formatIPv4:
		least = ipv4Size
	case formatIPv6:
		least = ipv6Size
	case formatSwitch:
		least = switchSize
	}
	if len(b) < least {
		d.problem(ProblemSampleLength)
		return
	}
	switch format {
	case formatRawHeader:
		d.rawHeader(r, t, b)
	case formatEthernet:
		r.sampledEthernet(t, b)
	case formatIPv4:
		r.sampledIP(t, b, 4)
	case formatIPv6:
		r.sampledIP(t, b, 16)
	case formatSwitch:
		if v := binary.BigEndian.Uint32(b); v <= greatestVLAN && t.vlan == 0 {
			t.vlan = uint16(v)
		}
	}
}

// rawHeader reads the beginning of the packet. A sample is of one packet, so a
// second one does not count.
func (d *Decoder) rawHeader(r *Record, t *told, b []byte) {
	be := binary.BigEndian
	protocol, frame, stripped := be.Uint32(b), be.Uint32(b[4:]), be.Uint32(b[8:])
	length := uint64(be.Uint32(b[12:]))
	b = b[16:]
	if length > uint64(len(b)) {
		d.problem(ProblemSampleLength)
		return
	}
	if t.raw {
		return
	}
	t.raw = true
	below, s := r.readLayers(b[:length:length], headerProtocol(protocol))
	d.problems |= s
	if gone := uint64(stripped) + uint64(below); uint64(frame) > gone {
		t.frame = uint64(frame) - gone
	}
}

// headerProtocol is what a raw header of a header_protocol begins with. The
// rest of them, among which are token ring, frame relay, ATM and 802.11, is not
// read.
func headerProtocol(p uint32) layer {
	switch p {
	case 1:
		return ethernetLayer
	case 7, 14: // PPP, and PPP over SONET
		return pppLayer
	case 11:
		return ipv4Layer
	case 12:
		return ipv6Layer
	case 13:
		return mplsLayer
	}
	return otherLayer
}

// sampledEthernet takes the addresses of a frame and, for where nothing better
// is known, its length. XDR pads an address to 8 bytes; there are agents that
// do not, and say so by the length of the record.
func (r *Record) sampledEthernet(t *told, b []byte) {
	const lengthSize, padded, headerAndCheck = 4, 24, macsSize + 2 + 4
	destination := b[lengthSize+6:]
	if len(b) >= padded {
		destination = b[lengthSize+8:]
	}
	if r.lacks(HasSrcMAC) {
		r.SrcMAC = [6]byte(b[lengthSize:])
	}
	if r.lacks(HasDstMAC) {
		r.DstMAC = [6]byte(destination)
	}
	if n := binary.BigEndian.Uint32(b); n > headerAndCheck && t.frame == 0 {
		t.frame = uint64(n) - headerAndCheck
	}
}

// sampledIP takes what the agent read of an IP packet with addresses of 4 or 16
// bytes. Its protocol, ports and flags stand in the lower bits of four bytes.
func (r *Record) sampledIP(t *told, b []byte, address int) {
	be := binary.BigEndian
	if t.packet == 0 {
		t.packet = uint64(be.Uint32(b))
	}
	if r.lacks(HasProto) {
		r.Proto = uint8(be.Uint32(b[4:]))
	}
	b = b[8:]
	if r.lacks(HasSrc) {
		setAddress(&r.Src, b[:address])
	}
	if r.lacks(HasDst) {
		setAddress(&r.Dst, b[address:2*address])
	}
	b = b[2*address:]
	if r.lacks(HasSrcPort) {
		r.SrcPort = uint16(be.Uint32(b))
	}
	if r.lacks(HasDstPort) {
		r.DstPort = uint16(be.Uint32(b[4:]))
	}
	if r.lacks(HasTCPFlags) {
		r.TCPFlags = uint8(be.Uint32(b[8:]))
	}
}

// setAddress makes a the address of 4 or 16 bytes.
func setAddress(a *[16]byte, b []byte) {
	if len(b) == 4 {
		mapIPv4(a, b)
		return
	}
	*a = [16]byte(b)
}
