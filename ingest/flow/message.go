// SPDX-License-Identifier: Apache-2.0

package flow

import "encoding/binary"

// Message is one export datagram: the fields of its header that are common to
// the formats, and a view of the bytes behind it. It is a value; copying it
// copies no records. It is valid as long as the bytes given to Parse are.
type Message struct {
	// Version is the format.
	Version Version
	// SamplingMode is how the exporter samples, 0 to 3: 0 not told, 1
	// deterministic, 2 random. v5 only.
	SamplingMode uint8
	// Domain is the observation domain within the exporter.
	// v5: engine type<<8 | engine id.
	Domain uint32
	// Sequence is the exporter's sequence number. Its unit depends on the
	// format; v5 counts the flows sent before this message.
	Sequence uint32
	// Uptime is the exporter's uptime in milliseconds, modulo 2^32.
	Uptime uint32
	// Sampling is N where one packet in N was sampled, 0 where the exporter
	// does not sample or does not say.
	Sampling uint32
	// ExportTime is the header's time in nanoseconds since 1970 UTC.
	ExportTime int64
	// Count is the number of records announced by the header. It is a claim
	// of the wire: use Records to reserve space.
	Count int

	body []byte // what follows the header, borrowed
}

// Parse reads the header of a datagram and keeps a view of b, which must not
// change before the last use of m. Where it returns another value than NoDrop,
// m is the zero Message.
func (m *Message) Parse(b []byte) Drop {
	*m = Message{}
	switch {
	case len(b) == 0:
		return DropEmpty
	case len(b) < 2:
		return DropShortHeader
	}
	switch binary.BigEndian.Uint16(b) {
	case 5:
		return m.parseV5(b)
	}
	return DropUnknownVersion
}

// Records is the number of records that Append would add, known without
// decoding: at most what the header announces and the bytes hold, so at most
// 1,365 for a UDP datagram.
func (m *Message) Records() int { return min(m.Count, len(m.body)/v5RecordSize) }

// Append decodes all records that lie wholly inside the datagram, appends them
// to dst and tells what was wrong. It does not allocate where
// cap(dst)-len(dst) ≥ m.Records(), which the caller sees to; otherwise dst
// grows. Of a zero Message it appends nothing.
func (m *Message) Append(dst []Record) ([]Record, ProblemSet) {
	if m.Version != V5 {
		return dst, 0
	}
	return m.appendV5(dst)
}
