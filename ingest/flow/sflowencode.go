// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"encoding/binary"
	"math"
)

// What AppendSFlow writes, as in "sFlow Version 5", sflow.org 2004, section 5:
// everything is a multiple of four bytes, big endian.
const (
	encodedFrameHead  = 128 // of each sampled frame, the usual setting
	encodedEthernet   = 14  // destination, source, EtherType
	encodedIPv4Header = 20
	encodedIPv6Header = 40
)

// SFlowHeader is what AppendSFlow writes in front of its samples and into each.
type SFlowHeader struct {
	Agent    [16]byte // as in Record: an IPv4 address is IPv4-mapped, and written as such
	SubAgent uint32   // the format's sub-agent, which is Portolan's domain
	Sequence uint32   // datagrams sent before
	Uptime   uint32   // milliseconds
	Samples  uint32   // flow samples sent before
	Sampling uint32   // one packet in N
	Expanded bool     // write expanded flow samples, as agents with great interface numbers do
}

// AppendSFlow appends to dst one sFlow version 5 datagram with a flow sample per
// record: the first 128 bytes of an Ethernet frame that carries a packet of the
// flow, behind them what the switch knew (extended_switch, without VLANs).
//
// A sample tells of one packet, so a record's times and packet count are not in
// it and its bytes are those of the packet, in the limits of what its headers
// need and IP allows. Ports are written for TCP, UDP and SCTP, ICMP has its type
// and code from DstPort. Interfaces up to 30 bits fit without Expanded; greater
// ones become 0, unknown. Checksums are 0, as before a network card fills them
// in, the MAC addresses are 02:00:00:00:00:01 and, of the destination, :02, and the
// payload is 0.
func AppendSFlow(dst []byte, h SFlowHeader, recs []Record) []byte {
	be := binary.BigEndian
	dst = be.AppendUint32(dst, 5)
	dst = appendSFlowAddress(dst, &h.Agent)
	dst = be.AppendUint32(dst, h.SubAgent)
	dst = be.AppendUint32(dst, h.Sequence)
	dst = be.AppendUint32(dst, h.Uptime)
	dst = be.AppendUint32(dst, uint32(len(recs)))
	for i := range recs {
		dst = appendSFlowSample(dst, h, h.Samples+uint32(i), &recs[i])
	}
	return dst
}

func appendSFlowAddress(dst []byte, a *[16]byte) []byte {
	const ip4, ip6 = 1, 2
	r := Record{Src: *a, Dst: *a}
	family := uint32(ip6)
	if r.isIPv4() {
		family = ip4
	}
	return appendAddress(binary.BigEndian.AppendUint32(dst, family), a, family == ip4)
}

func appendSFlowSample(dst []byte, h SFlowHeader, number uint32, r *Record) []byte {
	const flowSample, expandedFlowSample, extendedSwitch, records = 1, 3, 1001, 2
	be := binary.BigEndian
	format := uint32(flowSample)
	if h.Expanded {
		format = expandedFlowSample
	}
	dst, sample := beginSFlow(dst, format)
	dst = be.AppendUint32(dst, number)
	if h.Expanded {
		dst = be.AppendUint32(dst, 0) // the source is an interface,
	}
	dst = be.AppendUint32(dst, sflowInterface(r.InIf, h.Expanded)) // this one
	dst = be.AppendUint32(dst, h.Sampling)
	dst = be.AppendUint32(dst, (number+1)*h.Sampling) // sample pool
	dst = be.AppendUint32(dst, 0)                     // drops
	for _, i := range [...]uint32{r.InIf, r.OutIf} {
		if h.Expanded {
			dst = be.AppendUint32(dst, 0) // a single interface
		}
		dst = be.AppendUint32(dst, sflowInterface(i, h.Expanded))
	}
	dst = be.AppendUint32(dst, records)
	dst = appendSFlowFrame(dst, r)
	dst, ext := beginSFlow(dst, extendedSwitch)
	dst = append(dst, make([]byte, 4*4)...) // VLAN and priority, in and out
	endSFlow(dst, ext)
	endSFlow(dst, sample)
	return dst
}

// sflowInterface is an interface as a sample holds it.
func sflowInterface(i uint32, expanded bool) uint32 {
	const most = 1<<30 - 1
	if !expanded && i > most {
		return 0
	}
	return i
}

// beginSFlow appends the format and a length that endSFlow fills in, and tells
// where the length stands.
func beginSFlow(dst []byte, format uint32) (appended []byte, length int) {
	dst = binary.BigEndian.AppendUint32(dst, format)
	return append(dst, 0, 0, 0, 0), len(dst)
}

func endSFlow(dst []byte, length int) {
	binary.BigEndian.PutUint32(dst[length:], uint32(len(dst)-length-4))
}

// appendSFlowFrame appends the flow record with the head of a sampled frame.
func appendSFlowFrame(dst []byte, r *Record) []byte {
	const rawHeader, ethernet, fcs = 1, 1, 4
	be := binary.BigEndian
	total := sflowPacketBytes(r)
	frame := encodedEthernet + total
	dst, raw := beginSFlow(dst, rawHeader)
	dst = be.AppendUint32(dst, ethernet)
	dst = be.AppendUint32(dst, uint32(frame+fcs))
	dst = be.AppendUint32(dst, fcs) // stripped
	head := min(frame, encodedFrameHead)
	dst = be.AppendUint32(dst, uint32(head))

	begin := len(dst)
	dst = append(dst, 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1) // to, from
	dst = appendIPHeader(dst, r, total)
	dst = appendTransport(dst, r, total-(len(dst)-begin-encodedEthernet))
	padded := (head + 3) / 4 * 4
	dst = append(dst, make([]byte, begin+padded-len(dst))...)
	endSFlow(dst, raw)
	return dst
}

// sflowPacketBytes is the length of a packet of the flow: its bytes, within
// what the headers need and a length field of 16 bits holds.
func sflowPacketBytes(r *Record) int {
	header, most := encodedIPv6Header, encodedIPv6Header+math.MaxUint16
	if r.isIPv4() {
		header, most = encodedIPv4Header, math.MaxUint16
	}
	var scratch [encodedFrameHead]byte
	least := header + len(appendTransport(scratch[:0], r, 0))
	return int(min(max(r.Bytes, uint64(least)), uint64(most)))
}

// appendIPHeader appends the EtherType and the header of an IPv4 packet, RFC 791
// section 3.1, or an IPv6 one, RFC 8200 section 3, of total bytes.
func appendIPHeader(dst []byte, r *Record, total int) []byte {
	const typeIPv4, typeIPv6, ttl = 0x0800, 0x86dd, 64
	be := binary.BigEndian
	if !r.isIPv4() {
		dst = be.AppendUint16(dst, typeIPv6)
		dst = append(dst, 6<<4, 0, 0, 0) // version, traffic class, flow label
		dst = be.AppendUint16(dst, uint16(total-encodedIPv6Header))
		dst = append(dst, r.Proto, ttl)
		return append(append(dst, r.Src[:]...), r.Dst[:]...)
	}
	dst = be.AppendUint16(dst, typeIPv4)
	dst = append(dst, 4<<4|encodedIPv4Header/4, 0) // version and length, TOS
	dst = be.AppendUint16(dst, uint16(total))
	dst = append(dst, 0, 0, 0x40, 0) // id; "don't fragment"
	dst = append(dst, ttl, r.Proto, 0, 0)
	return append(append(dst, r.Src[12:]...), r.Dst[12:]...)
}

// appendTransport appends the header of TCP, RFC 9293 section 3.1, the one of
// UDP, RFC 768, or of SCTP, RFC 9260 section 3.1, type and code of ICMP and its
// next six bytes, and of another protocol nothing. The header and its payload
// are length bytes.
func appendTransport(dst []byte, r *Record, length int) []byte {
	const icmp, tcp, udp, icmp6, sctp = 1, 6, 17, 58, 132
	be := binary.BigEndian
	ports := uint32(r.SrcPort)<<16 | uint32(r.DstPort)
	switch r.Proto {
	case tcp:
		const dataOffset, window = 5 << 4, 0xff
		dst = be.AppendUint32(dst, ports)
		dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0) // sequence, acknowledgement
		return append(dst, dataOffset, r.TCPFlags, window, 0, 0, 0, 0, 0)
	case udp:
		dst = be.AppendUint32(dst, ports)
		dst = be.AppendUint16(dst, uint16(length))
		return append(dst, 0, 0) // checksum
	case sctp:
		dst = be.AppendUint32(dst, ports)
		return append(dst, 0, 0, 0, 0, 0, 0, 0, 0)
	case icmp, icmp6:
		dst = be.AppendUint16(dst, r.DstPort)
		return append(dst, 0, 0, 0, 0, 0, 0)
	}
	return dst
}
