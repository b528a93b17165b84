// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
)

// Templates that AppendV9Templates and AppendIPFIXTemplates announce and that
// AppendV9 and AppendIPFIX use, one per address family.
const (
	EncodedTemplateIPv4 = 256
	EncodedTemplateIPv6 = 257
)

// encodedField is one field specifier of a template without an enterprise
// number: the element and how many bytes it takes in a record.
type encodedField struct{ element, length uint16 }

// The v9 templates have the fields and the order of a Cisco router's traditional
// export with AS numbers and a sampler: 20 fields, 55 bytes for IPv4 and 91 for
// IPv6. The numbers are those of RFC 3954 section 8. appendV9Record follows them.
var (
	v9TemplateIPv4 = []encodedField{
		{21, 4}, {22, 4}, // LAST_SWITCHED, FIRST_SWITCHED
		{1, 4}, {2, 4}, // IN_BYTES, IN_PKTS
		{10, 4}, {14, 4}, // INPUT_SNMP, OUTPUT_SNMP
		{8, 4}, {12, 4}, // IPV4_SRC_ADDR, IPV4_DST_ADDR
		{4, 1}, {5, 1}, // PROTOCOL, SRC_TOS
		{7, 2}, {11, 2}, // L4_SRC_PORT, L4_DST_PORT
		{48, 1}, {15, 4}, // FLOW_SAMPLER_ID, IPV4_NEXT_HOP
		{13, 1}, {9, 1}, // DST_MASK, SRC_MASK
		{6, 1}, {61, 1}, // TCP_FLAGS, DIRECTION
		{17, 4}, {16, 4}, // DST_AS, SRC_AS
	}
	v9TemplateIPv6 = []encodedField{
		{21, 4}, {22, 4},
		{1, 4}, {2, 4},
		{10, 4}, {14, 4},
		{27, 16}, {28, 16}, // IPV6_SRC_ADDR, IPV6_DST_ADDR
		{4, 1}, {5, 1},
		{7, 2}, {11, 2},
		{48, 1}, {62, 16}, // FLOW_SAMPLER_ID, IPV6_NEXT_HOP
		{30, 1}, {29, 1}, // IPV6_DST_MASK, IPV6_SRC_MASK
		{6, 1}, {61, 1},
		{17, 4}, {16, 4},
	}
)

// V9Header is what AppendV9 and AppendV9Templates write in front of their sets,
// RFC 3954 section 5.1.
type V9Header struct {
	ExportTime int64  // nanoseconds since 1970 UTC, 1970 to 2106; the format cuts it to seconds
	Uptime     uint32 // milliseconds
	Sequence   uint32 // messages sent before
	Domain     uint32 // the format's source id
}

// AppendV9Templates appends to dst one v9 message with both templates. AppendV9
// gives the size and the order of their fields.
func AppendV9Templates(dst []byte, h V9Header) []byte {
	const templates, templateSet = 2, 0
	dst = appendV9Header(dst, h, templates)
	return appendTemplateSet(dst, templateSet, v9TemplateIPv4, v9TemplateIPv6)
}

// AppendV9 appends to dst one v9 message with the records, which is readable to
// those who have the templates of AppendV9Templates. Each run of records of one
// address family is one data set: template 256 where both addresses are IPv4,
// 20 fields and 55 bytes a record, else 257, 91 bytes.
//
// What the templates have no place for is cut: counters to 32 bits (greater ones
// become the greatest), times to milliseconds within 24.8 days of the export
// time. Next hop, TOS, sampler, masks, direction (ingress) and AS numbers are 0,
// and what Record has beyond these templates is not written. The message may be longer than a router's, but a set holds
// 65,535 bytes; beyond that, 1,191 records of IPv4 or 720 of IPv6 in a run,
// AppendV9 panics.
func AppendV9(dst []byte, h V9Header, recs []Record) []byte {
	if len(recs) > math.MaxUint16 {
		panic(fmt.Sprintf("flow: %d records in one v9 message, the header holds at most %d", len(recs), math.MaxUint16))
	}
	dst = appendV9Header(dst, h, len(recs))
	export := h.ExportTime / nsPerSecond * nsPerSecond
	for len(recs) > 0 {
		n, ip4 := familyRun(recs)
		var set int
		dst, set = beginDataSet(dst, ip4)
		for i := range recs[:n] {
			dst = appendV9Record(dst, export, h.Uptime, &recs[i], ip4)
		}
		dst = endSet(dst, set)
		recs = recs[n:]
	}
	return dst
}

func appendV9Header(dst []byte, h V9Header, count int) []byte {
	be := binary.BigEndian
	dst = be.AppendUint16(dst, 9)
	dst = be.AppendUint16(dst, uint16(count))
	dst = be.AppendUint32(dst, h.Uptime)
	dst = be.AppendUint32(dst, uint32(h.ExportTime/nsPerSecond))
	dst = be.AppendUint32(dst, h.Sequence)
	return be.AppendUint32(dst, h.Domain)
}

func appendV9Record(dst []byte, export int64, uptime uint32, r *Record, ip4 bool) []byte {
	be := binary.BigEndian
	dst = be.AppendUint32(dst, unixToUptime(export, uptime, r.End))
	dst = be.AppendUint32(dst, unixToUptime(export, uptime, r.Start))
	dst = be.AppendUint32(dst, uint32(min(r.Bytes, math.MaxUint32)))
	dst = be.AppendUint32(dst, uint32(min(r.Packets, math.MaxUint32)))
	dst = be.AppendUint32(dst, r.InIf)
	dst = be.AppendUint32(dst, r.OutIf)
	dst = appendAddress(dst, &r.Src, ip4)
	dst = appendAddress(dst, &r.Dst, ip4)
	dst = append(dst, r.Proto, 0) // and TOS
	dst = be.AppendUint16(dst, r.SrcPort)
	dst = be.AppendUint16(dst, r.DstPort)
	dst = append(dst, 0) // sampler
	dst = appendNoAddress(dst, ip4)
	dst = append(dst, 0, 0)                    // masks
	dst = append(dst, r.TCPFlags, 0)           // and direction: ingress
	return append(dst, 0, 0, 0, 0, 0, 0, 0, 0) // AS numbers
}

// appendTemplateSet appends a set with the templates of both families, RFC 3954
// section 5.2 and RFC 7011 section 3.4.1, which differ in the set's id alone.
func appendTemplateSet(dst []byte, id uint16, ip4, ip6 []encodedField) []byte {
	be := binary.BigEndian
	set := len(dst)
	dst = append(be.AppendUint16(dst, id), 0, 0)
	dst = appendTemplate(dst, EncodedTemplateIPv4, ip4)
	dst = appendTemplate(dst, EncodedTemplateIPv6, ip6)
	return endSet(dst, set)
}

func appendTemplate(dst []byte, id uint16, fields []encodedField) []byte {
	be := binary.BigEndian
	dst = be.AppendUint16(dst, id)
	dst = be.AppendUint16(dst, uint16(len(fields)))
	for _, f := range fields {
		dst = be.AppendUint16(dst, f.element)
		dst = be.AppendUint16(dst, f.length)
	}
	return dst
}

// beginDataSet appends the header of a data set, whose length endSet fills in,
// and tells where it begins.
func beginDataSet(dst []byte, ip4 bool) (appended []byte, set int) {
	id := uint16(EncodedTemplateIPv6)
	if ip4 {
		id = EncodedTemplateIPv4
	}
	return append(binary.BigEndian.AppendUint16(dst, id), 0, 0), len(dst)
}

// endSet pads the set that begins at dst[set] to a multiple of four bytes, which
// is less than any record takes, and writes its length.
func endSet(dst []byte, set int) []byte {
	const word = 4
	for (len(dst)-set)%word != 0 {
		dst = append(dst, 0)
	}
	length := len(dst) - set
	if length > math.MaxUint16 {
		panic(fmt.Sprintf("flow: a set of %d bytes, its header holds at most %d", length, math.MaxUint16))
	}
	binary.BigEndian.PutUint16(dst[set+2:], uint16(length))
	return dst
}

// familyRun is how many of the first records, at least one, have both addresses
// IPv4, or not both.
func familyRun(recs []Record) (n int, ip4 bool) {
	ip4 = recs[0].isIPv4()
	for n = 1; n < len(recs) && recs[n].isIPv4() == ip4; n++ {
	}
	return n, ip4
}

func (r *Record) isIPv4() bool {
	return bytes.HasPrefix(r.Src[:], mappedPrefix[:]) && bytes.HasPrefix(r.Dst[:], mappedPrefix[:])
}

// appendAddress appends the 4 bytes of an IPv4-mapped address or all 16.
func appendAddress(dst []byte, a *[16]byte, ip4 bool) []byte {
	if ip4 {
		return append(dst, a[12:]...)
	}
	return append(dst, a[:]...)
}

func appendNoAddress(dst []byte, ip4 bool) []byte {
	return appendAddress(dst, new([16]byte), ip4)
}
