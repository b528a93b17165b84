// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bench

import (
	"encoding/binary"
	"net"
	"net/netip"
)

const (
	ethHeader  = 14
	ipv4Header = 20
	udpHeader  = 8
)

// frame is an Ethernet frame with payload in IPv4 and UDP. The UDP checksum is 0,
// "not computed" (RFC 768), so that a payload may change under it.
func frame(srcMAC, dstMAC net.HardwareAddr, src, dst netip.AddrPort, payload []byte) []byte {
	be := binary.BigEndian
	b := make([]byte, 0, ethHeader+ipv4Header+udpHeader+len(payload))
	b = append(b, dstMAC...)
	b = append(b, srcMAC...)
	b = be.AppendUint16(b, 0x0800)

	const version, dontFragment, ttl = 0x45, 0x4000, 64
	ip := len(b)
	b = append(b, version, 0)
	b = be.AppendUint16(b, uint16(ipv4Header+udpHeader+len(payload)))
	b = be.AppendUint16(b, 0)
	b = be.AppendUint16(b, dontFragment)
	b = append(b, ttl, udp, 0, 0)
	b = append(b, src.Addr().AsSlice()...)
	b = append(b, dst.Addr().AsSlice()...)
	be.PutUint16(b[ip+10:], checksum(b[ip:]))

	b = be.AppendUint16(b, src.Port())
	b = be.AppendUint16(b, dst.Port())
	b = be.AppendUint16(b, uint16(udpHeader+len(payload)))
	b = be.AppendUint16(b, 0)
	return append(b, payload...)
}

// checksum is the Internet checksum (RFC 1071) of an even number of bytes.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
