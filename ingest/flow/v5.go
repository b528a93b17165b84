// SPDX-License-Identifier: Apache-2.0

package flow

import "encoding/binary"

// NetFlow v5, as in Cisco's "NetFlow Export Datagram Format", tables B-3 and
// B-4: a header of 24 bytes and up to 30 records of 48, big endian.
//
//	header  0 version 5        2 count           4 uptime, ms      8 seconds
//	       12 nanoseconds     16 flow sequence  20 engine type    21 engine id
//	       22 sampling: mode in the upper 2 bits, interval in the lower 14
//	record  0 source address   4 destination     8 next hop       12 input if
//	       14 output if       16 packets        20 bytes          24 first, ms
//	       28 last, ms        32 source port    34 dest. port     36 pad
//	       37 TCP flags       38 protocol       39 TOS            40 source AS
//	       42 dest. AS        44 source mask    45 dest. mask     46 pad
const (
	v5HeaderSize = 24
	v5RecordSize = 48

	// MaxV5Records is the most records that a v5 datagram may have.
	MaxV5Records = 30

	v5SamplingBits = 14
	nsPerMs        = 1_000_000
	nsPerSecond    = 1_000_000_000
)

func (m *Message) parseV5(b []byte) Drop {
	if len(b) < v5HeaderSize {
		return DropShortHeader
	}
	h := b[:v5HeaderSize:v5HeaderSize]
	be := binary.BigEndian
	m.Version = V5
	m.Count = int(be.Uint16(h[2:]))
	m.Uptime = be.Uint32(h[4:])
	m.ExportTime = int64(be.Uint32(h[8:])) * nsPerSecond
	// A residue of a second or more is no residue (some exporters leave
	// garbage there). Without it the time is still right to the second.
	if ns := be.Uint32(h[12:]); ns < nsPerSecond {
		m.ExportTime += int64(ns)
	}
	m.Sequence = be.Uint32(h[16:])
	m.Domain = uint32(be.Uint16(h[20:]))
	s := be.Uint16(h[22:])
	m.SamplingMode = uint8(s >> v5SamplingBits)
	m.Sampling = uint32(s & (1<<v5SamplingBits - 1))
	m.body = b[v5HeaderSize:len(b):len(b)]
	return NoDrop
}

// decodeV5 fills every field of out from the records that b holds at least as
// many of. It is one function, loop and body, so that nothing is passed or
// spilled per record.
func decodeV5(out []Record, b []byte, export int64, uptime, sampling uint32) {
	be := binary.BigEndian
	for i := range out {
		w := b[:v5RecordSize:v5RecordSize]
		b = b[v5RecordSize:]
		r := &out[i]
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
		r.Proto = w[38]
		r.TCPFlags = w[37]
		r.Initiator, r.Direction = NoEnd, NoDirection
		r.Present = fixedFields
		r.Sampling = sampling
		r.ReversePackets, r.ReverseBytes = 0, 0
		r.SrcMAC = [6]byte{}
		r.DstMAC = [6]byte{}
		r.VLAN, r.ReverseTCPFlags, r.Event = 0, 0, 0
	}
}

// mapIPv4 makes a the address ::ffff:a.b.c.d of 4 bytes. Read and written in the
// same byte order, the bytes need no swapping.
func mapIPv4(a *[16]byte, b []byte) {
	le := binary.LittleEndian
	le.PutUint64(a[:8], 0)
	le.PutUint64(a[8:], 0xffff<<16|uint64(le.Uint32(b))<<32)
}

// uptimeToUnix is the time at which the exporter's uptime was at milliseconds,
// given its uptime at the export time. The uptime wraps every 49.7 days, so only
// the signed difference of the two counts: up to 24.8 days before the export,
// or after it, which a flow that was still running when the header was written
// can be by a little.
func uptimeToUnix(export int64, uptime, at uint32) int64 {
	return export - int64(int32(uptime-at))*nsPerMs
}
