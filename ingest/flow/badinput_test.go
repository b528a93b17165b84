// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The inputs that have broken collectors, by number. Here are those that
// concern the decoding of v5, v9 and IPFIX; those of sFlow, 55 to 63, are in
// sflow_test.go and packet_test.go. 64 to 69 are about the frames that carry
// datagrams, and the packages that get those test them:
//
//	64 fragments                bpf TestFrames ("first fragment" …), ingest TestFragmentsComeByTheSocket,
//	                            ingest/capture TestFragmentsAreReassembled
//	65 IHL, extensions, tags    bpf TestFrames ("all the options", "hop-by-hop", "v4, three tags" …)
//	66 UDP length 0, 7, too big bpf TestFrames ("UDP of no length", "both lengths 7", "UDP longer than IP"),
//	                            ingest TestParseFrame
//	67 bad checksum             ingest TestParseFrame; bpf/steer.c says why it is not verified
//	68 frame too long           bpf TestFrames ("one too long"), TestFrameOfSeveralBuffers,
//	                            ingest/xsk TestLongestFrame
//	69 odd sources              ingest TestParseFrame
//	   source not on the list   bpf TestExporters, ingest TestDeniedExporter, ingest/udp TestExporters

// badInput is what one exporter sends, and what each datagram must come to.
type badInput struct {
	name  string
	sent  []sent
	names map[uint32]string // of interfaces, afterwards
}

// sent is a datagram and its answer. The records are those of its messages and
// of former sets whose template it brought, in this order.
type sent struct {
	in       []byte
	drop     Drop
	problems ProblemSet
	records  []Record
	options  int
}

// annotated reads hexadecimal numbers; what follows a # is a comment.
func annotated(lines string) []byte {
	var b strings.Builder
	for line := range strings.Lines(lines) {
		line, _, _ = strings.Cut(line, "#")
		b.WriteString(strings.Join(strings.Fields(line), ""))
	}
	raw, err := hex.DecodeString(b.String())
	if err != nil {
		panic(fmt.Sprintf("annotated bytes: %v", err))
	}
	return raw
}

const (
	badExport = int64(0x6a000000) * nsPerSecond
	badUptime = 3_600_000
)

// nine is a v9 message of some sets.
func nine(count uint16, sets string) []byte {
	return append(annotated(fmt.Sprintf(`
		0009 %04x           # version, count of records
		0036ee80 6a000000   # uptime 3,600,000 ms, seconds
		00000001 00000007   # sequence, source id
	`, count)), annotated(sets)...)
}

// ten is an IPFIX message of some sets.
func ten(sets string) []byte {
	body := annotated(sets)
	return append(annotated(fmt.Sprintf(`
		000a %04x           # version, length
		6a000000            # seconds
		00000001 00000007   # sequence, domain
	`, 16+len(body))), body...)
}

const (
	// A template of addresses, ports and protocol, 13 bytes a record.
	fiveTuple = `0100 0005  # id 256, five fields
		0008 0004  000c 0004  0007 0002  000b 0002  0004 0001
	`
	template9  = "0000 001c " + fiveTuple // in a set of its own, 28 bytes
	template10 = "0002 001c " + fiveTuple
	tcpBytes   = " 0a000001 0a000002 9c40 01bb 06 " // 10.0.0.1:40000 to 10.0.0.2:443, TCP
	udpBytes   = " 0a000003 0a000002 d431 0035 11 " // 10.0.0.3:54321 to 10.0.0.2:53, UDP
	tcpData    = "0100 0011 " + tcpBytes            // a set of one record
	udpData    = "0100 0011 " + udpBytes
	bothData   = "0100 001e " + tcpBytes + udpBytes
)

var (
	tcpRecord = tuple("10.0.0.1", 40000, "10.0.0.2", 443, 6)
	udpRecord = tuple("10.0.0.3", 54321, "10.0.0.2", 53, 17)
	both      = []Record{tcpRecord, udpRecord}
)

const hasTuple = HasSrc | HasDst | HasSrcPort | HasDstPort | HasProto

func tuple(src string, srcPort uint16, dst string, dstPort uint16, proto uint8) Record {
	return Record{
		Src: addressOf(src), Dst: addressOf(dst),
		SrcPort: srcPort, DstPort: dstPort, Proto: proto, Present: hasTuple,
	}
}

// addresses is a record with nothing but these; an empty one is not present.
func addresses(src, dst string) (r Record) {
	if src != "" {
		r.Src, r.Present = addressOf(src), HasSrc
	}
	if dst != "" {
		r.Dst, r.Present = addressOf(dst), r.Present|HasDst
	}
	return r
}

// but returns a record with some fields changed.
func but(r Record, change func(*Record)) Record {
	change(&r)
	return r
}

// ok is a datagram with nothing wrong.
func ok(in []byte, records ...Record) sent { return sent{in: in, records: records} }

// bad is one in which something is wrong.
func bad(in []byte, problems ProblemSet, records ...Record) sent {
	return sent{in: in, problems: problems, records: records}
}

func repeat(n int, r Record) []Record { return slices.Repeat([]Record{r}, n) }

// badInputs are the rows of v9 and IPFIX.
func badInputs() []badInput {
	return slices.Concat(badFraming(), badSets(), badTemplates(), badFields(), badVariableLengths(), badOptions(), badValues())
}

func badFraming() []badInput {
	one := func(name string, s ...sent) badInput { return badInput{name: name, sent: s} }
	message := ten(template10 + bothData)
	return []badInput{
		// Versions that were something else, as long as they need be and shorter.
		one("03_v9_header_of_v5", bad(with(datagram(1), 0, 9), set(ProblemSetPastEnd))),
		one("03_ipfix_header_of_v5", sent{in: with(datagram(1), 0, 10), drop: DropBadLength}),
		one("03_version_8", sent{in: with(nine(1, template9), 0, 8), drop: DropUnknownVersion}),
		one("03_version_9_in_the_other_byte_order", sent{in: with(nine(1, template9), 0, 0x0900), drop: DropUnknownVersion}),

		one("09_v9_header_of_19_bytes", sent{in: nine(0, "")[:19], drop: DropShortHeader}),
		one("09_v9_two_bytes", sent{in: []byte{0, 9}, drop: DropShortHeader}),
		one("09_ipfix_header_of_15_bytes", sent{in: ten("")[:15], drop: DropShortHeader}),

		one("10_v9_count_0", bad(nine(0, template9+tcpData), set(ProblemCountZero), tcpRecord)),
		one("10_v9_count_0_and_nothing", bad(nine(0, ""), set(ProblemCountZero))),
		one("10_v9_count_65535", bad(nine(65535, template9), set(ProblemCountPastEnd)), ok(nine(1, tcpData), tcpRecord)),
		// What an unknown template hides can be any number of records.
		one("10_v9_count_65535_unknown", bad(nine(65535, tcpData), 0), bad(nine(1, template9), 0, tcpRecord)),
		// Many exporters count sets: 2 here, of 3 records.
		one("10_v9_count_of_sets", ok(nine(2, template9+bothData), both...)),

		one("11_ipfix_length_15", sent{in: with(message, 2, 15), drop: DropBadLength}),
		one("11_ipfix_length_0", sent{in: with(message, 2, 0), drop: DropBadLength}),
		one("11_ipfix_length_16", bad(with(ten(""), 2, 16), 0)),

		one("12_ipfix_length_past_the_datagram", bad(with(message, 2, uint16(len(message)+100)), set(ProblemMessagePastEnd), both...)),
		one("12_ipfix_datagram_cut_in_a_record", bad(message[:len(message)-1], set(ProblemMessagePastEnd, ProblemSetPastEnd), tcpRecord)),
		one("12_ipfix_datagram_cut_in_a_template", bad(ten(template10)[:40], set(ProblemMessagePastEnd, ProblemSetPastEnd, ProblemTemplateCut))),

		one("13_ipfix_trailing_byte", bad(append(bytes.Clone(message), 0), set(ProblemTrailingBytes), both...)),
		one("13_ipfix_trailing_v9", bad(append(bytes.Clone(message), nine(1, template9)...), set(ProblemTrailingBytes), both...)),
		one("13_ipfix_trailing_header_cut", bad(append(bytes.Clone(message), ten("")[:15]...), set(ProblemTrailingBytes), both...)),
		one("13_ipfix_trailing_length_15", bad(append(bytes.Clone(message), with(ten(""), 2, 15)...), set(ProblemTrailingBytes), both...)),

		one("14_two_messages", ok(append(ten(template10), ten(bothData)...), both...)),
		one("14_data_then_template", ok(append(ten(bothData), ten(template10)...), both...)),
		// Another domain has templates of its own.
		one("14_two_messages_two_domains", ok(append(ten(template10), with(ten(bothData), 14, 8)...))),
		one("14_second_message_cut", bad(append(ten(template10), ten(bothData)[:16+4+14]...), set(ProblemMessagePastEnd, ProblemSetPastEnd), tcpRecord)),
	}
}

func badSets() []badInput {
	one := func(name string, s ...sent) badInput { return badInput{name: name, sent: s} }
	rows := []badInput{
		one("15_v9_set_length_0", bad(nine(2, template9+"0100 0000"+tcpData), set(ProblemSetLength))),
		one("15_v9_zero_tail", bad(nine(2, template9+tcpData+strings.Repeat("00000000", 16)), set(ProblemSetLength), tcpRecord)),
		one("15_ipfix_set_length_0", bad(ten(template10+bothData+"0100 0000"+tcpData), set(ProblemSetLength), both...)),
		one("17_v9_set_empty", bad(nine(2, template9+"0100 0004"+tcpData), set(ProblemSetEmpty), tcpRecord)),
		one("17_v9_template_set_empty", bad(nine(2, "0000 0004 0001 0004"+template9+tcpData), set(ProblemSetEmpty), tcpRecord)),
		one("17_ipfix_set_empty", bad(ten(template10+"0100 0004 0200 0004 0002 0004 0005 0004"+tcpData), set(ProblemSetEmpty), tcpRecord)),

		// Clipped to what there is: a record and a half.
		one("18_v9_set_past_end", bad(nine(2, template9+"0100 001e"+tcpBytes+"0a000003 0a00"), set(ProblemSetPastEnd), tcpRecord)),
		one("18_v9_set_of_65535", bad(nine(2, template9+"0100 ffff"+tcpBytes), set(ProblemSetPastEnd), tcpRecord)),
		one("18_v9_set_without_body", bad(nine(2, template9+tcpData+"0100 0005"), set(ProblemSetPastEnd), tcpRecord)),
		one("18_ipfix_set_past_end", bad(ten(template10+"0100 001e"+tcpBytes+"0a000003 0a00"), set(ProblemSetPastEnd), tcpRecord)),
		one("18_ipfix_template_set_past_end", bad(ten("0002 0020"+fiveTuple), set(ProblemSetPastEnd)), ok(ten(tcpData), tcpRecord)),

		one("19_v9_sets_2_3_255", bad(nine(2, "0002 0008 deadbeef 0003 0005 00 00ff 0008 deadbeef"+template9+tcpData), set(ProblemSetReserved), tcpRecord)),
		one("19_ipfix_sets_0_1_4_255", bad(ten("0000 0008 deadbeef 0001 0005 00 0004 0008 deadbeef 00ff 0008 deadbeef"+template10+tcpData), set(ProblemSetReserved), tcpRecord)),
		// v9's template set in IPFIX and the other way round teach nothing.
		one("19_ipfix_template_in_set_0", bad(ten(template9+tcpData), set(ProblemSetReserved))),
		one("19_v9_template_in_set_2", bad(nine(2, template10+tcpData), set(ProblemSetReserved))),

		one("20_v9_less_than_a_set_behind", bad(nine(2, template9+tcpData+"000000"), set(ProblemTrailingBytes), tcpRecord)),
		one("20_ipfix_less_than_a_set_behind", bad(ten(template10+tcpData+"ff"), set(ProblemTrailingBytes), tcpRecord)),
		// Nearly a record, and not zero: some exporters fill up so.
		one("20_v9_padding_of_12_bytes", ok(nine(2, template9+"0100 001d"+tcpBytes+strings.Repeat("ff", 12)), tcpRecord)),
		one("20_v9_template_padding", ok(nine(2, "0000 001f"+fiveTuple+"2d6701"+tcpData), tcpRecord)),
		one("20_ipfix_template_padding_of_8_zeros", ok(ten("0002 0024"+fiveTuple+"00000000 00000000"+tcpData), tcpRecord)),
		one("20_ipfix_options_template_padding", sent{in: ten("0003 0014 0101 0002 0001 008f 0004 0022 0004 ffff" + "0101 000c 00000001 00000064"), options: 1}),

		one("21_v9_350_empty_sets", bad(nine(350, strings.Repeat("0100 0004", 350)), set(ProblemSetEmpty, ProblemCountPastEnd)), ok(nine(2, template9+tcpData), tcpRecord)),
		one("21_ipfix_350_empty_sets", bad(ten(strings.Repeat("0100 0004", 350)), set(ProblemSetEmpty)), ok(ten(template10+tcpData), tcpRecord)),

		one("22_v9_data_before_template", ok(nine(1, tcpData)), ok(nine(1, udpData)), ok(nine(1, template9), both...), ok(nine(1, udpData), udpRecord)),
		one("22_ipfix_data_before_template", ok(ten(tcpData)), ok(ten(udpData)), ok(ten(template10), both...), ok(ten(udpData), udpRecord)),
		one("22_options_before_template", ok(ten("0101 000c 00000001 00000064")),
			sent{in: ten("0003 0012 0101 0002 0001 008f 0004 0022 0004" + template10 + tcpData), options: 1, records: []Record{tcpRecord}},
			ok(ten(tcpData), but(tcpRecord, func(r *Record) { r.Sampling = 100 }))),

		one("23_v9_template_then_data", ok(nine(3, template9+bothData), both...)),
		// The set that waited is decoded behind the message.
		one("23_v9_data_then_template_then_data", ok(nine(3, tcpData+template9+udpData), udpRecord, tcpRecord)),
		one("23_ipfix_template_then_data", ok(ten(template10+bothData), both...)),
		one("23_ipfix_data_then_template", ok(ten(bothData+template10), both...)),
	}
	for n := 1; n <= 3; n++ {
		rows = append(rows,
			one(fmt.Sprintf("16_v9_set_length_%d", n), bad(nine(2, template9+fmt.Sprintf("0100 %04x", n)+tcpData), set(ProblemSetLength))),
			one(fmt.Sprintf("16_ipfix_set_length_%d", n), bad(ten(template10+fmt.Sprintf("0100 %04x", n)+tcpData), set(ProblemSetLength))))
		for _, fill := range []string{"00", "ff"} {
			padded := fmt.Sprintf("0100 %04x", 4+13+n) + tcpBytes + strings.Repeat(fill, n)
			rows = append(rows,
				one(fmt.Sprintf("20_v9_padding_%d_%s", n, fill), ok(nine(3, template9+padded+udpData), both...)),
				one(fmt.Sprintf("20_ipfix_padding_%d_%s", n, fill), ok(ten(template10+padded+udpData), both...)))
		}
	}
	return rows
}

func badTemplates() []badInput {
	one := func(name string, s ...sent) badInput { return badInput{name: name, sent: s} }
	// Two templates of the same id: 12 bytes a record, and 8.
	long := "0000 0018 0100 0004  0008 0004  000c 0004  0007 0002  000b 0002"
	short := "0000 0010 0100 0002  0008 0004  000c 0004"
	longData := "0100 0010 0a000001 0a000002 9c40 01bb"
	shortData := "0100 000c 0a000003 0a000002"
	longRecord := but(tcpRecord, func(r *Record) { r.Proto, r.Present = 0, r.Present&^HasProto })
	rows := []badInput{
		one("24_v9_no_fields", bad(nine(1, "0000 0008 0100 0000"+tcpData), set(ProblemTemplateSize)), ok(nine(2, template9+udpData), udpRecord, tcpRecord)),
		one("24_v9_options_of_no_fields", bad(nine(1, "0001 000a 0100 0000 0000"+tcpData), set(ProblemTemplateSize))),
		one("25_v9_65535_fields_in_8_bytes", bad(nine(1, "0000 000c 0100 ffff 0008 0004"+tcpData), set(ProblemTemplateCut))),
		one("25_ipfix_65535_fields_in_8_bytes", bad(ten("0002 000c 0100 ffff 0008 0004"+tcpData), set(ProblemTemplateCut))),
		one("25_ipfix_257_fields", bad(ten(fmt.Sprintf("0002 %04x 0100 0101", 8+257*4)+strings.Repeat("0008 0004", 257)), set(ProblemTemplateSize))),
		// The last of 256 occurrences counts.
		one("25_ipfix_256_fields", ok(ten(fmt.Sprintf("0002 %04x 0100 0100", 8+256*4)+strings.Repeat("0008 0004", 256)+
			"0100 0404"+strings.Repeat("0a000009", 255)+"0a000001"), addresses("10.0.0.1", ""))),
		one("26_v9_all_fields_empty", bad(nine(1, "0000 0010 0100 0002  0008 0000  000c 0000"+tcpData), set(ProblemTemplateSize))),
		one("26_ipfix_all_fields_empty", bad(ten("0002 0010 0100 0002  0008 0000  000c 0000"+tcpData), set(ProblemTemplateSize))),
		one("26_v9_scope_of_no_bytes", bad(nine(1, "0001 000e 0101 0004 0000  0001 0000"+"0101 0008 00000000"), set(ProblemTemplateSize))),
		one("27_v9_one_field_empty", ok(nine(2, "0000 0014 0100 0003  0008 0004  0000 0000  000c 0004"+"0100 000c 0a000001 0a000002"), addresses("10.0.0.1", "10.0.0.2"))),
		one("27_ipfix_one_field_empty", ok(ten("0002 0014 0100 0003  0008 0004  0096 0000  000c 0004"+"0100 000c 0a000001 0a000002"), addresses("10.0.0.1", "10.0.0.2"))),
		one("28_v9_lengths_of_65536", bad(nine(1, "0000 0010 0100 0002  0008 8000  000c 8000"+tcpData), set(ProblemTemplateSize))),
		one("28_ipfix_lengths_of_65536", bad(ten("0002 0010 0100 0002  0008 8000  000c 8000"+tcpData), set(ProblemTemplateSize))),
		one("28_ipfix_lengths_of_65516", bad(ten("0002 0010 0100 0002  0001 7ff6  0002 7ff6"), set(ProblemTemplateSize))),
		one("28_ipfix_lengths_of_65515", ok(ten("0002 0010 0100 0002  7ffe 7ff6  7ffd 7ff5")), ok(ten(tcpData))),

		one("29_v9_template_id_0", bad(nine(2, "0000 0020 0000 0001 0008 0004 0100 0004  0008 0004  000c 0004  0007 0002  000b 0002"+longData), set(ProblemTemplateID), longRecord)),
		one("29_v9_template_id_255", bad(nine(2, "0000 0024 00ff 0001 0008 0004"+fiveTuple+tcpData), set(ProblemTemplateID), tcpRecord)),
		one("29_ipfix_template_id_255", bad(ten("0002 0024 00ff 0001 0008 0004"+fiveTuple+tcpData), set(ProblemTemplateID), tcpRecord)),
		one("29_v9_template_id_65535", ok(nine(2, "0000 000c ffff 0001 0008 0004"+"ffff 0008 0a000001"), addresses("10.0.0.1", ""))),
		one("29_ipfix_template_id_65535", ok(ten("0002 000c ffff 0001 0008 0004"+"ffff 0008 0a000001"), addresses("10.0.0.1", ""))),

		one("30_v9_id_twice_in_a_set", bad(nine(3, "0000 0014 0100 0001 0008 0004 0100 0001 000c 0004"+"0100 0008 0a000001"), set(ProblemTemplateChanged), addresses("", "10.0.0.1"))),
		one("30_v9_id_twice_the_same", ok(nine(3, "0000 0014 0100 0001 0008 0004 0100 0001 0008 0004"+"0100 0008 0a000001"), addresses("10.0.0.1", ""))),
		one("31_v9_redefined", ok(nine(1, long)), ok(nine(1, longData), longRecord), bad(nine(1, short), set(ProblemTemplateChanged)),
			ok(nine(1, shortData), addresses("10.0.0.3", "10.0.0.2")), bad(nine(1, long), set(ProblemTemplateChanged)), ok(nine(1, longData), longRecord)),
		one("31_v9_data_becomes_options", ok(nine(1, template9)), bad(nine(1, "0001 0012 0100 0004 0004  0001 0004 0022 0004"), set(ProblemTemplateChanged)),
			sent{in: nine(1, "0100 000c 00000000 00000064"), options: 1}),

		one("37_ipfix_enterprise_number_cut", bad(ten("0002 000c 0100 0001 8008 0004"+tcpData), set(ProblemTemplateCut))),
		one("37_ipfix_enterprise_number_half", bad(ten("0002 000e 0100 0001 8008 0004 0000"+tcpData), set(ProblemTemplateCut))),
		// An element of an enterprise is none of IANA's; with its number it takes 8 bytes.
		one("37_ipfix_enterprise_number_whole", ok(ten("0002 0014 0100 0002 8008 0004 00000009 000c 0004"+"0100 000c 0a000001 0a000002"), addresses("", "10.0.0.2"))),
		// In v9, 0x8008 is one number and no enterprise number follows it.
		one("38_v9_enterprise_bit", ok(nine(2, "0000 0010 0100 0002 8008 0004 000c 0004"+"0100 000c 0a000001 0a000002"), addresses("", "10.0.0.2"))),
		// H3C sends it, and means what IPFIX means by it.
		one("39_v9_length_65535", ok(nine(2, "0000 0010 0100 0002 0008 0004 00ec ffff"+"0100 000c 0a000001 03 616263"), addresses("10.0.0.1", ""))),

		one("40_ipfix_withdrawal", ok(ten(template10)), bad(ten("0002 0008 0100 0000"), set(ProblemTemplateWithdrawn)), ok(ten(tcpData), tcpRecord)),
		one("40_ipfix_withdraw_all", ok(ten(template10)), bad(ten("0002 0008 0002 0000"), set(ProblemTemplateWithdrawn)), ok(ten(tcpData), tcpRecord)),
		one("40_ipfix_withdraw_all_options", ok(ten(template10)), bad(ten("0003 0008 0003 0000"), set(ProblemTemplateWithdrawn)), ok(ten(tcpData), tcpRecord)),
		one("40_ipfix_withdrawal_before_a_template", bad(ten("0002 0020 0101 0000"+fiveTuple+tcpData), set(ProblemTemplateWithdrawn), tcpRecord)),

		// A record of the old shape would be wrong by the new one: the old template is gone.
		one("41_v9_invalid_after_good", ok(nine(2, template9+tcpData), tcpRecord), bad(nine(1, "0000 000c 0100 0001 0008 0000"), set(ProblemTemplateSize)),
			ok(nine(1, udpData)), ok(nine(1, template9), udpRecord)),
		one("41_ipfix_cut_after_good", ok(ten(template10+tcpData), tcpRecord), bad(ten("0002 000c 0100 0002 0008 0004"), set(ProblemTemplateCut)),
			ok(ten(udpData)), ok(ten(template10), udpRecord)),
		one("41_v9_options_invalid_after_good", ok(nine(2, template9+tcpData), tcpRecord), bad(nine(1, "0001 000c 0100 0002 0000 0000"), set(ProblemTemplateScope)), ok(nine(1, udpData))),
		// A set that waited belongs to the template that came next, whatever comes then.
		one("41_ipfix_invalid_after_the_awaited", ok(ten(tcpData)), bad(ten(template10+"0002 000c 0100 0001 0008 0000"), set(ProblemTemplateSize), tcpRecord)),
	}
	return rows
}

func badFields() []badInput {
	// A template of a field and a good one behind it: whatever the first is,
	// the second must be right.
	one := func(name string, field string, value string, problems ProblemSet, r Record) []badInput {
		t := fmt.Sprintf("%%04x 0010 0100 0002 %s 000c 0004", field)
		data := fmt.Sprintf("0100 %04x %s 0a000002", 8+len(annotated(value)), value)
		return []badInput{
			{name: strings.Replace(name, "_", "_v9_", 1), sent: []sent{bad(nine(2, fmt.Sprintf(t, 0)+data), problems, r)}},
			{name: strings.Replace(name, "_", "_ipfix_", 1), sent: []sent{bad(ten(fmt.Sprintf(t, 2)+data), problems, r)}},
		}
	}
	dst := addresses("", "10.0.0.2")
	port := func(n uint16) Record {
		return but(dst, func(r *Record) { r.SrcPort, r.Present = n, HasSrcPort|HasDst })
	}
	octets := func(n uint64) Record {
		return but(dst, func(r *Record) { r.Bytes, r.Present = n, HasBytes|HasDst })
	}
	wrong := set(ProblemFieldWidth)
	five := badInput{name: "35_v9_source_five_times", sent: []sent{ok(nine(2, "0000 001c 0100 0005"+strings.Repeat("0008 0004", 5)+
		"0100 0018 0a000001 0a000002 0a000003 0a000004 0a000005"), addresses("10.0.0.5", ""))}}
	unknown := badInput{name: "36_ipfix_unknown_fields", sent: []sent{ok(ten("0002 0010 0100 0002 7fff 0004 7ffe 0002"+"0100 0010 deadbeef 0001 cafebabe 0002"), Record{}, Record{})}}
	return slices.Concat(
		one("32_address_of_50_bytes", "0008 0032", strings.Repeat("ff", 50), wrong, dst),
		one("32_address_of_3_bytes", "0008 0003", "0a0000", wrong, dst),
		one("32_address_of_0_bytes", "0008 0000", "", 0, dst),
		one("32_address_of_variable_length", "0008 ffff", "04 0a000001", wrong, dst),
		one("32_ipv6_address_of_4_bytes", "001b 0004", "0a000001", wrong, dst),
		one("33_port_of_1_byte", "0007 0001", "35", 0, port(53)),
		one("33_port_of_4_bytes", "0007 0004", "00000035", 0, port(53)),
		one("33_port_of_8_bytes", "0007 0008", "0000000000000035", 0, port(53)),
		one("33_port_of_9_bytes", "0007 0009", "000000000000000035", wrong, dst),
		one("34_octets_of_3_bytes", "0001 0003", "010203", 0, octets(0x010203)),
		one("34_octets_of_5_bytes", "0001 0005", "0102030405", 0, octets(0x0102030405)),
		one("34_octets_of_9_bytes", "0001 0009", "010203040506070809", wrong, dst),
		one("34_time_of_4_bytes", "009a 0004", "01020304", wrong, dst),
		one("34_mac_of_8_bytes", "0038 0008", "0102030405060708", wrong, dst),
		[]badInput{five, unknown},
	)
}

func badVariableLengths() []badInput {
	one := func(name string, s ...sent) badInput { return badInput{name: name, sent: s} }
	// A source address and a text.
	const text = "0002 0010 0100 0002 0008 0004 00ec ffff # sourceIPv4Address, VRFname\n"
	src := addresses("10.0.0.1", "")
	return []badInput{
		one("42_value_past_the_set", bad(ten(text+"0100 0012 0a000001 02 6162 0a000003 ff 0001"), set(ProblemValuePastEnd), src)),
		one("42_length_byte_past_the_set", bad(ten(text+"0100 0010 0a000001 02 6162 0a000003 05"), set(ProblemValuePastEnd), src), ok(ten("0100 0009 0a000001 00"), src)),
		one("42_value_reaches_into_the_next_set", bad(ten(text+"0100 000a 0a000001 04 61"+"0100 0009 0a000001 00"), set(ProblemValuePastEnd), src)),
		one("43_value_of_65535_bytes", bad(ten(text+"0100 000d 0a000001 ff ffff 6162"+"0100 0009 0a000001 00"), set(ProblemValuePastEnd), src)),
		one("43_value_of_300_bytes", ok(ten(text+"0100 0138 0a000001 ff 012c"+strings.Repeat("61", 300)+"00"), src)),
		one("43_value_of_2_bytes_in_the_long_form", ok(ten(text+"0100 000d 0a000001 ff 0002 6162"), src)),
		one("44_half_a_long_length", bad(ten(text+"0100 000a 0a000001 ff 00"), set(ProblemValuePastEnd))),
		one("44_no_long_length", bad(ten(text+"0100 0009 0a000001 ff"), set(ProblemValuePastEnd))),
		one("45_values_of_0_bytes", ok(ten("0002 000c 0100 0001 00ec ffff"+"0100 057c"+strings.Repeat("00", 1400)), repeat(1400, Record{})...)),
		one("45_more_records_than_a_datagram_may_have", bad(ten("0002 000c 0100 0001 00ec ffff"+"0100 0bbc"+strings.Repeat("00", 3000)), set(ProblemTooManyRecords), repeat(MaxRecords, Record{})...)),
		one("46_template_of_no_bytes", bad(ten("0002 0010 0100 0002 00ec 0000 0052 0000"+"0100 0008 00000000"), set(ProblemTemplateSize))),
	}
}

func badOptions() []badInput {
	one := func(name string, s ...sent) badInput { return badInput{name: name, sent: s} }
	sampled := func(n uint32) Record { return but(tcpRecord, func(r *Record) { r.Sampling = n }) }
	// Options of one scope, the system, and a sampling interval of 4 or 8 bytes.
	rate9 := "0001 0012 0101 0004 0004  0001 0004  0022 0004"
	rate10 := "0003 0012 0101 0002 0001  008f 0004  0022 0008"
	ifName9 := func(name string) string { // scope: interface 7
		return fmt.Sprintf("0001 0012 0102 0004 0004  0002 0004  0052 %04x 0102 %04x 00000007 %x", len(name), 8+len(name), name)
	}
	rows := []badInput{
		one("48_v9_scope_past_the_set", bad(nine(1, "0001 0012 0101 0fa0 0004  0001 0004  0022 0004"), set(ProblemTemplateCut, ProblemCountPastEnd))),
		one("48_v9_scope_and_options_wrap", bad(nine(1, "0001 0012 0101 fffc 000c  0001 0004  0022 0004"), set(ProblemTemplateCut, ProblemCountPastEnd))),
		one("49_v9_options_of_65532_bytes", bad(nine(1, "0001 0012 0101 0004 fffc  0001 0004  0022 0004"), set(ProblemTemplateCut, ProblemCountPastEnd))),
		one("49_v9_no_scope", sent{in: nine(2, "0001 000e 0101 0000 0004  0022 0004"+"0101 0008 00000064"), options: 1}),
		one("49_v9_scope_of_no_bytes", sent{in: nine(2, "0001 0012 0101 0004 0004  0001 0000  0022 0004"+"0101 0008 00000064"), options: 1}),
		one("50_ipfix_no_scope", bad(ten("0003 0012 0101 0002 0000  008f 0004  0022 0004"), set(ProblemTemplateScope))),
		one("51_ipfix_more_scopes_than_fields", bad(ten("0003 0012 0101 0002 0003  008f 0004  0022 0004"), set(ProblemTemplateScope))),
		one("51_ipfix_all_fields_are_scope", sent{in: ten("0003 0012 0101 0002 0002  008f 0004  0022 0004" + "0101 000c 00000001 00000064"), options: 1}),

		one("52_v9_interval_0", ok(nine(2, template9+rate9)),
			sent{in: nine(1, "0101 000c 00000000 00000064"), options: 1}, ok(nine(1, tcpData), sampled(100)),
			sent{in: nine(1, "0101 000c 00000000 00000000"), options: 1, problems: set(ProblemSamplingRate)}, ok(nine(1, tcpData), sampled(100))),
		one("52_v9_interval_2_32_less_1", ok(nine(2, template9+rate9)),
			sent{in: nine(1, "0101 000c 00000000 ffffffff"), options: 1}, ok(nine(1, tcpData), sampled(math.MaxUint32))),
		one("52_ipfix_interval_2_32", ok(ten(template10+rate10)),
			sent{in: ten("0101 0010 00000000 0000000100000000"), options: 1, problems: set(ProblemSamplingRate)}, ok(ten(tcpData), tcpRecord)),
		// 2^64 - 1 packets, of which 2^40 are taken: 1 in 2^24.
		one("52_ipfix_population_of_64_bits", ok(ten(template10+"0003 0016 0101 0003 0001  008f 0004  0135 0008  0136 0008")),
			sent{in: ten("0101 0018 00000000 0000010000000000 ffffffffffffffff"), options: 1}, ok(ten(tcpData), sampled(1<<24))),

		// A sampler of another rate in every record, among many: 48 changes count.
		one("52_v9_a_rate_in_every_record", ok(nine(1, "0001 0016 0101 0004 0008  0001 0002  0030 0001  0032 0001")),
			sent{in: nine(48, "0101 00c4"+samplers(0, 48)), options: 48},
			sent{in: nine(350, "0101 057c"+strings.Repeat("0000 01 02  0000 01 03", 175)), options: 350, problems: set(ProblemTooManyRecords)}),

		{name: "53_v9_name_without_end", sent: []sent{{in: nine(2, ifName9("Gi0/1")), options: 1}}, names: map[uint32]string{7: "Gi0/1"}},
		{name: "53_v9_name_filled_up", sent: []sent{{in: nine(2, ifName9("Gi0/1\x00\x00\x00")), options: 1}}, names: map[uint32]string{7: "Gi0/1"}},
		{name: "53_v9_name_behind_its_end", sent: []sent{{in: nine(2, ifName9("Gi0/1\x00old")), options: 1}}, names: map[uint32]string{7: "Gi0/1"}},
		{name: "53_v9_name_no_utf8", sent: []sent{{in: nine(2, ifName9("Gi\xff\xfe")), options: 1, problems: set(ProblemInterfaceName)}}, names: map[uint32]string{7: "Gi\ufffd\ufffd"}},
		{name: "53_v9_name_to_print", sent: []sent{{in: nine(2, ifName9("\x1b[2J\n")), options: 1, problems: set(ProblemInterfaceName)}}, names: map[uint32]string{7: "\ufffd[2J\ufffd"}},
		// Printable, so it stays: those who put it on a page escape it.
		{name: "53_v9_name_of_a_script", sent: []sent{{in: nine(2, ifName9("<script>")), options: 1}}, names: map[uint32]string{7: "<script>"}},
		{name: "53_v9_name_of_64_bytes_and_half_a_letter", sent: []sent{{in: nine(2, ifName9(strings.Repeat("a", 63)+"äb")), options: 1}}, names: map[uint32]string{7: strings.Repeat("a", 63)}},

		// Lists are of no use here and skipped whole (RFC 6313).
		one("54_basic_list_of_no_bytes_each", ok(ten("0002 0010 0100 0002 0123 ffff 000c 0004"+
			"0100 0015 0c 04 0008 0000 00000000000000 0a000002"), addresses("", "10.0.0.2"))),
		one("54_multi_list_of_no_bytes_each", ok(ten("0002 0010 0100 0002 0125 ffff 000c 0004"+
			"0100 0012 09 03 c004 0004 c004 0004 0a000002"), addresses("", "10.0.0.2"))),
		one("54_list_100_deep", ok(ten("0002 0010 0100 0002 0125 ffff 000c 0004"+
			fmt.Sprintf("0100 %04x ff 01f4 %s 0a000002", 4+3+500+4, strings.Repeat("03 0100 01f0", 100))), addresses("", "10.0.0.2"))),
	}
	for _, n := range []int{1, 2, 3, 5} {
		rows = append(rows, one(fmt.Sprintf("47_v9_scope_of_%d_bytes", n),
			bad(nine(1, fmt.Sprintf("0001 %04x 0101 %04x 0004 %s 0022 0004", 4+6+n+4, n, strings.Repeat("01", n))), set(ProblemTemplateScope)),
			ok(nine(1, "0101 000c 00000000 00000064"))))
	}
	return rows
}

// samplers are records of a sampler each, from the first on.
func samplers(first, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "0000 %02x 02 ", first+i)
	}
	return b.String()
}

func badValues() []badInput {
	one := func(name string, s ...sent) badInput { return badInput{name: name, sent: s} }
	sequence := func(n uint32) []byte {
		b := ten(tcpData)
		binary.BigEndian.PutUint32(b[8:], n)
		return b
	}
	var numbered []sent
	for _, n := range []uint32{
		math.MaxUint32, 0, 1, // wrapped
		1,           // twice
		65, 2, 3, 4, // 64 too early
		4 + 1<<31, 5 + 1<<31, // a jump
		0, // restarted
	} {
		numbered = append(numbered, ok(sequence(n), tcpRecord))
	}

	// Source, and first and last packet in uptime. The header's is an hour.
	const times = "0000 0014 0100 0003 0008 0004 0016 0004 0015 0004"
	at := func(seconds, uptime, first, last uint32, start, end int64) sent {
		b := nine(1, fmt.Sprintf("0100 0010 0a000001 %08x %08x", first, last))
		binary.BigEndian.PutUint32(b[4:], uptime)
		binary.BigEndian.PutUint32(b[8:], seconds)
		return ok(b, but(addresses("10.0.0.1", ""), func(r *Record) {
			r.Start, r.End, r.Present = start, end, HasSrc|HasStart|HasEnd
		}))
	}
	const ms = int64(nsPerMs)
	// The same in milliseconds since 1970.
	const absolute = "0002 0014 0100 0003 0008 0004 0098 0008 0099 0008"
	ends := func(first, last uint64, start, end int64, present Fields) sent {
		return ok(ten(fmt.Sprintf("0100 0018 0a000001 %016x %016x", first, last)), but(addresses("10.0.0.1", ""), func(r *Record) {
			r.Start, r.End, r.Present = start, end, HasSrc|present
		}))
	}
	const icmp = "0002 001c 0100 0005 0008 0004 000c 0004 0004 0001 000b 0002 0020 0002"
	return []badInput{
		one("75_sequence", slices.Concat([]sent{ok(ten(template10))}, numbered)...),
		one("76_uptime_wrapped", ok(nine(1, times)),
			at(0x6a000000, 1000, math.MaxUint32-999, 500, badExport-2000*ms, badExport-500*ms)),
		one("76_first_after_uptime", ok(nine(1, times)),
			at(0x6a000000, badUptime, badUptime+250, badUptime+500, badExport+250*ms, badExport+500*ms)),
		one("76_seconds_0", ok(nine(1, times)), at(0, badUptime, 0, badUptime, -badUptime*ms, 0)),
		one("76_year_2038", ok(nine(1, times)), at(math.MaxInt32, badUptime, badUptime-1, badUptime, math.MaxInt32*nsPerSecond-ms, math.MaxInt32*nsPerSecond)),
		one("76_year_2106", ok(nine(1, times)), at(math.MaxUint32, badUptime, badUptime-1, badUptime, math.MaxUint32*nsPerSecond-ms, math.MaxUint32*nsPerSecond)),
		one("76_ten_years_off", ok(ten(absolute)),
			ends(1_463_000_000_000, 2_093_000_000_000, 1_463_000_000_000*ms, 2_093_000_000_000*ms, HasStart|HasEnd)),
		one("76_milliseconds_of_64_bits", ok(ten(absolute)),
			ends(math.MaxUint64, math.MaxInt64/nsPerMs, 0, math.MaxInt64/nsPerMs*nsPerMs, HasEnd),
			ends(0, math.MaxInt64/nsPerMs+1, 0, 0, HasStart)),
		one("76_ntp_time", ok(ten("0002 0010 0100 0002 009a 0008 009d 0008")),
			// The lowest 11 bits are none of a time in microseconds.
			ok(ten("0100 0014 83aa7e80 800007ff 83aa7e81 40000000"), Record{Start: nsPerSecond / 2, End: nsPerSecond * 5 / 4, Present: HasStart | HasEnd}),
			ok(ten("0100 0014 00000000 00000000 00000000 00000000"), Record{})),
		one("76_duration_past_all_time", ok(ten("0002 0010 0100 0002 0098 0008 00a1 0008")),
			ok(ten("0100 0014 000008637bd05af6 0000010000000000"), Record{Start: 0x8637bd05af6 * ms, Present: HasStart})),

		one("81_port_0", ok(ten(template10+"0100 0011 0a000001 0a000002 0000 0000 06"), tuple("10.0.0.1", 0, "10.0.0.2", 0, 6))),
		one("81_icmp_in_the_port", ok(ten(template10+"0100 0011 0a000001 0a000002 0000 0303 01"), tuple("10.0.0.1", 0, "10.0.0.2", 0x0303, 1))),
		// Its own element counts where the port is 0, and only for ICMP.
		one("81_icmp_beside_the_port", ok(ten(icmp+"0100 0011 0a000001 0a000002 01 0000 0800"), but(tuple("10.0.0.1", 0, "10.0.0.2", 0x0800, 1), func(r *Record) { r.Present &^= HasSrcPort })),
			ok(ten("0100 0011 0a000001 0a000002 06 0000 0800"), but(tuple("10.0.0.1", 0, "10.0.0.2", 0, 6), func(r *Record) { r.Present &^= HasSrcPort }))),
		one("81_source_is_destination", ok(nine(2, template9+"0100 0011 0a000001 0a000001 9c40 9c40 06"), tuple("10.0.0.1", 40000, "10.0.0.1", 40000, 6))),
		one("81_ipv4_in_ipv6", ok(ten("0002 0010 0100 0002 001b 0010 001c 0010"+"0100 0024 00000000000000000000ffff0a000001 00000000000000000000000000000000"), addresses("::ffff:10.0.0.1", "::"))),
		one("81_either_family_unused", ok(ten("0002 0018 0100 0004 001b 0010 001c 0010 0008 0004 000c 0004")),
			ok(ten("0100 002c"+strings.Repeat("00", 32)+"0a000001 0a000002"), addresses("10.0.0.1", "10.0.0.2")),
			ok(ten("0100 002c 20010db8000000000000000000000001 20010db8000000000000000000000002 00000000 00000000"), addresses("2001:db8::1", "2001:db8::2"))),
	}
}

// goodExporter sends templates and records that nothing may disturb.
type goodExporter struct {
	source [16]byte
	n      uint16
}

func (g *goodExporter) templates() []byte { return ten(template10) }

func (g *goodExporter) next() ([]byte, Record) {
	g.n++
	return ten(fmt.Sprintf("0100 0011 0a000001 0a000002 %04x 01bb 06", g.n)), tuple("10.0.0.1", g.n, "10.0.0.2", 443, 6)
}

// answer is all that a datagram came to.
func answer(d *Decoder, source [16]byte, in []byte) (a sent, last *Stream) {
	if a.drop = d.Begin(source, badExport, in); a.drop != NoDrop {
		return a, nil
	}
	for b := d.Next(); b != nil; b = d.Next() {
		a.records = append(a.records, b.Records...)
		a.options += b.OptionsRecords
		last = b.Stream
	}
	a.problems = d.Problems()
	return a, last
}

// problemNamesOf makes a difference readable.
func problemNamesOf(s ProblemSet) (names []string) {
	for p := Problem(0); p < Problems; p++ {
		if s.Has(p) {
			names = append(names, p.String())
		}
	}
	return names
}

// TestBadInput sends each bad input amid the datagrams of a good exporter.
func TestBadInput(t *testing.T) {
	for _, c := range append(badInputs(), fixedBadInputs()...) {
		t.Run(c.name, func(t *testing.T) { testBadInput(t, c) })
	}
}

func testBadInput(t *testing.T, c badInput) {
	d := NewDecoder(NewStreams(Limits{}))
	good := goodExporter{source: addressOf("192.0.2.1")}
	evil := addressOf("192.0.2.2")
	// Both streams exist before anything is measured.
	if a, _ := answer(d, good.source, good.templates()); a.drop != NoDrop || a.problems != 0 {
		t.Fatalf("the good templates: drop %q, problems %q", a.drop, problemNamesOf(a.problems))
	}
	goodOne := func() {
		t.Helper()
		in, want := good.next()
		if a, _ := answer(d, good.source, in); a.drop != NoDrop || a.problems != 0 || len(a.records) != 1 || a.records[0] != want {
			t.Errorf("the good exporter: drop %q, problems %q, records %+v", a.drop, problemNamesOf(a.problems), a.records)
		}
	}
	var stream *Stream
	for i, s := range c.sent {
		goodOne()
		in := slices.Clip(bytes.Clone(s.in))
		allocated := allocatedBytes(func() { drain(d, evil, in) })
		if most := uint64(64 << 10); allocated > most {
			t.Errorf("datagram %d allocated %d bytes, at most %d are allowed", i, allocated, most)
		}
		if !bytes.Equal(in, s.in) {
			t.Errorf("datagram %d was written to", i)
		}
		goodOne()
	}
	// Once more from the start, for the answers.
	d = NewDecoder(NewStreams(Limits{}))
	for i, s := range c.sent {
		got, last := answer(d, evil, slices.Clip(bytes.Clone(s.in)))
		if last != nil {
			stream = last
		}
		if got.drop != s.drop || got.problems != s.problems || got.options != s.options {
			t.Errorf("datagram %d: drop %q, problems %q, %d options; want %q, %q, %d", i,
				got.drop, problemNamesOf(got.problems), got.options, s.drop, problemNamesOf(s.problems), s.options)
		}
		if !slices.Equal(got.records, s.records) {
			t.Errorf("datagram %d: records (-want +got):\n%s", i, cmp.Diff(s.records, got.records))
		}
	}
	if c.names != nil && !maps.Equal(stream.options.interfaces(), c.names) {
		t.Errorf("names %v, want %v", stream.options.interfaces(), c.names)
	}
}

// fixedBadInputs are numbers 1 to 8, which seeds has with their answers: sent to
// a Decoder they must come to the same.
func fixedBadInputs() (rows []badInput) {
	for _, s := range seeds() {
		var number int
		if n, _ := fmt.Sscanf(s.name, "bad %d:", &number); n != 1 {
			continue
		}
		_, rest, _ := strings.Cut(s.name, ": ")
		_, records, _, _ := slowV5(s.in)
		rows = append(rows, badInput{
			name: fmt.Sprintf("%02d_%s", number, strings.ReplaceAll(rest, " ", "_")),
			sent: []sent{{in: s.in, drop: s.drop, problems: s.problems, records: records}},
		})
	}
	return rows
}

// drain decodes a datagram and keeps nothing of it.
func drain(d *Decoder, source [16]byte, in []byte) {
	if d.Begin(source, badExport, in) != NoDrop {
		return
	}
	for b := d.Next(); b != nil; b = d.Next() {
		runtime.KeepAlive(b)
	}
}

// allocatedBytes is how many bytes of heap f takes, of this goroutine's alone
// where no other is running.
func allocatedBytes(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// Number 31 and another worker: what it decodes is by the one template or by
// the other, and never by a piece of both.
func TestBadInput31RedefinedByAnotherWorker(t *testing.T) {
	const long = "0000 0014 0100 0003  0008 0004  000c 0004  0002 0004" // 12 bytes a record
	const short = "0000 0010 0100 0002  0008 0004  000c 0004"           // 8
	data := nine(6, "0100 001c"+strings.Repeat("0a000001", 6))
	streams := NewStreams(Limits{})
	source := addressOf("192.0.2.1")
	var other sync.WaitGroup
	stop := make(chan struct{})
	first := NewDecoder(streams)
	drain(first, source, nine(1, long))
	other.Go(func() {
		d := NewDecoder(streams)
		for {
			for _, in := range [][]byte{nine(1, short), nine(1, long)} {
				drain(d, source, in)
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	defer other.Wait()
	defer close(stop)
	address := addresses("10.0.0.1", "10.0.0.1")
	counted := but(address, func(r *Record) { r.Packets, r.Present = 0x0a000001, r.Present|HasPackets })
	seen := map[int]int{}
	for range 20_000 {
		got, _ := answer(first, source, data)
		want := repeat(2, counted)
		if len(got.records) == 3 {
			want = repeat(3, address)
		}
		if !slices.Equal(got.records, want) {
			t.Fatalf("records of no template: %+v", got.records)
		}
		seen[len(got.records)]++
	}
	t.Logf("decoded by the long template %d times, by the short one %d times", seen[2], seen[3])
}
