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
	far     ipset.Binding // whose the other end is; Gen 0: nobody's
	port    uint16        // its own port
	farPort uint16        // the port at the other end
	proto   uint8
	out     bool   // it is the record's source
	record  uint16 // in the batch
}

// finding is a candidate for which the evidence stage has decided a role.
type finding struct {
	key, hash uint64
	binding   ipset.Binding
	port      uint16
	proto     uint8
	role      profiler.Role
	evidence  profiler.Evidence
	met       uint32 // counterparts
}

// observation is the finding as the Sink gets it. arrival is that of the
// datagram which the record came in.
func (f *finding) observation(exporter [16]byte, arrival int64) profiler.Observation {
	return profiler.Observation{
		Binding: f.binding.ID, Gen: f.binding.Gen,
		Port: f.port, Proto: f.proto, Role: f.role, Evidence: f.evidence,
		Exporter: exporter, First: arrival, Last: arrival, Counterparts: f.met,
	}
}

// worker turns datagrams into observations. One goroutine owns it; what others
// may read is its page and its queue's tail.
type worker struct {
	*shared
	reader  *ipset.Reader
	decoder *flow.Decoder
	queue   *queue
	wake    chan<- struct{} // tells the batcher that the queue has something new
	page    ledgerPage
	counts  tally

	burst      burst
	addresses  [][16]byte      // of both sides of every record, source first
	bindings   []ipset.Binding // whose they are
	candidates []candidate
	findings   []finding
	touched    uint64     // keeps the loads of touch alive
	found      *foundRing // nil without a finder

	verbose           bool // the debug log is on; asked once per burst
	processing, other sampler
}

func newWorker(s *shared, wake chan<- struct{}) *worker {
	var found *foundRing
	if s.finder != nil {
		found = new(foundRing)
	}
	return &worker{
		found:      found,
		shared:     s,
		reader:     s.set.Reader(),
		decoder:    flow.NewDecoder(s.streams),
		queue:      newQueue(queueSize),
		wake:       wake,
		addresses:  make([][16]byte, 2*flow.MaxRecords),
		bindings:   make([]ipset.Binding, 2*flow.MaxRecords),
		candidates: make([]candidate, 0, 2*flow.MaxRecords),
		findings:   make([]finding, 0, 2*flow.MaxRecords),
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

// datagram decodes one datagram and takes the records of each of its messages
// down the path. With them come those of former datagrams that waited for a
// template of this one.
func (w *worker) datagram(view *ipset.View, d *datagram, arrival int64) {
	if drop := w.decoder.Begin(d.source, arrival, d.payload); drop != flow.NoDrop {
		w.counts.dropped[drop]++
		return
	}
	w.counts.decoded++
	for b := w.decoder.Next(); b != nil; b = w.decoder.Next() {
		if w.discover != nil {
			w.discover(b.Records)
			view = w.reader.Acquire()
		}
		w.batch(view, b, arrival)
	}
	problems := w.decoder.Problems()
	for p := flow.Problem(0); problems != 0; p++ {
		w.counts.problems[p] += uint64(problems & 1)
		problems >>= 1
	}
}

// batch takes records down the path. Each stage runs over all of them before the
// next begins, so that the cache misses of a stage overlap.
func (w *worker) batch(view *ipset.View, b *flow.Batch, arrival int64) {
	w.counts.records[b.Version] += uint64(len(b.Records))
	w.counts.options += uint64(b.OptionsRecords)
	w.counts.samples += uint64(b.CounterSamples)
	if w.verbose {
		w.logProcessing(b, arrival)
	}
	w.resolve(view, b, arrival)
	if w.evidence != nil {
		w.infer(b, arrival)
	} else {
		w.judge()
	}
	w.claim(b, arrival)
}

// noAddress is the address of a side whose record has none for it. It is never
// an endpoint's.
var noAddress [16]byte

// resolve looks both sides of every record up, all at once so that the cache
// misses overlap; external sides end here, and those of an address that was
// somebody else's at the flow's own time.
func (w *worker) resolve(view *ipset.View, b *flow.Batch, arrival int64) {
	records := b.Records
	n := len(records)
	addresses, bindings := w.addresses[:2*n], w.bindings[:2*n]
	for i := range records {
		addresses[2*i], addresses[2*i+1] = records[i].Src, records[i].Dst
	}
	view.LookupBatch(addresses, bindings)
	if w.found != nil {
		w.seek(addresses, bindings, arrival)
	}
	w.touchMoved(view, bindings, arrival)
	c := w.candidates[:0]
	moved := w.counts.moved()
	for i := range records {
		r := &records[i]
		src, dst := bindings[2*i], bindings[2*i+1]
		if src.Gen > 1 || dst.Gen > 1 {
			src, dst = w.hold(view, b, r, src, dst)
		}
		if src.Gen != 0 {
			c = append(c, candidate{src, dst, r.SrcPort, r.DstPort, r.Proto, true, uint16(i)})
		}
		if dst.Gen != 0 {
			c = append(c, candidate{dst, src, r.DstPort, r.SrcPort, r.Proto, false, uint16(i)})
		}
	}
	nowhere := uint64(0)
	for i := range addresses {
		if addresses[i] == noAddress {
			nowhere++
		}
	}
	w.counts.sides[fateNoAddress] += nowhere
	moved = w.counts.moved() - moved
	w.counts.sides[fateExternal] += uint64(2*n-len(c)) - nowhere - moved
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
		f = append(f, finding{key, pairHash(key), c.binding, c.port, c.proto, profiler.Listening, profiler.Seen, 0})
	}
	w.findings = f
}

// claim hands on what has not been posted within its interval. Records that had
// to wait for their template were observed when their own datagram arrived, but
// the clock of the pairs does not go back for them.
func (w *worker) claim(b *flow.Batch, arrival int64) {
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
			if !w.queue.push(&pending{f.observation(b.Stream.ID.Exporter, b.Arrival), c}) {
				w.counts.lost[lossQueueFull]++
				w.pairs.forget(c)
			}
		}
	}
}

func (w *worker) logProcessing(b *flow.Batch, arrival int64) {
	if n, ok := w.processing.allow(arrival); ok {
		w.log.Debug("processing "+b.Version.String(), "exporter", netip.AddrFrom16(b.Stream.ID.Exporter).Unmap(), "domain", b.Domain, "records", len(b.Records), "stands_for", n)
	}
}

func (w *worker) logExternals(addresses [][16]byte, bindings []ipset.Binding, arrival int64) {
	for i, b := range bindings {
		if b.Gen != 0 || addresses[i] == noAddress {
			continue
		}
		if n, ok := w.other.allow(arrival); ok {
			w.log.Debug("possibly external", "ip", netip.AddrFrom16(addresses[i]).Unmap(), "stands_for", n)
		}
	}
}
