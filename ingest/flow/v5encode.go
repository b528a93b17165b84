// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
)

// V5Header is what AppendV5 writes in front of its records.
type V5Header struct {
	ExportTime   int64  // nanoseconds since 1970 UTC, 1970 to 2106
	Uptime       uint32 // milliseconds
	Sequence     uint32 // flows sent before
	Domain       uint16 // engine type<<8 | engine id
	Sampling     uint16 // one in N, 0 to 16,383
	SamplingMode uint8  // 0 to 3
}

// AppendV5 appends one v5 datagram to dst. It is the inverse of Parse and
// Append for what the format can hold: IPv4 addresses (another address becomes
// 0.0.0.0), counters up to 32 bits and interfaces up to 16 (greater ones become
// the greatest), and times within 24.8 days of the export time, cut to
// milliseconds of uptime. The fields of the format that Record lacks are 0.
//
// A router sends at most MaxV5Records at once, but more are written as given,
// up to the 65,535 that the header can announce; beyond that AppendV5 panics.
func AppendV5(dst []byte, h V5Header, recs []Record) []byte {
	if len(recs) > math.MaxUint16 {
		panic(fmt.Sprintf("flow: %d records in one v5 datagram, the header holds at most %d", len(recs), math.MaxUint16))
	}
	be := binary.BigEndian
	dst = be.AppendUint16(dst, 5)
	dst = be.AppendUint16(dst, uint16(len(recs)))
	dst = be.AppendUint32(dst, h.Uptime)
	dst = be.AppendUint32(dst, uint32(h.ExportTime/nsPerSecond))
	dst = be.AppendUint32(dst, uint32(h.ExportTime%nsPerSecond))
	dst = be.AppendUint32(dst, h.Sequence)
	dst = be.AppendUint16(dst, h.Domain)
	dst = be.AppendUint16(dst, uint16(h.SamplingMode)<<v5SamplingBits|h.Sampling&(1<<v5SamplingBits-1))
	for i := range recs {
		dst = appendV5Record(dst, h, &recs[i])
	}
	return dst
}

func appendV5Record(dst []byte, h V5Header, r *Record) []byte {
	be := binary.BigEndian
	dst = be.AppendUint32(dst, ipv4(&r.Src))
	dst = be.AppendUint32(dst, ipv4(&r.Dst))
	dst = be.AppendUint32(dst, 0) // next hop
	dst = be.AppendUint16(dst, uint16(min(r.InIf, math.MaxUint16)))
	dst = be.AppendUint16(dst, uint16(min(r.OutIf, math.MaxUint16)))
	dst = be.AppendUint32(dst, uint32(min(r.Packets, math.MaxUint32)))
	dst = be.AppendUint32(dst, uint32(min(r.Bytes, math.MaxUint32)))
	dst = be.AppendUint32(dst, unixToUptime(h.ExportTime, h.Uptime, r.Start))
	dst = be.AppendUint32(dst, unixToUptime(h.ExportTime, h.Uptime, r.End))
	dst = be.AppendUint16(dst, r.SrcPort)
	dst = be.AppendUint16(dst, r.DstPort)
	dst = append(dst, 0, r.TCPFlags, r.Proto, 0)
	return append(dst, 0, 0, 0, 0, 0, 0, 0, 0) // AS numbers, masks, padding
}

// unixToUptime is the inverse of uptimeToUnix: the exporter's uptime in
// milliseconds at a time, modulo 2^32.
func unixToUptime(export int64, uptime uint32, t int64) uint32 {
	return uptime - uint32((export-t)/nsPerMs)
}

// mappedPrefix is ::ffff:0:0/96, RFC 4291 section 2.5.5.2.
var mappedPrefix = [12]byte{10: 0xff, 11: 0xff}

// ipv4 is the IPv4 address of an IPv4-mapped one, else 0.
func ipv4(a *[16]byte) uint32 {
	if !bytes.HasPrefix(a[:], mappedPrefix[:]) {
		return 0
	}
	return binary.BigEndian.Uint32(a[12:])
}
