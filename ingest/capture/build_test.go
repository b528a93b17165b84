// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// What the packets of these tests have in common.
var (
	router4   = netip.MustParseAddrPort("192.0.2.1:40000")
	sensor4   = netip.MustParseAddrPort("192.0.2.2:2055")
	router6   = netip.MustParseAddrPort("[2001:db8::1]:40000")
	sensor6   = netip.MustParseAddrPort("[2001:db8::2]:2055")
	startTime = time.Date(2026, 11, 23, 7, 0, 0, 123456000, time.UTC)
)

// serialize writes layers one behind the other, with right lengths and checksums.
func serialize(t testing.TB, ls ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ls...); err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(buf.Bytes())
}

// udpIn is an IP packet of a UDP datagram between the addresses, of their family.
func udpIn(t testing.TB, from, to netip.AddrPort, payload []byte) []byte {
	t.Helper()
	udp := &layers.UDP{SrcPort: layers.UDPPort(from.Port()), DstPort: layers.UDPPort(to.Port())}
	if from.Addr().Is4() {
		ip := ipv4Of(from, to, layers.IPProtocolUDP)
		if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
			t.Fatal(err)
		}
		return serialize(t, ip, udp, gopacket.Payload(payload))
	}
	ip := ipv6Of(from, to, layers.IPProtocolUDP)
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	return serialize(t, ip, udp, gopacket.Payload(payload))
}

func ipv4Of(from, to netip.AddrPort, p layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 64, Id: 7, Protocol: p, SrcIP: from.Addr().AsSlice(), DstIP: to.Addr().AsSlice()}
}

func ipv6Of(from, to netip.AddrPort, p layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: p, SrcIP: from.Addr().AsSlice(), DstIP: to.Addr().AsSlice()}
}

// ethernet puts a frame around an IP packet, with VLAN tags of the given types.
func ethernet(ip []byte, tags ...uint16) []byte {
	b := make([]byte, 12)
	for _, tag := range tags {
		b = binary.BigEndian.AppendUint16(b, tag)
		b = binary.BigEndian.AppendUint16(b, 42)
	}
	return append(binary.BigEndian.AppendUint16(b, etherType(ip)), ip...)
}

func etherType(ip []byte) uint16 {
	if ip[0]>>4 == 6 {
		return typeIPv6
	}
	return typeIPv4
}

// fragment4 cuts an IPv4 packet without options into pieces of size bytes, ×8.
func fragment4(ip []byte, size int) (out [][]byte) {
	body := ip[20:]
	for at := 0; at < len(body); at += size {
		end := min(at+size, len(body))
		b := append(bytes.Clone(ip[:20]), body[at:end]...)
		word := uint16(at / 8)
		if end < len(body) {
			word |= 0x2000
		}
		binary.BigEndian.PutUint16(b[6:], word)
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		out = append(out, b)
	}
	return out
}

// fragment6 is fragment4 for IPv6.
func fragment6(ip []byte, size int, id uint32) (out [][]byte) {
	body := ip[40:]
	for at := 0; at < len(body); at += size {
		end := min(at+size, len(body))
		b := bytes.Clone(ip[:40])
		b[6] = byte(layers.IPProtocolIPv6Fragment)
		word := uint16(at)
		if end < len(body) {
			word |= 1
		}
		b = append(b, ip[6], 0)
		b = binary.BigEndian.AppendUint16(b, word)
		b = binary.BigEndian.AppendUint32(b, id)
		b = append(b, body[at:end]...)
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
		out = append(out, b)
	}
	return out
}

// at is the capture time of packet i of a file, a second apart from the next.
func at(i int) time.Time { return startTime.Add(time.Duration(i) * time.Second) }

// pcapOf is the content of a pcap file of frames.
func pcapOf(t testing.TB, link layers.LinkType, frames ...[]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := pcapgo.NewWriter(&out)
	if err := w.WriteFileHeader(65535, link); err != nil {
		t.Fatal(err)
	}
	for i, f := range frames {
		if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: at(i), CaptureLength: len(f), Length: len(f)}, f); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

// ngPacket is a packet of a pcapng file, on an interface of a link type.
type ngPacket struct {
	link  layers.LinkType
	frame []byte
}

// pcapngOf is the content of a pcapng file, with an interface per packet.
func pcapngOf(t testing.TB, packets ...ngPacket) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := pcapgo.NewNgWriter(&out, packets[0].link)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range packets {
		id := 0
		if i > 0 {
			if id, err = w.AddInterface(pcapgo.NgInterface{LinkType: p.link, SnapLength: 65535}); err != nil {
				t.Fatal(err)
			}
		}
		ci := gopacket.CaptureInfo{Timestamp: at(i), CaptureLength: len(p.frame), Length: len(p.frame), InterfaceIndex: id}
		if err := w.WritePacket(ci, p.frame); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// ipfixMessage is one of n bytes, all but the header filled with a byte.
func ipfixMessage(n int, fill byte) []byte {
	b := bytes.Repeat([]byte{fill}, n)
	binary.BigEndian.PutUint16(b, ipfixVersion)
	binary.BigEndian.PutUint16(b[2:], uint16(n))
	return b
}

func file(t testing.TB, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t testing.TB, path string) *Reader {
	t.Helper()
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// all reads to the end, with payloads of their own, and returns what ended it.
func all(t testing.TB, next func() (Datagram, error)) (out []Datagram, end error) {
	t.Helper()
	for {
		d, err := next()
		if err != nil {
			if errors.Is(err, io.EOF) && err != io.EOF {
				t.Fatalf("the end is wrapped: %v", err)
			}
			return out, err
		}
		d.Payload = bytes.Clone(d.Payload)
		out = append(out, d)
	}
}

// whole reads a file with this content, which must end well.
func whole(t testing.TB, content []byte) []Datagram {
	t.Helper()
	out, err := all(t, open(t, file(t, "file", content)).Next)
	if err != io.EOF {
		t.Fatalf("after %d datagrams: %v", len(out), err)
	}
	return out
}
