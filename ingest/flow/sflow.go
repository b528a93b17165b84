// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"encoding/binary"
	"math"
)

// sFlow version 5, as in sflow.org's "sFlow Version 5" of July 2004, section 5.
// All is XDR (RFC 4506): big endian, each item fills a multiple of four bytes.
// A datagram is a header and samples, a flow sample is a head and records, and
// samples and records are a format, a length and that many bytes, so that what
// is not known is skipped.
//
//	header    0 version 5          4 address type: 1 IPv4, 2 IPv6, 0 none
//	          8 agent's address, 4, 16 or 0 bytes; behind it, counted from there:
//	          0 sub-agent          4 sequence        8 uptime, ms   12 samples
//	sample    0 format             4 length
//	flow      0 sequence           4 source: class in the upper 8 bits, index
//	          8 sampling rate     12 pool           16 drops        20 input
//	         24 output            28 records
//	expanded  0 sequence           4 source class    8 source index
//	         12 sampling rate     16 pool           20 drops        24 input format
//	         28 input             32 output format  36 output       40 records
//	record    0 format             4 length
const (
	sflowVersion    = 5
	sflowAddressAt  = 8
	sflowHeaderRest = 16
	sflowFrame      = 8 // format and length of a sample or a record
	flowSampleSize  = 32

	expandedFlowSize     = 44
	countersSize         = 12
	expandedCountersSize = 16
)

// Formats of samples and of a flow sample's records. An enterprise's number
// stands in their upper 20 bits, and is 0 in these.
const (
	formatFlow             = 1
	formatCounters         = 2
	formatExpandedFlow     = 3
	formatExpandedCounters = 4

	formatRawHeader = 1
	formatEthernet  = 2
	formatIPv4      = 3
	formatIPv6      = 4
	formatSwitch    = 1001
)

// parseSFlow reads the header. An agent without an address, which type 0 is, is
// a problem of the datagram; with a type that version 5 does not define nobody
// knows where the header goes on, and the datagram is of no known version.
func (m *Message) parseSFlow(b []byte) Drop {
	be := binary.BigEndian
	switch {
	case len(b) < 4:
		return DropShortHeader
	case be.Uint32(b) != sflowVersion:
		return DropUnknownVersion
	case len(b) < sflowAddressAt:
		return DropShortHeader
	}
	size := 0
	switch be.Uint32(b[4:]) {
	case 0:
	case 1:
		size = 4
	case 2:
		size = 16
	default:
		return DropUnknownVersion
	}
	if len(b) < sflowAddressAt+size+sflowHeaderRest {
		return DropShortHeader
	}
	m.Version = SFlow5
	switch address := b[sflowAddressAt:]; size {
	case 4:
		mapIPv4(&m.Agent, address)
	case 16:
		m.Agent = [16]byte(address)
	}
	b = b[sflowAddressAt+size:]
	m.Domain = be.Uint32(b)
	m.Sequence = be.Uint32(b[4:])
	m.Uptime = be.Uint32(b[8:])
	m.Count = int(min(be.Uint32(b[12:]), math.MaxInt32))
	m.body = b[sflowHeaderRest:len(b):len(b)]
	return NoDrop
}

// samples decodes an sFlow message: a record per flow sample. A sample has no
// time. Each turn consumes the 8 bytes that every sample has or is the last,
// whatever number of them the header claims.
func (d *Decoder) samples(b *Batch) {
	if b.Agent == ([16]byte{}) {
		d.problem(ProblemAgentAddress)
	}
	if b.Count == 0 {
		d.problem(ProblemCountZero)
	}
	first := MaxRecords - d.left
	rest := b.body
	for range b.Count {
		if len(rest) < sflowFrame {
			d.problem(ProblemCountPastEnd)
			rest = nil
			break
		}
		var format uint32
		var sample []byte
		format, sample, rest = nextSFlow(rest)
		switch {
		case sample == nil:
			d.problem(ProblemSampleLength)
		case !d.sample(b, format, sample):
			rest = nil
		}
		if rest == nil {
			break
		}
	}
	if len(rest) > 0 {
		d.problem(ProblemTrailingBytes)
	}
	b.Records = d.records[first : MaxRecords-d.left]
}

// nextSFlow takes a sample or a record from the beginning of b, which has 8
// bytes at least. Where the length makes no sense, body is nil: a length that is
// no multiple of four leaves out the padding, which is skipped all the same;
// behind one that is longer than b nothing can be found, and rest is nil.
func nextSFlow(b []byte) (format uint32, body, rest []byte) {
	be := binary.BigEndian
	format = be.Uint32(b)
	length := uint64(be.Uint32(b[4:]))
	b = b[sflowFrame:]
	padded := (length + 3) &^ 3
	switch {
	case length > uint64(len(b)):
		return format, nil, nil
	case padded != length:
		return format, nil, b[min(padded, uint64(len(b))):]
	}
	return format, b[:length:length], b[length:]
}

// sample decodes a sample, or skips one that is none of flows or counters. It
// returns false where there is no place for its record.
func (d *Decoder) sample(b *Batch, format uint32, sample []byte) bool {
	least := countersSize
	switch format {
	case formatFlow, formatExpandedFlow:
		if d.left == 0 {
			d.problem(ProblemTooManyRecords)
			return false
		}
		d.flowSample(sample, format == formatExpandedFlow)
		return true
	case formatCounters:
	case formatExpandedCounters:
		least = expandedCountersSize
	default:
		return true
	}
	if len(sample) < least {
		d.problem(ProblemSampleLength)
	} else {
		b.CounterSamples++
	}
	return true
}

// flowSample makes a record of a flow sample. It is one even where nothing of
// the packet is told, because the sample was taken.
func (d *Decoder) flowSample(b []byte, expanded bool) {
	be := binary.BigEndian
	size := flowSampleSize
	if expanded {
		size = expandedFlowSize
	}
	if len(b) < size {
		d.problem(ProblemSampleLength)
		return
	}
	r := &d.records[MaxRecords-d.left]
	d.left--
	*r = Record{Packets: 1, Present: HasPackets}
	var class, index, in, out uint32
	if expanded {
		class, index = be.Uint32(b[4:]), be.Uint32(b[8:])
		r.Sampling = be.Uint32(b[12:])
		in = sflowInterface32(be.Uint32(b[24:]), be.Uint32(b[28:]))
		out = sflowInterface32(be.Uint32(b[32:]), be.Uint32(b[36:]))
	} else {
		source := be.Uint32(b[4:])
		class, index = source>>24, source&0xffffff
		r.Sampling = be.Uint32(b[8:])
		in = sflowInterface30(be.Uint32(b[20:]))
		out = sflowInterface30(be.Uint32(b[24:]))
	}
	if r.Sampling == 0 {
		d.problem(ProblemSamplingRate)
	}
	r.setInterfaces(class, index, in, out)
	d.packetRecords(r, b[size:], be.Uint32(b[size-4:]))
}

// sflowInterface30 is the index of an interface in the compact form: format
// in the upper two bits, 0 for a single interface. Other formats tell that the
// packet was dropped or went to several. 0 is unknown, and the greatest value is
// the device itself.
func sflowInterface30(v uint32) uint32 {
	const itself = 1<<30 - 1
	return sflowInterface32(v>>30, v&itself)
}

// sflowInterface32 is the index of an interface in the expanded form. Agents
// name the device itself by the greatest value of either form.
func sflowInterface32(format, index uint32) uint32 {
	const itself, itself32 = 1<<30 - 1, 1<<32 - 1
	if format != 0 || index == itself || index == itself32 {
		return 0
	}
	return index
}

// setInterfaces sets the interfaces that are known. The packet was sampled
// where it came in or where it went out, as the source is one or the other;
// class 0 is an interface.
func (r *Record) setInterfaces(class, index, in, out uint32) {
	if in != 0 {
		r.InIf = in
		r.Present |= HasInIf
	}
	if out != 0 {
		r.OutIf = out
		r.Present |= HasOutIf
	}
	switch {
	case class != 0 || index == 0:
	case index == in:
		r.Direction = Ingress
	case index == out:
		r.Direction = Egress
	}
}
