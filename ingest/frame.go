// SPDX-License-Identifier: Apache-2.0

package ingest

import "encoding/binary"

// Sizes and offsets of the headers that steer.c lets through: Ethernet
// (IEEE 802.3), up to two VLAN tags (802.1Q, 802.1ad), IPv4 without options
// (RFC 791) or IPv6 without extension headers (RFC 8200), UDP (RFC 768).
const (
	etherSize = 14
	vlanSize  = 4
	ipv4Size  = 20
	ipv6Size  = 40
	udpSize   = 8

	etherTypeAt = 12
	maxVLANs    = 2

	etherIPv4  = 0x0800
	etherIPv6  = 0x86dd
	etherVLAN  = 0x8100
	etherQinQ  = 0x88a8
	ipv4Simple = 0x45 // version 4, header of five words
)

// parseFrame finds the UDP payload of an Ethernet frame and who sent it. It
// accepts what steer.c redirects and nothing else; false means that the frame
// is something different, which only a changed or foreign program could cause.
func parseFrame(frame []byte, d *datagram) bool {
	if len(frame) < etherSize {
		return false
	}
	kind := binary.BigEndian.Uint16(frame[etherTypeAt:])
	p := frame[etherSize:]
	for range maxVLANs {
		if kind != etherVLAN && kind != etherQinQ {
			break
		}
		if len(p) < vlanSize {
			return false
		}
		kind = binary.BigEndian.Uint16(p[2:])
		p = p[vlanSize:]
	}
	switch kind {
	case etherIPv4:
		return parseIPv4(p, d)
	case etherIPv6:
		return parseIPv6(p, d)
	}
	return false
}

func parseIPv4(p []byte, d *datagram) bool {
	if len(p) < ipv4Size+udpSize || p[0] != ipv4Simple || p[9] != protoUDP {
		return false
	}
	total := int(binary.BigEndian.Uint16(p[2:]))
	if total > len(p) || total < ipv4Size+udpSize {
		return false
	}
	d.source = [16]byte{10: 0xff, 11: 0xff, 12: p[12], 13: p[13], 14: p[14], 15: p[15]}
	return parseUDP(p[ipv4Size:total], d)
}

func parseIPv6(p []byte, d *datagram) bool {
	if len(p) < ipv6Size+udpSize || p[0]>>4 != 6 || p[6] != protoUDP {
		return false
	}
	length := int(binary.BigEndian.Uint16(p[4:]))
	if ipv6Size+length > len(p) || length < udpSize {
		return false
	}
	d.source = [16]byte(p[8:24])
	return parseUDP(p[ipv6Size:ipv6Size+length], d)
}

// parseUDP takes the bytes of the IP payload. What IP carries beyond the UDP
// length is no part of the datagram.
func parseUDP(p []byte, d *datagram) bool {
	length := int(binary.BigEndian.Uint16(p[4:]))
	if length < udpSize || length > len(p) {
		return false
	}
	d.payload = p[udpSize:length:length]
	return true
}
