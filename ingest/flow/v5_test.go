// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"bytes"
	"math"
	"reflect"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestBadInputs(t *testing.T) {
	for _, s := range seeds() {
		t.Run(s.name, func(t *testing.T) {
			var m Message
			if got := m.Parse(s.in); got != s.drop {
				t.Fatalf("drop %q, want %q", got, s.drop)
			}
			if got := m.Records(); got != s.records {
				t.Errorf("Records() = %d, want %d", got, s.records)
			}
			recs, problems := m.Append(nil)
			if len(recs) != s.records || problems != s.problems {
				t.Errorf("%d records, problems %b; want %d, %b", len(recs), problems, s.records, s.problems)
			}
			agree(t, s.in)
		})
	}
}

// FuzzV5 holds the decoder against the slow one on any input. The datagrams in
// seeds say beside them what each is for.
func FuzzV5(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s.in)
	}
	f.Fuzz(func(t *testing.T, b []byte) { agree(t, b) })
}

// agree decodes b with both decoders and checks what must hold for any input.
func agree(t *testing.T, b []byte) {
	t.Helper()
	if len(b) >= 2 && b[0] == 0 && slices.Contains([]byte{0, 1, 7, 9, 10}, b[1]) {
		return // another format's
	}
	// The datagram stands amid other bytes, as in a ring: reading or writing
	// outside it changes the answer or the surroundings.
	const margin, filler = 64, 0xa5
	ring := bytes.Repeat([]byte{filler}, margin+len(b)+margin)
	in := ring[margin : margin+len(b)]
	copy(in, b)

	wantM, wantRecs, wantProblems, wantDrop := slowV5(b)
	var m Message
	if drop := m.Parse(in); drop != wantDrop {
		t.Fatalf("drop %q, the slow decoder says %q", drop, wantDrop)
	}
	n := m.Records()

	// One record stands before, one place is free behind.
	scratch := make([]Record, n+2)
	mark := Record{Packets: 4711, Proto: 250}
	scratch[0], scratch[n+1] = mark, mark
	got, problems := m.Append(scratch[:1])
	if len(got) != n+1 || &got[0] != &scratch[0] || got[0] != mark || scratch[n+1] != mark {
		t.Fatalf("Append added %d records to 1, announced %d, or wrote outside its place", len(got)-1, n)
	}
	if problems != wantProblems {
		t.Errorf("problems %b, the slow decoder says %b", problems, wantProblems)
	}
	if !slices.Equal(wantRecs, got[1:]) {
		t.Errorf("records (-slow +fast):\n%s", cmp.Diff(wantRecs, append([]Record(nil), got[1:]...)))
	}
	if !bytes.Equal(ring[margin:margin+len(b)], b) || bytes.Count(ring[:margin], []byte{filler}) != margin ||
		bytes.Count(ring[margin+len(b):], []byte{filler}) != margin {
		t.Error("the decoder wrote into the datagram or around it")
	}

	// Every byte is accounted for: header, whole records, and a rest that is
	// named. Work is bounded by bytes, whatever the header claims.
	if wantDrop == NoDrop {
		rest := len(b) - v5HeaderSize - n*v5RecordSize
		named := problems.Has(ProblemTrailingBytes) || problems.Has(ProblemCountPastEnd)
		if rest < 0 || rest > 0 && !named || problems.Has(ProblemTrailingBytes) && rest == 0 {
			t.Errorf("%d bytes are not accounted for, problems %b", rest, problems)
		}
	}
	if problems>>Problems != 0 {
		t.Errorf("problems %b has bits without a name", problems)
	}
	m.body = nil
	if !reflect.DeepEqual(wantM, m) {
		t.Errorf("header: slow %+v, fast %+v", wantM, m)
	}
}

func TestFieldsOfOneRecord(t *testing.T) {
	// Written out by hand, so that an error shared by encoder and decoder shows.
	in := []byte{
		0, 5, 0, 1, 0, 0, 0x27, 0x10, // version 5, count 1, uptime 10 s
		0x6a, 0x00, 0x00, 0x00, 0x1d, 0xcd, 0x65, 0x00, // 1778384896 s, 500,000,000 ns
		0, 0, 1, 0, 3, 4, 0x40, 0x64, // sequence 256, engine 3/4, mode 1, 1 in 100
		10, 0, 0, 1, 10, 0, 0, 2, 9, 9, 9, 9, // source, destination, next hop
		0, 7, 0, 8, 0, 0, 0, 12, 0, 0, 0x0d, 0x48, // interfaces, 12 packets, 3400 bytes
		0, 0, 0x03, 0xe8, 0, 0, 0x23, 0x28, // first at 1 s, last at 9 s
		0x9c, 0x40, 0x01, 0xbb, 0xee, 0x1b, 6, 0xee, // ports, padding, flags, TCP, TOS
		0xee, 0xee, 0xee, 0xee, 24, 16, 0xee, 0xee, // AS numbers, masks, padding
	}
	var m Message
	if d := m.Parse(in); d != NoDrop {
		t.Fatal(d)
	}
	recs, problems := m.Append(nil)
	export := int64(1778384896_500_000_000)
	if m.Version != V5 || m.Domain != 0x0304 || m.Sequence != 256 || m.ExportTime != export ||
		m.Uptime != 10_000 || m.Sampling != 100 || m.SamplingMode != 1 || m.Count != 1 || problems != 0 {
		t.Errorf("header %+v, problems %b", m, problems)
	}
	want := []Record{{
		Start: export - int64(9*time.Second), End: export - int64(time.Second),
		Packets: 12, Bytes: 3400,
		Src:  [16]byte{10: 0xff, 11: 0xff, 12: 10, 15: 1},
		Dst:  [16]byte{10: 0xff, 11: 0xff, 12: 10, 15: 2},
		InIf: 7, OutIf: 8, SrcPort: 40000, DstPort: 443, Proto: 6, TCPFlags: 0x1b,
		Sampling: 100, Present: fixedFields,
	}}
	if d := cmp.Diff(want, recs); d != "" {
		t.Error(d)
	}
}

func TestUptimeToUnix(t *testing.T) {
	const day = 24 * int64(time.Hour)
	for _, c := range []struct {
		name       string
		uptime, at uint32
		want       int64 // ns after the export
	}{
		{"at the export", 1000, 1000, 0},
		{"before it", 5000, 2000, -3 * nsPerSecond},
		{"a running flow, stamped after the header", 5000, 5250, 250 * nsPerMs},
		{"uptime wrapped since", 1000, math.MaxUint32 - 999, -2 * nsPerSecond},
		{"uptime wraps between header and stamp", math.MaxUint32, 1, 2 * nsPerMs},
		{"the longest flow", 1<<31 - 1, 0, -(1<<31 - 1) * nsPerMs},
		{"a zero stamp of an exporter up for 20 days", 20 * 86_400_000, 0, -20 * day},
	} {
		if got := uptimeToUnix(baseTime, c.uptime, c.at) - baseTime; got != c.want {
			t.Errorf("%s: %v, want %v", c.name, time.Duration(got), time.Duration(c.want))
		}
	}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := V5Header{
			ExportTime:   rapid.Int64Range(0, math.MaxUint32*nsPerSecond).Draw(t, "export"),
			Uptime:       rapid.Uint32().Draw(t, "uptime"),
			Sequence:     rapid.Uint32().Draw(t, "sequence"),
			Domain:       rapid.Uint16().Draw(t, "domain"),
			Sampling:     rapid.Uint16Range(0, 16383).Draw(t, "sampling"),
			SamplingMode: rapid.Uint8Range(0, 3).Draw(t, "mode"),
		}
		want := make([]Record, rapid.IntRange(0, 40).Draw(t, "records"))
		age := rapid.Int64Range(-1<<31, 1<<31-1)
		addr := func(name string) [16]byte {
			a := [16]byte{10: 0xff, 11: 0xff}
			copy(a[12:], rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, name))
			return a
		}
		for i := range want {
			want[i] = Record{
				Src: addr("src"), Dst: addr("dst"),
				Start:   h.ExportTime - age.Draw(t, "start")*nsPerMs,
				End:     h.ExportTime - age.Draw(t, "end")*nsPerMs,
				Packets: uint64(rapid.Uint32().Draw(t, "packets")),
				Bytes:   uint64(rapid.Uint32().Draw(t, "bytes")),
				InIf:    uint32(rapid.Uint16().Draw(t, "in")),
				OutIf:   uint32(rapid.Uint16().Draw(t, "out")),
				SrcPort: rapid.Uint16().Draw(t, "sport"),
				DstPort: rapid.Uint16().Draw(t, "dport"),
				Proto:   rapid.Uint8().Draw(t, "proto"), TCPFlags: rapid.Uint8().Draw(t, "flags"),
				Present: fixedFields, Sampling: uint32(h.Sampling),
			}
		}
		b := AppendV5([]byte("before"), h, want)
		if string(b[:6]) != "before" || len(b) != 6+24+48*len(want) {
			t.Fatalf("%d bytes for %d records", len(b), len(want))
		}
		var m Message
		if d := m.Parse(b[6:]); d != NoDrop {
			t.Fatal(d)
		}
		got, _ := m.Append(make([]Record, 0, len(want)))
		if d := cmp.Diff(want, got); d != "" {
			t.Fatal(d)
		}
		back := V5Header{m.ExportTime, m.Uptime, m.Sequence, uint16(m.Domain), uint16(m.Sampling), m.SamplingMode}
		if back != h || m.Count != len(want) {
			t.Fatalf("header %+v, count %d; wrote %+v", back, m.Count, h)
		}
	})
}

func TestEncoderClamps(t *testing.T) {
	r := Record{Packets: 1 << 40, Bytes: math.MaxUint64, InIf: 1 << 20, OutIf: 65536, Src: [16]byte{0: 0x20, 15: 1}}
	var m Message
	m.Parse(AppendV5(nil, V5Header{Sampling: 0xffff, SamplingMode: 1}, []Record{r}))
	got, _ := m.Append(nil)
	g := got[0]
	if g.Packets != math.MaxUint32 || g.Bytes != math.MaxUint32 || g.InIf != 65535 || g.OutIf != 65535 {
		t.Errorf("not clamped: %+v", g)
	}
	if g.Src != [16]byte{10: 0xff, 11: 0xff} {
		t.Errorf("an IPv6 address became %v, want 0.0.0.0", g.Src)
	}
	if m.Sampling != 16383 || m.SamplingMode != 1 {
		t.Errorf("sampling %d spilled into mode %d", m.Sampling, m.SamplingMode)
	}
	defer func() {
		if recover() == nil {
			t.Error("65,536 records were accepted")
		}
	}()
	AppendV5(nil, V5Header{}, make([]Record, 65536))
}

func TestRecordIsFlat(t *testing.T) {
	if got := unsafe.Sizeof(Record{}); got != 120 {
		t.Errorf("a Record takes %d bytes, want 120", got)
	}
	typ := reflect.TypeFor[Record]()
	for i := range typ.NumField() {
		f := typ.Field(i)
		kind := f.Type.Kind()
		if kind == reflect.Array {
			kind = f.Type.Elem().Kind()
		}
		if kind < reflect.Int || kind > reflect.Uint64 {
			t.Errorf("field %s is a %s: not a plain number", f.Name, f.Type)
		}
	}
}

func TestNames(t *testing.T) {
	seen := map[string]bool{}
	check := func(name string, zero bool) {
		if (name == "") != zero || name != "" && seen[name] {
			t.Errorf("name %q is empty or not unique", name)
		}
		seen[name] = true
	}
	for v := range Version(Versions) {
		check(v.String(), v == NoVersion)
	}
	for d := range Drop(Drops) {
		check(d.String(), d == NoDrop)
	}
	for p := range Problem(Problems) {
		check(p.String(), false)
	}
	if Version(99).String() != "version(99)" || Drop(99).String() != "drop(99)" || Problem(99).String() != "problem(99)" {
		t.Error("a value out of range has no name")
	}
}

func TestNoAllocation(t *testing.T) {
	b := datagram(MaxV5Records)
	scratch := make([]Record, 0, MaxV5Records)
	var m Message
	if n := testing.AllocsPerRun(100, func() {
		m.Parse(b)
		scratch, _ = m.Append(scratch[:0])
	}); n != 0 {
		t.Errorf("decoding allocates %v times", n)
	}
	if len(scratch) != MaxV5Records {
		t.Errorf("%d records", len(scratch))
	}
	out := make([]byte, 0, len(b))
	if n := testing.AllocsPerRun(100, func() { out = AppendV5(out[:0], V5Header{}, scratch) }); n != 0 {
		t.Errorf("encoding allocates %v times", n)
	}
}

// BenchmarkV5 decodes datagrams of 30 records from a cache-warm buffer.
func BenchmarkV5(b *testing.B) {
	in := datagram(MaxV5Records)
	scratch := make([]Record, 0, MaxV5Records)
	var m Message
	b.ReportAllocs()
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		m.Parse(in)
		scratch, _ = m.Append(scratch[:0])
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/MaxV5Records, "ns/record")
}
