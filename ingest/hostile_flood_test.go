// SPDX-License-Identifier: Apache-2.0

//go:build linux

package ingest

import (
	"encoding/binary"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/portolan/portolan/ingest/flow"
)

// flood is a worker on a network that a good exporter's messages reach, a record
// each, among all that a flood sends. Time is the flood's own.
type flood struct {
	*Offline
	sink  *memorySink
	at    time.Time
	sent  uint64 // datagrams of both
	good  uint32 // messages of the good exporter
	heap  uint64
	begin time.Time
}

func newFlood(t *testing.T) *flood {
	t.Helper()
	f := &flood{sink: newMemorySink(), at: day, heap: liveHeap(), begin: time.Now()}
	f.Offline = newOffline(t, Config{Set: setOf(t, "10.0.0.7"), Sink: f.sink, Pairs: 1 << 18})
	f.worker.decoder.Patient = false
	f.pass(t, addr(exporterAddr), flow.AppendIPFIXTemplates(nil, flow.IPFIXHeader{Domain: 7, ExportTime: f.at.UnixNano()}))
	for range 2 { // more than a minute apart: the exporter is no newcomer
		f.message(t)
		f.at = f.at.Add(2 * time.Minute)
	}
	return f
}

// pass gives the worker a datagram; every 64 go through at once.
func (f *flood) pass(t *testing.T, source [16]byte, payload []byte) {
	t.Helper()
	b := &f.worker.burst
	b.datagrams[b.n] = datagram{payload, source}
	f.sent++
	if b.n++; b.n == len(b.datagrams) {
		f.flush(t)
	}
}

func (f *flood) flush(t *testing.T) {
	t.Helper()
	f.worker.process(PathUDP, f.at.UnixNano())
	f.worker.burst.reset()
	if err := f.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// message is one of the good exporter, with a pair that nobody has seen.
func (f *flood) message(t *testing.T) {
	t.Helper()
	r := tcp("10.0.0.7", uint16(1+f.good%65535), "198.51.100.1", 443)
	f.pass(t, addr(exporterAddr), flow.AppendIPFIX(nil, flow.IPFIXHeader{Domain: 7, Sequence: f.good, ExportTime: f.at.UnixNano()}, []flow.Record{r}))
	f.good++
}

// run sends n datagrams, a microsecond apart, and one of the good exporter with
// every thousand.
func (f *flood) run(t *testing.T, n int, make func(i uint32, b []byte) (source [16]byte, payload []byte)) {
	t.Helper()
	var buffers [burstSize][]byte
	for i := range uint32(n) {
		if i%1000 == 0 {
			f.message(t)
		}
		f.at = f.at.Add(time.Microsecond)
		b := &buffers[f.worker.burst.n]
		source, payload := make(i, (*b)[:0])
		*b = payload
		f.pass(t, source, payload)
	}
	f.flush(t)
}

// check tells what the flood has done: to memory, to the good exporter, to the
// books.
func (f *flood) check(t *testing.T) Status {
	t.Helper()
	grown := int64(liveHeap()) - int64(f.heap)
	st := f.Status()
	checkBooks(t, &st.Ledger)
	if d := st.Ledger.Datagrams; d.Received != f.sent || d.Decoded != f.sent {
		t.Errorf("%d datagrams were sent: %+v", f.sent, d)
	}
	i := slices.IndexFunc(st.Exporters, func(e Exporter) bool { return e.Exporter == exporterAddr })
	if i < 0 {
		t.Fatal("the good exporter was forgotten")
	}
	if x := st.Exporters[i]; x.Records != uint64(f.good) || x.Lost != 0 || x.Waiting != 0 || x.Restarts != 0 {
		t.Errorf("the good exporter sent %d records: %+v", f.good, x)
	}
	if n := f.sink.offered(); n != int(f.good) {
		t.Errorf("%d posts for %d records", n, f.good)
	}
	if grown > 64<<20 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
	took := time.Since(f.begin)
	t.Logf("%d datagrams, %v each; the heap has grown by %.1f MiB; %d streams; forgotten: %+v; problems %v",
		f.sent, took/time.Duration(f.sent), float64(grown)/(1<<20), len(st.Exporters), st.Evicted, st.Ledger.Problems)
	runtime.KeepAlive(f)
	return st
}

// liveHeap is how many bytes of heap are in use after a collection.
func liveHeap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// ofFlood is a number of datagrams, or a hundredth of it in a short run.
func ofFlood(n int) int {
	if testing.Short() {
		return max(n/100, 40_000)
	}
	return n
}

// An exporter invents a million source ids. What the registry of streams makes of
// ten million is tested where it is.
func TestFloodOfDomains(t *testing.T) {
	f, n := newFlood(t), ofFlood(1_000_000)
	header, evil := message(), addr(hostileAddr)
	f.run(t, n, func(i uint32, b []byte) ([16]byte, []byte) {
		b = append(b, header...)
		binary.BigEndian.PutUint32(b[16:], i)
		return evil, b
	})
	if got, least := f.check(t).Evicted.Streams, uint64(n-8192); got < least {
		t.Errorf("%d streams were forgotten, want at least %d", got, least)
	}
}

// An exporter announces all templates that there can be, again and again with other
// fields, and sends data of the last in each datagram.
func TestFloodOfTemplates(t *testing.T) {
	const ids, perDatagram = 65_280, 160
	f, rounds, evil := newFlood(t), 8, addr(hostileAddr)
	if testing.Short() {
		rounds = 1
	}
	f.run(t, rounds*ids/perDatagram, func(i uint32, b []byte) ([16]byte, []byte) {
		be := binary.BigEndian
		round, first := i/(ids/perDatagram), 256+i%(ids/perDatagram)*perDatagram
		b = append(b, message()...)
		be.PutUint32(b[16:], 3)
		b = append(b, 0, 0)
		b = be.AppendUint16(b, 4+8*perDatagram)
		for id := first; id < first+perDatagram; id++ {
			b = be.AppendUint16(b, uint16(id))
			b = be.AppendUint16(b, 1)
			b = be.AppendUint16(b, uint16(1+round))
			b = be.AppendUint16(b, 4)
		}
		return evil, append(b, setOfBytes(uint16(first+perDatagram-1), make([]byte, 40))...)
	})
	st := f.check(t)
	i := slices.IndexFunc(st.Exporters, func(e Exporter) bool { return e.Exporter == hostileAddr })
	if i < 0 || st.Exporters[i].Templates > 1024 || st.Exporters[i].Records != uint64(10*rounds*ids/perDatagram) {
		t.Errorf("the exporter of templates: %+v", st.Exporters)
	}
	// A template of the round before that is still there is replaced, not forgotten.
	if got, least := st.Evicted.Templates, uint64(rounds*(ids-2*1024)); got < least {
		t.Errorf("%d templates were forgotten, want at least %d", got, least)
	}
}

// A million exporters are invented, each with a template or a set that waits.
func TestFloodOfExporters(t *testing.T) {
	f, n := newFlood(t), ofFlood(1_000_000)
	template := message(setOfBytes(0, definition(300, everything...)))
	waiting := message(setOfBytes(301, make([]byte, 1000)))
	f.run(t, n, func(i uint32, b []byte) ([16]byte, []byte) {
		if i%2 == 0 {
			return addrOf(int(i)), append(b, template...)
		}
		return addrOf(int(i)), append(b, waiting...)
	})
	e := f.check(t).Evicted
	if e.Streams < uint64(n-8192) || e.Templates < uint64(n/2-8192) || e.Waiting == 0 {
		t.Errorf("%d exporters: %+v", n, e)
	}
}
