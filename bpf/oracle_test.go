// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bpf

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// oracle says which exit a frame takes, from the rules as the package
// documents them. It is written to be read and shares nothing with steer.c.
type oracle struct {
	config Config
	socket bool // whether queue 0 has one
}

func (o oracle) predict(f []byte) Exit {
	etherType, packet, exit := stripEthernet(f)
	if exit != Redirect {
		return exit
	}
	var from netip.Addr
	var segment []byte // what follows the IP header, all the frame has of it
	var claimed int    // how long the IP header says that is
	switch etherType {
	case etherIPv4:
		from, segment, claimed, exit = o.ipv4(packet)
	case etherIPv6:
		from, segment, claimed, exit = o.ipv6(packet)
	default:
		return PassNotIP
	}
	if exit != Redirect {
		return exit
	}

	if len(segment) < 8 {
		return PassShort
	}
	if !slices.Contains(o.config.Ports, binary.BigEndian.Uint16(segment[2:])) {
		return PassPort
	}
	if claimed > len(segment) {
		return PassShort
	}
	if n := int(binary.BigEndian.Uint16(segment[4:])); n < 8 || n != claimed {
		return PassMalformed
	}
	if from.Is4In6() {
		return PassMalformed
	}
	if !o.admits(from) {
		return Deny
	}
	if len(f) > o.config.MaxFrame {
		return PassLong
	}
	if !o.socket {
		return PassNoSocket
	}
	return Redirect
}

func (o oracle) admits(from netip.Addr) bool {
	if len(o.config.Exporters) == 0 {
		return true
	}
	return slices.ContainsFunc(o.config.Exporters, func(p netip.Prefix) bool { return p.Contains(from) })
}

func (o oracle) local(a netip.Addr) bool { return slices.Contains(o.config.Locals, a) }

// stripEthernet takes off the Ethernet header and up to two tags.
func stripEthernet(f []byte) (etherType uint16, rest []byte, exit Exit) {
	if len(f) < 14 {
		return 0, nil, PassShort
	}
	etherType, rest = binary.BigEndian.Uint16(f[12:]), f[14:]
	for tags := 0; etherType == vlan || etherType == vlanOuter; tags++ {
		if tags == 2 {
			return 0, nil, PassVLAN
		}
		if len(rest) < 4 {
			return 0, nil, PassShort
		}
		etherType, rest = binary.BigEndian.Uint16(rest[2:]), rest[4:]
	}
	return etherType, rest, Redirect
}

func (o oracle) ipv4(p []byte) (from netip.Addr, segment []byte, claimed int, exit Exit) {
	if len(p) < 20 {
		exit = PassShort
		return
	}
	words := p[0] & 0x0f
	from, _ = netip.AddrFromSlice(p[12:16])
	to, _ := netip.AddrFromSlice(p[16:20])
	switch flags := binary.BigEndian.Uint16(p[6:]); {
	case p[0]>>4 != 4, words < 5:
		exit = PassMalformed
	case p[9] != protoUDP:
		exit = PassNotUDP
	case !o.local(to):
		exit = PassNotLocal
	case words > 5:
		exit = PassOptions
	case flags&moreFrags != 0, flags&0x1fff != 0:
		exit = PassFragment
	}
	return from, p[20:], int(binary.BigEndian.Uint16(p[2:])) - 20, exit
}

func (o oracle) ipv6(p []byte) (from netip.Addr, segment []byte, claimed int, exit Exit) {
	if len(p) < 40 {
		exit = PassShort
		return
	}
	from, _ = netip.AddrFromSlice(p[8:24])
	to, _ := netip.AddrFromSlice(p[24:40])
	next := p[6]
	extension := slices.Contains([]byte{0, 43, 51, 60, 135, 139, 140}, next)
	switch {
	case p[0]>>4 != 6:
		exit = PassMalformed
	case next != protoUDP && next != 44 && !extension:
		exit = PassNotUDP
	case !o.local(to):
		exit = PassNotLocal
	case next == 44:
		exit = PassFragment
	case extension:
		exit = PassExtension
	}
	return from, p[40:], int(binary.BigEndian.Uint16(p[4:])), exit
}
