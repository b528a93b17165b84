// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"encoding/binary"

	"github.com/gopacket/gopacket/layers"
)

// Link types that the library has no name or another number for,
// https://www.tcpdump.org/linktypes.html.
const (
	linkRawBSD     layers.LinkType = 12 // LINKTYPE_RAW as DLT_RAW of most systems
	linkRawOpenBSD layers.LinkType = 14
	linkIPv6       layers.LinkType = 229
)

const (
	typeIPv4  = 0x0800
	typeIPv6  = 0x86dd
	typeVLAN  = 0x8100 // IEEE 802.1Q
	typeQinQ  = 0x88a8 // IEEE 802.1ad
	typeQinQ9 = 0x9100 // before it was standardised
)

func linkKnown(l layers.LinkType) bool {
	switch l {
	case layers.LinkTypeEthernet, layers.LinkTypeLinuxSLL, layers.LinkTypeLinuxSLL2, layers.LinkTypeNull,
		layers.LinkTypeLoop, layers.LinkTypeRaw, linkRawBSD, linkRawOpenBSD, layers.LinkTypeIPv4, linkIPv6:
		return true
	}
	return false
}

// networkLayer cuts the link's header off a frame: what is left begins with an
// IP header, or is nil where the frame carries something else.
func networkLayer(l layers.LinkType, frame []byte) []byte {
	switch l {
	case layers.LinkTypeEthernet:
		return untagged(frame, 12, 14)
	case layers.LinkTypeLinuxSLL:
		return untagged(frame, 14, 16)
	case layers.LinkTypeLinuxSLL2:
		return untagged(frame, 0, 20)
	case layers.LinkTypeNull, layers.LinkTypeLoop:
		// Four bytes of address family, in the byte order and the numbering
		// of the capturing machine. The IP header tells better.
		if len(frame) < 4 {
			return nil
		}
		return frame[4:]
	}
	return frame
}

// untagged returns what follows a link header of the given size with the
// EtherType at an offset, and any VLAN tags behind it.
func untagged(frame []byte, typeAt, size int) []byte {
	if len(frame) < size {
		return nil
	}
	etherType := binary.BigEndian.Uint16(frame[typeAt:])
	rest := frame[size:]
	for {
		switch etherType {
		case typeIPv4, typeIPv6:
			return rest
		case typeVLAN, typeQinQ, typeQinQ9:
			if len(rest) < 4 {
				return nil
			}
			etherType = binary.BigEndian.Uint16(rest[2:])
			rest = rest[4:]
		default:
			return nil
		}
	}
}
