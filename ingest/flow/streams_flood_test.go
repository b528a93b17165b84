// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"runtime"
	"testing"
	"time"
)

// heapGrowth returns how much more memory lives than at the first call.
func heapGrowth() func() int64 {
	live := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := live()
	return func() int64 { return live() - before }
}

const mostGrowth = 64 << 20

// flooded is a registry with a good exporter whose messages come every
// millisecond of the flood's time, beside everything that the flood sends.
type flooded struct {
	*Streams
	good  *Stream
	batch Batch
	now   int64
	sent  uint32
}

func newFlooded() *flooded {
	f := &flooded{Streams: NewStreams(Limits{}), now: streamsStart.UnixNano()}
	f.good = f.of(exporterID(1, 0, IPFIX), f.now)
	f.good.learn(plainTemplate(256, 20), f.now)
	f.batch = Batch{Message: Message{Version: IPFIX}, Records: make([]Record, 24)}
	for range 2 {
		f.message()
		f.now += int64(2 * time.Minute)
	}
	return f
}

// message is one of the good exporter.
func (f *flooded) message() {
	f.batch.Arrival, f.batch.Sequence = f.now, f.sent
	f.of(exporterID(1, 0, IPFIX), f.now).note(&f.batch, Units{Advance: 24, Carried: 24})
	f.sent += 24
}

// check tells what the flood has done to the good exporter.
func (f *flooded) check(t *testing.T) {
	t.Helper()
	good := f.of(exporterID(1, 0, IPFIX), f.now)
	if good != f.good || good.template(256) == nil {
		t.Error("the good exporter was forgotten")
	}
	if h := good.health(); h.Lost != 0 || h.Records != uint64(f.sent) || h.Restarts != 0 {
		t.Errorf("the good exporter sent %d records: %+v", f.sent, h)
	}
}

// flood enters n streams and counts a message of each; every eighth learns a
// template, and every eighth has a set wait.
func (f *flooded) flood(n int, id func(i uint32) StreamID) {
	b := Batch{Message: Message{Version: V9}}
	body := make([]byte, 1000)
	for i := range uint32(n) {
		if i%1000 == 0 {
			f.message()
		}
		f.now += 1000
		b.Arrival = f.now
		x := f.of(id(i), f.now)
		switch i % 8 {
		case 0:
			x.learn(plainTemplate(256, 50), f.now)
		case 1:
			x.wait(&b, 300, body)
		}
		x.note(&b, Units{Advance: 1, Carried: 1})
	}
}

// manyOr is a number of streams, or a smaller one in a short run, and one smaller
// still under the race detector, which makes all of it many times slower.
func manyOr(many, few int) int {
	switch {
	case raceDetector:
		return few / 2
	case testing.Short():
		return few
	}
	return many
}

// An exporter that invents ten million domains replaces itself.
func TestBad70TenMillionDomains(t *testing.T) {
	n := manyOr(10_000_000, 80_000)
	grown := heapGrowth()
	f := newFlooded()
	other := f.of(exporterID(2, 0, V9), f.now) // seen once, and not established
	start := time.Now()
	for i := range uint32(n) {
		if i%1000 == 0 {
			f.message()
		}
		f.now += 1000
		f.of(StreamID{Exporter: exporterID(9, 0, V9).Exporter, Domain: i, Version: V9}, f.now)
	}
	t.Logf("%d domains, %v each", n, time.Since(start)/time.Duration(n))
	if got := grown(); got > mostGrowth {
		t.Errorf("the heap has grown by %d bytes", got)
	}
	f.check(t)
	if f.of(other.ID, f.now) != other {
		t.Error("the other exporter was forgotten")
	}
	if got, want := f.Evicted().Streams, uint64(n+2-8192); got != want {
		t.Errorf("%d evictions are counted, want %d", got, want)
	}
}

// A million invented exporters, with templates and sets that wait.
func TestBad72AMillionExporters(t *testing.T) {
	n := manyOr(1_000_000, 80_000)
	grown := heapGrowth()
	f := newFlooded()
	f.flood(n, func(i uint32) StreamID { return exporterID(100+i, i%3, V9) })
	if got := grown(); got > mostGrowth {
		t.Errorf("the heap has grown by %d bytes", got)
	}
	f.check(t)
	e := f.Evicted()
	if want := uint64(n + 1 - 8192); e.Streams != want || e.Templates < want/8-1024 || e.Waiting == 0 {
		t.Errorf("%+v, want %d streams", e, want)
	}
	t.Logf("%d bytes live, %+v", grown(), e)
	runtime.KeepAlive(f)
}

// The worst that fits: every stream full of templates, backlogs full.
func TestBad71AllTemplatesOfAllStreams(t *testing.T) {
	n := manyOr(200_000, 100_000)
	grown := heapGrowth()
	f := newFlooded()
	b := Batch{Message: Message{Version: V9}}
	body := make([]byte, 1000)
	for i := range n {
		if i%1000 == 0 {
			f.message()
		}
		f.now += 1000
		b.Arrival = f.now
		x := f.of(exporterID(uint32(100+i%1000), uint32(i/1000%8), V9), f.now)
		x.learn(plainTemplate(uint16(256+i/1000), 100), f.now)
		x.wait(&b, 255, body)
	}
	if got := grown(); got > mostGrowth {
		t.Errorf("the heap has grown by %d bytes", got)
	}
	f.check(t)
	if got := f.templateBytes.Load(); got > 16<<20 || got < 8<<20 {
		t.Errorf("%d bytes of templates", got)
	}
	if got := f.waitingBytes.Load(); got > 8<<20 || got < 4<<20 {
		t.Errorf("%d bytes wait", got)
	}
	t.Logf("%d bytes live", grown())
	runtime.KeepAlive(f)
}
