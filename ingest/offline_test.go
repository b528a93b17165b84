// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portolan/portolan/ingest/flow"
	"github.com/portolan/portolan/profiler"
	"github.com/portolan/portolan/store/ipset"
)

var day = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)

func newOffline(t testing.TB, c Config) *Offline {
	t.Helper()
	o, err := NewOffline(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Close)
	return o
}

// feed hands a datagram in and posts what it brought.
func feed(t testing.TB, o *Offline, at time.Time, payload []byte) {
	t.Helper()
	if err := o.Datagram(t.Context(), at, addr("192.0.2.1"), payload); err != nil {
		t.Fatal(err)
	}
	if err := o.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestEverySideHasOneFate(t *testing.T) {
	sink := newMemorySink()
	o := newOffline(t, Config{Set: setOf(t, "10.0.0.1", "10.0.0.2"), Sink: sink})
	icmp := flow.Record{Src: addr("10.0.0.1"), Dst: addr("8.8.8.8"), DstPort: 0x0800, Proto: 1}
	feed(t, o, day, v5(0, day,
		tcp("10.0.0.1", 40000, "10.0.0.2", 443),    // two observations
		tcp("10.0.0.1", 40000, "198.51.100.7", 80), // a duplicate and an external
		tcp("203.0.113.1", 53, "198.51.100.7", 80), // two externals
		tcp("10.0.0.2", 0, "8.8.8.8", 53),          // no port, external
		icmp,                                       // no port, external
	))
	l := o.Status().Ledger
	checkBooks(t, &l)
	want := SideCounts{External: 5, Duplicate: 1, Observed: 2, Dropped: map[string]uint64{"no_port": 2}}
	if diff := cmp.Diff(want, l.Sides); diff != "" {
		t.Error(diff)
	}
	if l.Posts.Acknowledged != 2 || l.Posts.Answers["added"] != 2 {
		t.Errorf("posts %+v", l.Posts)
	}
	wantPosts := []profiler.Observation{
		{Binding: 1, Gen: 1, Port: 40000, Proto: protoTCP, Evidence: profiler.Seen, Exporter: addr("192.0.2.1"), First: day.UnixNano(), Last: day.UnixNano()},
		{Binding: 2, Gen: 1, Port: 443, Proto: protoTCP, Evidence: profiler.Seen, Exporter: addr("192.0.2.1"), First: day.UnixNano(), Last: day.UnixNano()},
	}
	if diff := cmp.Diff(wantPosts, sink.posts); diff != "" {
		t.Error(diff)
	}
}

func TestPostedOncePerInterval(t *testing.T) {
	sink := newMemorySink()
	sink.interval = time.Hour
	o := newOffline(t, Config{Set: setOf(t, "10.0.0.1"), Sink: sink, Interval: time.Hour})
	r := tcp("10.0.0.1", 22, "8.8.8.8", 50000)
	// ×1 to ×1.25: within the hour never again, after 75 minutes certainly.
	for i, step := range []struct {
		after time.Duration
		posts int
	}{{0, 1}, {time.Minute, 1}, {59 * time.Minute, 1}, {76 * time.Minute, 2}, {2 * time.Hour, 2}, {153 * time.Minute, 3}} {
		feed(t, o, day.Add(step.after), v5(uint32(i), day.Add(step.after), r))
		if got := sink.offered(); got != step.posts {
			t.Fatalf("after %s: %d posts, want %d", step.after, got, step.posts)
		}
	}
	l := o.Status().Ledger
	checkBooks(t, &l)
	if l.Posts.Answers["added"] != 1 || l.Posts.Answers["updated"] != 2 || l.Posts.Answers["duplicate"] != 0 {
		t.Errorf("answers %v", l.Posts.Answers)
	}
}

// A sensor that has forgotten (a restart) asks once, is answered "duplicate",
// and counts the interval from the post that stands, not from the answer.
func TestRestartWithinTheInterval(t *testing.T) {
	sink := newMemorySink()
	r := tcp("10.0.0.1", 22, "8.8.8.8", 50000)
	set := setOf(t, "10.0.0.1")
	first := newOffline(t, Config{Set: set, Sink: sink})
	feed(t, first, day, v5(0, day, r))

	second := newOffline(t, Config{Set: set, Sink: sink})
	at := day.Add(23 * time.Hour)
	feed(t, second, at, v5(1, at, r))
	feed(t, second, at, v5(2, at, r))
	if l := second.Status().Ledger; l.Posts.Answers["duplicate"] != 1 || l.Sides.Duplicate != 1 {
		t.Fatalf("after the restart: %+v, %+v", l.Posts, l.Sides)
	}
	at = day.Add(31 * time.Hour) // 24 h × 1.25 after the first post, 8 h after the answer
	feed(t, second, at, v5(3, at, r))
	l := second.Status().Ledger
	checkBooks(t, &l)
	if l.Posts.Answers["updated"] != 1 {
		t.Errorf("the interval was begun anew by the restart: %v", l.Posts.Answers)
	}
}

func TestStalePostsAreForgottenAndCounted(t *testing.T) {
	sink := newMemorySink()
	sink.answer = func(profiler.Observation) profiler.Outcome { return profiler.Stale }
	set := setOf(t, "10.0.0.1")
	o := newOffline(t, Config{Set: set, Sink: sink})
	r := tcp("10.0.0.1", 22, "8.8.8.8", 50000)
	feed(t, o, day, v5(0, day, r))
	sink.answer = nil
	set.Change([]ipset.Change{{Addr: addr("10.0.0.1"), Binding: ipset.Binding{ID: 1, Gen: 2}}})
	feed(t, o, day, v5(1, day, r))
	l := o.Status().Ledger
	checkBooks(t, &l)
	if !maps.Equal(l.Posts.Lost, map[string]uint64{"stale": 1}) || l.Posts.Answers["added"] != 1 {
		t.Errorf("posts %+v", l.Posts)
	}
	if got := sink.posts[1].Gen; got != 2 {
		t.Errorf("second post for generation %d", got)
	}
}

func TestPortLimitIsNotAskedAgain(t *testing.T) {
	sink := newMemorySink()
	sink.answer = func(profiler.Observation) profiler.Outcome { return profiler.OverLimit }
	o := newOffline(t, Config{Set: setOf(t, "10.0.0.1"), Sink: sink})
	for i := range 3 {
		feed(t, o, day, v5(uint32(i), day, tcp("10.0.0.1", 22, "8.8.8.8", 50000)))
	}
	l := o.Status().Ledger
	checkBooks(t, &l)
	if l.Posts.Lost["port_limit"] != 1 || l.Sides.Duplicate != 2 {
		t.Errorf("posts %+v sides %+v", l.Posts, l.Sides)
	}
}

// A Sink that fails is asked again with the same batch; nothing counts as posted
// before it has agreed.
func TestSinkFailureIsRetried(t *testing.T) {
	sink := newMemorySink()
	failures := 2
	sink.fail = func() error {
		if failures--; failures >= 0 {
			return errors.New("no space left on device")
		}
		return nil
	}
	o := newOffline(t, Config{Set: setOf(t, "10.0.0.1"), Sink: sink})
	feed(t, o, day, v5(0, day, tcp("10.0.0.1", 22, "8.8.8.8", 50000)))
	l := o.Status().Ledger
	checkBooks(t, &l)
	if l.Posts.Acknowledged != 1 || failures != -1 {
		t.Errorf("posts %+v, failures left %d", l.Posts, failures)
	}
}

func TestShutdownCountsWhatTheSinkDidNotTake(t *testing.T) {
	sink := newMemorySink()
	sink.fail = func() error { return errors.New("no space left on device") }
	o := newOffline(t, Config{Set: setOf(t, "10.0.0.1"), Sink: sink})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := o.Datagram(ctx, day, addr("192.0.2.1"), v5(0, day, tcp("10.0.0.1", 22, "8.8.8.8", 1))); err != nil {
		t.Fatal(err)
	}
	if err := o.Flush(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("Flush: %v", err)
	}
	l := o.Status().Ledger
	checkBooks(t, &l)
	if l.Posts.Lost["shutdown"] != 1 {
		t.Errorf("posts %+v", l.Posts)
	}
}

// Whatever comes, the books add up, and good datagrams in between lose nothing.
func TestBooksHoldForAnyBytes(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	sink := newMemorySink()
	o := newOffline(t, Config{Set: setOf(t, "10.0.0.1"), Sink: sink, Pairs: minPairs})
	const rounds = 5000
	for i := range uint32(rounds) {
		good := v5(i, day, tcp("10.0.0.1", uint16(rnd.Uint32()), "8.8.8.8", uint16(rnd.Uint32())))
		bad := append([]byte(nil), good...)
		for range 1 + rnd.IntN(4) {
			bad[rnd.IntN(len(bad))] = byte(rnd.Uint32())
		}
		feed(t, o, day, bad[:rnd.IntN(len(bad)+1)])
		feed(t, o, day, good)
	}
	l := o.Status().Ledger
	checkBooks(t, &l)
	if l.Datagrams.Received != 2*rounds || l.Datagrams.Decoded < rounds || l.Records < rounds {
		t.Errorf("ledger %+v", l)
	}
	for _, reason := range []string{"empty", "short_header", "unknown_version"} {
		if l.Datagrams.Dropped[reason] == 0 {
			t.Errorf("%s was to be met: %v", reason, l.Datagrams.Dropped)
		}
	}
}

// A record can lack an address, or have :: for one. Such a side is nobody's, and
// not external either.
func TestSidesWithoutAddress(t *testing.T) {
	o := newOffline(t, Config{Set: setOf(t, "10.0.0.1"), Sink: newMemorySink()})
	unknown := tcp("10.0.0.1", 22, "::", 50000)
	neither := tcp("::", 22, "::", 50000)
	zero := tcp("10.0.0.1", 22, "0.0.0.0", 50000) // an address, if a strange one
	for _, m := range v9(day, unknown, neither, zero) {
		feed(t, o, day, m)
	}
	// A frame that is not IP: template 300 has nothing but MACs, elements 56 and 80.
	macs := []byte{0, 9, 0, 2, 0, 0, 0, 1, 0x69, 0xa3, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0,
		0, 0, 0, 16, 1, 44, 0, 2, 0, 56, 0, 6, 0, 80, 0, 6,
		1, 44, 0, 16, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}
	feed(t, o, day, macs)
	l := o.Status().Ledger
	checkBooks(t, &l)
	want := SideCounts{External: 1, Duplicate: 1, Observed: 1, Dropped: map[string]uint64{"no_address": 5}}
	if diff := cmp.Diff(want, l.Sides); diff != "" {
		t.Error(diff)
	}
	if l.Records != 4 || len(l.Problems) != 0 {
		t.Errorf("%+v", l)
	}
}

// v9 is a message with the templates and one with the records.
func v9(at time.Time, records ...flow.Record) [][]byte {
	h := flow.V9Header{ExportTime: at.UnixNano(), Uptime: 3600_000}
	templates := flow.AppendV9Templates(nil, h)
	h.Sequence++
	return [][]byte{templates, flow.AppendV9(nil, h, records)}
}

// What waited for its template is decoded when that comes: it is observed at the
// time of its own datagram, but the clock of the pairs does not go back to it.
func TestRecordsThatWaitedForTheirTemplate(t *testing.T) {
	sink := newMemorySink()
	o := newOffline(t, Config{Set: setOf(t, "10.0.0.1", "10.0.0.2"), Sink: sink})
	messages := v9(day, tcp("10.0.0.1", 22, "10.0.0.2", 50000), tcp("10.0.0.1", 22, "8.8.8.8", 50001))
	feed(t, o, day, messages[1])
	st := o.Status()
	if l := st.Ledger; l.Records != 0 || l.WaitingSets != 1 || l.Datagrams.Decoded != 1 {
		t.Fatalf("before the template: %+v", l)
	}
	if e := st.Exporters[0]; e.Waiting != 1 || !e.WaitingSince.Equal(day) || e.Templates != 0 {
		t.Errorf("before the template: %+v", e)
	}
	later := day.Add(5 * time.Minute)
	feed(t, o, later, messages[0])
	st = o.Status()
	checkBooks(t, &st.Ledger)
	if l := st.Ledger; l.Records != 2 || l.WaitingSets != 0 || l.Datagrams.Decoded != 2 || l.ByVersion["v9"] != 2 {
		t.Errorf("with the template: %+v", l)
	}
	if e := st.Exporters[0]; e.Waiting != 0 || e.Templates != 2 || e.Records != 2 {
		t.Errorf("with the template: %+v", e)
	}
	for _, p := range sink.posts {
		if p.First != day.UnixNano() || p.Last != day.UnixNano() || p.Exporter != addr("192.0.2.1") {
			t.Errorf("observed at %v by %v", time.Unix(0, p.Last).UTC(), p.Exporter)
		}
	}
	if len(sink.posts) != 2 {
		t.Errorf("%d posts", len(sink.posts))
	}
}

// Options records and counter samples are counted, and are no flow records.
func TestOptionsAndCountersAreCounted(t *testing.T) {
	o := newOffline(t, Config{Set: setOf(t), Sink: newMemorySink()})
	// Options template 300 with scope 1 (system) of 4 bytes and the sampling
	// interval, element 34, then a record that says 1 in 100.
	feed(t, o, day, []byte{0, 9, 0, 2, 0, 0, 0, 1, 0x69, 0xa3, 0, 0, 0, 0, 0, 1, 0, 0, 0, 7,
		0, 1, 0, 18, 1, 44, 0, 4, 0, 4, 0, 1, 0, 4, 0, 34, 0, 4,
		1, 44, 0, 12, 192, 0, 2, 1, 0, 0, 0, 100})
	// A counter sample of nothing: sequence, source, no records.
	feed(t, o, day, []byte{0, 0, 0, 5, 0, 0, 0, 1, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0, 1,
		0, 0, 0, 2, 0, 0, 0, 12, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 0})
	l := o.Status().Ledger
	checkBooks(t, &l)
	if l.OptionsRecords != 1 || l.CounterSamples != 1 || l.Records != 0 || len(l.Problems) != 0 || l.Datagrams.Decoded != 2 {
		t.Errorf("%+v", l)
	}
}

// A worker that has seen its traffic allocates nothing for more of the same,
// templates that are announced again included.
func TestSteadyStateAllocatesNothing(t *testing.T) {
	var records []flow.Record
	for i := range uint16(30) {
		records = append(records, tcp("10.0.0.1", 1000+i, "10.0.0.2", 2000+i))
	}
	h := flow.IPFIXHeader{ExportTime: day.UnixNano()}
	for name, datagrams := range map[string][][]byte{
		"v5":    {v5(0, day, records...)},
		"v9":    v9(day, records...),
		"ipfix": {flow.AppendIPFIX(flow.AppendIPFIXTemplates(nil, h), h, records)},
		"sflow": {flow.AppendSFlow(nil, flow.SFlowHeader{Agent: addr("192.0.2.1"), Sampling: 100}, records)},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffline(t, Config{Set: setOf(t, "10.0.0.1", "10.0.0.2"), Sink: newMemorySink()})
			for _, d := range datagrams {
				feed(t, o, day, d)
			}
			if l := o.Status().Ledger; l.Posts.Acknowledged != 60 || l.Records != 30 || len(l.Problems) != 0 {
				t.Fatalf("%+v", l)
			}
			ctx := t.Context()
			if n := testing.AllocsPerRun(1000, func() {
				for _, d := range datagrams {
					if err := o.Datagram(ctx, day, addr("192.0.2.1"), d); err != nil {
						t.Error(err)
					}
				}
			}); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}
