// SPDX-License-Identifier: Apache-2.0

//go:build linux

package ingest

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/portolan/portolan/bench"
	"github.com/portolan/portolan/profiler"
	"github.com/portolan/portolan/store/ipset"
)

// daySink keeps what listens: what was posted and not withdrawn.
type daySink struct {
	*memorySink
	listening map[profiler.Observation]profiler.Evidence
}

func (s *daySink) Post(ctx context.Context, b *profiler.Batch) error {
	for _, o := range b.Observations {
		port := profiler.Observation{Binding: o.Binding, Port: o.Port, Proto: o.Proto}
		switch {
		case o.Role != profiler.Listening:
		case !o.Withdraw:
			s.listening[port] = max(s.listening[port], o.Evidence)
		case s.listening[port] <= o.Evidence:
			delete(s.listening, port)
		}
	}
	err := s.memorySink.Post(ctx, b)
	s.posts = s.posts[:0]
	return err
}

// TestDay holds what is inferred from a day of a network against the sockets that
// really listen there: what a short capture lets pass accumulates in a day.
func TestDay(t *testing.T) {
	for _, c := range []struct {
		name      string
		day       bench.DayConfig
		precision float64
		recall    float64
	}{
		{"every packet", bench.DayConfig{Seed: 7}, .95, .90},
		{"no scans", bench.DayConfig{Seed: 8, Endpoints: 150, Calm: true}, .95, .80},
		{"1 in 10", bench.DayConfig{Endpoints: 150, Sampling: 10}, .95, .65},
		{"1 in 1000", bench.DayConfig{Endpoints: 150, Sampling: 1000}, .95, .30},
	} {
		t.Run(c.name, func(t *testing.T) {
			if testing.Short() {
				c.day.Endpoints, c.day.Duration = 60, 2*time.Hour
				c.recall = 0
			}
			score := inferDay(t, c.day)
			var table strings.Builder
			if _, err := score.WriteTo(&table); err != nil {
				t.Error(err)
			}
			t.Logf("\n%s", &table)
			if f := score.Total; f.Precision() < c.precision || f.Recall() < c.recall {
				t.Errorf("precision %.3f, recall %.3f, want %v and %v", f.Precision(), f.Recall(), c.precision, c.recall)
				t.Log("false:", score.False)
			}
		})
	}
}

// inferDay takes a day down the path, and scores it.
func inferDay(t *testing.T, c bench.DayConfig) *bench.DayScore {
	t.Helper()
	d, err := bench.NewDay(c)
	if err != nil {
		t.Fatal(err)
	}
	set := setOf(t)
	var addrs []netip.Addr
	for _, row := range d.Endpoints() {
		if row.IP.IsValid() {
			addrs = append(addrs, row.IP)
			set.Change([]ipset.Change{{Addr: row.IP.As16(), Binding: ipset.Binding{ID: uint32(len(addrs)), Gen: 1}}})
		}
	}
	sink := &daySink{newMemorySink(), map[profiler.Observation]profiler.Evidence{}}
	o := newOffline(t, Config{Set: set, Sink: sink, Infer: true})
	var end time.Time
	for g, ok := d.Next(); ok; g, ok = d.Next() {
		end = g.At
		if err := o.Datagram(t.Context(), g.At, g.Exporter.As16(), g.Payload); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.End(t.Context(), end); err != nil {
		t.Fatal(err)
	}
	l := o.Status().Ledger
	checkBooks(t, &l)
	var found []bench.DayFound
	for p, e := range sink.listening {
		found = append(found, bench.DayFound{Addr: addrs[p.Binding-1], Proto: p.Proto, Port: p.Port, Evidence: e.String()})
	}
	return bench.Score(d.Truth(), found)
}
