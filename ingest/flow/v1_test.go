// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fixedDatagram is a good datagram of v1 or v7 with n records that differ from
// each other in every field, padding and unused fields included.
func fixedDatagram(version uint16, n int) []byte {
	be := binary.BigEndian
	b := be.AppendUint16(nil, version)
	b = be.AppendUint16(b, uint16(n))
	b = be.AppendUint32(b, 3_600_000) // an hour up
	b = be.AppendUint32(b, uint32(baseTime/nsPerSecond))
	b = be.AppendUint32(b, uint32(baseTime%nsPerSecond))
	size := v1RecordSize
	if version == 7 {
		b = be.AppendUint32(b, 77) // sequence
		b = be.AppendUint32(b, 0xeeeeeeee)
		size = v7RecordSize
	}
	for i := range n {
		r := make([]byte, size)
		for at := range r {
			r[at] = byte(at + 3*i)
		}
		be.PutUint32(r[24:], uint32(3_590_000+i)) // first
		be.PutUint32(r[28:], uint32(3_599_000+i)) // last
		b = append(b, r...)
	}
	return b
}

// fixedSeeds are the bad inputs of framing, numbered as those of v5 are.
func fixedSeeds(version uint16, header, record, most int) []seed {
	good := func(n int) []byte { return fixedDatagram(version, n) }
	word := bytes.Clone(good(0)[:2])
	return []seed{
		{"good, one record", good(1), NoDrop, 1, 0},
		{"good, as many as there may be", good(most), NoDrop, most, 0},
		{"bad 4: a header less a byte", good(1)[:header-1], DropShortHeader, 0, 0},
		{"bad 4: a header of 2 bytes", word, DropShortHeader, 0, 0},
		{"bad 5: count 0", good(0), NoDrop, 0, set(ProblemCountZero)},
		{"bad 5: count 0 before a record", with(good(1), 2, 0), NoDrop, 0, set(ProblemCountZero, ProblemTrailingBytes)},
		{"bad 6: one more than may be, not there", with(good(most), 2, uint16(most+1)), NoDrop, most, set(ProblemCountOverMax, ProblemCountPastEnd)},
		{"bad 6: one more than may be", good(most + 1), NoDrop, most + 1, set(ProblemCountOverMax)},
		{"bad 7: count 65535 before a record", with(good(1), 2, 65535), NoDrop, 1, set(ProblemCountOverMax, ProblemCountPastEnd)},
		{"bad 7: count 65535 in a header", with(good(0), 2, 65535), NoDrop, 0, set(ProblemCountOverMax, ProblemCountPastEnd)},
		{"bad 8: one trailing byte", append(good(2), 0xaa), NoDrop, 2, set(ProblemTrailingBytes)},
		{"bad 8: one record more than the count", with(good(3), 2, 2), NoDrop, 2, set(ProblemTrailingBytes)},
		{"bad 8: last record one byte short", good(2)[:header+2*record-1], NoDrop, 1, set(ProblemCountPastEnd)},
		{"time: nanoseconds are a full second", with(good(1), 12, 0xffff), NoDrop, 1, 0},
		{"time: uptime just wrapped", with(with(good(1), 4, 0), 6, 5), NoDrop, 1, 0},
		{"time: export in 2106", with(with(good(1), 8, 0xffff), 10, 0xffff), NoDrop, 1, 0},
		{"all bits set behind the count", append(with(append(word, 0, 0), 2, 1), bytes.Repeat([]byte{0xff}, header-4+record)...), NoDrop, 1, 0},
		{"all bits clear behind the count", append(with(append(word, 0, 0), 2, 1), make([]byte, header-4+record)...), NoDrop, 1, 0},
	}
}

type slowDecoder func([]byte) (Message, []Record, ProblemSet, Drop)

func testFixedSeeds(t *testing.T, seeds []seed, slow slowDecoder) {
	for _, s := range seeds {
		t.Run(s.name, func(t *testing.T) {
			var m Message
			if got := m.Parse(s.in); got != s.drop {
				t.Fatalf("drop %q, want %q", got, s.drop)
			}
			recs, problems := m.Append(nil)
			if len(recs) != s.records || problems != s.problems {
				t.Errorf("%d records, problems %b; want %d, %b", len(recs), problems, s.records, s.problems)
			}
			agreeFixed(t, s.in, slow)
		})
	}
}

// agreeFixed decodes b, which stands amid other bytes, with both decoders.
func agreeFixed(t *testing.T, b []byte, slow slowDecoder) {
	t.Helper()
	const margin, filler = 64, 0xa5
	ring := bytes.Repeat([]byte{filler}, margin+len(b)+margin)
	in := ring[margin : margin+len(b)]
	copy(in, b)
	before := bytes.Clone(ring)

	wantM, want, wantProblems, wantDrop := slow(b)
	var m Message
	if drop := m.Parse(in); drop != wantDrop {
		t.Fatalf("drop %q, the slow decoder says %q", drop, wantDrop)
	}
	n := m.Records()
	// Old values in the records must not show through.
	scratch := make([]Record, n+2)
	for i := range scratch {
		scratch[i] = oldRecord()
	}
	got, problems := m.Append(scratch[:1])
	if len(got) != n+1 || &got[0] != &scratch[0] || got[0] != oldRecord() || scratch[n+1] != oldRecord() {
		t.Fatalf("Append added %d records to 1, announced %d, or wrote outside its place", len(got)-1, n)
	}
	if problems != wantProblems {
		t.Errorf("problems %b, the slow decoder says %b", problems, wantProblems)
	}
	if !slices.Equal(want, got[1:]) {
		t.Errorf("records (-slow +fast):\n%s", cmp.Diff(want, got[1:]))
	}
	if !bytes.Equal(ring, before) {
		t.Error("the decoder wrote into the datagram or around it")
	}
	m.body = nil
	if !reflect.DeepEqual(wantM, m) {
		t.Errorf("header: slow %+v, fast %+v", wantM, m)
	}
}

// oldRecord is a record with no field at zero, as a former datagram left it.
func oldRecord() (r Record) {
	v := reflect.ValueOf(&r).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.Array:
			for j := range f.Len() {
				f.Index(j).SetUint(0x5a)
			}
		case reflect.Int64:
			f.SetInt(0x5a)
		default:
			f.SetUint(0x5a)
		}
	}
	return r
}

func TestV1BadInputs(t *testing.T) {
	testFixedSeeds(t, fixedSeeds(1, v1HeaderSize, v1RecordSize, maxV1Records), slowV1)
}

// FuzzV1 holds the decoder against the slow one on datagrams of version 1.
func FuzzV1(f *testing.F) {
	for _, s := range fixedSeeds(1, v1HeaderSize, v1RecordSize, maxV1Records) {
		f.Add(s.in)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= 2 {
			agreeFixed(t, with(b, 0, 1), slowV1)
		}
	})
}

func TestV1FieldsOfOneRecord(t *testing.T) {
	in := []byte{
		0, 1, 0, 1, 0, 0, 0x27, 0x10, // version 1, count 1, uptime 10 s
		0x6a, 0x00, 0x00, 0x00, 0x1d, 0xcd, 0x65, 0x00, // 1778384896 s, 500,000,000 ns
		10, 0, 0, 1, 10, 0, 0, 2, 9, 9, 9, 9, // source, destination, next hop
		0, 7, 0, 8, 0, 0, 0, 12, 0, 0, 0x0d, 0x48, // interfaces, 12 packets, 3400 bytes
		0, 0, 0x03, 0xe8, 0, 0, 0x23, 0x28, // first at 1 s, last at 9 s
		0x9c, 0x40, 0x01, 0xbb, 0xee, 0xee, 6, 0xee, // ports, padding, TCP, TOS
		0x1b, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee, // flags, padding
	}
	var m Message
	if d := m.Parse(in); d != NoDrop {
		t.Fatal(d)
	}
	recs, problems := m.Append(nil)
	export := int64(1778384896_500_000_000)
	if m.Version != V1 || m.ExportTime != export || m.Uptime != 10_000 || m.Count != 1 || problems != 0 ||
		m.Sequence != 0 || m.Domain != 0 {
		t.Errorf("header %+v, problems %b", m, problems)
	}
	if d := cmp.Diff([]Record{fixedRecord(export)}, recs); d != "" {
		t.Error(d)
	}
}

// fixedRecord is the record in TestV1FieldsOfOneRecord and in v7's.
func fixedRecord(export int64) Record {
	return Record{
		Start: export - int64(9*time.Second), End: export - int64(time.Second),
		Packets: 12, Bytes: 3400,
		Src:  [16]byte{10: 0xff, 11: 0xff, 12: 10, 15: 1},
		Dst:  [16]byte{10: 0xff, 11: 0xff, 12: 10, 15: 2},
		InIf: 7, OutIf: 8, SrcPort: 40000, DstPort: 443, Proto: 6, TCPFlags: 0x1b,
		Present: fixedFields,
	}
}

// The beginning of a datagram of fprobe 1.1, which sent 24 records of this size;
// the count was 24. A packet of UDP from port 41026 to 40002 went three times.
func TestV1FromFprobe(t *testing.T) {
	in := raw("0001 0001 3e800bb8 6b05978d 0013a740" +
		"7f000001 7f000001 00000000 0000 0000 00000003 000000c0 3e7ff9bb 3e7ff9bb" +
		"a042 9c42 0000 11 00 00 00000000000000")
	checkFprobe(t, in, 192, 41026)
}

func checkFprobe(t *testing.T, in []byte, bytes uint64, srcPort uint16) {
	t.Helper()
	var m Message
	if d := m.Parse(in); d != NoDrop {
		t.Fatal(d)
	}
	recs, problems := m.Append(nil)
	sent := m.ExportTime - (0x3e800bb8-0x3e7ff9bb)*int64(time.Millisecond)
	localhost := [16]byte{10: 0xff, 11: 0xff, 12: 127, 15: 1}
	want := []Record{{
		Src: localhost, Dst: localhost, SrcPort: srcPort, DstPort: 40002, Proto: 17,
		Packets: 3, Bytes: bytes, Start: sent, End: sent, Present: fixedFields,
	}}
	if d := cmp.Diff(want, recs); d != "" || problems != 0 {
		t.Errorf("problems %b (-want +got)\n%s", problems, d)
	}
}

func TestV1NoAllocation(t *testing.T) {
	fixedNoAllocation(t, fixedDatagram(1, maxV1Records), maxV1Records)
}

func fixedNoAllocation(t *testing.T, b []byte, records int) {
	scratch := make([]Record, 0, records)
	var m Message
	if n := testing.AllocsPerRun(100, func() {
		m.Parse(b)
		scratch, _ = m.Append(scratch[:0])
	}); n != 0 {
		t.Errorf("decoding allocates %v times", n)
	}
	if len(scratch) != records {
		t.Errorf("%d records, want %d", len(scratch), records)
	}
}

func BenchmarkV1(b *testing.B) { benchmarkFixed(b, fixedDatagram(1, maxV1Records), maxV1Records) }

// benchmarkFixed decodes one datagram from a cache-warm buffer.
func benchmarkFixed(b *testing.B, in []byte, records int) {
	scratch := make([]Record, 0, records)
	var m Message
	b.ReportAllocs()
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		m.Parse(in)
		scratch, _ = m.Append(scratch[:0])
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(records), "ns/record")
}
