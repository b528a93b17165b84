// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"github.com/portolan/portolan/ingest/flow"
	"github.com/portolan/portolan/profiler"
	"github.com/portolan/portolan/store/ipset"
)

const (
	// burstSize is how many datagrams a worker takes from its source at once.
	burstSize = 64
	// scratchRecords holds the records of the largest UDP datagram there is:
	// (65,535 - 24) / 48 is 1,364 records of v5.
	scratchRecords = 2048
	// queueSize is how many observations of one worker wait for the batcher.
	queueSize = 1 << 15
)

// datagram is one export datagram, borrowed from its source.
type datagram struct {
	payload []byte
	source  [16]byte // the exporter's address; IPv4 as ::ffff:a.b.c.d
}

// burst is what a worker takes from its source in one go.
type burst struct {
	datagrams [burstSize]datagram
	n         int
	dropped   [datagramDrops]uint64 // received, but given up by the source
}

// candidate is a side of a record whose address belongs to an endpoint.
type candidate struct {
	binding ipset.Binding
	port    uint16 // its own port
	far     uint16 // the port at the other end
	proto   uint8
	flags   uint8 // TCP flags of the record
}

// finding is a candidate for which the evidence stage has decided a role.
type finding struct {
	key, hash uint64
	binding   ipset.Binding
	port      uint16
	proto     uint8
	role      profiler.Role
	evidence  profiler.Evidence
}

// observation is the finding as the Sink gets it.
func (f *finding) observation(exporter [16]byte, arrival int64) profiler.Observation {
	return profiler.Observation{
		Binding: f.binding.ID, Gen: f.binding.Gen,
		Port: f.port, Proto: f.proto, Role: f.role, Evidence: f.evidence,
		Exporter: exporter, First: arrival, Last: arrival,
	}
}

// worker turns datagrams into observations. One goroutine owns it; what others
// may read is its page, its queue's tail and its exporters.
type worker struct {
	*shared
	reader *ipset.Reader
	queue  *queue
	wake   chan<- struct{} // tells the batcher that the queue has something new
	page   ledgerPage
	counts tally

	burst      burst
	records    []flow.Record
	addresses  [][16]byte      // of both sides of every record, source first
	bindings   []ipset.Binding // whose they are
	candidates []candidate
	findings   []finding
	touched    uint64 // keeps the loads of touch alive

	verbose           bool // the debug log is on; asked once per burst
	processing, other sampler
}

func newWorker(s *shared, wake chan<- struct{}) *worker {
	return &worker{
		shared:     s,
		reader:     s.set.Reader(),
		queue:      newQueue(queueSize),
		wake:       wake,
		records:    make([]flow.Record, 0, scratchRecords),
		addresses:  make([][16]byte, 2*scratchRecords),
		bindings:   make([]ipset.Binding, 2*scratchRecords),
		candidates: make([]candidate, 0, 2*scratchRecords),
		findings:   make([]finding, 0, 2*scratchRecords),
	}
}

// process takes the burst that came by path, and publishes what became of it.
func (w *worker) process(path Path, arrival int64) {
	b := &w.burst
	w.counts.received[path] += uint64(b.n)
	for i, n := range b.dropped {
		w.counts.received[path] += n
		w.counts.dropped[i] += n
	}
	w.verbose = w.log.Enabled(context.Background(), slog.LevelDebug)
	view := w.reader.Acquire()
	for i := range b.datagrams[:b.n] {
		w.datagram(view, &b.datagrams[i], arrival)
	}
	w.publish()
}

// publish shows the batcher the new observations and scrapes the new counts.
func (w *worker) publish() {
	if w.queue.publish() {
		select {
		case w.wake <- struct{}{}:
		default: // it has been told already
		}
	}
	w.page.publish(&w.counts)
}

// datagram takes one datagram down the path. Each stage runs over all records
// of it before the next begins, so that the cache misses of a stage overlap.
func (w *worker) datagram(view *ipset.View, d *datagram, arrival int64) {
	var m flow.Message
	if drop := m.Parse(d.payload); drop != flow.NoDrop {
		w.counts.dropped[drop]++
		return
	}
	w.counts.decoded++
	records, problems := m.Append(w.records[:0])
	for p := flow.Problem(0); problems != 0; p++ {
		w.counts.problems[p] += uint64(problems & 1)
		problems >>= 1
	}
	w.counts.records[m.Version] += uint64(len(records))

	x := w.exporters.of(exporterID{d.source, m.Domain, m.Version})
	x.datagrams.Add(1)
	x.records.Add(uint64(len(records)))
	x.lastSeen.Store(arrival)
	if x != &w.exporters.others {
		x.sequence.note(m.Sequence, announced(&m, len(records)), uint32(len(records)))
	}
	if w.verbose {
		w.logProcessing(&m, d, len(records), arrival)
	}

	w.resolve(view, records, arrival)
	w.judge()
	w.claim(d, arrival)
}

// announced is by how many flows a message says that it advances the sequence. A
// claim that the format does not allow is worth nothing.
func announced(m *flow.Message, records int) uint32 {
	if m.Count > flow.MaxV5Records {
		return uint32(records)
	}
	return uint32(m.Count)
}

// resolve looks both sides of every record up, all at once so that the cache
// misses overlap; external sides end here.
func (w *worker) resolve(view *ipset.View, records []flow.Record, arrival int64) {
	n := len(records)
	addresses, bindings := w.addresses[:2*n], w.bindings[:2*n]
	for i := range records {
		addresses[2*i], addresses[2*i+1] = records[i].Src, records[i].Dst
	}
	view.LookupBatch(addresses, bindings)
	c := w.candidates[:0]
	for i := range records {
		r := &records[i]
		if b := bindings[2*i]; b.Gen != 0 {
			c = append(c, candidate{b, r.SrcPort, r.DstPort, r.Proto, r.TCPFlags})
		}
		if b := bindings[2*i+1]; b.Gen != 0 {
			c = append(c, candidate{b, r.DstPort, r.SrcPort, r.Proto, r.TCPFlags})
		}
	}
	w.counts.sides[fateExternal] += uint64(2*n - len(c))
	w.candidates = c
	if w.verbose {
		w.logExternals(addresses, bindings, arrival)
	}
}

// judge is the evidence stage: it decides which role a side's port has, if any.
//
// This is `ports: all`, the behaviour of the NAC that Portolan follows: each
// internal side's own port counts as listening, because it was seen. A rule
// that infers who serves takes this function's place and nothing else's: it
// gets both ports, the protocol and the flags, and leaves a side undetermined
// by adding no finding for it.
func (w *worker) judge() {
	f := w.findings[:0]
	for i := range w.candidates {
		c := &w.candidates[i]
		if c.port == 0 || protoCode[c.proto] == 0 {
			w.counts.sides[fateNoPort]++
			continue
		}
		key := pairKey(c.binding.ID, c.binding.Gen, c.proto, c.port, profiler.Listening)
		f = append(f, finding{key, pairHash(key), c.binding, c.port, c.proto, profiler.Listening, profiler.Seen})
	}
	w.findings = f
}

// claim hands on what has not been posted within its interval.
func (w *worker) claim(d *datagram, arrival int64) {
	for i := range w.findings {
		w.touched ^= w.pairs.touch(w.findings[i].hash)
	}
	now := uint32(arrival / int64(time.Second))
	interval := time.Duration(w.interval.Load())
	for i := range w.findings {
		f := &w.findings[i]
		c, result := w.pairs.claim(f, now, interval)
		switch result {
		case alreadyPosted:
			w.counts.sides[fateDuplicate]++
		case tableFull:
			w.counts.sides[fateTableFull]++
		case claimed:
			w.counts.sides[fateObserved]++
			if !w.queue.push(&pending{f.observation(d.source, arrival), c}) {
				w.counts.lost[lossQueueFull]++
				w.pairs.forget(c)
			}
		}
	}
}

func (w *worker) logProcessing(m *flow.Message, d *datagram, records int, arrival int64) {
	if n, ok := w.processing.allow(arrival); ok {
		w.log.Debug("processing "+m.Version.String(), "exporter", netip.AddrFrom16(d.source).Unmap(), "domain", m.Domain, "records", records, "stands_for", n)
	}
}

func (w *worker) logExternals(addresses [][16]byte, bindings []ipset.Binding, arrival int64) {
	for i, b := range bindings {
		if b.Gen != 0 {
			continue
		}
		if n, ok := w.other.allow(arrival); ok {
			w.log.Debug("possibly external", "ip", netip.AddrFrom16(addresses[i]).Unmap(), "stands_for", n)
		}
	}
}
