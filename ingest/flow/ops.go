// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"encoding/binary"
	"math"
	"unsafe"
)

// opKind is a way to read a field of the wire and to store it in a Record.
type opKind uint8

const (
	opNumber opKind = iota // a whole number of any width, into any size
	op1to1                 // a whole number of so many bytes, into as many or more
	op2to2
	op4to4
	op8to8
	op4to8
	op2to4
	opIPv4
	opIPv4IfSet
	opIPv6
	opIPv6IfSet
	opMAC
	opDirection
	opICMP
	opICMPPair
	opTime         // since 1970, times scale
	opNTP          // since 1900, 32 bits of seconds and 32 of their fraction
	opUptime       // milliseconds of the exporter's uptime
	opUptimeSince  // the same since a moment in the record
	opBeforeExport // microseconds before the header's time
	opDuration
	opRateSpace
	opRatePopulation
	opSampler
	opFrame
	opPacket
	opBiflow
	opReverseStart
	opReverseStartNTP
)

// op reads one field of every record of a set. All records of a set are read
// op by op, not record by record: the decision which op it is costs once per
// set, and what is left is a loop of one load and one store.
type op struct {
	at, at2       uint16 // where the field stands in the record, and a second one
	width         uint16
	width2, skip  uint8 // skip: the leading bytes of a number that its place has no room for
	do            opKind
	to            uint8 // where it goes in the Record, as an offset
	field, field2 uint8 // which of the template's fields these are
	scale         uint32
	has           Fields
}

// context is what a set's records share.
type context struct {
	export   int64  // the header's time
	uptime   uint32 // the exporter's uptime at that time, ms
	hasBase  bool   // uptime is known
	sampling *samplingRates
	problems ProblemSet
}

const (
	nsPerUs    = 1_000
	recordSize = unsafe.Sizeof(Record{})
	// ntpEpoch is 1970 in seconds since 1900, RFC 5905 section 6.
	ntpEpoch = 2208988800
)

// numberOp is the op for a number of a width in a field of size bytes.
func numberOp(width uint16, size uint8) opKind {
	switch {
	case width == 1 && size == 1:
		return op1to1
	case width == 2 && size == 2:
		return op2to2
	case width == 2 && size == 4:
		return op2to4
	case width == 4 && size == 4:
		return op4to4
	case width == 4 && size == 8:
		return op4to8
	case width == 8 && size == 8:
		return op8to8
	}
	return opNumber
}

// run reads the field out of the records that b holds, stride bytes apart, into
// out. b holds them whole: the template's size was checked when it came, and
// that of the set when it was cut into records. What is left of bounds checks
// costs nothing that could be measured.
func (o *op) run(out []Record, b []byte, stride int, c *context) {
	if len(out) == 0 {
		return
	}
	if o.width2 != 0 {
		for i := range out {
			r := b[i*stride:]
			o.two(&out[i], r[o.at:][:o.width], r[o.at2:][:o.width2], c)
		}
		return
	}
	b = b[o.at:]
	// The destination is an offset, so that six loops serve all numbers. It
	// comes from unsafe.Offsetof, and the type of the loop's store has the
	// size of the field: numberOp sees to it.
	to, next := unsafe.Add(unsafe.Pointer(unsafe.SliceData(out)), uintptr(o.to)), 0
	be := binary.BigEndian
	switch o.do {
	case op1to1:
		for i := range out {
			*(*uint8)(unsafe.Add(to, uintptr(i)*recordSize)) = b[next]
			next += stride
		}
	case op2to2:
		for i := range out {
			*(*uint16)(unsafe.Add(to, uintptr(i)*recordSize)) = be.Uint16(b[next:])
			next += stride
		}
	case op2to4:
		for i := range out {
			*(*uint32)(unsafe.Add(to, uintptr(i)*recordSize)) = uint32(be.Uint16(b[next:]))
			next += stride
		}
	case op4to4:
		for i := range out {
			*(*uint32)(unsafe.Add(to, uintptr(i)*recordSize)) = be.Uint32(b[next:])
			next += stride
		}
	case op4to8:
		for i := range out {
			*(*uint64)(unsafe.Add(to, uintptr(i)*recordSize)) = uint64(be.Uint32(b[next:]))
			next += stride
		}
	case op8to8:
		for i := range out {
			*(*uint64)(unsafe.Add(to, uintptr(i)*recordSize)) = be.Uint64(b[next:])
			next += stride
		}
	case opIPv4:
		for i := range out {
			mapIPv4((*[16]byte)(unsafe.Add(to, uintptr(i)*recordSize)), b[next:])
			next += stride
		}
	case opIPv6:
		for i := range out {
			*(*[16]byte)(unsafe.Add(to, uintptr(i)*recordSize)) = [16]byte(b[next:])
			next += stride
		}
	case opMAC:
		for i := range out {
			*(*[6]byte)(unsafe.Add(to, uintptr(i)*recordSize)) = [6]byte(b[next:])
			next += stride
		}
	default:
		o.derive(out, b, stride, c)
	}
}

// derive runs the ops that are more than a load and a store. b begins at the
// field of the first record. Those that most templates have are loops too.
func (o *op) derive(out []Record, b []byte, stride int, c *context) {
	be, next := binary.BigEndian, 0
	switch {
	case o.do == opDirection && o.width == 1:
		for i := range out {
			if v := b[next]; v <= 1 {
				out[i].Direction = Ingress + Direction(v)
			}
			next += stride
		}
	case o.do == opSampler && c.sampling == nil:
	case o.do == opUptime && !c.hasBase:
		lack(out, o.has)
	case o.do == opUptime && o.width == 4:
		to := unsafe.Add(unsafe.Pointer(unsafe.SliceData(out)), uintptr(o.to))
		for i := range out {
			*(*int64)(unsafe.Add(to, uintptr(i)*recordSize)) = uptimeToUnix(c.export, c.uptime, be.Uint32(b[next:]))
			next += stride
		}
	case o.do == opTime && o.width == 8:
		to := unsafe.Add(unsafe.Pointer(unsafe.SliceData(out)), uintptr(o.to))
		scale, most := uint64(o.scale), math.MaxInt64/uint64(o.scale)
		for i := range out {
			v := be.Uint64(b[next:])
			next += stride
			if v > most {
				v = 0
				out[i].Present &^= o.has
			}
			*(*uint64)(unsafe.Add(to, uintptr(i)*recordSize)) = v * scale
		}
	default:
		for i := range out {
			o.one(&out[i], b[next:], c)
			next += stride
		}
	}
}

// lack takes fields away from records whose template promised them.
func lack(out []Record, has Fields) {
	for i := range out {
		out[i].Present &^= has
	}
}

// one runs one op for one record. b begins at the field.
func (o *op) one(r *Record, b []byte, c *context) {
	switch v := b[:o.width]; o.do {
	case opNumber:
		o.number(r, v)
	case opIPv4IfSet:
		if [4]byte(v) != [4]byte{} {
			mapIPv4((*[16]byte)(unsafe.Add(unsafe.Pointer(r), uintptr(o.to))), v)
		}
	case opIPv6IfSet:
		if [16]byte(v) != [16]byte{} {
			*(*[16]byte)(unsafe.Add(unsafe.Pointer(r), uintptr(o.to))) = [16]byte(v)
		}
	case opDirection:
		switch load(v) {
		case 0:
			r.Direction = Ingress
		case 1:
			r.Direction = Egress
		}
	case opBiflow:
		switch load(v) {
		case 1:
			r.Initiator = SourceEnd
		case 2:
			r.Initiator = DestinationEnd
		}
	case opICMP:
		r.icmp(uint16(load(v)))
	case opTime, opNTP, opUptime, opBeforeExport:
		t, ok := o.time(v, c)
		o.setTime(r, t, ok)
	case opDuration:
		o.duration(r, load(v))
	case opSampler:
		r.sampled(load(v), c.sampling)
	case opFrame:
		var sampled Record
		c.problems |= sampled.readEthernet(v)
		r.fill(&sampled)
	case opPacket:
		var sampled Record
		c.problems |= sampled.readIP(v)
		r.fill(&sampled)
	case opReverseStart, opReverseStartNTP:
		o.reverseStart(r, v, c)
	}
}

// two runs an op that reads two fields of one record.
func (o *op) two(r *Record, v, second []byte, c *context) {
	a, b := load(v), load(second)
	switch o.do {
	case opICMPPair:
		r.icmp(uint16(a&0xff)<<8 | uint16(b&0xff))
	case opRateSpace:
		r.Sampling = packetRate(a, b)
	case opRatePopulation:
		r.Sampling = populationRate(b, a)
	case opUptimeSince:
		t, ok := unixTime(b, nsPerMs)
		if !ok {
			o.setTime(r, 0, false)
			return
		}
		o.setTime(r, uptimeToUnix(c.export, uint32((c.export-t)/nsPerMs), uint32(a)), true)
	}
}

// load is the big-endian number of up to 8 bytes.
func load(b []byte) (v uint64) {
	for _, x := range b {
		v = v<<8 | uint64(x)
	}
	return v
}

// number stores the low bits of a number.
func (o *op) number(r *Record, b []byte) {
	v, to := load(b), unsafe.Add(unsafe.Pointer(r), uintptr(o.to))
	switch o.to {
	case toProto, toTCPFlags, toReverseTCPFlags, toEvent:
		*(*uint8)(to) = uint8(v)
	case toSrcPort, toDstPort, toVLAN:
		*(*uint16)(to) = uint16(v)
	case toInIf, toOutIf, toSampling:
		*(*uint32)(to) = uint32(v)
	default:
		*(*uint64)(to) = v
	}
}

// icmp stores type and code of an ICMP record that has no ports.
func (r *Record) icmp(typeCode uint16) {
	if (r.Proto == protoICMP || r.Proto == protoICMP6) && r.DstPort == 0 {
		r.DstPort = typeCode
		r.Present |= HasDstPort
	}
}

// time turns a value into Unix nanoseconds; false where there is none.
func (o *op) time(v []byte, c *context) (int64, bool) {
	switch o.do {
	case opNTP:
		return ntpTime(load(v), o.scale)
	case opUptime:
		return uptimeToUnix(c.export, c.uptime, uint32(load(v))), true
	case opBeforeExport:
		return c.export - int64(uint32(load(v)))*nsPerUs, true
	}
	return unixTime(load(v), o.scale)
}

// unixTime is a time since 1970 in units of scale nanoseconds, if an int64
// holds it: until the year 2262.
func unixTime(v uint64, scale uint32) (int64, bool) {
	if v > math.MaxInt64/uint64(scale) {
		return 0, false
	}
	return int64(v * uint64(scale)), true
}

// ntpTime is a time of NTP's 64-bit format in Unix nanoseconds; 0 is none. Of
// one in microseconds the lowest 11 bits mean nothing (RFC 7011 sections 6.1.9
// and 6.1.10). Its 136 years are taken to begin in 1900.
func ntpTime(v uint64, scale uint32) (int64, bool) {
	if scale == nsPerUs {
		v &^= 1<<11 - 1
	}
	seconds, fraction := int64(v>>32)-ntpEpoch, v&math.MaxUint32
	return seconds*nsPerSecond + int64(fraction*nsPerSecond>>32), v != 0
}

// setTime stores a time, or that there is none.
func (o *op) setTime(r *Record, t int64, ok bool) {
	if !ok {
		r.Present &^= o.has
		return
	}
	*(*int64)(unsafe.Add(unsafe.Pointer(r), uintptr(o.to))) = t
}

// duration makes the end of the start, or the start of the end, where one of
// them is missing.
func (o *op) duration(r *Record, v uint64) {
	d, ok := unixTime(v, o.scale)
	switch have := r.Present & (HasStart | HasEnd); {
	case !ok:
	case have == HasStart && r.Start <= math.MaxInt64-d:
		r.End, r.Present = r.Start+d, r.Present|HasEnd
	case have == HasEnd && r.End >= math.MinInt64+d:
		r.Start, r.Present = r.End-d, r.Present|HasStart
	}
}

// reverseStart takes the end whose packets began first for the initiator.
func (o *op) reverseStart(r *Record, v []byte, c *context) {
	t, ok := unixTime(load(v), o.scale)
	if o.do == opReverseStartNTP {
		t, ok = ntpTime(load(v), o.scale)
	}
	switch {
	case !ok || r.ReversePackets == 0 || r.Present&HasStart == 0:
	case t > r.Start:
		r.Initiator = SourceEnd
	case t < r.Start:
		r.Initiator = DestinationEnd
	}
}
