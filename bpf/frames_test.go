// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bpf

import (
	"net/netip"
	"testing"
)

type frameCase struct {
	name string
	f    frame
	want Exit
}

// frameCases are what the program must tell apart. No socket is registered, so that
// a frame that would be redirected takes PassNoSocket.
func frameCases() []frameCase {
	v4, v6 := frame{from: peer4, to: local4}, frame{from: peer6, to: local6}
	edit := func(f frame, change func(*frame)) frame { change(&f); return f }
	noOp := []byte{protoUDP, 0, 1, 4, 0, 0, 0, 0}    // an extension header of padding
	fragHdr := []byte{protoUDP, 0, 0, 1, 0, 0, 0, 9} // first fragment, more to come
	atomic := []byte{protoUDP, 0, 0, 0, 0, 0, 0, 9}  // a fragment header and no fragment
	return []frameCase{
		{"v4", v4, PassNoSocket},
		{"v6", v6, PassNoSocket},
		{"v4, don't fragment", edit(v4, func(f *frame) { f.frag = dontFrag }), PassNoSocket},
		{"v4, one tag", edit(v4, func(f *frame) { f.tags = []uint16{vlan} }), PassNoSocket},
		{"v6, one tag", edit(v6, func(f *frame) { f.tags = []uint16{vlan} }), PassNoSocket},
		{"v4, two tags", edit(v4, func(f *frame) { f.tags = []uint16{vlanOuter, vlan} }), PassNoSocket},
		{"v6, two tags", edit(v6, func(f *frame) { f.tags = []uint16{vlan, vlan} }), PassNoSocket},
		{"v4, three tags", edit(v4, func(f *frame) { f.tags = []uint16{vlanOuter, vlan, vlan} }), PassVLAN},
		{"v4, padded as Ethernet does", edit(v4, func(f *frame) { f.payload, f.padding = 4, 14 }), PassNoSocket},
		{"v6, bytes behind the packet", edit(v6, func(f *frame) { f.padding = 4 }), PassNoSocket},
		{"no payload", edit(v4, func(f *frame) { f.payload, f.udpLen, f.padding = -8, 8, 18 }), PassNoSocket},

		{"ARP", edit(v4, func(f *frame) { f.etherType = etherARP }), PassNotIP},
		{"802.3 length", edit(v4, func(f *frame) { f.etherType = 46 }), PassNotIP},
		{"v4 in an IPv6 frame", edit(v4, func(f *frame) { f.etherType = etherIPv6 }), PassMalformed},
		{"v6 in an IPv4 frame", edit(v6, func(f *frame) { f.etherType = etherIPv4 }), PassMalformed},
		{"TCP", edit(v4, func(f *frame) { f.proto = 6 }), PassNotUDP},
		{"v6 TCP", edit(v6, func(f *frame) { f.proto = 6 }), PassNotUDP},
		{"v6 ESP", edit(v6, func(f *frame) { f.proto = 50 }), PassNotUDP},
		{"UDP-Lite", edit(v4, func(f *frame) { f.proto = 136 }), PassNotUDP},

		{"v4 other address", edit(v4, func(f *frame) { f.to = local4.Next() }), PassNotLocal},
		{"v6 other address", edit(v6, func(f *frame) { f.to = local6.Prev() }), PassNotLocal},
		{"v6 spelling of the v4 address", edit(v6, func(f *frame) { f.to = netip.AddrFrom16(local4.As16()) }), PassNotLocal},
		{"v6 spelling of a v4 exporter", edit(v6, func(f *frame) { f.from = netip.AddrFrom16(peer4.As16()) }), PassMalformed},
		{"fragment to another", edit(v4, func(f *frame) { f.to, f.frag = peer4, moreFrags }), PassNotLocal},

		{"options", edit(v4, func(f *frame) { f.options = 1 }), PassOptions},
		{"all the options", edit(v4, func(f *frame) { f.options = 10 }), PassOptions},
		{"header of four words", edit(v4, func(f *frame) { f.ihl = 4 }), PassMalformed},
		{"header of no words", edit(v4, func(f *frame) { f.ihl, f.version = 0x40, 4 }), PassMalformed},
		{"first fragment", edit(v4, func(f *frame) { f.frag = moreFrags }), PassFragment},
		{"middle fragment", edit(v4, func(f *frame) { f.frag = moreFrags | 185 }), PassFragment},
		{"last fragment", edit(v4, func(f *frame) { f.frag = 185 }), PassFragment},
		{"last possible fragment", edit(v4, func(f *frame) { f.frag = 0x1fff }), PassFragment},
		{"v6 first fragment", edit(v6, func(f *frame) { f.proto, f.extension = 44, fragHdr }), PassFragment},
		{"v6 atomic fragment", edit(v6, func(f *frame) { f.proto, f.extension = 44, atomic }), PassFragment},
		{"hop-by-hop", edit(v6, func(f *frame) { f.hopByHop, f.extension = true, noOp }), PassExtension},
		{"routing", edit(v6, func(f *frame) { f.proto, f.extension = 43, noOp }), PassExtension},
		{"destination options", edit(v6, func(f *frame) { f.proto, f.extension = 60, noOp }), PassExtension},
		{"authentication", edit(v6, func(f *frame) { f.proto, f.extension = 51, noOp }), PassExtension},

		{"port above", edit(v4, func(f *frame) { f.port = testPort + 1 }), PassPort},
		{"port below", edit(v6, func(f *frame) { f.port = testPort - 1 }), PassPort},
		{"same bit of another word", edit(v4, func(f *frame) { f.port = testPort + 64 }), PassPort},

		{"UDP longer than IP", edit(v4, func(f *frame) { f.udpLen = 1 }), PassMalformed},
		{"UDP shorter than IP", edit(v4, func(f *frame) { f.udpLen = -1 }), PassMalformed},
		{"UDP of no length", edit(v6, func(f *frame) { f.udpLen = -8 - exportSize }), PassMalformed},
		{"v6 UDP longer than IP", edit(v6, func(f *frame) { f.udpLen = 1 }), PassMalformed},
		{"both lengths 7", edit(v6, func(f *frame) { f.udpLen, f.ipLen = -1-exportSize, -1-exportSize }), PassMalformed},
		{"IP shorter than its header", edit(v4, func(f *frame) { f.ipLen = -19 - 8 - exportSize }), PassMalformed},
		{"jumbogram", edit(v6, func(f *frame) { f.ipLen = -8 - exportSize }), PassMalformed},
		{"IP and UDP longer than the frame", edit(v4, func(f *frame) { f.ipLen, f.udpLen = 1, 1 }), PassShort},
		{"v6 longer than the frame", edit(v6, func(f *frame) { f.ipLen, f.udpLen = 1, 1 }), PassShort},

		{"as long as possible", edit(v4, func(f *frame) { f.payload = 1792 - 42 }), PassNoSocket},
		{"one too long", edit(v4, func(f *frame) { f.payload = 1792 - 41 }), PassLong},
		{"v6 one too long", edit(v6, func(f *frame) { f.payload = 1792 - 61 }), PassLong},
		{"too long by a tag", edit(v4, func(f *frame) { f.payload = 1792 - 42; f.tags = []uint16{vlan} }), PassLong},
		{"too long and another's", edit(v4, func(f *frame) { f.payload, f.to = 2000, peer4 }), PassNotLocal},
	}
}

func TestFrames(t *testing.T) {
	forms(t, func(t *testing.T, config Config, p *Program) {
		for _, c := range frameCases() {
			b := c.f.bytes()
			if got := runFrame(t, p, b); got != c.want {
				t.Errorf("%s: %v, want %v\n%x", c.name, got, c.want, b)
			}
			if got := (oracle{config: config}).predict(b); got != c.want {
				t.Errorf("%s: the oracle says %v, want %v", c.name, got, c.want)
			}
		}
	})
}
