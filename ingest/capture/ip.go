// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/gopacket/gopacket/layers"
)

const (
	ipv4Header, ipv6Header, udpHeader = 20, 40, 8
)

// segment is what an IP packet carries: for UDP its header and payload, as far
// as captured. missing is how much of it was on the wire but not captured.
type segment struct {
	src, dst netip.Addr
	protocol layers.IPProtocol
	body     []byte
	missing  int
}

// datagram fills d from an IP packet, with d.Time the time of capture. It returns
// false where no UDP datagram is complete with it.
func (f *defragmenter) datagram(packet []byte, d *Datagram) bool {
	if len(packet) == 0 {
		return false
	}
	var s segment
	var ok bool
	switch packet[0] >> 4 {
	case 4:
		s, ok = f.ipv4(packet, d.Time)
	case 6:
		s, ok = f.ipv6(packet, d.Time)
	}
	return ok && s.protocol == layers.IPProtocolUDP && s.udp(d)
}

// udp takes the UDP header off, with the kernel's rules: a length shorter than
// the header or longer than the packet makes it no datagram. Checksums are not
// looked at: captured on the sender they are wrong as a rule.
func (s segment) udp(d *Datagram) bool {
	if len(s.body) < udpHeader {
		return false
	}
	be := binary.BigEndian
	length := int(be.Uint16(s.body[4:]))
	if length < udpHeader || length > len(s.body)+s.missing {
		return false
	}
	d.Source = netip.AddrPortFrom(s.src, be.Uint16(s.body))
	d.Destination = netip.AddrPortFrom(s.dst, be.Uint16(s.body[2:]))
	end := min(length, len(s.body))
	d.Payload = s.body[udpHeader:end:end]
	d.Missing = length - end
	return true
}

func (f *defragmenter) ipv4(b []byte, now time.Time) (segment, bool) {
	if len(b) < ipv4Header {
		return segment{}, false
	}
	be := binary.BigEndian
	header, total := int(b[0]&15)*4, int(be.Uint16(b[2:]))
	if header < ipv4Header || total < header || len(b) < header {
		return segment{}, false
	}
	end := min(total, len(b)) // without what Ethernet pads a short frame with
	s := segment{
		src: netip.AddrFrom4([4]byte(b[12:])), dst: netip.AddrFrom4([4]byte(b[16:])),
		protocol: layers.IPProtocol(b[9]),
		body:     b[header:end], missing: total - end,
	}
	const moreOrOffset = 0x3fff
	if be.Uint16(b[6:])&moreOrOffset == 0 {
		return s, true
	}
	if s.protocol != layers.IPProtocolUDP {
		return segment{}, false
	}
	whole := f.insert4(s, b[:end], now)
	if whole == nil {
		return segment{}, false
	}
	s.body, s.missing = whole.Payload, 0
	return s, true
}

func (f *defragmenter) ipv6(b []byte, now time.Time) (segment, bool) {
	if len(b) < ipv6Header {
		return segment{}, false
	}
	total := ipv6Header + int(binary.BigEndian.Uint16(b[4:]))
	end := min(total, len(b))
	s := segment{
		src: netip.AddrFrom16([16]byte(b[8:])), dst: netip.AddrFrom16([16]byte(b[24:])),
		protocol: layers.IPProtocol(b[6]),
		body:     b[ipv6Header:end], missing: total - end,
	}
	for {
		// Every extension header has at least 8 bytes, so each turn consumes.
		size := 0
		switch s.protocol {
		case layers.IPProtocolIPv6HopByHop, layers.IPProtocolIPv6Routing, layers.IPProtocolIPv6Destination:
			if len(s.body) >= 8 {
				size = 8 + int(s.body[1])*8
			}
		case layers.IPProtocolAH: // RFC 4302: in 4-byte words, less 2
			if len(s.body) >= 8 {
				size = max(8, 8+int(s.body[1])*4)
			}
		case layers.IPProtocolIPv6Fragment:
			whole := f.insert6(s, now)
			if whole == nil {
				return segment{}, false
			}
			s.protocol, s.body, s.missing = whole.NextHeader, whole.Payload, 0
			continue
		default:
			return s, true
		}
		if size == 0 || size > len(s.body) {
			return segment{}, false
		}
		s.protocol, s.body = layers.IPProtocol(s.body[0]), s.body[size:]
	}
}
