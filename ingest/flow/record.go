// SPDX-License-Identifier: Apache-2.0

package flow

import "fmt"

// Record is one flow as an exporter told it, whatever the format was. It has a
// fixed size and no pointers, so that a worker's scratch of records costs the
// garbage collector nothing.
type Record struct {
	// Start and End are the times of the first and the last packet in
	// nanoseconds since 1970 UTC on the exporter's clock. They are as
	// exported: Start after End, or End after the export time, are possible.
	Start, End int64
	// Packets and Bytes count what the exporter counted, not multiplied by
	// the sampling rate. Bytes are those of layer 3.
	Packets, Bytes uint64
	// Src and Dst are IPv6 addresses; an IPv4 address a.b.c.d is ::ffff:a.b.c.d.
	Src, Dst [16]byte
	// InIf and OutIf are the exporter's SNMP interface indexes, 0 if unknown.
	InIf, OutIf uint32
	// SrcPort and DstPort are as exported, 0 where the protocol has none.
	// Many exporters put type<<8|code of an ICMP message in DstPort.
	SrcPort, DstPort uint16
	// Proto is the IP protocol number.
	Proto uint8
	// TCPFlags is the OR of the low eight flag bits of all packets of the flow.
	TCPFlags uint8
}

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

// Drop is the reason why a whole datagram was not decoded.
type Drop uint8

const (
	// NoDrop: the header was accepted.
	NoDrop Drop = iota
	// DropEmpty: a datagram of 0 bytes.
	DropEmpty
	// DropShortHeader: a datagram too short to hold a version number, or of
	// a known version and shorter than the header of that version.
	DropShortHeader
	// DropUnknownVersion: a version that this release does not decode,
	// whatever the length.
	DropUnknownVersion

	// Drops is the number of values, for counter arrays. Index 0 is NoDrop.
	Drops = iota
)

var dropNames = [Drops]string{"", "empty", "short_header", "unknown_version"}

// String returns the reason as used in metrics and the ledger, empty for NoDrop.
func (d Drop) String() string {
	if int(d) < len(dropNames) {
		return dropNames[d]
	}
	return fmt.Sprintf("drop(%d)", uint8(d))
}

// Problem is something wrong inside a datagram whose header was accepted. What
// can be decoded is decoded all the same.
type Problem uint8

const (
	// ProblemCountZero: the header announces no records. Bytes behind such a
	// header are trailing bytes as well.
	ProblemCountZero Problem = iota
	// ProblemCountOver30: the v5 header announces more than the format's
	// maximum of 30. Records that are present are decoded.
	ProblemCountOver30
	// ProblemCountPastEnd: the header announces more records than the bytes
	// hold. Only whole records are decoded; the piece of one that may follow
	// belongs to this problem and is not called trailing.
	ProblemCountPastEnd
	// ProblemTrailingBytes: bytes follow the last announced record.
	ProblemTrailingBytes

	// Problems is the number of values, for counter arrays.
	Problems = iota
)

var problemNames = [Problems]string{"count_zero", "count_over_30", "count_past_end", "trailing_bytes"}

// String returns the reason as used in metrics and the ledger.
func (p Problem) String() string {
	if int(p) < len(problemNames) {
		return problemNames[p]
	}
	return fmt.Sprintf("problem(%d)", uint8(p))
}

// ProblemSet holds each Problem p of one datagram as bit 1<<p. 0 means none.
type ProblemSet uint32

// Has tells whether p is in the set.
func (s ProblemSet) Has(p Problem) bool { return s>>p&1 != 0 }

// With returns the set with p in it.
func (s ProblemSet) With(p Problem) ProblemSet { return s | 1<<p }
