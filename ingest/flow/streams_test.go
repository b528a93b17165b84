// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"encoding/binary"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// streamsStart is when the tests of Streams begin.
var streamsStart = time.Date(2026, 11, 23, 7, 0, 0, 0, time.UTC)

// exporterID is the id of a stream of the exporter 10.x.y.z.
func exporterID(exporter uint32, domain uint32, v Version) StreamID {
	id := StreamID{Domain: domain, Version: v}
	id.Exporter[10], id.Exporter[11] = 0xff, 0xff
	binary.BigEndian.PutUint32(id.Exporter[12:], 10<<24|exporter)
	return id
}

// plainTemplate is a template that nothing is decoded with, with a definition
// of so many fields.
func plainTemplate(id uint16, fields int) *template {
	definition := binary.BigEndian.AppendUint16(nil, uint16(fields))
	for range fields {
		definition = append(definition, 0, 8, 0, 4) // the source's IPv4 address
	}
	return &template{id: id, version: V9, definition: definition, size: 4 * fields}
}

// establish makes a stream established.
func establish(s *Stream, from, to time.Time) {
	for _, at := range []time.Time{from, to} {
		s.note(&Batch{Message: Message{Version: s.ID.Version}, Arrival: at.UnixNano(), Records: make([]Record, 1)}, Units{})
	}
}

func TestStreamsAreKeptApart(t *testing.T) {
	s := NewStreams(Limits{})
	now := streamsStart.UnixNano()
	seen := map[*Stream]StreamID{}
	for _, id := range []StreamID{
		exporterID(1, 0, V9), exporterID(2, 0, V9), exporterID(1, 1, V9), exporterID(1, 0, IPFIX), {}, {Version: V5},
	} {
		x := s.of(id, now)
		if x.ID != id || s.of(id, now) != x {
			t.Errorf("%v got %v", id, x.ID)
		}
		if other, ok := seen[x]; ok {
			t.Errorf("%v and %v are one", other, id)
		}
		seen[x] = id
	}
}

// A full bucket makes room by those who matter least.
func TestStreamsReplace(t *testing.T) {
	at := func(seconds int) time.Time { return streamsStart.Add(time.Duration(seconds) * time.Second) }
	fill := func(exporter func(i int) uint32) (*Streams, []*Stream) {
		s := NewStreams(Limits{Streams: 1}) // one bucket
		var all []*Stream
		for i := range ways {
			all = append(all, s.of(exporterID(exporter(i), uint32(i), V9), at(i).UnixNano()))
		}
		return s, all
	}
	has := func(s *Streams, x *Stream) bool {
		for y := range s.all {
			if x == y {
				return true
			}
		}
		return false
	}
	each := func(i int) uint32 { return uint32(i) }

	t.Run("the least recently seen", func(t *testing.T) {
		s, all := fill(each)
		s.of(exporterID(99, 0, V9), at(100).UnixNano())
		if has(s, all[0]) || !has(s, all[1]) {
			t.Error("not the first one made room")
		}
	})
	t.Run("one message before many", func(t *testing.T) {
		s, all := fill(each)
		for range 2 {
			all[0].note(&Batch{Message: Message{Version: V9}, Arrival: at(0).UnixNano()}, Units{})
		}
		s.of(exporterID(99, 0, V9), at(100).UnixNano())
		if !has(s, all[0]) || has(s, all[1]) {
			t.Error("not the second one made room")
		}
	})
	t.Run("established ones last", func(t *testing.T) {
		s, all := fill(each)
		for _, x := range all[:ways-1] {
			establish(x, at(0), at(100))
		}
		for i := range 100 {
			s.of(exporterID(uint32(200+i), 0, V9), at(101+i).UnixNano())
		}
		for i, x := range all[:ways-1] {
			if !has(s, x) {
				t.Errorf("established stream %d made room", i)
			}
		}
		if got := s.Evicted().Streams; got != 100 {
			t.Errorf("%d evictions are counted", got)
		}
	})
	t.Run("an exporter that invents domains replaces itself", func(t *testing.T) {
		s, all := fill(func(i int) uint32 { return uint32(min(i, 4)) }) // 0, 1, 2, 3 and four of 4
		for i := range 100 {
			s.of(exporterID(4, uint32(1000+i), V9), at(100+i).UnixNano())
		}
		for _, x := range all[:4] {
			if !has(s, x) {
				t.Errorf("%v made room", x.ID)
			}
		}
	})
}

func TestStreamsAddUpTheLossOfThoseThatLeft(t *testing.T) {
	s := NewStreams(Limits{Streams: 1})
	x := s.of(exporterID(1, 0, V5), streamsStart.UnixNano())
	x.sequence.note(0, Units{Advance: 30, Carried: 30}, 1)
	x.sequence.note(40, Units{Advance: 30, Carried: 30}, 1)
	if got := s.Lost(); got != 10 {
		t.Fatalf("%d lost, want 10", got)
	}
	s.Expire(streamsStart.Add(25 * time.Hour))
	if got, left := s.Lost(), len(s.List()); got != 10 || left != 0 {
		t.Errorf("%d lost, want 10; %d streams left, want none", got, left)
	}
}

func TestStreamHealth(t *testing.T) {
	s := NewStreams(Limits{})
	now := streamsStart.UnixNano()
	late := s.of(exporterID(2, 7, V9), now)
	b := &Batch{
		Message: Message{Version: V9, Sequence: 1, ExportTime: now + 2*nsPerSecond},
		Arrival: now, Records: make([]Record, 3), OptionsRecords: 2,
	}
	late.note(b, Units{Advance: 1, Carried: 1})
	b.Sequence, b.Arrival, b.ExportTime = 4, now+nsPerSecond, b.ExportTime+nsPerSecond
	late.note(b, Units{Advance: 1, Carried: 1})
	late.note(&Batch{Message: b.Message, Delayed: true, Records: make([]Record, 5)}, Units{})
	late.learn(plainTemplate(256, 3), now)
	late.wait(b, 300, []byte{1, 2, 3})
	late.learnRate(1, 1000, plenty())
	late.learnRate(2, 100, plenty())
	late.learnName(3, []byte("eth0"), plenty())
	s.of(StreamID{Version: SFlow5}, now).note(&Batch{
		Message: Message{Version: SFlow5}, Arrival: now, CounterSamples: 4,
	}, Units{Advance: 1, Carried: 1})

	got, err := json.MarshalIndent(s.List(), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	want := `[
 {
  "domain": 0,
  "version": "sflow5",
  "datagrams": 1,
  "records": 0,
  "counter_samples": 4,
  "lost": 0,
  "templates": 0,
  "waiting": 0,
  "last_seen": "2026-11-23T07:00:00Z"
 },
 {
  "address": "10.0.0.2",
  "domain": 7,
  "version": "v9",
  "datagrams": 2,
  "records": 11,
  "options_records": 4,
  "lost": 2,
  "gaps": 1,
  "templates": 1,
  "waiting": 1,
  "waiting_since": "2026-11-23T07:00:01Z",
  "sampling": [
   100,
   1000
  ],
  "interfaces": {
   "3": "eth0"
  },
  "last_seen": "2026-11-23T07:00:01Z",
  "clock_skew_ms": 2500
 }
]`
	if string(got) != want {
		t.Errorf("got %s", got)
	}
	if strings.Contains(string(got), "0001-01-01") {
		t.Error("a time that is not known is shown")
	}
}

// The skew follows slowly, and half of the second that a header cuts off is
// added.
func TestSkew(t *testing.T) {
	const second = int64(nsPerSecond)
	var s skew
	if _, known := s.get(); known {
		t.Error("a skew is known before the first message")
	}
	m := Message{Version: V5, ExportTime: 100 * second}
	s.note(&m, 98*second)
	if got, _ := s.get(); got != 2*time.Second {
		t.Errorf("%v after one message, want 2s", got)
	}
	m.ExportTime = 108 * second
	s.note(&m, 98*second)
	if got, _ := s.get(); got != 3*time.Second {
		t.Errorf("%v after a jump of 8 seconds, want 3s", got)
	}
	var cut skew
	m.Version, m.ExportTime = IPFIX, 98*second
	cut.note(&m, 98*second)
	if got, _ := cut.get(); got != time.Second/2 {
		t.Errorf("%v with whole seconds, want 500ms", got)
	}
	// The limits of the header's time, back and forth.
	for range 100 {
		m.ExportTime = (1<<32 - 1) * second
		cut.note(&m, streamsStart.UnixNano())
	}
	if got, _ := cut.get(); got < 70*365*24*time.Hour {
		t.Errorf("%v with a clock in 2106", got)
	}
	for range 200 {
		m.ExportTime = second
		cut.note(&m, streamsStart.UnixNano())
	}
	if got, _ := cut.get(); got > -50*365*24*time.Hour {
		t.Errorf("%v with a clock in 1970", got)
	}
}

// What workers do for every message costs no memory.
func TestStreamsDoNotAllocate(t *testing.T) {
	s := NewStreams(Limits{})
	id := exporterID(1, 1, IPFIX)
	s.of(id, 1).learn(plainTemplate(256, 20), 1)
	b := &Batch{Message: Message{Version: IPFIX}, Records: make([]Record, 24)}
	body := make([]byte, 100)
	for range 64 {
		s.of(id, 1).wait(b, 300, body)
	}
	if n := testing.AllocsPerRun(1000, func() {
		x := s.of(id, 1)
		if x.template(256) == nil {
			t.Error("no template")
		}
		if _, kept := x.wait(b, 300, body); kept { // there is no room
			t.Error("one more set waits")
		}
		b.Arrival += nsPerSecond / 1000
		b.Sequence += 24
		x.note(b, Units{Advance: 24, Carried: 24})
	}); n != 0 {
		t.Errorf("%v allocations per message", n)
	}
}

func BenchmarkStreamsOf(b *testing.B) {
	s := NewStreams(Limits{})
	var ids [256]StreamID
	for i := range ids {
		ids[i] = exporterID(uint32(i)*7919, uint32(i), V9)
		s.of(ids[i], 1)
	}
	for i := 0; b.Loop(); i++ {
		s.of(ids[i&255], 2)
	}
}

func BenchmarkStreamNote(b *testing.B) {
	s := NewStreams(Limits{})
	x := s.of(exporterID(1, 1, IPFIX), 1)
	batch := &Batch{Message: Message{Version: IPFIX}, Records: make([]Record, 24)}
	for i := 0; b.Loop(); i++ {
		batch.Arrival = int64(1_000_000 + i*1000)
		batch.ExportTime = batch.Arrival
		batch.Sequence = uint32(i * 24)
		x.note(batch, Units{Advance: 24, Carried: 24})
	}
}

func BenchmarkStreamTemplate(b *testing.B) {
	s := NewStreams(Limits{})
	x := s.of(exporterID(1, 1, V9), 1)
	for i := range 20 {
		x.learn(plainTemplate(uint16(256+i), 20), 1)
	}
	for i := 0; b.Loop(); i++ {
		if x.template(uint16(256+i%20)) == nil {
			b.Fatal("a template is gone")
		}
	}
}

// plenty is room for any number of changes.
func plenty() *int {
	n := 1 << 30
	return &n
}
