// SPDX-License-Identifier: Apache-2.0

package flow

import "fmt"

// Record is one flow as an exporter told it, whatever the format was. It has a
// fixed size and no pointers, so that a worker's scratch of records costs the
// garbage collector nothing. What a worker needs of every record comes first.
type Record struct {
	// Src and Dst are IPv6 addresses; an IPv4 address a.b.c.d is ::ffff:a.b.c.d.
	// Both are :: where the record has none.
	Src, Dst [16]byte
	// SrcPort and DstPort are as exported, 0 where the protocol has none.
	// Many exporters put type<<8|code of an ICMP message in DstPort, and so
	// does the decoder where they are told apart.
	SrcPort, DstPort uint16
	// Proto is the IP protocol number.
	Proto uint8
	// TCPFlags is the OR of the low eight flag bits of all packets of the flow.
	TCPFlags uint8
	// Initiator is the end that opened the connection, where the exporter
	// declares it.
	Initiator End
	// Direction is how the flow crossed the interface where it was observed.
	Direction Direction
	// Present tells which fields the record really has.
	Present Fields
	// Sampling is N where one packet in N was sampled, 0 if unknown or unsampled.
	Sampling uint32
	// Start and End are the times of the first and the last packet in
	// nanoseconds since 1970 UTC on the exporter's clock. They are as
	// exported: Start after End, or End after the export time, are possible.
	Start, End int64
	// Packets and Bytes count what the exporter counted from Src to Dst, not
	// multiplied by the sampling rate. Bytes are those of layer 3, where the
	// exporter has them.
	Packets, Bytes uint64
	// ReversePackets and ReverseBytes count the way back, from Dst to Src, of
	// a record that describes both (RFC 5103).
	ReversePackets, ReverseBytes uint64
	// InIf and OutIf are the exporter's SNMP interface indexes, 0 if unknown.
	InIf, OutIf uint32
	// SrcMAC and DstMAC are the layer 2 addresses where it was observed.
	SrcMAC, DstMAC [6]byte
	// VLAN is the identifier of the outer tag, 0 if there is none.
	VLAN uint16
	// ReverseTCPFlags are the TCPFlags of the way back.
	ReverseTCPFlags uint8
	// Event is IPFIX firewallEvent (element 233): 0 none, 1 created, 2 deleted,
	// 3 denied, 4 alert, 5 updated. A denied flow reached nothing.
	Event uint8
}

// End names one of the two ends of a record.
type End uint8

// The ends; the zero value is neither.
const (
	NoEnd End = iota
	SourceEnd
	DestinationEnd
)

// Direction is how a flow crossed the interface where it was observed.
type Direction uint8

// The directions, as IPFIX flowDirection (element 61) has them, plus one.
const (
	NoDirection Direction = iota
	Ingress
	Egress
)

// Fields is a set of Record's fields.
type Fields uint32

// The fields that a format or a template may lack. Ports, counters and times
// that are present can be zero.
const (
	HasSrc Fields = 1 << iota
	HasDst
	HasSrcPort
	HasDstPort
	HasProto
	HasTCPFlags
	HasStart
	HasEnd
	HasPackets
	HasBytes
	HasReverse // any of the three reverse counters
	HasInIf
	HasOutIf
	HasSrcMAC
	HasDstMAC
	HasVLAN
	HasEvent

	// fixedFields are those that every record of v1, v5 and v7 has.
	fixedFields = HasSrc | HasDst | HasSrcPort | HasDstPort | HasProto | HasTCPFlags |
		HasStart | HasEnd | HasPackets | HasBytes | HasInIf | HasOutIf
)

// Version is a format of flow export.
type Version uint8

// The formats. The zero value is none of them, so that a counter array indexed
// by Version has Versions elements and an unused first one.
const (
	NoVersion Version = iota
	V1
	V5
	V7
	V9
	IPFIX
	SFlow5

	// Versions is the number of values, for counter arrays.
	Versions = iota
)

var versionNames = [Versions]string{"", "v1", "v5", "v7", "v9", "ipfix", "sflow5"}

// String returns the name used in JSON and metrics, empty for NoVersion.
func (v Version) String() string {
	if int(v) < len(versionNames) {
		return versionNames[v]
	}
	return fmt.Sprintf("version(%d)", uint8(v))
}

// fill takes what a sampled packet tells for the fields that r lacks.
func (r *Record) fill(sampled *Record) {
	missing := sampled.Present &^ r.Present
	r.Present |= missing
	has := func(f Fields) bool { return missing&f != 0 }
	if has(HasSrc) {
		r.Src = sampled.Src
	}
	if has(HasDst) {
		r.Dst = sampled.Dst
	}
	if has(HasSrcPort) {
		r.SrcPort = sampled.SrcPort
	}
	if has(HasDstPort) {
		r.DstPort = sampled.DstPort
	}
	if has(HasProto) {
		r.Proto = sampled.Proto
	}
	if has(HasTCPFlags) {
		r.TCPFlags = sampled.TCPFlags
	}
	if has(HasPackets) {
		r.Packets = sampled.Packets
	}
	if has(HasBytes) {
		r.Bytes = sampled.Bytes
	}
	if has(HasSrcMAC) {
		r.SrcMAC = sampled.SrcMAC
	}
	if has(HasDstMAC) {
		r.DstMAC = sampled.DstMAC
	}
	if has(HasVLAN) {
		r.VLAN = sampled.VLAN
	}
}
