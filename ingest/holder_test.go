// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portolan/portolan/ingest/flow"
	"github.com/portolan/portolan/store/ipset"
)

// move gives an address of setOf to another endpoint.
func move(l *ipset.Live, a string, b ipset.Binding, at time.Time) {
	l.Change([]ipset.Change{{Addr: addr(a), Binding: b, Since: at.UnixNano()}})
}

// TestSpan: a flow's time is its arrival less its age at export, whatever the
// exporter's clock says.
func TestSpan(t *testing.T) {
	const s = time.Second
	arrival := day
	for _, c := range []struct {
		name        string
		export      time.Time // zero: none
		start, end  time.Time // zero: none
		first, last time.Duration
	}{
		{"both times", arrival, arrival.Add(-5 * s), arrival.Add(-2 * s), -5 * s, -2 * s},
		{"an exporter that lives in 1970", time.Unix(1000, 0), time.Unix(995, 0), time.Unix(998, 0), -5 * s, -2 * s},
		{"an exporter far ahead", arrival.AddDate(10, 0, 0), arrival.AddDate(10, 0, 0).Add(-5 * s), arrival.AddDate(10, 0, 0).Add(-2 * s), -5 * s, -2 * s},
		{"no header time", time.Time{}, arrival.Add(-5 * s), arrival.Add(-2 * s), 0, 0},
		{"no times", arrival, time.Time{}, time.Time{}, 0, 0},
		{"an end alone", arrival, time.Time{}, arrival.Add(-2 * s), -2 * s, -2 * s},
		{"a start alone", arrival, arrival.Add(-5 * s), time.Time{}, -5 * s, 0},
		{"an end after the export", arrival, arrival.Add(-5 * s), arrival.Add(3 * s), -5 * s, 0},
		{"a start after the end", arrival, arrival.Add(-1 * s), arrival.Add(-2 * s), -2 * s, -2 * s},
		{"a week old", arrival, arrival.Add(-7 * 24 * time.Hour), arrival.Add(-7 * 24 * time.Hour), -7 * 24 * time.Hour, -7 * 24 * time.Hour},
		{"older than any flow", arrival, arrival.Add(-8 * 24 * time.Hour), arrival.Add(-8 * 24 * time.Hour), 0, 0},
		{"times of another clock than the header", arrival, time.Unix(5, 0), time.Unix(8, 0), 0, 0},
	} {
		b := flow.Batch{Arrival: arrival.UnixNano()}
		r := flow.Record{}
		if !c.export.IsZero() {
			b.ExportTime = c.export.UnixNano()
		}
		if !c.start.IsZero() {
			r.Start, r.Present = c.start.UnixNano(), r.Present|flow.HasStart
		}
		if !c.end.IsZero() {
			r.End, r.Present = c.end.UnixNano(), r.Present|flow.HasEnd
		}
		first, last := span(&b, &r)
		if f, l := time.Duration(first-b.Arrival), time.Duration(last-b.Arrival); f != c.first || l != c.last {
			t.Errorf("%s: from %s to %s, want from %s to %s", c.name, f, l, c.first, c.last)
		}
	}
}

// TestRecordsOfTheFormerHolder: what was before a move is not the new holder's,
// in either place of a record, and the books tell which was which.
func TestRecordsOfTheFormerHolder(t *testing.T) {
	set := setOf(t, "10.0.0.1", "10.0.0.2")
	moved := day.Add(-time.Minute)
	move(set, "10.0.0.1", ipset.Binding{ID: 1, Gen: 2}, moved)
	sink := newMemorySink()
	o := newOffline(t, Config{Set: set, Sink: sink})
	at := func(start, end time.Duration, r flow.Record) flow.Record {
		r.Start, r.End = moved.Add(start).UnixNano(), moved.Add(end).UnixNano()
		return r
	}
	const s = time.Second
	feed(t, o, day, v5(0, day,
		at(-9*s, -1*s, tcp("10.0.0.1", 21, "8.8.8.8", 50000)),  // before
		at(-9*s, +1*s, tcp("10.0.0.1", 22, "8.8.8.8", 50000)),  // straddles
		at(0, +1*s, tcp("10.0.0.1", 23, "8.8.8.8", 50000)),     // after
		at(-9*s, -1*s, tcp("8.8.8.8", 50000, "10.0.0.1", 24)),  // before, as the destination
		at(-9*s, -1*s, tcp("10.0.0.2", 25, "10.0.0.1", 50001)), // 10.0.0.2 was itself all the time
	))
	l := o.Status().Ledger
	checkBooks(t, &l)
	want := SideCounts{External: 4, Observed: 2, Dropped: map[string]uint64{"before_move": 3, "straddles_move": 1}}
	if diff := cmp.Diff(want, l.Sides); diff != "" {
		t.Error(diff)
	}
	if len(sink.posts) != 2 || sink.posts[0].Port != 23 || sink.posts[0].Gen != 2 || sink.posts[1].Port != 25 {
		t.Errorf("posted: %+v", sink.posts)
	}
}

// TestHeaderOfWholeSeconds: where the export time is cut to seconds, a flow of
// the last second before a move seems to be after it, and is left out.
func TestHeaderOfWholeSeconds(t *testing.T) {
	set := setOf(t, "10.0.0.1")
	moved := day.Add(500 * time.Millisecond)
	move(set, "10.0.0.1", ipset.Binding{ID: 1, Gen: 2}, moved)
	sink := newMemorySink()
	o := newOffline(t, Config{Set: set, Sink: sink})
	r := tcp("10.0.0.1", 22, "8.8.8.8", 50000)
	r.Present = flow.HasStart | flow.HasEnd
	// The flow ends at .4, before the move; the export is at .9, and says .0.
	r.Start, r.End = day.Add(300*time.Millisecond).UnixNano(), day.Add(400*time.Millisecond).UnixNano()
	h := flow.IPFIXHeader{ExportTime: day.Add(900 * time.Millisecond).UnixNano()}
	feed(t, o, day.Add(900*time.Millisecond), flow.AppendIPFIXTemplates(nil, h))
	feed(t, o, day.Add(900*time.Millisecond), flow.AppendIPFIX(nil, h, []flow.Record{r}))
	l := o.Status().Ledger
	checkBooks(t, &l)
	if l.Sides.Observed != 0 || l.Sides.Dropped["straddles_move"] != 1 {
		t.Errorf("%+v", l.Sides)
	}
}

// TestUsedAgainBindingIsOpenToThePast: a generation above 1 without a move is an
// ID that was freed and given to another address.
func TestUsedAgainBindingIsOpenToThePast(t *testing.T) {
	set := setOf(t)
	set.Change([]ipset.Change{{Addr: addr("10.0.0.1"), Binding: ipset.Binding{ID: 1, Gen: 7}}})
	o := newOffline(t, Config{Set: set, Sink: newMemorySink()})
	r := tcp("10.0.0.1", 22, "8.8.8.8", 50000)
	r.Start, r.End = day.Add(-time.Hour).UnixNano(), day.Add(-time.Hour).UnixNano()
	feed(t, o, day, v5(0, day, r))
	// Also at the beginning of time, where a replay puts what has none.
	feed(t, o, time.Unix(0, 0), v5(1, day, r))
	if l := o.Status().Ledger; l.Sides.Observed != 2 {
		t.Errorf("%+v", l.Sides)
	}
}

// TestMoveStartsAfresh: a pair that the former holder's post has silenced is
// posted for the new holder at once, and the post that was under way is refused.
func TestMoveStartsAfresh(t *testing.T) {
	set := setOf(t, "10.0.0.1")
	sink := newMemorySink()
	o := newOffline(t, Config{Set: set, Sink: sink})
	r := func(at time.Time) flow.Record {
		r := tcp("10.0.0.1", 22, "8.8.8.8", 50000)
		r.Start, r.End = at.UnixNano(), at.UnixNano()
		return r
	}
	feed(t, o, day, v5(0, day, r(day)))
	feed(t, o, day.Add(time.Minute), v5(1, day.Add(time.Minute), r(day.Add(time.Minute))))
	if n := sink.offered(); n != 1 {
		t.Fatalf("%d posts before the move", n)
	}
	at := day.Add(time.Hour)
	move(set, "10.0.0.1", ipset.Binding{ID: 1, Gen: 2}, at)
	late := at.Add(time.Second)
	feed(t, o, late, v5(2, late, r(late)))
	if n := sink.offered(); n != 2 || sink.posts[1].Gen != 2 {
		t.Errorf("%d posts after the move: %+v", n, sink.posts)
	}
}

// TestMovedBindingsAllocateNothing holds the hot path to it where every address
// has moved, whether its records count or are left out.
func TestMovedBindingsAllocateNothing(t *testing.T) {
	set := setOf(t, "10.0.0.1", "10.0.0.2")
	move(set, "10.0.0.1", ipset.Binding{ID: 1, Gen: 2}, day)
	move(set, "10.0.0.2", ipset.Binding{ID: 2, Gen: 2}, day)
	o := newOffline(t, Config{Set: set, Sink: newMemorySink()})
	at := func(seconds int) flow.Record {
		r := tcp("10.0.0.1", 22, "10.0.0.2", 50000)
		r.Start, r.End = day.UnixNano(), day.Add(time.Duration(seconds)*time.Second).UnixNano()
		if seconds < 0 {
			r.Start = r.End
		}
		return r
	}
	now := day.Add(10 * time.Second)
	d := v5(0, now, at(-5), at(5), at(9))
	feed(t, o, now, d)
	if n := testing.AllocsPerRun(100, func() {
		if err := o.Datagram(t.Context(), now, addr("192.0.2.1"), d); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a datagram", n)
	}
	l := o.Status().Ledger
	if checkBooks(t, &l); l.Sides.Dropped["before_move"] == 0 || l.Sides.Duplicate == 0 {
		t.Errorf("%+v", l.Sides)
	}
}
