// SPDX-License-Identifier: Apache-2.0

package profiler

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestDecideWithdrawals: what a withdrawal does to a port, and what a port that
// is seen again after it becomes.
func TestDecideWithdrawals(t *testing.T) {
	const h = int64(time.Hour)
	by := func(n byte) [16]byte { return [16]byte{15: n} }
	seen := func(last int64, e Evidence) Observation {
		return Observation{Binding: 7, Gen: 1, Proto: 17, Port: 40000, Evidence: e, First: last - 5, Last: last,
			Exporter: by(2), Counterparts: 3, Flows: 4}
	}
	veto := func(last int64, e Evidence) Observation {
		return Observation{Binding: 7, Gen: 1, Proto: 17, Port: 40000, Evidence: e, First: last, Last: last, Exporter: by(2), Withdraw: true}
	}
	held := PortState{First: 90 * h, Last: 100 * h, Posted: 100 * h, Evidence: Service, Exporter: by(1), Counterparts: 5, Flows: 9}
	gone := held
	gone.Posted, gone.Withdrawn, gone.Vetoed = 101*h, 101*h, Service
	more := gone
	more.Vetoed = FanIn
	again := PortState{First: 90 * h, Last: 102 * h, Posted: 102 * h, Evidence: Class, Exporter: by(2), Counterparts: 5, Flows: 13}
	proved := again
	proved.Last, proved.Posted, proved.Evidence = 101*h, 101*h, FanIn
	cases := []struct {
		name  string
		have  *PortState
		o     Observation
		want  Outcome
		state PortState
	}{
		{"withdrawal of nothing", nil, veto(101*h, Service), Duplicate, PortState{}},
		{"withdrawal", &held, veto(101*h, Service), Withdrawn, gone},
		{"withdrawal by stronger evidence than is held", &held, veto(101*h, FanIn), Withdrawn, more},
		{"withdrawal of weaker evidence than is held", &held, veto(101*h, Class), Duplicate, held},
		{"withdrawal again", &gone, veto(103*h, FanIn), Duplicate, gone},
		{"withdrawal from long before the post that stands", &held, veto(99*h, Service), Duplicate, held},
		{"seen again, weaker, within the interval", &gone, seen(102*h, Class), Updated, again},
		{"seen again at the time of the withdrawal", &gone, seen(101*h, Service), Duplicate, gone},
		{"seen with stronger evidence at that time", &gone, seen(101*h, FanIn), Updated, proved},
		{"seen with the evidence that was withdrawn, not what it had", &more, seen(101*h, FanIn), Duplicate, more},
		{"seen before the withdrawal", &gone, seen(100*h, Class), Duplicate, gone},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			state, got := Decide(c.have, MaxPorts, &c.o, 24*time.Hour)
			if got != c.want || state != c.state {
				t.Errorf("%s, %+v; want %s, %+v", got, state, c.want, c.state)
			}
		})
	}
	// Workers' clocks differ a little: the post that is withdrawn may be the later one.
	o := veto(100*h-int64(time.Second), Service)
	if state, got := Decide(&held, 1, &o, 24*time.Hour); got != Withdrawn || state.Withdrawn != o.Last {
		t.Errorf("a withdrawal a second before the post: %s, %+v", got, state)
	}
}

// TestDecideCounts: flows add up over what is applied, counterparts are the most.
func TestDecideCounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var have *PortState
		var flows uint64
		var counterparts uint32
		for range rapid.IntRange(1, 20).Draw(t, "n") {
			o := someObservation(t)
			next, out := Decide(have, 0, &o, MinInterval)
			if out == Added || out == Updated {
				flows += uint64(o.Flows)
				counterparts = max(counterparts, o.Counterparts)
			}
			if have = &next; out == Duplicate && next == (PortState{}) {
				have = nil
			}
			if have != nil && (have.Flows != flows || have.Counterparts != counterparts) {
				t.Fatalf("%+v after %s of %+v; want %d flows, %d counterparts", next, out, o, flows, counterparts)
			}
		}
	})
}

// TestLeast: a minimum leaves out the ports with weaker evidence and with none.
func TestLeast(t *testing.T) {
	for _, c := range []struct {
		least Evidence
		left  int
	}{{Seen, 3}, {Service, 2}, {FanIn, 1}, {Exporter, 0}} {
		e := Endpoint{Listening: []Port{{Port: 1, Evidence: "fan-in"}, {Port: 2, Evidence: "service"}, {Port: 3, Evidence: "seen"}, {Port: 4}}}
		if any := e.Least(c.least); any != (c.left > 0) || len(e.Listening) != c.left || e.Listening == nil {
			t.Errorf("%s: %v, %+v", c.least, any, e.Listening)
		}
	}
}

func someObservation(t *rapid.T) Observation {
	o := Observation{
		Binding: 7, Port: 443, Proto: 6,
		Evidence:     Evidence(rapid.IntRange(int(Seen), int(Exporter)).Draw(t, "evidence")),
		Last:         rapid.Int64Range(1, int64(3*time.Hour)).Draw(t, "last"),
		Counterparts: rapid.Uint32().Draw(t, "counterparts"),
		Flows:        rapid.Uint32().Draw(t, "flows"),
		Withdraw:     rapid.Bool().Draw(t, "withdraw"),
	}
	o.First = o.Last - rapid.Int64Range(0, int64(time.Minute)).Draw(t, "age")
	return o
}

// TestDecideWithdrawalProperties: the same observation twice is a duplicate, a
// duplicate changes nothing, and after a withdrawal a port stands only by an
// observation that is later or stronger.
func TestDecideWithdrawalProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var have *PortState
		for range rapid.IntRange(1, 30).Draw(t, "n") {
			o := someObservation(t)
			next, out := Decide(have, 0, &o, MinInterval)
			switch {
			case have == nil && o.Withdraw:
				if out != Duplicate || next != (PortState{}) {
					t.Fatalf("withdrawal of nothing: %s, %+v", out, next)
				}
				continue
			case have == nil:
				if out != Added {
					t.Fatalf("a new port is %s", out)
				}
			case out == Duplicate:
				if next != *have {
					t.Fatal("a duplicate changed the state")
				}
			case out == Withdrawn:
				if !o.Withdraw || have.Withdrawn != 0 || next.Withdrawn == 0 || next.Evidence != have.Evidence || next.Vetoed != o.Evidence || o.Evidence < have.Evidence {
					t.Fatalf("%+v withdrawn by %+v", *have, o)
				}
			case out != Updated || o.Withdraw || next.Withdrawn != 0:
				t.Fatalf("%s, %+v by %+v", out, next, o)
			case have.Withdrawn != 0 && o.Evidence <= have.Vetoed && o.Last <= have.Withdrawn:
				t.Fatalf("%+v came back by %+v", *have, o)
			}
			if _, again := Decide(&next, 0, &o, MinInterval); again != Duplicate {
				t.Fatalf("%+v the same again is %s", o, again)
			}
			have = &next
		}
	})
}

// TestDecideOrder: a port that was posted and one withdrawal of it end in the
// same state whether the rest of the posts come before the withdrawal or after
// it, as long as they are within its interval.
func TestDecideOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		first := someObservation(t)
		first.Withdraw = false
		start, _ := Decide(nil, 0, &first, 48*time.Hour)
		seen, veto := someObservation(t), someObservation(t)
		seen.Withdraw, veto.Withdraw = false, true
		seen.Last, seen.First = first.Last, first.First
		veto.Last = first.Last + rapid.Int64Range(0, int64(time.Hour)).Draw(t, "later")
		end := func(list ...Observation) PortState {
			state := start
			for i := range list {
				if next, out := Decide(&state, 1, &list[i], 48*time.Hour); out != Duplicate {
					state = next
				}
			}
			return state
		}
		a, b := end(seen, veto), end(veto, seen)
		if (a.Withdrawn == 0) != (b.Withdrawn == 0) || a.Withdrawn == 0 && a.Evidence != b.Evidence {
			t.Fatalf("%+v, then in the other order %+v", a, b)
		}
	})
}
