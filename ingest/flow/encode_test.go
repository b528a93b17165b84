// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"bytes"
	"encoding/hex"
	"math"
	"net/netip"
	"slices"
	"testing"
)

// The messages below are written out by hand, so that an error shared by encoder
// and decoder shows.

const encodedExport = int64(0x6a000000) * nsPerSecond

func addressOf(s string) [16]byte { return netip.MustParseAddr(s).As16() }

// encodedTCP is 10.0.0.1:40000 to 10.0.0.2:443, 12 packets from 9 to 1 s before
// encodedExport.
func encodedTCP() Record {
	return Record{
		Src: addressOf("10.0.0.1"), Dst: addressOf("10.0.0.2"), SrcPort: 40000, DstPort: 443,
		Proto: 6, TCPFlags: 0x1b, InIf: 7, OutIf: 8, Packets: 12, Bytes: 3400,
		Start: encodedExport - 9*nsPerSecond, End: encodedExport - 1*nsPerSecond,
	}
}

func encodedUDP6() Record {
	r := encodedTCP()
	r.Src, r.Dst = addressOf("2001:db8::1"), addressOf("2001:db8::2")
	r.SrcPort, r.DstPort, r.Proto, r.TCPFlags = 5353, 53, 17, 0
	return r
}

func wantEncoded(t *testing.T, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("got\n%swant\n%s", hex.Dump(got), hex.Dump(want))
	}
}

func TestAppendV9(t *testing.T) {
	h := V9Header{ExportTime: encodedExport + 999_999_999, Uptime: 10_000, Sequence: 256, Domain: 0x01020304}
	udp := encodedUDP6()
	udp.Packets, udp.Bytes = 1<<32, math.MaxUint64
	before := []byte{0xaa} // what is appended to stays, and is not counted
	got := AppendV9(before, h, []Record{encodedTCP(), udp})
	wantEncoded(t, got, slices.Concat(before, []byte{
		0, 9, 0, 2, 0, 0, 0x27, 0x10, // version 9, two records, uptime 10 s
		0x6a, 0, 0, 0, 0, 0, 1, 0, 1, 2, 3, 4, // export time, sequence, source id

		1, 0, 0, 60, // template 256: 4 + 55 bytes and one of padding
		0, 0, 0x23, 0x28, 0, 0, 0x03, 0xe8, // last at 9 s, first at 1 s
		0, 0, 0x0d, 0x48, 0, 0, 0, 12, // 3400 bytes, 12 packets
		0, 0, 0, 7, 0, 0, 0, 8, // interfaces
		10, 0, 0, 1, 10, 0, 0, 2, // source, destination
		6, 0, 0x9c, 0x40, 0x01, 0xbb, // TCP, TOS, ports
		0, 0, 0, 0, 0, 0, 0, 0x1b, 0, // sampler, next hop, masks, flags, direction
		0, 0, 0, 0, 0, 0, 0, 0, 0, // AS numbers, padding

		1, 1, 0, 96, // template 257: 4 + 91 bytes and one of padding
		0, 0, 0x23, 0x28, 0, 0, 0x03, 0xe8,
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, // the most that 32 bits hold
		0, 0, 0, 7, 0, 0, 0, 8,
		0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
		0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
		17, 0, 0x14, 0xe9, 0, 53, 0, // UDP, TOS, ports, sampler
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // next hop
		0, 0, 0, 0, // masks, flags, direction
		0, 0, 0, 0, 0, 0, 0, 0, 0, // AS numbers, padding
	}))
}

func TestAppendV9Templates(t *testing.T) {
	h := V9Header{ExportTime: encodedExport, Uptime: 10_000, Sequence: 256, Domain: 0x01020304}
	wantEncoded(t, AppendV9Templates(nil, h), []byte{
		0, 9, 0, 2, 0, 0, 0x27, 0x10, // version 9, two records, uptime 10 s
		0x6a, 0, 0, 0, 0, 0, 1, 0, 1, 2, 3, 4, // export time, sequence, source id
		0, 0, 0, 172, // template set: 4 + 2 × (4 + 20 × 4)
		1, 0, 0, 20, // template 256, 20 fields
		0, 21, 0, 4, 0, 22, 0, 4, 0, 1, 0, 4, 0, 2, 0, 4, 0, 10, 0, 4,
		0, 14, 0, 4, 0, 8, 0, 4, 0, 12, 0, 4, 0, 4, 0, 1, 0, 5, 0, 1,
		0, 7, 0, 2, 0, 11, 0, 2, 0, 48, 0, 1, 0, 15, 0, 4, 0, 13, 0, 1,
		0, 9, 0, 1, 0, 6, 0, 1, 0, 61, 0, 1, 0, 17, 0, 4, 0, 16, 0, 4,
		1, 1, 0, 20, // template 257, 20 fields
		0, 21, 0, 4, 0, 22, 0, 4, 0, 1, 0, 4, 0, 2, 0, 4, 0, 10, 0, 4,
		0, 14, 0, 4, 0, 27, 0, 16, 0, 28, 0, 16, 0, 4, 0, 1, 0, 5, 0, 1,
		0, 7, 0, 2, 0, 11, 0, 2, 0, 48, 0, 1, 0, 62, 0, 16, 0, 30, 0, 1,
		0, 29, 0, 1, 0, 6, 0, 1, 0, 61, 0, 1, 0, 17, 0, 4, 0, 16, 0, 4,
	})
}

func TestAppendIPFIX(t *testing.T) {
	h := IPFIXHeader{ExportTime: encodedExport, Sequence: 256, Domain: 0x01020304}
	udp := encodedUDP6()
	udp.Packets, udp.Bytes = 1<<32, math.MaxUint64
	before := []byte{0xaa}
	got := AppendIPFIX(before, h, []Record{encodedTCP(), udp})
	// 9 s and 1 s before the export time, in milliseconds:
	start := []byte{0x00, 0x00, 0x01, 0x9e, 0x0f, 0xff, 0xdc, 0xd8}
	end := []byte{0x00, 0x00, 0x01, 0x9e, 0x0f, 0xff, 0xfc, 0x18}
	wantEncoded(t, got, slices.Concat(before, []byte{
		0, 10, 0, 204, 0x6a, 0, 0, 0, // version 10, 16 + 76 + 112 bytes, export time
		0, 0, 1, 0, 1, 2, 3, 4, // sequence, domain

		1, 0, 0, 76, // template 256: 4 + 72 bytes
		10, 0, 0, 1, 10, 0, 0, 2, 0, 0, 0, 0, // source, destination, next hop
		0, 0, 0, 7, 0, 0, 0, 8, // interfaces
		0, 0, 0, 0, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0x0d, 0x48, // 12 packets, 3400 bytes
	}, start, end, []byte{
		0x9c, 0x40, 0x01, 0xbb, 6, 0, 0, 0x1b, // ports, TCP, class of service, flags
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // prefixes, AS numbers, direction, sampler

		1, 1, 0, 112, // template 257: 4 + 108 bytes
		0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
		0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		0, 0, 0, 7, 0, 0, 0, 8,
		0, 0, 0, 1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	}, start, end, []byte{
		0x14, 0xe9, 0, 53, 17, 0, 0, 0,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	}))
}

func TestAppendIPFIXTemplates(t *testing.T) {
	h := IPFIXHeader{ExportTime: encodedExport, Sequence: 256, Domain: 0x01020304}
	wantEncoded(t, AppendIPFIXTemplates(nil, h), []byte{
		0, 10, 0, 188, 0x6a, 0, 0, 0, // version 10, 16 + 172 bytes, export time
		0, 0, 1, 0, 1, 2, 3, 4, // sequence, domain
		0, 2, 0, 172, // template set: 4 + 2 × (4 + 20 × 4)
		1, 0, 0, 20, // template 256, 20 fields
		0, 8, 0, 4, 0, 12, 0, 4, 0, 15, 0, 4, 0, 10, 0, 4, 0, 14, 0, 4,
		0, 2, 0, 8, 0, 1, 0, 8, 0, 152, 0, 8, 0, 153, 0, 8, 0, 7, 0, 2,
		0, 11, 0, 2, 0, 4, 0, 1, 0, 5, 0, 1, 0, 6, 0, 2, 0, 9, 0, 1,
		0, 13, 0, 1, 0, 16, 0, 4, 0, 17, 0, 4, 0, 61, 0, 1, 0, 48, 0, 1,
		1, 1, 0, 20, // template 257, 20 fields
		0, 27, 0, 16, 0, 28, 0, 16, 0, 62, 0, 16, 0, 10, 0, 4, 0, 14, 0, 4,
		0, 2, 0, 8, 0, 1, 0, 8, 0, 152, 0, 8, 0, 153, 0, 8, 0, 7, 0, 2,
		0, 11, 0, 2, 0, 4, 0, 1, 0, 5, 0, 1, 0, 6, 0, 2, 0, 29, 0, 1,
		0, 30, 0, 1, 0, 16, 0, 4, 0, 17, 0, 4, 0, 61, 0, 1, 0, 48, 0, 1,
	})
}

func TestAppendSFlow(t *testing.T) {
	h := SFlowHeader{
		Agent: addressOf("192.0.2.1"), SubAgent: 3, Sequence: 256, Uptime: 10_000,
		Samples: 5, Sampling: 100,
	}
	udp := encodedUDP6()
	udp.Bytes = 10       // less than its headers take
	udp.InIf = 1<<32 - 1 // more than the short form holds
	got := AppendSFlow(nil, h, []Record{encodedTCP(), udp})
	wantEncoded(t, got, slices.Concat([]byte{
		0, 0, 0, 5, 0, 0, 0, 1, 192, 0, 2, 1, // version 5, an IPv4 agent
		0, 0, 0, 3, 0, 0, 1, 0, 0, 0, 0x27, 0x10, // sub-agent, sequence, uptime 10 s
		0, 0, 0, 2, // samples

		0, 0, 0, 1, 0, 0, 0, 208, // a flow sample, its length
		0, 0, 0, 5, 0, 0, 0, 7, // number, source: interface 7
		0, 0, 0, 100, 0, 0, 0x02, 0x58, 0, 0, 0, 0, // 1 in 100, pool of 600, no drops
		0, 0, 0, 7, 0, 0, 0, 8, 0, 0, 0, 2, // interfaces, two records
		0, 0, 0, 1, 0, 0, 0, 144, // raw packet header
		0, 0, 0, 1, 0, 0, 0x0d, 0x5a, 0, 0, 0, 4, 0, 0, 0, 128, // Ethernet, 14 + 3400 + 4, 4 stripped, 128 here
		2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, // to, from, IPv4
		0x45, 0, 0x0d, 0x48, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
		0x9c, 0x40, 0x01, 0xbb, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x1b, 0xff, 0, 0, 0, 0, 0, // TCP
	}, make([]byte, 74), []byte{ // payload
		0, 0, 0x03, 0xe9, 0, 0, 0, 16, // extended switch
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,

		0, 0, 0, 1, 0, 0, 0, 144,
		0, 0, 0, 6, 0, 0, 0, 0,
		0, 0, 0, 100, 0, 0, 0x02, 0xbc, 0, 0, 0, 0,
		0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 2,
		0, 0, 0, 1, 0, 0, 0, 80,
		0, 0, 0, 1, 0, 0, 0, 66, 0, 0, 0, 4, 0, 0, 0, 62, // 14 + 48 + 4 bytes, 62 here
		2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x86, 0xdd, // to, from, IPv6
		0x60, 0, 0, 0, 0, 8, 17, 64,
		0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
		0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
		0x14, 0xe9, 0, 53, 0, 8, 0, 0, // UDP
		0, 0, // padding
		0, 0, 0x03, 0xe9, 0, 0, 0, 16,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	}))
}

func TestAppendSFlowExpanded(t *testing.T) {
	h := SFlowHeader{Agent: addressOf("2001:db8::9"), Sampling: 100, Expanded: true}
	icmp := Record{
		Src: addressOf("10.0.0.1"), Dst: addressOf("10.0.0.2"), Proto: 1, DstPort: 8 << 8,
		InIf: 1<<32 - 1, OutIf: 8, Bytes: 84,
	}
	got := AppendSFlow(nil, h, []Record{icmp})
	wantEncoded(t, got, slices.Concat([]byte{
		0, 0, 0, 5, 0, 0, 0, 2, // version 5, an IPv6 agent
		0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,

		0, 0, 0, 3, 0, 0, 0, 192, // an expanded flow sample, its length
		0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, // number, source: an interface
		0, 0, 0, 100, 0, 0, 0, 100, 0, 0, 0, 0, // 1 in 100, pool, no drops
		0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 8, // interfaces: format, value
		0, 0, 0, 2, // two records
		0, 0, 0, 1, 0, 0, 0, 116, // raw packet header
		0, 0, 0, 1, 0, 0, 0, 102, 0, 0, 0, 4, 0, 0, 0, 98, // Ethernet, 14 + 84 + 4, 98 here
		2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0,
		0x45, 0, 0, 84, 0, 0, 0x40, 0, 64, 1, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
		8, 0, 0, 0, 0, 0, 0, 0, // echo request
	}, make([]byte, 56+2), []byte{ // payload, padding
		0, 0, 0x03, 0xe9, 0, 0, 0, 16,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	}))
}

// A run of one family is one set, however long.
func TestAppendGroupsFamilies(t *testing.T) {
	four, six := encodedTCP(), encodedUDP6()
	recs := []Record{six, four, four, four, six}
	v9 := AppendV9(nil, V9Header{}, recs)
	ipfix := AppendIPFIX(nil, IPFIXHeader{}, recs)
	for _, c := range []struct {
		name string
		sets []byte
		want [][2]int // id, length
	}{
		{"v9", v9[20:], [][2]int{{257, 96}, {256, 4 + 3*55 + 3}, {257, 96}}},
		{"ipfix", ipfix[16:], [][2]int{{257, 112}, {256, 4 + 3*72}, {257, 112}}},
	} {
		var got [][2]int
		for b := c.sets; len(b) >= 4; {
			id, length := int(b[0])<<8|int(b[1]), int(b[2])<<8|int(b[3])
			got = append(got, [2]int{id, length})
			b = b[max(4, min(length, len(b))):]
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: sets %v, want %v", c.name, got, c.want)
		}
	}
}

func TestAppendTooMuch(t *testing.T) {
	r := []Record{encodedTCP()}
	for _, c := range []struct {
		name   string
		most   int
		append func([]Record)
	}{
		{"v9", 1191, func(r []Record) { AppendV9(nil, V9Header{}, r) }},
		{"ipfix", 909, func(r []Record) { AppendIPFIX(nil, IPFIXHeader{}, r) }},
	} {
		panics := func(n int) (yes bool) {
			defer func() { yes = recover() != nil }()
			c.append(slices.Repeat(r, n))
			return false
		}
		if panics(c.most) || !panics(c.most+1) {
			t.Errorf("%s: the most that fits is not %d", c.name, c.most)
		}
	}
}
