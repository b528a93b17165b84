// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"bytes"
	"testing"
	"time"
)

// waitingBatch is a message whose sets wait.
func waitingBatch(at time.Time) *Batch {
	b := &Batch{Message: Message{Version: V9, Sequence: 7, body: []byte("body"), rest: []byte("rest")}, Arrival: at.UnixNano()}
	return b
}

func TestSetsWait(t *testing.T) {
	s := NewStreams(Limits{})
	x := s.of(exporterID(1, 0, V9), streamsStart.UnixNano())
	b := waitingBatch(streamsStart)
	body := []byte("first")
	for _, w := range []struct {
		id   uint16
		body string
	}{{256, "first"}, {257, "other"}, {256, "second"}, {256, ""}} {
		body = append(body[:0], w.body...) // the datagram's buffer is used again
		if known, kept := x.wait(b, w.id, body); known != nil || !kept {
			t.Fatalf("set of %d: %v, %v", w.id, known, kept)
		}
	}
	if s.Waiting() != 4 || !x.waits() {
		t.Errorf("%d sets wait", s.Waiting())
	}
	tmpl := plainTemplate(256, 3)
	x.learn(tmpl, streamsStart.UnixNano())
	waited, _ := x.due(tmpl, nil, 3)
	if len(waited) != 3 {
		t.Fatalf("%d sets waited", len(waited))
	}
	for i, want := range []string{"first", "second", ""} {
		w := waited[i]
		if string(w.body) != want || w.id != 256 || w.template != tmpl || w.stream != x || w.arrival != b.Arrival {
			t.Errorf("set %d: %+v", i, w)
		}
		if w.message.Sequence != 7 || w.message.body != nil || w.message.rest != nil {
			t.Errorf("message of set %d: %+v", i, w.message)
		}
	}
	if s.Waiting() != 1 {
		t.Errorf("%d sets still wait, want 1", s.Waiting())
	}
	// Another worker has brought it between the look and the wait.
	if known, kept := x.wait(b, 256, nil); known != tmpl || !kept || s.Waiting() != 1 {
		t.Errorf("%v, %v, %d wait", known, kept, s.Waiting())
	}
	other := plainTemplate(257, 3)
	x.learn(other, 1)
	if waited, more := x.due(other, nil, 1); more || len(waited) != 1 || x.waits() || s.waitingBytes.Load() != 0 {
		t.Errorf("%d waited, %d bytes are left", len(waited), s.waitingBytes.Load())
	}
}

// A flood of sets without a template is given up but for a bounded part, and
// what is old makes room.
func TestBad74FloodWithoutTemplate(t *testing.T) {
	s := NewStreams(Limits{})
	x := s.of(exporterID(1, 0, V9), streamsStart.UnixNano())
	body := bytes.Repeat([]byte{1}, 1000)
	kept := 0
	flood := func(at time.Time, n int) {
		for i := range n {
			if _, ok := x.wait(waitingBatch(at), uint16(256+i%60_000), body); ok {
				kept++
			}
		}
	}
	flood(streamsStart, 100_000)
	if kept != 64 || s.Waiting() != 64 {
		t.Errorf("%d sets were kept, %d wait, want 64", kept, s.Waiting())
	}
	flood(streamsStart.Add(29*time.Minute), 1)
	if kept != 64 {
		t.Error("one more was kept before the first were old")
	}
	flood(streamsStart.Add(31*time.Minute), 10)
	if kept != 74 || s.Waiting() != 10 || s.Evicted().Waiting != 64 {
		t.Errorf("%d kept, %d wait, %d given up, want 74, 10, 64", kept, s.Waiting(), s.Evicted().Waiting)
	}
	s.Expire(streamsStart.Add(62 * time.Minute))
	if s.Waiting() != 0 || s.waitingBytes.Load() != 0 || s.Evicted().Waiting != 74 {
		t.Errorf("%d wait, %d bytes, %d given up, want 0, 0, 74", s.Waiting(), s.waitingBytes.Load(), s.Evicted().Waiting)
	}
}

// Big sets are bounded by their memory.
func TestBacklogIsBoundedInBytes(t *testing.T) {
	s := NewStreams(Limits{WaitingBytes: 5000})
	x := s.of(exporterID(1, 0, V9), 1)
	kept := 0
	for range 64 {
		if _, ok := x.wait(waitingBatch(streamsStart), 256, make([]byte, 1000)); ok {
			kept++
		}
	}
	if kept != 4 {
		t.Errorf("%d sets of 1,000 bytes were kept in 5,000", kept)
	}
	if _, ok := x.wait(waitingBatch(streamsStart), 256, make([]byte, 10)); !ok {
		t.Error("a small one does not fit the rest")
	}
}

// The bound of all streams holds; an established one takes the room of those
// that are not.
func TestBacklogOfAllStreamsIsBounded(t *testing.T) {
	const limit = 100_000
	s := NewStreams(Limits{AllWaitingBytes: limit, Streams: 1024})
	good := s.of(exporterID(1, 0, V9), streamsStart.UnixNano())
	establish(good, streamsStart, streamsStart.Add(time.Hour))
	now := streamsStart.Add(time.Hour)
	kept := 0
	wait := func(x *Stream) bool {
		_, ok := x.wait(waitingBatch(now), 256, make([]byte, 1000))
		if ok {
			kept++
		}
		if got := s.waitingBytes.Load(); got > limit {
			t.Fatalf("%d bytes wait", got)
		}
		return ok
	}
	for i := range 200 {
		wait(s.of(exporterID(uint32(2+i), 0, V9), now.UnixNano()))
	}
	if kept < limit/1200-1 || kept > limit/1000 {
		t.Errorf("%d sets were kept", kept)
	}
	for i := range 50 {
		if !wait(good) {
			t.Errorf("set %d of the established stream was given up", i)
		}
	}
	if got := int(s.Evicted().Waiting) + s.Waiting(); got != kept || s.Evicted().Waiting == 0 {
		t.Errorf("%d wait or were given up of %d", got, kept)
	}
}

// Where only established streams' sets wait, one more is given up.
func TestBacklogOfEstablishedStreams(t *testing.T) {
	s := NewStreams(Limits{AllWaitingBytes: 100_000, Streams: 1024, Seed: 1}) // in which no bucket overflows
	now := streamsStart.Add(time.Hour)
	kept := 0
	for i := range 200 {
		x := s.of(exporterID(uint32(i), 0, V9), streamsStart.UnixNano())
		establish(x, streamsStart, now)
		if _, ok := x.wait(waitingBatch(now), 256, make([]byte, 1000)); ok {
			kept++
		}
	}
	if kept != s.Waiting() || kept > 100 || s.Evicted().Waiting != 0 {
		t.Errorf("%d were kept, %d wait, %d were given up", kept, s.Waiting(), s.Evicted().Waiting)
	}
}

// Of more sets than a decoder has room for the first become due, and the rest is
// given up and counted.
func TestMoreDueThanThereIsRoomFor(t *testing.T) {
	s := NewStreams(Limits{})
	x := s.of(exporterID(1, 0, V9), 1)
	for i := range 6 {
		x.wait(waitingBatch(streamsStart), uint16(256+i%2), []byte{byte(i)})
	}
	even := plainTemplate(256, 3)
	x.learn(even, 1)
	due, more := x.due(even, make([]waitingSet, 1, 8), 2)
	if len(due) != 3 || due[1].body[0] != 0 || due[2].body[0] != 2 || due[2].template != even || !more {
		t.Errorf("due: %+v, more %t", due, more)
	}
	if s.Waiting() != 3 || s.Evicted() != (Evictions{Waiting: 1}) {
		t.Errorf("%d wait, %+v", s.Waiting(), s.Evicted())
	}
}

// What a stream that is replaced keeps waiting leaves the sums, and it keeps
// nothing more.
func TestBacklogOfReplacedStream(t *testing.T) {
	s := NewStreams(Limits{Streams: 1})
	x := s.of(exporterID(1, 0, V9), 1)
	x.wait(waitingBatch(streamsStart), 256, []byte("a"))
	for i := range uint32(ways) {
		s.of(exporterID(2+i, 0, V9), 2)
	}
	if s.Waiting() != 0 || s.waitingBytes.Load() != 0 || s.Evicted() != (Evictions{Streams: 1, Waiting: 1}) {
		t.Errorf("%d wait, %d bytes, %+v", s.Waiting(), s.waitingBytes.Load(), s.Evicted())
	}
	if _, kept := x.wait(waitingBatch(streamsStart), 256, []byte("a")); kept || s.Waiting() != 0 {
		t.Error("a set waits in a stream that is gone")
	}
	// A worker may still decode with it what it has begun.
	if x.learn(plainTemplate(256, 3), 1); x.template(256) == nil || s.templateBytes.Load() != 0 {
		t.Errorf("%v, %d bytes are counted", x.template(256), s.templateBytes.Load())
	}
}
