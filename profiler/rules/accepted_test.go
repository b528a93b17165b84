// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"encoding/json"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/portolan/portolan/profiler"
)

var (
	printer = profiler.Device{Category: "Printer", Family: "HP", Name: "HP Printer", Rel: 92, Score: 90}
	laser   = profiler.Device{Category: "Printer", Family: "HP", Name: "HP LaserJet", Rel: 92, Score: 90}
	windows = profiler.Device{Category: "Computer", Family: "Windows", Name: "Windows Computer", Rel: 64, Score: 80}
	sql     = profiler.Device{Category: "Server", Family: "Database", Name: "Microsoft SQL Server", Rel: 88, Score: 70}
	web     = profiler.Device{Category: "Server", Family: "Web", Name: "Web Server", Rel: 30, Score: 60}
)

// is makes a match of the best device and what else matches.
func is(best profiler.Device, rest ...profiler.Device) Result {
	r := Result{Device: best}
	if best != (profiler.Device{}) {
		r.Rule = "rule-of-" + best.Name
	}
	for _, d := range rest {
		if r.Other == (profiler.Device{}) {
			r.Other, r.OtherRule = d, "rule-of-"+d.Name
		}
		if r.Rival == (profiler.Device{}) && d.Category != best.Category {
			r.Rival, r.RivalRule = d, "rule-of-"+d.Name
		}
	}
	return r
}

// step is one match, or only a look, at a moment after the first, and what is
// then shown.
type step struct {
	after    time.Duration
	match    *Result
	device   string
	other    string
	conflict bool
}

func matched(r Result) *Result { return &r }

func TestAccepted(t *testing.T) {
	const h, min = time.Hour, time.Minute
	for name, steps := range map[string][]step{
		"what is learned in the first hour is accepted at once": {
			{0, matched(is(web)), "Web Server", "", false},
			{min, matched(is(windows, web)), "Windows Computer", "Web Server", false},
			{2 * min, matched(is(printer, windows)), "HP Printer", "Windows Computer", false},
		},
		"a guess gives way at any time": {
			{0, matched(is(web)), "Web Server", "", false},
			{72 * h, matched(is(printer, web)), "HP Printer", "Web Server", false},
			{80 * h, nil, "HP Printer", "Web Server", false},
		},
		"another name of the same category is accepted at once": {
			{0, matched(is(printer)), "HP Printer", "", false},
			{9 * h, matched(is(laser, printer)), "HP LaserJet", "HP Printer", false},
		},
		"a changed category has to hold for an hour, and is then a conflict for a week": {
			{0, matched(is(printer)), "HP Printer", "", false},
			{9 * h, matched(is(windows)), "HP Printer", "Windows Computer", false},
			{9*h + 59*min, nil, "HP Printer", "Windows Computer", false},
			{10 * h, nil, "Windows Computer", "HP Printer", true},
			{11 * h, matched(is(windows)), "Windows Computer", "HP Printer", true},
			{10*h + 7*24*h, nil, "Windows Computer", "", false},
		},
		"a flapping category never replaces": {
			{0, matched(is(printer)), "HP Printer", "", false},
			{9 * h, matched(is(windows)), "HP Printer", "Windows Computer", false},
			{9*h + 30*min, matched(is(printer)), "HP Printer", "", false},
			{9*h + 40*min, matched(is(windows)), "HP Printer", "Windows Computer", false},
			{10*h + 20*min, matched(is(printer)), "HP Printer", "", false},
			{20 * h, nil, "HP Printer", "", false},
		},
		"many matches in a burst are one change": {
			{0, matched(is(printer)), "HP Printer", "", false},
			{9 * h, matched(is(windows)), "HP Printer", "Windows Computer", false},
			{9*h + 1, matched(is(windows)), "HP Printer", "Windows Computer", false},
			{9*h + 2, matched(is(windows)), "HP Printer", "Windows Computer", false},
			{9*h + 3, matched(is(windows)), "HP Printer", "Windows Computer", false},
		},
		"two strong devices at once are a conflict after an hour, and while it lasts": {
			{0, matched(is(printer)), "HP Printer", "", false},
			{9 * h, matched(is(printer, laser, windows)), "HP Printer", "HP LaserJet", false},
			{10 * h, nil, "HP Printer", "Windows Computer", true},
			{11 * h, matched(is(printer, windows)), "HP Printer", "Windows Computer", true},
			{12 * h, matched(is(printer, web)), "HP Printer", "Web Server", false},
		},
		"a weak runner-up contradicts nothing": {
			{0, matched(is(printer, web)), "HP Printer", "Web Server", false},
			{90 * h, nil, "HP Printer", "Web Server", false},
		},
		"what matches nothing any more is forgotten after an hour": {
			{0, matched(is(printer)), "HP Printer", "", false},
			{9 * h, matched(Result{}), "HP Printer", "", false},
			{10 * h, nil, "", "", false},
			{11 * h, matched(is(web)), "Web Server", "", false},
			{11*h + min, matched(is(windows)), "Windows Computer", "", false},
		},
		"a computer that becomes a server is a change and no conflict": {
			{0, matched(is(windows)), "Windows Computer", "", false},
			{9 * h, matched(is(sql)), "Windows Computer", "Microsoft SQL Server", false},
			{10 * h, nil, "Microsoft SQL Server", "", false},
		},
		"nothing matches": {
			{0, matched(Result{}), "", "", false},
			{9 * h, matched(is(printer)), "HP Printer", "", false},
		},
		"a clock that was set back holds nothing": {
			{0, matched(is(printer)), "HP Printer", "", false},
			{9 * h, matched(is(windows)), "HP Printer", "Windows Computer", false},
			{-9 * h, nil, "HP Printer", "Windows Computer", false},
		},
	} {
		var a Accepted
		start := time.Date(2026, 11, 23, 7, 0, 0, 0, time.UTC).UnixNano()
		for i, s := range steps {
			now := start + int64(s.after)
			if s.match != nil {
				a, _ = a.Next(*s.match, now)
			}
			v := a.View(now, profiler.Device{}, false)
			if named(v.Device) != s.device || named(v.Other) != s.other || v.Conflict != s.conflict {
				t.Errorf("%s, step %d: %q, other %q, conflict %v; want %q, %q, %v", name, i,
					named(v.Device), named(v.Other), v.Conflict, s.device, s.other, s.conflict)
			}
		}
	}
}

func named(d *profiler.Device) string {
	if d == nil {
		return ""
	}
	return d.Name
}

func TestAcceptedTellsChanges(t *testing.T) {
	var a Accepted
	for i, c := range []struct {
		after time.Duration
		r     Result
		want  bool
	}{
		{0, is(printer), true},
		{time.Minute, is(printer, web), false},
		{9 * time.Hour, is(windows), false},
		{10 * time.Hour, is(windows), true},
		{11 * time.Hour, is(windows), false},
	} {
		var changed bool
		if a, changed = a.Next(c.r, 1+int64(c.after)); changed != c.want {
			t.Errorf("step %d: changed %v", i, changed)
		}
	}
}

func TestOverride(t *testing.T) {
	a, _ := Accepted{}.Next(is(windows), 1)
	for _, c := range []struct {
		override profiler.Device
		known    bool
		conflict bool
	}{
		{profiler.Device{Category: "Printer"}, true, true},
		{profiler.Device{Category: "computer"}, true, false},
		{profiler.Device{Category: "Reception"}, false, false},
		{profiler.Device{Name: "Anna's"}, true, false},
	} {
		v := a.View(2, c.override, c.known)
		if *v.Device != c.override || *v.Other != windows || v.Conflict != c.conflict {
			t.Errorf("%+v: %+v", c.override, v)
		}
	}
	if s := builtIn(t); !s.Knows("printer") || s.Knows("Reception") {
		t.Error("the built-in rules know printers and no reception")
	}
}

// How often and when one looks makes no difference, and the state survives JSON.
func TestAcceptedDependsOnMatchesAlone(t *testing.T) {
	devices := []profiler.Device{{}, printer, laser, windows, web}
	rapid.Check(t, func(t *rapid.T) {
		var a, b Accepted
		now := int64(1)
		for range rapid.IntRange(1, 12).Draw(t, "matches") {
			now += int64(rapid.IntRange(1, 200).Draw(t, "minutes")) * int64(time.Minute)
			r := is(rapid.SampledFrom(devices).Draw(t, "best"))
			if r.Rule != "" {
				r = is(r.Device, rapid.SampledFrom(devices[1:]).Draw(t, "next"))
			}
			a, _ = a.Next(r, now)
			// The same match again later, as a needless evaluation would make it.
			b, _ = b.Next(r, now)
			later := now + int64(rapid.IntRange(0, 90).Draw(t, "later"))*int64(time.Minute)
			b, _ = b.Next(r, later)
			data, err := json.Marshal(b)
			if err != nil {
				t.Fatal(err)
			}
			b = Accepted{}
			if err := json.Unmarshal(data, &b); err != nil {
				t.Fatal(err)
			}
			now = later
			x, y := a.View(now, profiler.Device{}, false), b.View(now, profiler.Device{}, false)
			if named(x.Device) != named(y.Device) || named(x.Other) != named(y.Other) || x.Conflict != y.Conflict {
				t.Fatalf("once %s/%s/%v, twice %s/%s/%v", named(x.Device), named(x.Other), x.Conflict, named(y.Device), named(y.Other), y.Conflict)
			}
		}
	})
}
