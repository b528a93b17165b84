// SPDX-License-Identifier: Apache-2.0

package flow

import "encoding/binary"

// IPFIX, RFC 7011 section 3.1: a header of 16 bytes, then sets.
//
//	0 version 10    2 length of the message, this header included
//	4 seconds       8 sequence, in data records    12 domain
//
// A datagram can hold several messages.
const ipfixHeaderSize = 16

func (m *Message) parseIPFIX(b []byte) Drop {
	if len(b) < ipfixHeaderSize {
		return DropShortHeader
	}
	h := b[:ipfixHeaderSize:ipfixHeaderSize]
	be := binary.BigEndian
	length := int(be.Uint16(h[2:]))
	if length < ipfixHeaderSize {
		return DropBadLength
	}
	m.Version = IPFIX
	m.ExportTime = int64(be.Uint32(h[4:])) * nsPerSecond
	m.Sequence = be.Uint32(h[8:])
	m.Domain = be.Uint32(h[12:])
	m.cut = length > len(b)
	end := min(length, len(b))
	m.body = b[ipfixHeaderSize:end:end]
	m.rest = b[end:len(b):len(b)]
	return NoDrop
}
