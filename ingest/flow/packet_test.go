// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// Pieces of packets, in hexadecimal. What is ee is never read.
const (
	macs  = "020000000002 020000000001 "                       // to, from
	ip4   = "45ee 0064 eeee 4000 eeTT eeee 0a000001 c0000202 " // 100 bytes of protocol TT
	tcp   = "9c40 01bb eeeeeeee eeeeeeee 5e 1b "               // 40000 to 443, flags 1b
	udp   = "1389 0035 eeee eeee "                             // 5001 to 53
	v6src = "20010db8000000000000000000000001 "
	v6dst = "20010db8000000000000000000000002 "
	ip6   = "6eeeeeee 0050 NNee " + v6src + v6dst // 80 bytes behind a header that announces NN
)

func v4(proto string) string { return strings.Replace(ip4, "TT", proto, 1) }
func v6(next string) string  { return strings.Replace(ip6, "NN", next, 1) }

// raw are the bytes of a packet written in hexadecimal.
func raw(s string) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		panic(err)
	}
	return b
}

// What a record has of the pieces above.
var (
	onePacket = Record{Packets: 1, Present: HasPackets}
	hasMACs   = Record{
		DstMAC: [6]byte{0: 2, 5: 2}, SrcMAC: [6]byte{0: 2, 5: 1}, Present: HasDstMAC | HasSrcMAC,
	}
	hasIPv4 = Record{
		Bytes: 100, Src: [16]byte{10: 0xff, 11: 0xff, 12: 10, 15: 1}, Dst: [16]byte{10: 0xff, 11: 0xff, 12: 192, 14: 2, 15: 2},
		Present: HasBytes | HasSrc | HasDst,
	}
	hasIPv6 = Record{
		Bytes: 120, Src: [16]byte{0x20, 1, 0x0d, 0xb8, 15: 1}, Dst: [16]byte{0x20, 1, 0x0d, 0xb8, 15: 2},
		Present: HasBytes | HasSrc | HasDst,
	}
	hasTCP = Record{
		Proto: 6, SrcPort: 40000, DstPort: 443, TCPFlags: 0x1b,
		Present: HasProto | HasSrcPort | HasDstPort | HasTCPFlags,
	}
	hasUDP = Record{Proto: 17, SrcPort: 5001, DstPort: 53, Present: HasProto | HasSrcPort | HasDstPort}
)

func hasProto(p uint8) Record    { return Record{Proto: p, Present: HasProto} }
func hasVLAN(v uint16) Record    { return Record{VLAN: v, Present: HasVLAN} }
func hasDstPort(p uint16) Record { return Record{DstPort: p, Present: HasDstPort} }

// sum is a record with the fields of all parts, each of which is in one of them.
func sum(parts ...Record) Record {
	s := onePacket
	for _, p := range parts {
		s.Src, s.Dst = or16(s.Src, p.Src), or16(s.Dst, p.Dst)
		s.SrcPort |= p.SrcPort
		s.DstPort |= p.DstPort
		s.Proto |= p.Proto
		s.TCPFlags |= p.TCPFlags
		s.Bytes |= p.Bytes
		s.VLAN |= p.VLAN
		for i := range s.SrcMAC {
			s.SrcMAC[i] |= p.SrcMAC[i]
			s.DstMAC[i] |= p.DstMAC[i]
		}
		s.Present |= p.Present
	}
	return s
}

func or16(a, b [16]byte) [16]byte {
	for i := range a {
		a[i] |= b[i]
	}
	return a
}

// packetSeed is the beginning of a packet, and what must be read of it.
type packetSeed struct {
	name     string
	protocol uint32 // as sFlow numbers them: 1 Ethernet, 7 PPP, 11 IPv4, 12 IPv6, 13 MPLS
	in       string
	want     Record
	cut      bool
}

func packetSeeds() []packetSeed {
	tags := func(n int) string { return strings.Repeat("8100 0005 ", n) }
	return []packetSeed{
		{"IPv4, TCP", 1, macs + "0800" + v4("06") + tcp, sum(hasMACs, hasIPv4, hasTCP), false},
		{"IPv4, UDP", 11, v4("11") + udp, sum(hasIPv4, hasUDP), false},
		{"IPv4, ICMP echo request", 11, v4("01") + "0800", sum(hasIPv4, hasProto(1), hasDstPort(0x0800)), false},
		{"IPv4, IGMP has no ports", 11, v4("02") + "1100 eeee", sum(hasIPv4, hasProto(2)), false},
		{"IPv4, options", 11, "4f" + v4("11")[2:] + strings.Repeat("01", 40) + udp, sum(hasIPv4, hasUDP), false},
		{"IPv4, first fragment", 11, strings.Replace(v4("11"), "4000", "2000", 1) + udp, sum(hasIPv4, hasUDP), false},
		{"IPv4, a later fragment has no ports", 11, strings.Replace(v4("11"), "4000", "20b9", 1) + udp, sum(hasIPv4, hasProto(17)), false},
		{"IPv4, total length 0 is unknown", 11, strings.Replace(v4("11"), "0064", "0000", 1) + udp,
			sum(without(hasIPv4, HasBytes), hasUDP), false},
		{"IPv4, total length below the header", 11, strings.Replace(v4("11"), "0064", "0013", 1) + udp,
			sum(without(hasIPv4, HasBytes), hasProto(17)), true},
		{"IPv4, padding of the frame is not TCP", 11, strings.Replace(v4("06"), "0064", "0014", 1) + tcp,
			sum(Record{Bytes: 20, Present: HasBytes}, without(hasIPv4, HasBytes), hasProto(6)), true},
		{"IPv4 has version 5", 11, "55" + v4("11")[2:] + udp, onePacket, true},
		{"IPv4, header of 16 bytes", 11, "44" + v4("11")[2:] + udp, onePacket, true},
		{"IPv6, TCP", 1, macs + "86dd" + v6("06") + tcp, sum(hasMACs, hasIPv6, hasTCP), false},
		{"IPv6, UDP-Lite", 12, v6("88") + udp, sum(hasIPv6, with8(hasUDP, 136)), false},
		{"IPv6, SCTP", 12, v6("84") + udp, sum(hasIPv6, with8(hasUDP, 132)), false},
		{"IPv6, DCCP", 12, v6("21") + udp, sum(hasIPv6, with8(hasUDP, 33)), false},
		{"IPv6, neighbor solicitation", 12, v6("3a") + "8700", sum(hasIPv6, hasProto(58), hasDstPort(0x8700)), false},
		{"IPv6, no next header", 12, v6("3b"), sum(hasIPv6, hasProto(59)), false},
		{"IPv6, payload length 0 is unknown", 12, strings.Replace(v6("11"), "0050", "0000", 1) + udp,
			sum(without(hasIPv6, HasBytes), hasUDP), false},
		{"IPv6 has version 4", 12, "4e" + v6("11")[2:] + udp, onePacket, true},

		// Extension headers: next, length, and what is not read.
		{"bad 63: IPv6, chain of extensions", 12, v6("00") +
			"2b00 eeeeeeeeeeee " + // hop-by-hop of 8 bytes, then routing
			"3c01 eeeeeeeeeeee eeeeeeeeeeeeeeee " + // routing of 16, then destination options
			"3300 eeeeeeeeeeee " + // of 8, then authentication
			"2c04 eeeeeeeeeeee eeeeeeeeeeeeeeee eeeeeeeeeeeeeeee " + // of (4+2)*4, then a fragment
			"06ee 0001 eeeeeeee " + // the first one, then TCP
			tcp, sum(hasIPv6, hasTCP), false},
		{"bad 63: IPv6, truncated fragment header", 12, v6("2c") + "11ee 0000 eeeeee", sum(hasIPv6), true},
		{"IPv6, a later fragment", 12, v6("2c") + "11ee 0009 eeeeeeee" + udp, sum(hasIPv6, hasProto(17)), false},
		{"IPv6, a later fragment amid extensions", 12, v6("2c") + "3cee 0009 eeeeeeee" + udp, sum(hasIPv6), false},
		{"IPv6, extension longer than the packet", 12, v6("00") + "11ff eeeeeeeeeeee" + udp, sum(hasIPv6), true},
		{"IPv6, payload ends in the UDP header", 12, strings.Replace(v6("11"), "0050", "0003", 1) + udp,
			sum(without(hasIPv6, HasBytes), Record{Bytes: 43, Present: HasBytes},
				hasProto(17), Record{SrcPort: 5001, Present: HasSrcPort}), true},

		// Layer 2.
		{"one tag", 1, macs + "8100 e064 0800" + v4("11") + udp, sum(hasMACs, hasVLAN(100), hasIPv4, hasUDP), false},
		{"two tags: the outer one", 1, macs + "88a8 0064 8100 00c8 86dd" + v6("11") + udp,
			sum(hasMACs, hasVLAN(100), hasIPv6, hasUDP), false},
		{"tags of old", 1, macs + "9100 0fff 9100 0001 0800" + v4("11") + udp, sum(hasMACs, hasVLAN(4095), hasIPv4, hasUDP), false},
		{"a priority is no VLAN", 1, macs + "8100 6000 8100 0007 0800" + v4("11") + udp,
			sum(hasMACs, hasVLAN(7), hasIPv4, hasUDP), false},
		{"a priority alone", 1, macs + "8100 6000 0800" + v4("11") + udp, sum(hasMACs, hasIPv4, hasUDP), false},
		{"eight tags", 1, macs + tags(8) + "0800" + v4("11") + udp, sum(hasMACs, hasVLAN(5), hasIPv4, hasUDP), false},
		{"bad 63: ten tags", 1, macs + tags(10) + "0800" + v4("11") + udp, sum(hasMACs, hasVLAN(5)), true},
		{"MPLS, two labels", 1, macs + "8847 000100ee 000111ee" + v4("11") + udp, sum(hasMACs, hasIPv4, hasUDP), false},
		{"MPLS multicast, IPv6", 1, macs + "8848 000111ee" + v6("11") + udp, sum(hasMACs, hasIPv6, hasUDP), false},
		{"MPLS alone", 13, "000111ee" + v4("11") + udp, sum(hasIPv4, hasUDP), false},
		{"MPLS, something", 13, "000111ee 1eeeeeee", onePacket, false},
		{"MPLS, nothing", 13, "000111ee", onePacket, true},
		{"bad 62: MPLS without a bottom", 1, macs + "8847" + strings.Repeat("000100ee", 20), sum(hasMACs), true},
		{"pseudowire: addresses and VLAN of the inner frame are not the link's", 1,
			macs + "8100 0064 8847 000111ee 0000eeee eeeeeeeeeeee eeeeeeeeeeee 8100 0007 0800" + v4("11") + udp,
			sum(hasMACs, hasVLAN(100), hasIPv4, hasUDP), false},
		{"PPPoE", 1, macs + "8864 1100 eeee eeee 0021" + v4("11") + udp, sum(hasMACs, hasIPv4, hasUDP), false},
		{"PPPoE, IPv6", 1, macs + "8864 1100 eeee eeee 0057" + v6("11") + udp, sum(hasMACs, hasIPv6, hasUDP), false},
		{"PPPoE, link control", 1, macs + "8864 1100 eeee eeee c021 ee", sum(hasMACs), false},
		{"PPP, address and control", 7, "ff03 0021" + v4("11") + udp, sum(hasIPv4, hasUDP), false},
		{"PPP, short protocol", 14, "21" + v4("11") + udp, sum(hasIPv4, hasUDP), false},
		{"PPP, MPLS", 7, "0281 000111ee" + v4("11") + udp, sum(hasIPv4, hasUDP), false},
		{"PPP, half an address", 7, "ff", onePacket, true},
		{"LLC and SNAP", 1, macs + "0064 aaaa03 000000 0800" + v4("11") + udp, sum(hasMACs, hasIPv4, hasUDP), false},
		{"LLC, spanning tree", 1, macs + "0026 424203 0000", sum(hasMACs), false},
		{"LLC and SNAP of an organization", 1, macs + "0064 aaaa03 00000c 2000" + udp, sum(hasMACs), false},
		{"ARP", 1, macs + "0806 0001 0800 06 04 0001", sum(hasMACs), false},
		{"bad 63: 802.11 is not read", 15, "8842 eeee" + v4("11"), onePacket, false},
		{"token ring is not read", 3, v4("11"), onePacket, false},

		// Tunnels: the outer packet was on the wire.
		{"IPv4 in IPv4", 11, v4("04") + v4("11") + udp, sum(hasIPv4, hasProto(4)), false},
		{"IPv4 in IPv6", 12, v6("04") + v4("11") + udp, sum(hasIPv6, hasProto(4)), false},
		{"GRE", 11, v4("2f") + "0000 0800" + v4("11") + udp, sum(hasIPv4, hasProto(47)), false},
		{"ESP", 12, v6("32") + "eeeeeeee", sum(hasIPv6, hasProto(50)), false},
		{"VXLAN", 11, v4("11") + "e000 12b5 eeee eeee 08000000 eeeeee00" + macs + "0800" + v4("06") + tcp,
			sum(hasIPv4, Record{Proto: 17, SrcPort: 0xe000, DstPort: 4789, Present: HasProto | HasSrcPort | HasDstPort}), false},

		{"nothing", 1, "", onePacket, true},
	}
}

func without(r Record, f Fields) Record {
	r.Present &^= f
	if f&HasBytes != 0 {
		r.Bytes = 0
	}
	return r
}

func with8(r Record, proto uint8) Record {
	r.Proto = proto
	return r
}

func TestSampledHeaders(t *testing.T) {
	for _, s := range packetSeeds() {
		t.Run(s.name, func(t *testing.T) {
			got, p := agreePacket(t, s.protocol, raw(s.in))
			if d := cmp.Diff(s.want, got); d != "" {
				t.Errorf("record (-want +got):\n%s", d)
			}
			if p.Has(ProblemHeaderCut) != s.cut || p&^headerCut != 0 {
				t.Errorf("problems %b, cut wanted: %v", p, s.cut)
			}
		})
	}
}

// Bad 63: the headers of every seed, cut at each byte. A shorter piece tells no
// more than a longer one, and nothing that it does not hold.
func TestSampledHeadersCutAnywhere(t *testing.T) {
	for _, s := range packetSeeds() {
		in := raw(s.in)
		whole, _ := agreePacket(t, s.protocol, in)
		for n := len(in); n >= 0; n-- {
			part, _ := agreePacket(t, s.protocol, in[:n])
			if part.Present&^whole.Present != 0 {
				t.Errorf("%s: the first %d bytes have %b, more than %b", s.name, n, part.Present, whole.Present)
			}
		}
	}
}

// FuzzPacket holds the reader of sampled headers against the slow one.
func FuzzPacket(f *testing.F) {
	for _, s := range packetSeeds() {
		f.Add(uint8(s.protocol), raw(s.in))
	}
	f.Fuzz(func(t *testing.T, protocol uint8, b []byte) { agreePacket(t, uint32(protocol), b) })
}

// agreePacket reads b, which stands amid other bytes, with both readers.
func agreePacket(t *testing.T, protocol uint32, b []byte) (Record, ProblemSet) {
	t.Helper()
	const margin, filler = 64, 0x45
	ring := bytes.Repeat([]byte{filler}, margin+len(b)+margin)
	in := ring[margin : margin+len(b)]
	copy(in, b)

	var want, got Record
	wantBelow, wantProblems := slowHeader(int(protocol), bytes.Clone(b), &want)
	below, problems := got.readLayers(in, headerProtocol(protocol))
	if got != want {
		t.Errorf("record of protocol %d, % x (-slow +fast):\n%s", protocol, b, cmp.Diff(want, got))
	}
	if below != wantBelow || problems != wantProblems {
		t.Errorf("protocol %d, % x: %d bytes below layer 3, problems %b; the slow reader says %d, %b",
			protocol, b, below, problems, wantBelow, wantProblems)
	}
	if below < 0 || below > len(b) {
		t.Errorf("%d bytes of %d", below, len(b))
	}
	if !bytes.Equal(in, b) || bytes.Count(ring[:margin], []byte{filler}) != margin ||
		bytes.Count(ring[margin+len(b):], []byte{filler}) != margin {
		t.Error("the reader wrote into the packet or around it")
	}
	return got, problems
}

// The sections of IPFIX may come beside elements that count.
func TestSectionsKeepCounters(t *testing.T) {
	r := Record{Packets: 9, Bytes: 900, Present: HasPackets | HasBytes}
	if p := r.readEthernet(raw(macs + "0800" + v4("11") + udp)); p != 0 || r.Packets != 9 || r.Bytes != 900 || r.DstPort != 53 {
		t.Errorf("problems %b, record %+v", p, r)
	}
	for in, want := range map[string]Record{
		v4("11") + udp: sum(hasIPv4, hasUDP),
		v6("06") + tcp: sum(hasIPv6, hasTCP),
		"5eeeeeee":     onePacket,
	} {
		var r Record
		if p := r.readIP(raw(in)); p != 0 || r != want {
			t.Errorf("readIP(%s): problems %b\n%s", in, p, cmp.Diff(want, r))
		}
	}
	var empty Record
	if p := empty.readIP(nil); p != headerCut || empty != onePacket {
		t.Errorf("readIP of nothing: problems %b, %+v", p, empty)
	}
}

// Packets that gopacket puts together are read as it reads them.
func TestSampledHeadersAsGopacket(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		in := randomPacket(t, rnd)
		p := gopacket.NewPacket(in, layers.LayerTypeEthernet, gopacket.Default)
		if e := p.ErrorLayer(); e != nil {
			t.Fatalf("% x: %v", in, e.Error())
		}
		want := gopacketRecord(p)
		var got Record
		if s := got.readEthernet(in); s != 0 || got != want {
			t.Fatalf("% x: problems %b (-gopacket +ours)\n%s", in, s, cmp.Diff(want, got))
		}
	}
}

// randomPacket is an Ethernet frame with up to three tags or up to three labels,
// IPv4 or IPv6, and TCP, UDP, SCTP or ICMP.
func randomPacket(t *testing.T, rnd *rand.Rand) []byte {
	u8 := func() uint8 { return uint8(rnd.Uint32()) }
	u16 := func() uint16 { return uint16(rnd.Uint32()) }
	addr := func(n int) []byte {
		a := make([]byte, n)
		for i := range a {
			a[i] = u8()
		}
		return a
	}
	six := rnd.IntN(2) == 1
	ether := layers.EthernetTypeIPv4
	if six {
		ether = layers.EthernetTypeIPv6
	}
	eth := &layers.Ethernet{DstMAC: addr(6), SrcMAC: addr(6), EthernetType: ether}
	stack := []gopacket.SerializableLayer{eth}
	switch n := rnd.IntN(4); {
	case n > 0 && rnd.IntN(2) == 0:
		eth.EthernetType = layers.EthernetTypeDot1Q
		for i := range n {
			next := layers.EthernetTypeDot1Q
			if i == n-1 {
				next = ether
			}
			stack = append(stack, &layers.Dot1Q{Priority: u8() & 7, VLANIdentifier: u16()%4095 + 1, Type: next})
		}
	case n > 0:
		eth.EthernetType = layers.EthernetTypeMPLSUnicast
		for i := range n {
			stack = append(stack, &layers.MPLS{Label: rnd.Uint32N(1 << 20), StackBottom: i == n-1, TTL: u8()})
		}
	}
	proto := []layers.IPProtocol{layers.IPProtocolTCP, layers.IPProtocolUDP, layers.IPProtocolSCTP, layers.IPProtocolICMPv4}[rnd.IntN(4)]
	if six && proto == layers.IPProtocolICMPv4 {
		proto = layers.IPProtocolICMPv6
	}
	if six {
		stack = append(stack, &layers.IPv6{Version: 6, TrafficClass: u8(), FlowLabel: rnd.Uint32N(1 << 20), NextHeader: proto, HopLimit: u8(), SrcIP: addr(16), DstIP: addr(16)})
	} else {
		stack = append(stack, &layers.IPv4{Version: 4, TOS: u8(), Id: u16(), Flags: layers.IPv4DontFragment, TTL: u8(), Protocol: proto, SrcIP: addr(4), DstIP: addr(4)})
	}
	switch proto {
	case layers.IPProtocolTCP:
		flags := u8()
		stack = append(stack, &layers.TCP{
			SrcPort: layers.TCPPort(u16()), DstPort: layers.TCPPort(u16()), Seq: rnd.Uint32(),
			FIN: flags&1 != 0, SYN: flags&2 != 0, RST: flags&4 != 0, PSH: flags&8 != 0,
			ACK: flags&16 != 0, URG: flags&32 != 0, ECE: flags&64 != 0, CWR: flags&128 != 0,
		})
	case layers.IPProtocolUDP:
		// Ports behind which gopacket looks for no protocol.
		stack = append(stack, &layers.UDP{SrcPort: layers.UDPPort(20000 + u16()%10000), DstPort: layers.UDPPort(20000 + u16()%10000)})
	case layers.IPProtocolSCTP:
		stack = append(stack, &layers.SCTP{SrcPort: layers.SCTPPort(u16()), DstPort: layers.SCTPPort(u16())})
	case layers.IPProtocolICMPv6:
		stack = append(stack, &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeEchoRequest, u8())})
	default:
		stack = append(stack, &layers.ICMPv4{TypeCode: layers.ICMPv4TypeCode(u16())})
	}
	if proto == layers.IPProtocolUDP || proto == layers.IPProtocolTCP {
		stack = append(stack, gopacket.Payload(addr(rnd.IntN(40))))
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true}, stack...); err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(buf.Bytes())
}

// gopacketRecord is a record of the outer layers that gopacket found.
func gopacketRecord(p gopacket.Packet) Record {
	r := onePacket
	address := func(ip net.IP) [16]byte {
		a, _ := netip.AddrFromSlice(ip)
		return a.As16()
	}
	ports := func(src, dst uint16) {
		r.SrcPort, r.DstPort = src, dst
		r.Present |= HasSrcPort | HasDstPort
	}
	for _, l := range p.Layers() {
		switch l := l.(type) {
		case *layers.Ethernet:
			copy(r.SrcMAC[:], l.SrcMAC)
			copy(r.DstMAC[:], l.DstMAC)
			r.Present |= HasSrcMAC | HasDstMAC
		case *layers.Dot1Q:
			if r.Present&HasVLAN == 0 {
				r.VLAN = l.VLANIdentifier
				r.Present |= HasVLAN
			}
		case *layers.IPv4:
			r.Src, r.Dst, r.Proto, r.Bytes = address(l.SrcIP), address(l.DstIP), uint8(l.Protocol), uint64(l.Length)
			r.Present |= HasSrc | HasDst | HasProto | HasBytes
		case *layers.IPv6:
			r.Src, r.Dst, r.Proto, r.Bytes = address(l.SrcIP), address(l.DstIP), uint8(l.NextHeader), uint64(l.Length)+40
			r.Present |= HasSrc | HasDst | HasProto | HasBytes
		case *layers.TCP:
			ports(uint16(l.SrcPort), uint16(l.DstPort))
			r.TCPFlags = l.Contents[13]
			r.Present |= HasTCPFlags
		case *layers.UDP:
			ports(uint16(l.SrcPort), uint16(l.DstPort))
		case *layers.SCTP:
			ports(uint16(l.SrcPort), uint16(l.DstPort))
		case *layers.ICMPv4:
			r.DstPort = uint16(l.TypeCode)
			r.Present |= HasDstPort
		case *layers.ICMPv6:
			r.DstPort = uint16(l.TypeCode)
			r.Present |= HasDstPort
		}
	}
	return r
}

func TestSampledHeaderNoAllocation(t *testing.T) {
	in := raw(macs + "8100 0064 0800" + v4("06") + tcp)
	var r Record
	if n := testing.AllocsPerRun(100, func() {
		r = Record{}
		r.readEthernet(in)
	}); n != 0 || r.DstPort != 443 {
		t.Errorf("reading allocates %v times, record %+v", n, r)
	}
}

func BenchmarkSampledHeader(b *testing.B) {
	for name, s := range map[string]string{
		"ipv4": macs + "0800" + v4("06") + tcp,
		"ipv6": macs + "8100 0064 86dd" + v6("06") + tcp,
	} {
		b.Run(name, func(b *testing.B) {
			in := raw(s)
			var r Record
			b.ReportAllocs()
			for b.Loop() {
				r = Record{}
				r.readEthernet(in)
			}
		})
	}
}
