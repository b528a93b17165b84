// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"encoding/binary"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/portolan/portolan/ingest/flow"
	"github.com/portolan/portolan/profiler"
	"github.com/portolan/portolan/store/ipset"
)

// memorySink is the simplest profiler there is: a map of what was posted last.
// It is the oracle for what a real store answers.
type memorySink struct {
	mu       sync.Mutex
	interval time.Duration
	last     map[profiler.Observation]int64
	posts    []profiler.Observation                        // everything that was offered, in order
	answer   func(o profiler.Observation) profiler.Outcome // overrides, where not Unanswered
	fail     func() error
}

func newMemorySink() *memorySink {
	return &memorySink{interval: profiler.DefaultInterval, last: map[profiler.Observation]int64{}}
}

func (s *memorySink) Post(_ context.Context, b *profiler.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		if err := s.fail(); err != nil {
			return err
		}
	}
	for i, o := range b.Observations {
		s.posts = append(s.posts, o)
		pair := profiler.Observation{Binding: o.Binding, Gen: o.Gen, Port: o.Port, Proto: o.Proto, Role: o.Role}
		last, known := s.last[pair]
		b.Posted[i] = o.Last
		switch {
		case s.answer != nil && s.answer(o) != profiler.Unanswered:
			b.Outcomes[i] = s.answer(o)
			continue
		case !known:
			b.Outcomes[i] = profiler.Added
		case profiler.Due(last, o.Last, profiler.PairInterval(s.interval, &o)):
			b.Outcomes[i] = profiler.Updated
		default:
			b.Outcomes[i], b.Posted[i] = profiler.Duplicate, last
			continue
		}
		s.last[pair] = o.Last
	}
	return nil
}

func (s *memorySink) offered() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.posts)
}

func addr(s string) [16]byte { return netip.MustParseAddr(s).As16() }

// addrOf is address i of 10.0.0.0/8.
func addrOf(i int) (a [16]byte) {
	a = addr("10.0.0.0")
	binary.BigEndian.PutUint32(a[12:], 10<<24+uint32(i))
	return a
}

// setOf makes a set of endpoints whose binding ids are 1, 2, … in that order.
func setOf(t testing.TB, addrs ...string) *ipset.Live {
	t.Helper()
	l := ipset.NewLive(nil)
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close the set: %v", err)
		}
	})
	var changes []ipset.Change
	for i, a := range addrs {
		changes = append(changes, ipset.Change{Addr: addr(a), Binding: ipset.Binding{ID: uint32(i + 1), Gen: 1}})
	}
	l.Change(changes)
	return l
}

// tcp is a record from one socket address to another.
func tcp(src string, sport uint16, dst string, dport uint16) flow.Record {
	return flow.Record{Src: addr(src), Dst: addr(dst), SrcPort: sport, DstPort: dport, Proto: protoTCP, Packets: 1, Bytes: 40}
}

// v5 makes a datagram of records with the given sequence number.
func v5(seq uint32, at time.Time, records ...flow.Record) []byte {
	return flow.AppendV5(nil, flow.V5Header{Sequence: seq, ExportTime: at.UnixNano(), Uptime: 3600_000}, records)
}

// checkBooks adds CONTRACT's three identities up.
func checkBooks(t testing.TB, l *Ledger) {
	t.Helper()
	sum := func(m map[string]uint64) (n uint64) {
		for _, v := range m {
			n += v
		}
		return n
	}
	if got := l.Datagrams.Decoded + sum(l.Datagrams.Dropped); got != l.Datagrams.Received {
		t.Errorf("received %d, decoded + dropped %d: %+v", l.Datagrams.Received, got, l.Datagrams)
	}
	s := &l.Sides
	if got := s.External + s.Duplicate + s.Undetermined + s.Observed + sum(s.Dropped); got != 2*l.Records {
		t.Errorf("2 × records = %d, sides %d: %+v", 2*l.Records, got, *s)
	}
	if got := l.Posts.Acknowledged + l.Posts.InFlight + sum(l.Posts.Lost); got != s.Observed {
		t.Errorf("observed %d, acknowledged + in flight + lost %d: %+v", s.Observed, got, l.Posts)
	}
}
