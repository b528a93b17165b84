// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"testing"
	"time"
)

func TestTemplatesAreLearnt(t *testing.T) {
	s := NewStreams(Limits{})
	now := streamsStart.UnixNano()
	x := s.of(exporterID(1, 0, V9), now)
	if x.template(256) != nil {
		t.Fatal("a template before the first")
	}
	first := plainTemplate(256, 3)
	if replaced := x.learn(first, now); replaced != nil || x.template(256) != first {
		t.Errorf("the first replaced %v", replaced)
	}
	if first.used.Load() != streamsStart.Unix() {
		t.Errorf("used at %d", first.used.Load())
	}
	// The same again is only a sign of life.
	changed := s.Changed()
	if replaced := x.learn(plainTemplate(256, 3), now+5*nsPerSecond); replaced != nil || x.template(256) != first {
		t.Error("the same template replaced itself")
	}
	if first.used.Load() != streamsStart.Unix()+5 || s.Changed() != changed {
		t.Errorf("used at %d, %d changes", first.used.Load(), s.Changed()-changed)
	}
	// Another one of the id, one that is an options template of the same bytes,
	// and one in another stream.
	second := plainTemplate(256, 4)
	if replaced := x.learn(second, now); replaced != first || x.template(256) != second {
		t.Errorf("the second replaced %v", replaced)
	}
	third := plainTemplate(256, 4)
	third.options = true
	if replaced := x.learn(third, now); replaced != second || x.template(256) != third {
		t.Errorf("the third replaced %v", replaced)
	}
	if s.of(exporterID(1, 1, V9), now).template(256) != nil {
		t.Error("a template is known in another domain")
	}
	if got := s.Changed() - changed; got != 2 {
		t.Errorf("%d changes, want 2", got)
	}
	x.forget(257)
	x.forget(256)
	if x.template(256) != nil || s.Changed()-changed != 3 {
		t.Error("the template was not forgotten")
	}
	if got := s.templateBytes.Load(); got != x.templates.Load().cost() {
		t.Errorf("%d bytes are held by an empty table of %d", got, x.templates.Load().cost())
	}
}

// One that was read from a file makes way for the same that is announced.
func TestTemplatesRestoredAreConfirmed(t *testing.T) {
	s := NewStreams(Limits{})
	x := s.of(exporterID(1, 0, V9), 1)
	old, fresh := plainTemplate(256, 3), plainTemplate(256, 3)
	old.restored = true
	if !x.restore(old) || x.restore(fresh) {
		t.Fatal("restored over one that is there, or not at all")
	}
	changed := s.Changed()
	if replaced := x.learn(fresh, 1); replaced != nil || x.template(256) != fresh || s.Changed() != changed {
		t.Errorf("replaced %v, %d changes", replaced, s.Changed()-changed)
	}
}

// All 65,280 ids on one stream: the least recently used make room, and the
// sums stay what they should be.
func TestBad71AllTemplatesOfAStream(t *testing.T) {
	s := NewStreams(Limits{})
	x := s.of(exporterID(1, 0, V9), 1)
	good := plainTemplate(1000, 20)
	x.learn(good, 1)
	for id := 256; id < 65536; id++ {
		if id == 1000 {
			continue
		}
		now := int64(id) * nsPerSecond
		good.used.Store(int64(id)) // it is used all the time
		if x.learn(plainTemplate(uint16(id), 20), now); x.template(uint16(id)) == nil {
			t.Fatalf("template %d found no room", id)
		}
	}
	known, bytes := 0, x.templates.Load().cost()
	for _, y := range x.templates.Load().all {
		known++
		bytes += int64(y.cost())
	}
	if known > 1024 || known < 512 || known != x.templates.Load().known {
		t.Errorf("%d templates are known, %d counted", known, x.templates.Load().known)
	}
	if x.held.Load() != bytes || s.templateBytes.Load() != bytes || bytes > 1<<20 {
		t.Errorf("%d bytes, the stream counts %d, all %d", bytes, x.held.Load(), s.templateBytes.Load())
	}
	if got := s.Evicted().Templates; got != uint64(65280-known) {
		t.Errorf("%d evictions are counted, want %d", got, 65280-known)
	}
	if x.template(1000) != good {
		t.Error("the template that is used was forgotten")
	}
}

// Big templates are bounded by their memory.
func TestTemplatesOfAStreamAreBoundedInBytes(t *testing.T) {
	s := NewStreams(Limits{TemplateBytes: 20_000})
	x := s.of(exporterID(1, 0, V9), 1)
	for id := 256; id < 1256; id++ {
		if x.learn(plainTemplate(uint16(id), MaxFields), 1); x.template(uint16(id)) == nil {
			t.Fatalf("template %d found no room", id)
		}
		if got := x.held.Load(); got > 20_000 {
			t.Fatalf("%d bytes are held after template %d", got, id)
		}
	}
}

// The bound of all streams holds, and is paid by those that are not established.
func TestTemplatesOfAllStreamsAreBounded(t *testing.T) {
	const limit = 200_000
	s := NewStreams(Limits{AllTemplateBytes: limit, Streams: 1024})
	start := streamsStart
	good := s.of(exporterID(1, 0, V9), start.UnixNano())
	establish(good, start, start.Add(time.Hour))
	good.learn(plainTemplate(256, 20), start.UnixNano())
	for i := range 2000 {
		x := s.of(exporterID(uint32(2+i%500), 0, V9), start.UnixNano())
		x.learn(plainTemplate(uint16(256+i), 20), start.UnixNano())
		if got := s.templateBytes.Load(); got > limit {
			t.Fatalf("%d bytes are held", got)
		}
	}
	if good.template(256) == nil {
		t.Error("the established stream lost its template")
	}
	sum := int64(0)
	for x := range s.all {
		sum += x.held.Load()
	}
	if sum != s.templateBytes.Load() || sum < limit/2 {
		t.Errorf("streams hold %d bytes, all %d", sum, s.templateBytes.Load())
	}
	if s.Evicted().Templates == 0 {
		t.Error("no eviction is counted")
	}
}

// Where all are established, those with more than their share pay, and one that
// is new does not push out the others.
func TestTemplatesOfEstablishedStreams(t *testing.T) {
	const limit = 512_000
	s := NewStreams(Limits{AllTemplateBytes: limit, Streams: 1024})
	start := streamsStart
	at := start.UnixNano()
	var small []*Stream
	for i := range 20 {
		x := s.of(exporterID(uint32(i), 0, V9), at)
		establish(x, start, start.Add(time.Hour))
		x.learn(plainTemplate(256, 10), at)
		small = append(small, x)
	}
	for i := range 4000 { // ten exporters that announce all there can be, and last
		x := s.of(exporterID(uint32(100+i%10), 0, V9), at)
		establish(x, start, start.Add(2*time.Hour))
		x.learn(plainTemplate(uint16(256+i), 20), at)
		if got := s.templateBytes.Load(); got > limit {
			t.Fatalf("%d bytes are held", got)
		}
	}
	x := s.of(exporterID(200, 0, V9), at)
	if x.learn(plainTemplate(256, 20), at); x.template(256) == nil {
		t.Error("a newcomer finds no room")
	}
	for i, x := range small {
		if x.template(256) == nil {
			t.Errorf("stream %d lost its only template", i)
		}
	}
}

// A stream whose templates alone are too many gives them up itself.
func TestTemplatesOfTheOnlyStream(t *testing.T) {
	s := NewStreams(Limits{AllTemplateBytes: 5000})
	x := s.of(exporterID(1, 0, V9), 1)
	for id := 256; id < 300; id++ {
		x.learn(plainTemplate(uint16(id), 20), 1)
		if got := s.templateBytes.Load(); got > 5000 {
			t.Fatalf("%d bytes are held", got)
		}
	}
	if s.Evicted().Templates == 0 {
		t.Error("no eviction is counted")
	}
}

func TestTemplatesExpire(t *testing.T) {
	s := NewStreams(Limits{})
	start := streamsStart
	x := s.of(exporterID(1, 0, V9), start.UnixNano())
	x.learn(plainTemplate(256, 3), start.UnixNano())
	x.learn(plainTemplate(257, 3), start.Add(10*time.Hour).UnixNano())
	establish(x, start, start.Add(10*time.Hour))
	s.Expire(start.Add(25 * time.Hour))
	if x.template(256) != nil || x.template(257) == nil {
		t.Error("not the template that is 25 hours old is gone")
	}
	if got := s.Evicted(); got != (Evictions{}) {
		t.Errorf("%+v made room for nothing", got)
	}
	s.Expire(start.Add(35 * time.Hour))
	if left := s.List(); len(left) != 0 || s.templateBytes.Load() != 0 {
		t.Errorf("%+v are left, %d bytes", left, s.templateBytes.Load())
	}
	if s.of(exporterID(1, 0, V9), 1) == x {
		t.Error("the stream that was forgotten is used again")
	}
}

// What options tell is bounded over all exporters, and given back.
func TestRoomForOptions(t *testing.T) {
	s := NewStreams(Limits{OptionsBytes: 1000})
	x := s.of(exporterID(1, 0, V9), streamsStart.UnixNano())
	y := s.of(exporterID(2, 0, V9), streamsStart.Add(20*time.Hour).UnixNano())
	if !x.roomForOptions(600) || y.roomForOptions(500) || !y.roomForOptions(400) {
		t.Error("more than the limit, or less")
	}
	s.Expire(streamsStart.Add(30 * time.Hour)) // x goes
	if !y.roomForOptions(600) || y.roomForOptions(1) {
		t.Error("the room was not given back")
	}
	if !x.roomForOptions(5000) || s.optionsBytes.Load() != 1000 {
		t.Error("a stream that has left counts")
	}
}

// An established exporter's sampling rate finds room beside what a flood told.
func TestRoomForOptionsInAFlood(t *testing.T) {
	s := NewStreams(Limits{OptionsBytes: 10_000})
	good := s.of(exporterID(1, 0, V9), streamsStart.UnixNano())
	for i := range uint32(100) {
		x := s.of(exporterID(2+i, 0, V9), streamsStart.UnixNano())
		x.learnRate(1, 1000, plenty())
		for j := range uint32(10) {
			x.learnName(j, []byte("eth0"), plenty())
		}
	}
	if got := s.optionsBytes.Load(); got > 10_000 || got < 9_000 {
		t.Fatalf("%d bytes of options", got)
	}
	if good.learnRate(1, 100, plenty()); good.options.rates().single() != 0 {
		t.Error("a new stream took the room of others")
	}
	establish(good, streamsStart, streamsStart.Add(time.Hour))
	if good.learnRate(1, 100, plenty()); good.options.rates().single() != 100 {
		t.Error("an established stream found no room")
	}
	sum := int64(0)
	for x := range s.all {
		sum += x.optionBytes
		if x.optionBytes == 0 && (x.options.rates() != nil || len(x.options.interfaces()) > 0) {
			t.Errorf("%v has options and no room for them", x.ID)
		}
	}
	if sum != s.optionsBytes.Load() || sum > 10_000 {
		t.Errorf("streams have %d bytes of options, all %d", sum, s.optionsBytes.Load())
	}
}
