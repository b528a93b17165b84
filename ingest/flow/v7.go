// SPDX-License-Identifier: Apache-2.0

package flow

import "encoding/binary"

// NetFlow v7 of the Catalyst 5000 and 6500, as in Cisco's "NetFlow Export
// Datagram Format", tables B-5 and B-6: a header of 24 bytes and records of 52,
// big endian. The table allows up to 28, though others count 27, which is what
// fits an Ethernet frame; the greater one is taken as the limit.
//
//	header  0 version 7        2 count           4 uptime, ms      8 seconds
//	       12 nanoseconds     16 flow sequence  20 reserved
//	record  0 source address   4 destination     8 next hop       12 input if
//	       14 output if       16 packets        20 bytes          24 first, ms
//	       28 last, ms        32 source port    34 dest. port     36 flags
//	       37 TCP flags       38 protocol       39 TOS            40 source AS
//	       42 dest. AS        44 source mask    45 dest. mask     46 flags
//	       48 bypassed router
//
// The flags tell which fields the switch could not fill in, which are 0 then.
// Which bit means what depends on the release, so that they are not used: a
// zero is taken as exported.
const (
	v7HeaderSize = 24
	v7RecordSize = 52
	maxV7Records = 28
)

func (m *Message) parseV7(b []byte) Drop {
	if len(b) < v7HeaderSize {
		return DropShortHeader
	}
	m.Version = V7
	m.fixedHeader(b)
	m.Sequence = binary.BigEndian.Uint32(b[16:])
	m.body = b[v7HeaderSize:len(b):len(b)]
	return NoDrop
}

// decodeV7 fills every field of out from the records that b holds at least as
// many of.
func decodeV7(out []Record, b []byte, export int64, uptime uint32) {
	for i := range out {
		w := b[:v7RecordSize:v7RecordSize]
		b = b[v7RecordSize:]
		r := &out[i]
		r.setFixed(w, export, uptime)
		r.Proto = w[38]
		r.TCPFlags = w[37]
	}
}
