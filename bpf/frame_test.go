// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bpf

import (
	"encoding/binary"
	"net/netip"
)

const (
	etherIPv4  = 0x0800
	etherIPv6  = 0x86dd
	etherARP   = 0x0806
	vlan       = 0x8100
	vlanOuter  = 0x88a8
	protoUDP   = 17
	moreFrags  = 0x2000
	dontFrag   = 0x4000
	testPort   = 2055
	exportSize = 24 + 48 // a NetFlow v5 header and one record
)

// frame describes a frame field by field. The zero value, with an address pair, is
// a well-formed export to port 2055; everything can be made to lie.
type frame struct {
	from, to  netip.Addr
	tags      []uint16 // EtherTypes of VLAN tags, outermost first
	etherType uint16   // 0: what from and to say
	version   uint8    // 0: likewise
	options   int      // 32-bit words of IPv4 options
	ihl       uint8    // 0: 5 + options
	frag      uint16   // the IPv4 flags and fragment offset
	proto     uint8    // protocol or first next header, 0: UDP
	extension []byte   // between the IPv6 and the UDP header
	hopByHop  bool     // proto is 0 and means it
	port      uint16   // destination, 0: 2055
	payload   int      // bytes, 0: exportSize
	ipLen     int      // added to the length in the IP header
	udpLen    int      // added to the length in the UDP header
	padding   int      // bytes behind the IP packet
}

func (f frame) bytes() []byte {
	be := binary.BigEndian
	b := []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}
	for i, tag := range f.tags {
		b = be.AppendUint16(b, tag)
		b = be.AppendUint16(b, uint16(100+i))
	}
	v6 := f.to.Is6()
	b = be.AppendUint16(b, or(f.etherType, pick[uint16](v6, etherIPv6, etherIPv4)))

	payload := or(f.payload, exportSize)
	udp := be.AppendUint16(nil, 40000)
	udp = be.AppendUint16(udp, or(f.port, testPort))
	udp = be.AppendUint16(udp, uint16(8+payload+f.udpLen))
	udp = be.AppendUint16(udp, 0x1234)
	for i := range payload {
		udp = append(udp, byte(i))
	}

	proto := or(f.proto, protoUDP)
	if f.hopByHop {
		proto = 0
	}
	if v6 {
		b = append(b, or(f.version, 6)<<4, 0, 0, 0)
		b = be.AppendUint16(b, uint16(len(f.extension)+len(udp)+f.ipLen))
		b = append(b, proto, 64)
		b = append(b, f.from.AsSlice()...)
		b = append(b, f.to.AsSlice()...)
		b = append(b, f.extension...)
	} else {
		b = append(b, or(f.version, 4)<<4|or(f.ihl, uint8(5+f.options)), 0)
		b = be.AppendUint16(b, uint16(20+4*f.options+len(udp)+f.ipLen))
		b = be.AppendUint16(b, 77)
		b = be.AppendUint16(b, f.frag)
		b = append(b, 64, proto, 0xab, 0xcd)
		b = append(b, f.from.AsSlice()...)
		b = append(b, f.to.AsSlice()...)
		for range f.options {
			b = append(b, 1, 1, 1, 1) // no operation
		}
	}
	b = append(b, udp...)
	return append(b, make([]byte, f.padding)...)
}

func or[T comparable](v, otherwise T) T {
	var zero T
	return pick(v == zero, otherwise, v)
}

func pick[T any](cond bool, yes, no T) T {
	if cond {
		return yes
	}
	return no
}
