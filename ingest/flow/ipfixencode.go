// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"encoding/binary"
	"fmt"
	"math"
)

// The IPFIX templates have what routers with Flexible NetFlow export: absolute
// times in milliseconds and counters of 8 bytes, 20 fields, 72 bytes for IPv4
// and 108 for IPv6. The numbers are IANA's "IPFIX Information Elements".
// appendIPFIXRecord follows them.
var (
	ipfixTemplateIPv4 = []encodedField{
		{8, 4}, {12, 4}, {15, 4}, // sourceIPv4Address, destinationIPv4Address, ipNextHopIPv4Address
		{10, 4}, {14, 4}, // ingressInterface, egressInterface
		{2, 8}, {1, 8}, // packetDeltaCount, octetDeltaCount
		{152, 8}, {153, 8}, // flowStartMilliseconds, flowEndMilliseconds
		{7, 2}, {11, 2}, // sourceTransportPort, destinationTransportPort
		{4, 1}, {5, 1}, {6, 2}, // protocolIdentifier, ipClassOfService, tcpControlBits
		{9, 1}, {13, 1}, // sourceIPv4PrefixLength, destinationIPv4PrefixLength
		{16, 4}, {17, 4}, // bgpSourceAsNumber, bgpDestinationAsNumber
		{61, 1}, {48, 1}, // flowDirection, samplerId
	}
	ipfixTemplateIPv6 = []encodedField{
		{27, 16}, {28, 16}, {62, 16}, // sourceIPv6Address, destinationIPv6Address, ipNextHopIPv6Address
		{10, 4}, {14, 4},
		{2, 8}, {1, 8},
		{152, 8}, {153, 8},
		{7, 2}, {11, 2},
		{4, 1}, {5, 1}, {6, 2},
		{29, 1}, {30, 1}, // sourceIPv6PrefixLength, destinationIPv6PrefixLength
		{16, 4}, {17, 4},
		{61, 1}, {48, 1},
	}
)

// IPFIXHeader is what AppendIPFIX and AppendIPFIXTemplates write in front of
// their sets, RFC 7011 section 3.1.
type IPFIXHeader struct {
	ExportTime int64  // nanoseconds since 1970 UTC, 1970 to 2106; the format cuts it to seconds
	Sequence   uint32 // data records sent before
	Domain     uint32 // observation domain
}

// AppendIPFIXTemplates appends to dst one IPFIX message with both templates.
// AppendIPFIX gives the size of their records.
func AppendIPFIXTemplates(dst []byte, h IPFIXHeader) []byte {
	const templateSet = 2
	message := len(dst)
	dst = appendIPFIXHeader(dst, h)
	dst = appendTemplateSet(dst, templateSet, ipfixTemplateIPv4, ipfixTemplateIPv6)
	return endIPFIX(dst, message)
}

// AppendIPFIX appends to dst one IPFIX message with the records, which is
// readable to those who have the templates of AppendIPFIXTemplates. Each run of
// records of one address family is one data set: template 256 where both
// addresses are IPv4, 20 fields and 72 bytes a record, else 257, 108 bytes.
//
// Times are cut to milliseconds and lie in 1970 or later. Next hop, class of
// service, prefix lengths, AS numbers, direction (ingress) and sampler are 0, and
// what Record has beyond these templates is not written. A message holds 65,535 bytes; beyond that, 909 records of IPv4
// or 606 of IPv6, AppendIPFIX panics.
func AppendIPFIX(dst []byte, h IPFIXHeader, recs []Record) []byte {
	message := len(dst)
	dst = appendIPFIXHeader(dst, h)
	for len(recs) > 0 {
		n, ip4 := familyRun(recs)
		var set int
		dst, set = beginDataSet(dst, ip4)
		for i := range recs[:n] {
			dst = appendIPFIXRecord(dst, &recs[i], ip4)
		}
		dst = endSet(dst, set)
		recs = recs[n:]
	}
	return endIPFIX(dst, message)
}

// appendIPFIXHeader appends the header, whose length endIPFIX fills in.
func appendIPFIXHeader(dst []byte, h IPFIXHeader) []byte {
	be := binary.BigEndian
	dst = be.AppendUint16(dst, 10)
	dst = append(dst, 0, 0)
	dst = be.AppendUint32(dst, uint32(h.ExportTime/nsPerSecond))
	dst = be.AppendUint32(dst, h.Sequence)
	return be.AppendUint32(dst, h.Domain)
}

func endIPFIX(dst []byte, message int) []byte {
	length := len(dst) - message
	if length > math.MaxUint16 {
		panic(fmt.Sprintf("flow: an IPFIX message of %d bytes, its header holds at most %d", length, math.MaxUint16))
	}
	binary.BigEndian.PutUint16(dst[message+2:], uint16(length))
	return dst
}

func appendIPFIXRecord(dst []byte, r *Record, ip4 bool) []byte {
	be := binary.BigEndian
	dst = appendAddress(dst, &r.Src, ip4)
	dst = appendAddress(dst, &r.Dst, ip4)
	dst = appendNoAddress(dst, ip4) // next hop
	dst = be.AppendUint32(dst, r.InIf)
	dst = be.AppendUint32(dst, r.OutIf)
	dst = be.AppendUint64(dst, r.Packets)
	dst = be.AppendUint64(dst, r.Bytes)
	dst = be.AppendUint64(dst, uint64(r.Start/nsPerMs))
	dst = be.AppendUint64(dst, uint64(r.End/nsPerMs))
	dst = be.AppendUint16(dst, r.SrcPort)
	dst = be.AppendUint16(dst, r.DstPort)
	dst = append(dst, r.Proto, 0) // and class of service
	dst = be.AppendUint16(dst, uint16(r.TCPFlags))
	dst = append(dst, 0, 0)                   // prefix lengths
	dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0) // AS numbers
	return append(dst, 0, 0)                  // direction: ingress, and sampler
}
