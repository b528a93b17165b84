// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
	"testing"
)

// unhex reads annotated hexadecimal: what follows a # is a comment.
func unhex(t testing.TB, lines string) []byte {
	t.Helper()
	var b strings.Builder
	for line := range strings.Lines(lines) {
		line, _, _ = strings.Cut(line, "#")
		b.WriteString(strings.Join(strings.Fields(line), ""))
	}
	raw, err := hex.DecodeString(b.String())
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

const (
	ethernet = "020000000002 020000000001 # destination, source\n"
	ipv4UDP  = `
		45 00 0020 0001 4000 40 11 0000 # IPv4, 32 bytes, do not fragment, UDP
		c0000201 c0000202               # 192.0.2.1 to 192.0.2.2
		c000 0807 000c 0000             # 49152 to 2055, 12 bytes
		deadbeef                        # payload
	`
	ipv6UDP = `
		60000000 000c 11 40             # IPv6, 12 bytes, UDP, hop limit 64
		20010db8000000000000000000000001
		20010db8000000000000000000000002
		c000 0807 000c 0000
		deadbeef
	`
	vlan10  = "8100 000a "
	qinq100 = "88a8 0064 "
)

func TestParseFrame(t *testing.T) {
	edit := func(b []byte, at int, v ...byte) []byte { copy(b[at:], v); return b }
	ip4 := func() []byte { return unhex(t, ethernet+"0800"+ipv4UDP) }
	ip6 := func() []byte { return unhex(t, ethernet+"86dd"+ipv6UDP) }
	for _, c := range []struct {
		name  string
		frame []byte
		from  string // empty: refused
	}{
		{"IPv4", ip4(), "192.0.2.1"},
		{"IPv4 with Ethernet padding", append(ip4(), 0, 0, 0, 0), "192.0.2.1"},
		{"IPv4 in a VLAN", unhex(t, ethernet+vlan10+"0800"+ipv4UDP), "192.0.2.1"},
		{"IPv4 in two VLANs", unhex(t, ethernet+qinq100+vlan10+"0800"+ipv4UDP), "192.0.2.1"},
		{"IPv6", ip6(), "2001:db8::1"},
		{"IPv6 in a VLAN", unhex(t, ethernet+vlan10+"86dd"+ipv6UDP), "2001:db8::1"},
		// Checksums are the NIC's business: a ring has frames before the kernel
		// looks at them, and a datagram that was damaged on the way is decoded
		// as far as it makes sense, as any other.
		{"bad input 67: wrong IP and UDP checksums", edit(edit(ip4(), 24, 0xde, 0xad), 40, 0xbe, 0xef), "192.0.2.1"},
		{"bad input 67: wrong UDP checksum, IPv6", edit(ip6(), 60, 0xbe, 0xef), "2001:db8::1"},
		// A source is only a name for counters and the allow list: odd ones
		// are exporters like any other unless a list says otherwise.
		{"bad input 69: from 127.0.0.1", edit(ip4(), 26, 127, 0, 0, 1), "127.0.0.1"},
		{"bad input 69: from a multicast group", edit(ip4(), 26, 224, 0, 0, 1), "224.0.0.1"},
		{"bad input 69: from its own destination", edit(ip4(), 26, 192, 0, 2, 2), "192.0.2.2"},
		{"three VLAN tags", unhex(t, ethernet+qinq100+vlan10+vlan10+"0800"+ipv4UDP), ""},
		{"ARP", edit(ip4(), 12, 0x08, 0x06), ""},
		{"IPv4 with options", edit(ip4(), 14, 0x46), ""},
		{"IPv4 with version 6", edit(ip4(), 14, 0x65), ""},
		{"TCP", edit(ip4(), 23, 6), ""},
		{"IPv4 length past the frame", edit(ip4(), 16, 0, 33), ""},
		{"IPv4 length under the headers", edit(ip4(), 16, 0, 27), ""},
		{"UDP length past the packet", edit(ip4(), 38, 0, 13), ""},
		{"UDP length under its header", edit(ip4(), 38, 0, 7), ""},
		{"IPv6 with version 4", edit(ip6(), 14, 0x40), ""},
		{"IPv6 with an extension header", edit(ip6(), 20, 0), ""},
		{"IPv6 length past the frame", edit(ip6(), 18, 0, 13), ""},
		{"IPv6 length under the UDP header", edit(ip6(), 18, 0, 7), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := slices.Clone(c.frame)
			var d datagram
			if ok := parseFrame(c.frame, &d); ok != (c.from != "") {
				t.Fatalf("accepted: %v", ok)
			}
			if !slices.Equal(before, c.frame) {
				t.Error("the frame was changed")
			}
			if c.from == "" {
				return
			}
			if d.source != addr(c.from) || hex.EncodeToString(d.payload) != "deadbeef" {
				t.Errorf("from %x: %x", d.source, d.payload)
			}
			if cap(d.payload) != len(d.payload) {
				t.Error("the payload can grow into what follows it")
			}
			end := bytes.Index(before, []byte{0xde, 0xad, 0xbe, 0xef}) + 4
			for n := range end {
				if parseFrame(slices.Clone(before[:n]), &d) {
					t.Errorf("accepted the first %d bytes", n)
				}
			}
		})
	}
}

func TestUDPLengthMayEndBeforeTheIPPacket(t *testing.T) {
	frame := unhex(t, ethernet+"0800"+ipv4UDP)
	binary.BigEndian.PutUint16(frame[38:], 10)
	var d datagram
	if !parseFrame(frame, &d) || hex.EncodeToString(d.payload) != "dead" {
		t.Errorf("payload %x", d.payload)
	}
}

func FuzzParseFrame(f *testing.F) {
	f.Add(unhex(f, ethernet+"0800"+ipv4UDP))
	f.Add(unhex(f, ethernet+vlan10+"86dd"+ipv6UDP))
	f.Fuzz(func(t *testing.T, frame []byte) {
		var d datagram
		if parseFrame(frame, &d) && len(d.payload) > len(frame)-etherSize-ipv4Size-udpSize {
			t.Errorf("a payload of %d bytes in a frame of %d", len(d.payload), len(frame))
		}
	})
}
