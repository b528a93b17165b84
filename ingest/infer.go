// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"encoding/binary"
	"sync/atomic"
	"time"

	"github.com/portolan/portolan/ingest/evidence"
	"github.com/portolan/portolan/ingest/flow"
	"github.com/portolan/portolan/profiler"
	"github.com/portolan/portolan/store/ipset"
)

// infer is the evidence stage of `ports: inferred`: it asks of every side whether
// it serves its port or uses the other one, and leaves undetermined what nothing
// shows yet.
func (w *worker) infer(b *flow.Batch, arrival int64) {
	records := b.Records
	bare := w.flagged.note(b)
	f := w.findings[:0]
	now := uint32(arrival / int64(time.Second))
	for i := range w.candidates {
		c := &w.candidates[i]
		r := &records[c.record]
		if c.port == 0 || protoCode[c.proto] == 0 {
			w.counts.sides[fateNoPort]++
			continue
		}
		if r.Event == deniedEvent {
			w.counts.sides[fateUndetermined]++
			continue
		}
		s := evidence.Side{
			Binding: c.binding.ID, Gen: c.binding.Gen, Far: c.far.ID, FarGen: c.far.Gen,
			Port: c.port, FarPort: c.farPort, Proto: c.proto, Flags: r.TCPFlags,
			Out: c.out, Single: r.Packets == 1, Bare: bare, Few: r.Packets <= fewPackets, Sampled: r.Sampling > 1,
			Group: group(&r.Dst) || group(&r.Src),
		}
		far := &r.Src
		if c.out {
			far = &r.Dst
		}
		s.FarHash = binary.LittleEndian.Uint32(far[12:]) ^ binary.LittleEndian.Uint32(far[8:])*0x85ebca6b
		if r.Initiator != flow.NoEnd {
			s.Initiator = evidence.Other
			if (r.Initiator == flow.SourceEnd) == c.out {
				s.Initiator = evidence.Self
			}
		}
		v := w.evidence.Judge(&s, now)
		if r.ReversePackets > 0 || r.ReverseBytes > 0 { // the record tells of both directions
			s.Out, s.Flags = !c.out, r.ReverseTCPFlags
			s.Single, s.Few = r.ReversePackets == 1, r.ReversePackets <= fewPackets
			v = v.And(w.evidence.Judge(&s, now))
		}
		switch {
		case v.Listening != profiler.NoEvidence:
			key := pairKey(c.binding.ID, c.binding.Gen, c.proto, c.port, profiler.Listening)
			f = append(f, finding{key, pairHash(key), c.binding, c.port, c.proto, profiler.Listening, v.Listening, v.Counterparts})
		case v.Contacted:
			key := pairKey(c.binding.ID, c.binding.Gen, c.proto, c.farPort, profiler.Contacted)
			f = append(f, finding{key, pairHash(key), c.binding, c.farPort, c.proto, profiler.Contacted, profiler.Service, 0})
		case v.Full:
			w.counts.sides[fateTableFull]++
		default:
			w.counts.sides[fateUndetermined]++
		}
	}
	w.findings = f
}

// fewPackets is how many packets of TCP, in one direction and without flags, do
// not make a conversation: one that opens and closes has more.
const fewPackets = 3

// flagged remembers which exporters have shown a TCP flag: of them a record
// without one tells of a null scan, of all others nothing. All workers write it;
// a bit that two exporters share costs the records without flags of one of them.
type flagged [64]atomic.Uint64

// note enters the records of a batch and tells whether its exporter has flags.
func (f *flagged) note(b *flow.Batch) bool {
	id := &b.Stream.ID
	h := (binary.LittleEndian.Uint32(id.Exporter[12:]) ^ binary.LittleEndian.Uint32(id.Exporter[:]) ^ binary.LittleEndian.Uint32(id.Exporter[8:]) ^ b.Domain) * 0x9e3779b1
	word, bit := &f[h>>26], uint64(1)<<(h>>20&63)
	if word.Load()&bit != 0 {
		return true
	}
	for i := range b.Records {
		if r := &b.Records[i]; r.Proto == protoTCP && (r.TCPFlags|r.ReverseTCPFlags) != 0 {
			word.Or(bit)
			return true
		}
	}
	return false
}

// deniedEvent is what a firewall says of a flow that it let nothing through of
// (IPFIX firewallEvent).
const deniedEvent = 3

// group tells whether an address is multicast (RFC 5771, RFC 4291 section 2.7) or
// the limited broadcast (RFC 919 section 7).
func group(a *[16]byte) bool {
	if binary.BigEndian.Uint32(a[8:]) == 0xffff && binary.BigEndian.Uint64(a[:]) == 0 {
		return a[12]&0xf0 == 224 || binary.BigEndian.Uint32(a[12:]) == 1<<32-1
	}
	return a[0] == 0xff
}

// settler posts what evidence has settled, and withdraws. One goroutine has it.
type settler struct {
	*shared
	queue  *queue
	wake   chan<- struct{}
	page   ledgerPage
	counts tally
	last   uint32
	// makeRoom empties the queue; nil where the batcher does so by itself.
	makeRoom func()
}

// run settles every minute until stop is closed.
func (s *settler) run(now func() time.Time, stop <-chan struct{}) {
	if s.evidence == nil {
		return
	}
	every := time.NewTicker(settleEvery * time.Second)
	defer every.Stop()
	for {
		select {
		case <-every.C:
			s.settle(now().UnixNano(), false)
		case <-stop:
			return
		}
	}
}

const settleEvery = 60 // seconds

func newSettler(s *shared, wake chan<- struct{}) *settler {
	return &settler{shared: s, queue: newQueue(queueSize), wake: wake}
}

// settle decides what is old enough at a time; end: all.
func (s *settler) settle(at int64, end bool) {
	if s.evidence == nil {
		return
	}
	now := uint32(at / int64(time.Second))
	s.last = now
	interval := time.Duration(s.interval.Load())
	s.evidence.Settle(now, end, func(t evidence.Told) bool {
		f := finding{binding: ipset.Binding{ID: t.Binding, Gen: t.Gen}, port: t.Port, proto: t.Proto, role: profiler.Listening, evidence: t.Evidence, met: t.Counterparts}
		f.key = pairKey(t.Binding, t.Gen, t.Proto, t.Port, profiler.Listening)
		f.hash = pairHash(f.key)
		o := f.observation([16]byte{}, at)
		o.First = int64(t.First) * int64(time.Second)
		if t.Withdraw {
			o.Withdraw = true
			if !s.push(&pending{o, slot{}}) {
				return false
			}
			s.pairs.drop(&f)
			return true
		}
		c, result := s.pairs.claim(&f, now, interval)
		if result != claimed {
			return result == alreadyPosted
		}
		// A side that was left undetermined is what shows the port now.
		s.counts.sides[fateUndetermined]--
		s.counts.sides[fateObserved]++
		if !s.push(&pending{o, c}) {
			s.counts.lost[lossQueueFull]++
			s.pairs.forget(c)
			return false
		}
		return true
	})
	if s.queue.publish() {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
	s.page.publish(&s.counts)
}

// push queues a post, and tells whether there was room.
func (s *settler) push(p *pending) bool {
	if s.queue.push(p) {
		return true
	}
	if s.makeRoom == nil {
		return false
	}
	s.queue.publish()
	s.makeRoom()
	return s.queue.push(p)
}
