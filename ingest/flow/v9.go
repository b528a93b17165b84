// SPDX-License-Identifier: Apache-2.0

package flow

import "encoding/binary"

// NetFlow v9, RFC 3954 section 5.1: a header of 20 bytes, then sets.
//
//	 0 version 9     2 count of records, templates among them
//	 4 uptime, ms    8 seconds
//	12 sequence, in messages    16 source id, IPFIX's domain
//
// Its words are those of IPFIX here: a flow set is a set, a source id a domain.
const v9HeaderSize = 20

func (m *Message) parseV9(b []byte) Drop {
	if len(b) < v9HeaderSize {
		return DropShortHeader
	}
	h := b[:v9HeaderSize:v9HeaderSize]
	be := binary.BigEndian
	m.Version = V9
	m.Count = int(be.Uint16(h[2:]))
	m.Uptime = be.Uint32(h[4:])
	m.ExportTime = int64(be.Uint32(h[8:])) * nsPerSecond
	m.Sequence = be.Uint32(h[12:])
	m.Domain = be.Uint32(h[16:])
	m.body = b[v9HeaderSize:len(b):len(b)]
	return NoDrop
}
