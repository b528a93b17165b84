// SPDX-License-Identifier: Apache-2.0

package flow

import "encoding/binary"

// NetFlow v1, as in Cisco's "NetFlow Export Datagram Format", tables B-1 and
// B-2: a header of 16 bytes and up to 24 records of 48, big endian. It numbers
// nothing, so that losses do not show. The table gives the padding at the end
// of a record as bytes 41 to 48, which would make an odd 49; exporters and
// collectors agree on 48.
//
//	header  0 version 1        2 count           4 uptime, ms      8 seconds
//	       12 nanoseconds
//	record  0 source address   4 destination     8 next hop       12 input if
//	       14 output if       16 packets        20 bytes          24 first, ms
//	       28 last, ms        32 source port    34 dest. port     36 pad
//	       38 protocol        39 TOS            40 TCP flags      41 pad
const (
	v1HeaderSize = 16
	v1RecordSize = 48
	maxV1Records = 24
)

func (m *Message) parseV1(b []byte) Drop {
	if len(b) < v1HeaderSize {
		return DropShortHeader
	}
	m.Version = V1
	m.fixedHeader(b)
	m.body = b[v1HeaderSize:len(b):len(b)]
	return NoDrop
}

// fixedHeader reads what v1, v5 and v7 have in common, their first 16 bytes.
func (m *Message) fixedHeader(b []byte) {
	h := b[:v1HeaderSize:v1HeaderSize]
	be := binary.BigEndian
	m.Count = int(be.Uint16(h[2:]))
	m.Uptime = be.Uint32(h[4:])
	m.ExportTime = int64(be.Uint32(h[8:])) * nsPerSecond
	// As in v5: a residue of a second or more is no residue.
	if ns := be.Uint32(h[12:]); ns < nsPerSecond {
		m.ExportTime += int64(ns)
	}
}

// decodeV1 fills every field of out from the records that b holds at least as
// many of.
func decodeV1(out []Record, b []byte, export int64, uptime uint32) {
	for i := range out {
		w := b[:v1RecordSize:v1RecordSize]
		b = b[v1RecordSize:]
		r := &out[i]
		r.setFixed(w, export, uptime)
		r.Proto = w[38]
		r.TCPFlags = w[40]
	}
}

// setFixed fills every field but the protocol and the TCP flags from the 36
// bytes that begin a record of v1, v5 and v7.
func (r *Record) setFixed(w []byte, export int64, uptime uint32) {
	const common = 36
	be := binary.BigEndian
	w = w[:common:common]
	r.Start = uptimeToUnix(export, uptime, be.Uint32(w[24:]))
	r.End = uptimeToUnix(export, uptime, be.Uint32(w[28:]))
	r.Packets = uint64(be.Uint32(w[16:]))
	r.Bytes = uint64(be.Uint32(w[20:]))
	mapIPv4(&r.Src, w[0:4])
	mapIPv4(&r.Dst, w[4:8])
	r.InIf = uint32(be.Uint16(w[12:]))
	r.OutIf = uint32(be.Uint16(w[14:]))
	r.SrcPort = be.Uint16(w[32:])
	r.DstPort = be.Uint16(w[34:])
	r.Initiator, r.Direction = NoEnd, NoDirection
	r.Present = fixedFields
	r.Sampling = 0
	r.ReversePackets, r.ReverseBytes = 0, 0
	r.SrcMAC, r.DstMAC = [6]byte{}, [6]byte{}
	r.VLAN, r.ReverseTCPFlags, r.Event = 0, 0, 0
}
