// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"bytes"
	"encoding/binary"
	"time"
)

// baseTime is the export time of the seeds.
var baseTime = time.Date(2026, 11, 23, 7, 0, 5, 123_000_000, time.UTC).UnixNano()

// datagram is a good v5 datagram of n records that differ from each other in
// every field, with room behind it in its array that a decoder must not touch.
func datagram(n int) []byte {
	recs := make([]Record, n)
	for i := range recs {
		recs[i] = sampleRecord(i)
	}
	h := V5Header{ExportTime: baseTime, Uptime: 3_600_000, Sequence: 77, Domain: 0x0102, Sampling: 100, SamplingMode: 2}
	return AppendV5(nil, h, recs)
}

func sampleRecord(i int) Record {
	r := Record{
		Start: baseTime - int64(10+i)*nsPerSecond, End: baseTime - int64(i)*nsPerMs,
		Packets: uint64(12 + i), Bytes: uint64(3400 + i),
		InIf: uint32(1 + i), OutIf: uint32(2 + i),
		SrcPort: uint16(40000 + i), DstPort: uint16(443 + i), Proto: uint8(6 + i), TCPFlags: uint8(0x1b + i),
	}
	r.Src = [16]byte{10: 0xff, 11: 0xff, 12: 10, 13: 0, 14: uint8(i >> 8), 15: uint8(i)}
	r.Dst = [16]byte{10: 0xff, 11: 0xff, 12: 192, 13: 0, 14: 2, 15: uint8(i)}
	return r
}

// with returns b with the 16-bit word at an offset replaced.
func with(b []byte, at int, word uint16) []byte {
	b = bytes.Clone(b)
	binary.BigEndian.PutUint16(b[at:], word)
	return b
}

// seed is one input with the answer that it must get. All are fuzz seeds and
// all are regression tests.
type seed struct {
	name     string
	in       []byte
	drop     Drop
	records  int
	problems ProblemSet
}

func set(ps ...Problem) (s ProblemSet) {
	for _, p := range ps {
		s = s.With(p)
	}
	return s
}

// seeds are the bad inputs that have broken collectors, and good ones beside them.
func seeds() []seed {
	return []seed{
		{"good, one record", datagram(1), NoDrop, 1, 0},
		{"good, thirty records", datagram(30), NoDrop, 30, 0},

		// Nothing to read a version from.
		{"bad 1: empty datagram", nil, DropEmpty, 0, 0},
		{"bad 2: one byte", []byte{0}, DropShortHeader, 0, 0},
		{"bad 2: one byte that looks like a version", []byte{5}, DropShortHeader, 0, 0},

		// Versions that are not decoded, as long as a header and shorter.
		{"bad 3: version 0", with(datagram(1), 0, 0), DropUnknownVersion, 0, 0},
		{"bad 3: version 8", with(datagram(1), 0, 8), DropUnknownVersion, 0, 0},
		{"bad 3: version 0xffff", with(datagram(1), 0, 0xffff), DropUnknownVersion, 0, 0},
		{"bad 3: version 5 in the other byte order", with(datagram(1), 0, 0x0500), DropUnknownVersion, 0, 0},

		// A header cut off, down to the version alone.
		{"bad 4: header of 23 bytes", datagram(1)[:23], DropShortHeader, 0, 0},
		{"bad 4: header of 2 bytes", []byte{0, 5}, DropShortHeader, 0, 0},

		// Counts that lie.
		{"bad 5: count 0", with(datagram(0), 2, 0), NoDrop, 0, set(ProblemCountZero)},
		{"bad 5: count 0 before a record", with(datagram(1), 2, 0), NoDrop, 0, set(ProblemCountZero, ProblemTrailingBytes)},
		{"bad 6: count 31 with 30 records", with(datagram(30), 2, 31), NoDrop, 30, set(ProblemCountOverMax, ProblemCountPastEnd)},
		{"bad 6: count 31 with 31 records", datagram(31), NoDrop, 31, set(ProblemCountOverMax)},
		{"bad 7: count 65535 in 72 bytes", with(datagram(1), 2, 65535), NoDrop, 1, set(ProblemCountOverMax, ProblemCountPastEnd)},
		{"bad 7: count 65535 in a header", with(datagram(0), 2, 65535), NoDrop, 0, set(ProblemCountOverMax, ProblemCountPastEnd)},

		// Bytes that no record covers.
		{"bad 8: one trailing byte", append(datagram(2), 0xaa), NoDrop, 2, set(ProblemTrailingBytes)},
		{"bad 8: one record more than the count", with(datagram(3), 2, 2), NoDrop, 2, set(ProblemTrailingBytes)},
		{"bad 8: last record one byte short", datagram(2)[:24+95], NoDrop, 1, set(ProblemCountPastEnd)},

		// Header values at their limits.
		{"time: nanoseconds are a full second", with(datagram(1), 12, 0xffff), NoDrop, 1, 0},
		{"time: uptime just wrapped", with(with(datagram(1), 4, 0), 6, 5), NoDrop, 1, 0},
		{"time: export at second 0", with(with(datagram(1), 8, 0), 10, 0), NoDrop, 1, 0},
		{"time: export in 2106", with(with(datagram(1), 8, 0xffff), 10, 0xffff), NoDrop, 1, 0},
		{"all bits set behind the count", append([]byte{0, 5, 0, 1}, bytes.Repeat([]byte{0xff}, 68)...), NoDrop, 1, 0},
		{"all bits clear behind the count", append([]byte{0, 5, 0, 1}, make([]byte, 68)...), NoDrop, 1, 0},
	}
}
