// SPDX-License-Identifier: Apache-2.0

package flow

import "encoding/binary"

// Message is the header of one export message, in what is common to the
// formats, and a view of the bytes behind it. It is a value; copying it copies
// no records. It is valid as long as the bytes given to Parse are.
type Message struct {
	// Version is the format.
	Version Version
	// SamplingMode is how the exporter samples, 0 to 3: 0 not told, 1
	// deterministic, 2 random. v5 only.
	SamplingMode uint8
	// Domain is the observation domain within the exporter. v5: engine
	// type<<8 | engine id. v9: source id. sFlow: sub-agent id. v1 and v7
	// have none: 0.
	Domain uint32
	// Sequence is the exporter's sequence number. Its unit depends on the
	// format: flows sent before this message (v5, v7), messages (v9), data
	// records sent before (IPFIX), datagrams of the sub-agent (sFlow). v1 has
	// none.
	Sequence uint32
	// Uptime is the exporter's uptime in milliseconds, modulo 2^32. IPFIX has none.
	Uptime uint32
	// Sampling is N where one packet in N was sampled, 0 where the exporter
	// does not sample or does not say. v5 only: v9 and IPFIX tell it in
	// options, sFlow in each sample.
	Sampling uint32
	// ExportTime is the header's time in nanoseconds since 1970 UTC; 0 for
	// sFlow, whose headers have none.
	ExportTime int64
	// Count is the number of records, or of samples for sFlow, announced by
	// the header. It is a claim of the wire. IPFIX announces none: 0.
	Count int
	// Agent is the address that an sFlow agent gives itself.
	Agent [16]byte

	body []byte // what follows the header, borrowed
	rest []byte // what follows the message in its datagram (IPFIX), borrowed
	cut  bool   // the message is longer than what is left of the datagram
}

// Parse reads the header of a message at the beginning of b and keeps a view
// of b, which must not change before the last use of m. Where it returns
// another value than NoDrop, m is the zero Message.
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
	case 9:
		return m.parseV9(b)
	case 10:
		return m.parseIPFIX(b)
	case 1:
		return m.parseV1(b)
	case 7:
		return m.parseV7(b)
	case 0:
		return m.parseSFlow(b)
	}
	return DropUnknownVersion
}

// sizes of a record and the most that a datagram may have of them, by fixed
// format.
var fixedSize = [Versions]struct{ record, most int }{
	V1: {v1RecordSize, maxV1Records},
	V5: {v5RecordSize, MaxV5Records},
	V7: {v7RecordSize, maxV7Records},
}

// Records is the number of records that Append would add, known without
// decoding: at most what the header announces and the bytes hold. It is 0 for
// v9, IPFIX and sFlow, whose records only a Decoder finds.
func (m *Message) Records() int {
	size := fixedSize[m.Version].record
	if size == 0 {
		return 0
	}
	return min(m.Count, len(m.body)/size)
}

// Append decodes all records of a format without templates (v1, v5, v7) that
// lie wholly inside the datagram, appends them to dst and tells what was wrong.
// It does not allocate where cap(dst)-len(dst) ≥ m.Records(), which the caller
// sees to; otherwise dst grows. Of another Message it appends nothing.
func (m *Message) Append(dst []Record) ([]Record, ProblemSet) {
	n := m.Records()
	at := len(dst)
	for cap(dst)-at < n {
		dst = append(dst[:cap(dst)], Record{})
	}
	dst = dst[:at+n]
	m.decodeFixed(dst[at:])
	return dst, m.fixedProblems(n)
}

// decodeFixed fills out, which has m.Records() elements or fewer.
func (m *Message) decodeFixed(out []Record) {
	switch m.Version {
	case V1:
		decodeV1(out, m.body, m.ExportTime, m.Uptime)
	case V5:
		decodeV5(out, m.body, m.ExportTime, m.Uptime, m.Sampling)
	case V7:
		decodeV7(out, m.body, m.ExportTime, m.Uptime)
	}
}

// fixedProblems compares what the header announces with what there is, n whole
// records of it.
func (m *Message) fixedProblems(n int) (s ProblemSet) {
	size := fixedSize[m.Version]
	if size.record == 0 {
		return 0
	}
	if m.Count == 0 {
		s = s.With(ProblemCountZero)
	}
	if m.Count > size.most {
		s = s.With(ProblemCountOverMax)
	}
	switch {
	case m.Count > n:
		s = s.With(ProblemCountPastEnd)
	case len(m.body) > n*size.record:
		s = s.With(ProblemTrailingBytes)
	}
	return s
}
