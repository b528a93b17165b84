// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

var hello = []byte("hello, sensor")

// same checks one datagram of a capture.
func same(t *testing.T, d Datagram, index int, when time.Time, payload []byte, six bool) {
	t.Helper()
	src, dst := router4, sensor4
	if six {
		src, dst = router6, sensor6
	}
	if d.Index != index || !d.Time.Equal(when) || d.Time.Location() != time.UTC || d.Raw || d.Missing != 0 ||
		d.Source != src || d.Destination != dst || !bytes.Equal(d.Payload, payload) {
		t.Errorf("datagram %d at %v, %v → %v, raw %v, %d missing, %q; want %d at %v, %v → %v, %q",
			d.Index, d.Time, d.Source, d.Destination, d.Raw, d.Missing, d.Payload, index, when, src, dst, payload)
	}
}

func TestLinkTypes(t *testing.T) {
	ip4, ip6 := udpIn(t, router4, sensor4, hello), udpIn(t, router6, sensor6, hello)
	cooked1 := func(ip []byte) []byte {
		return append(binary.BigEndian.AppendUint16(make([]byte, 14), etherType(ip)), ip...)
	}
	cooked2 := func(ip []byte) []byte {
		return append(append(binary.BigEndian.AppendUint16(nil, etherType(ip)), make([]byte, 18)...), ip...)
	}
	family := func(ip []byte) []byte { return append([]byte{2, 0, 0, 0}, ip...) }
	raw := func(ip []byte) []byte { return ip }
	for _, c := range []struct {
		name string
		link layers.LinkType
		wrap func([]byte) []byte
	}{
		{"Ethernet", 1, func(ip []byte) []byte { return ethernet(ip) }},
		{"one VLAN tag", 1, func(ip []byte) []byte { return ethernet(ip, typeVLAN) }},
		{"QinQ", 1, func(ip []byte) []byte { return ethernet(ip, typeQinQ, typeVLAN) }},
		{"old QinQ", 1, func(ip []byte) []byte { return ethernet(ip, typeQinQ9, typeVLAN) }},
		{"Ethernet with padding", 1, func(ip []byte) []byte { return append(ethernet(ip), 1, 2, 3, 4, 5) }},
		{"Linux cooked v1", 113, cooked1},
		{"Linux cooked v2", 276, cooked2},
		{"raw IP", 101, raw},
		{"raw IP of BSD", 12, raw},
		{"raw IP of OpenBSD", 14, raw},
		{"IPv4 or IPv6 alone", 228, raw},
		{"IPv6 or IPv4 alone", 229, raw},
		{"null", 0, family},
		{"loop", 108, family},
	} {
		t.Run(c.name, func(t *testing.T) {
			f4, f6 := c.wrap(ip4), c.wrap(ip6)
			for name, content := range map[string][]byte{
				"pcap":   pcapOf(t, c.link, f4, f6),
				"pcapng": pcapngOf(t, ngPacket{c.link, f4}, ngPacket{c.link, f6}),
			} {
				got := whole(t, content)
				if len(got) != 2 {
					t.Fatalf("%s: %d datagrams, want 2", name, len(got))
				}
				same(t, got[0], 1, at(0), hello, false)
				same(t, got[1], 2, at(1), hello, true)
			}
			// A frame cut at each byte is skipped or told to be cut, and
			// never makes another datagram.
			for n := range f4 {
				for _, d := range whole(t, pcapOf(t, c.link, f4[:n])) {
					if len(d.Payload)+d.Missing != len(hello) || !bytes.HasPrefix(hello, d.Payload) || d.Source != router4 {
						t.Fatalf("cut at %d: %+v", n, d)
					}
				}
			}
		})
	}
}

func TestByteOrdersAndNanoseconds(t *testing.T) {
	frame := ethernet(udpIn(t, router4, sensor4, hello))
	when := time.Date(2026, 11, 23, 7, 0, 0, 123456789, time.UTC)
	for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		b := order.AppendUint32(nil, pcapNanos)
		b = order.AppendUint16(order.AppendUint16(b, 2), 4)
		for _, v := range []uint32{0, 0, 65535, 1, uint32(when.Unix()), uint32(when.Nanosecond()), uint32(len(frame)), uint32(len(frame))} {
			b = order.AppendUint32(b, v)
		}
		got := whole(t, append(b, frame...))
		if len(got) != 1 {
			t.Fatalf("%v: %d datagrams", order, len(got))
		}
		same(t, got[0], 1, when, hello, false)
	}
}

func TestOnlyUDPIsYielded(t *testing.T) {
	tcp := serialize(t, ipv4Of(router4, sensor4, layers.IPProtocolTCP), gopacket.Payload(make([]byte, 40)))
	arp := append(make([]byte, 12), 0x08, 0x06, 0, 1)
	short := udpIn(t, router4, sensor4, hello)
	binary.BigEndian.PutUint16(short[24:], 7) // UDP length shorter than its header
	zero := udpIn(t, router4, sensor4, hello)
	binary.BigEndian.PutUint16(zero[24:], 0)
	long := udpIn(t, router4, sensor4, hello)
	binary.BigEndian.PutUint16(long[24:], uint16(len(long)-20+1)) // longer than the packet
	options := udpIn(t, router4, sensor4, hello)
	options = append(options[:20:20], append([]byte{1, 1, 1, 1}, options[20:]...)...)
	options[0] = 0x46
	binary.BigEndian.PutUint16(options[2:], uint16(len(options)))
	shorter := udpIn(t, router4, sensor4, hello)
	binary.BigEndian.PutUint16(shorter[24:], 8+5) // the rest is IP padding

	got := whole(t, pcapOf(t, 1, ethernet(tcp), arp, ethernet(short), ethernet(zero), ethernet(long), nil, []byte{1},
		ethernet(options), ethernet(udpIn(t, router4, sensor4, nil)), ethernet(shorter)))
	if len(got) != 3 {
		t.Fatalf("%d datagrams, want 3: %+v", len(got), got)
	}
	same(t, got[0], 1, at(7), hello, false)
	same(t, got[1], 2, at(8), nil, false)
	same(t, got[2], 3, at(9), hello[:5], false)
}

func TestIPv6ExtensionHeaders(t *testing.T) {
	plain := udpIn(t, router6, sensor6, hello)
	with := func(first layers.IPProtocol, ext ...byte) []byte {
		b := append(bytes.Clone(plain[:40]), append(ext, plain[40:]...)...)
		b[6] = byte(first)
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
		return b
	}
	udp := byte(layers.IPProtocolUDP)
	good := [][]byte{
		with(layers.IPProtocolIPv6HopByHop, udp, 0, 1, 4, 0, 0, 0, 0),
		with(layers.IPProtocolIPv6Destination, udp, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
		with(layers.IPProtocolIPv6HopByHop, 60, 0, 1, 4, 0, 0, 0, 0, udp, 0, 1, 4, 0, 0, 0, 0),
		with(layers.IPProtocolAH, udp, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
	}
	bad := [][]byte{
		with(layers.IPProtocolIPv6HopByHop, udp, 255, 1, 4, 0, 0, 0, 0), // past the end
		with(layers.IPProtocolNoNextHeader),
	}
	got := whole(t, pcapOf(t, 101, append(bad, good...)...))
	if len(got) != len(good) {
		t.Fatalf("%d datagrams, want %d", len(got), len(good))
	}
	for i, d := range got {
		same(t, d, i+1, at(len(bad)+i), hello, true)
	}
}

func TestSnapLength(t *testing.T) {
	frame := ethernet(udpIn(t, router4, sensor4, make([]byte, 1464)))
	var out bytes.Buffer
	w := pcapgo.NewWriter(&out)
	if err := w.WriteFileHeader(96, 1); err != nil {
		t.Fatal(err)
	}
	if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: at(0), CaptureLength: 96, Length: len(frame)}, frame[:96]); err != nil {
		t.Fatal(err)
	}
	got := whole(t, out.Bytes())
	if len(got) != 1 || len(got[0].Payload) != 96-42 || got[0].Missing != 1464-(96-42) {
		t.Errorf("%+v", got)
	}
}

func TestRawFiles(t *testing.T) {
	v5 := append([]byte{0, 5}, make([]byte, 70)...)
	almost := append(ipfixMessage(40, 1), 0) // one byte does not tile
	for name, content := range map[string][]byte{
		"one payload":                   v5,
		"an empty file":                 nil,
		"one byte":                      {5},
		"three bytes":                   {0xa1, 0xb2, 0xc3},
		"the longest payload":           append(v5, make([]byte, maxPayload-72)...),
		"IPFIX with a trailing byte":    almost,
		"IPFIX of length 15":            {0, 10, 0, 15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		"IPFIX longer than the payload": ipfixMessage(40, 1)[:30],
	} {
		got := whole(t, content)
		if len(got) != 1 || !got[0].Raw || got[0].Index != 1 || !bytes.Equal(got[0].Payload, content) ||
			!got[0].Time.IsZero() || got[0].Source.IsValid() || got[0].Destination.IsValid() {
			t.Errorf("%s: %d datagrams", name, len(got))
		}
	}
}

func TestIPFIXStream(t *testing.T) {
	var small, big []byte
	sizes := []int{16, 400, 17, 65535, 1400}
	small = append(ipfixMessage(16, 0), ipfixMessage(400, 1)...)
	for i, n := range sizes {
		big = append(big, ipfixMessage(n, byte(i))...)
	}
	for name, c := range map[string]struct {
		content []byte
		sizes   []int
	}{"small": {small, sizes[:2]}, "longer than a payload": {big, sizes}} {
		got := whole(t, c.content)
		if len(got) != len(c.sizes) {
			t.Fatalf("%s: %d messages, want %d", name, len(got), len(c.sizes))
		}
		for i, d := range got {
			if !bytes.Equal(d.Payload, ipfixMessage(c.sizes[i], byte(i))) || !d.Raw || d.Index != i+1 {
				t.Errorf("%s: message %d has %d bytes, index %d", name, i, len(d.Payload), d.Index)
			}
		}
	}

	cut, err := all(t, open(t, file(t, "cut", big[:len(big)-1])).Next)
	if len(cut) != 4 || !errors.Is(err, ErrTruncated) {
		t.Errorf("cut: %d messages, %v", len(cut), err)
	}
	cut, err = all(t, open(t, file(t, "cut", append(big, 0, 10, 0))).Next)
	if len(cut) != 5 || !errors.Is(err, ErrTruncated) {
		t.Errorf("cut in a header: %d messages, %v", len(cut), err)
	}
	cut, err = all(t, open(t, file(t, "broken", append(big, make([]byte, 16)...))).Next)
	if len(cut) != 5 || !errors.Is(err, ErrFormat) {
		t.Errorf("broken: %d messages, %v", len(cut), err)
	}
}

func TestOpenErrors(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	for _, c := range []struct {
		name, path string
		is         error
	}{
		{"no such file", missing, os.ErrNotExist},
		{"too long and nothing known", file(t, "x", make([]byte, maxPayload+1)), ErrFormat},
		{"compressed", file(t, "x.gz", []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0}), ErrFormat},
		{"802.11 frames", file(t, "x", pcapOf(t, 105)), ErrFormat},
		{"a pcap version of the future", file(t, "x", append([]byte{0xd4, 0xc3, 0xb2, 0xa1, 9}, make([]byte, 19)...)), ErrFormat},
		{"cut in the file header", file(t, "x", pcapOf(t, 1)[:20]), ErrTruncated},
		{"cut in the section header", file(t, "x", pcapngOf(t, ngPacket{1, hello})[:20]), ErrTruncated},
	} {
		r, err := Open(c.path)
		if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.path) || r != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if _, err := Open(t.TempDir()); err == nil || errors.Is(err, ErrFormat) {
		t.Errorf("a directory: %v", err)
	}

	r := open(t, file(t, "ng", pcapngOf(t, ngPacket{105, hello}, ngPacket{105, hello})))
	if got, err := all(t, r.Next); !errors.Is(err, ErrFormat) || len(got) != 0 {
		t.Errorf("pcapng of foreign links alone: %v", err)
	}
	mixed := whole(t, pcapngOf(t, ngPacket{105, hello}, ngPacket{1, ethernet(udpIn(t, router4, sensor4, hello))}))
	if len(mixed) != 1 {
		t.Errorf("pcapng of foreign and known links: %d datagrams", len(mixed))
	}

	closed := open(t, file(t, "x", hello))
	closed.Close()
	if _, err := closed.Next(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Next after Close: %v", err)
	}
}

func TestCutCaptureYieldsWhatIsBefore(t *testing.T) {
	frame := ethernet(udpIn(t, router4, sensor4, hello))
	three := pcapOf(t, 1, frame, frame, frame)
	record := 16 + len(frame)
	for n := 24; n < len(three); n++ {
		got, err := all(t, open(t, file(t, "cut.pcap", three[:n])).Next)
		want := (n - 24) / record
		clean := (n-24)%record == 0
		if len(got) != want || clean && err != io.EOF || !clean && !errors.Is(err, ErrTruncated) {
			t.Fatalf("pcap cut at %d: %d datagrams, %v; want %d", n, len(got), err, want)
		}
	}

	p := ngPacket{1, frame}
	ng := pcapngOf(t, p, p)
	boundaries := map[int]bool{}
	for at := 0; at < len(ng); at += int(binary.LittleEndian.Uint32(ng[at+4:])) {
		boundaries[at] = true
	}
	first := int(binary.LittleEndian.Uint32(ng[4:]))
	for n := first; n < len(ng); n++ {
		got, err := all(t, open(t, file(t, "cut.pcapng", ng[:n])).Next)
		if len(got) > 1 || boundaries[n] && err != io.EOF || !boundaries[n] && !errors.Is(err, ErrTruncated) {
			t.Fatalf("pcapng cut at %d: %d datagrams, %v", n, len(got), err)
		}
	}
}
