// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"strings"
	"time"

	"github.com/portolan/portolan/profiler"
)

// Accepted is what an endpoint is believed to be over time, made of one match
// after the other. It is a value to be stored with the endpoint, in JSON.
//
// Only time counts, not how often the endpoint was matched: posts come in
// bursts, and a device that nobody talks to is not matched at all. Since a match
// is a function of what is stored of the endpoint, it holds until the next one,
// and [Accepted.View] can tell at any moment, without a timer, what has held for
// long enough.
//
//   - The first match is accepted at once, and so is every other one while the
//     endpoint is young ([Hold] since it was first profiled) or what is accepted
//     is weak: to learn more is no contradiction.
//   - A match of the same category is accepted at once: it is closer or further
//     off, not different.
//   - Else a match of another category, or no match at all, has to hold for
//     [Hold]. Until then it is shown as the other device.
//   - When it replaces a strong device and is strong itself, that is a conflict
//     for [Remember]: the same MAC has become something else.
//     Computers, servers, hypervisors and storage are no contradiction to one
//     another, only a change.
//   - A strong match of another category beside an accepted strong one, which
//     the endpoint shows at the same time, is a conflict after [Hold], and for as
//     long as it does.
type Accepted struct {
	Device profiler.Device `json:"device,omitzero"`
	Rule   string          `json:"rule,omitempty"`
	// Learned is when the endpoint was first profiled.
	Learned int64 `json:"learned,omitempty"`
	// Last is the latest match.
	Last Result `json:"last,omitzero"`
	// Pending is since when Last has been of another category than Device.
	Pending int64 `json:"pending,omitempty"`
	// Contested is since when Device and a match of another category, the same
	// one throughout, have both been strong.
	Contested int64 `json:"contested,omitempty"`
	// Former is the strong device that a strong one replaced, at Replaced.
	Former   profiler.Device `json:"former,omitzero"`
	Replaced int64           `json:"replaced,omitempty"`
}

// The times of Accepted, and what makes a match strong.
const (
	Hold     = time.Hour
	Remember = 7 * 24 * time.Hour

	StrongRel   = 60
	StrongScore = 50
)

// Strong reports whether a match is reliable and fits well enough to contradict
// another one.
func Strong(d profiler.Device) bool { return d.Rel >= StrongRel && d.Score >= StrongScore }

// held reports whether what began at since (0: did not) has lasted for d. All
// are Unix nanoseconds. A clock that was set back has held nothing.
func held(since, now int64, d time.Duration) bool {
	return since != 0 && now-since >= int64(d)
}

// rival is the latest match of another category than the accepted device's.
func (a *Accepted) rival() profiler.Device {
	if a.Last.Device.Category != a.Device.Category {
		return a.Last.Device
	}
	return a.Last.Rival
}

// Next is what is accepted after one more match at now (Unix nanoseconds), and
// whether the device that is shown is another one than at the last match.
func (a Accepted) Next(r Result, now int64) (next Accepted, changed bool) {
	before := a.Device
	a = a.settled(now)
	rival := a.rival().Category
	pending := a.Last.Device.Category
	a.Last = r
	switch young := now-a.Learned < int64(Hold); {
	case a.Learned == 0 && r.Rule == "":
		return a, !same(before, a.Device)
	case a.Learned == 0:
		a.accept(r)
		a.Learned = now
	case r.Device.Category == a.Device.Category, young, !Strong(a.Device):
		a.accept(r)
	case a.Pending == 0 || pending != r.Device.Category:
		a.Pending = now
	}
	a.contest(rival, now)
	return a, !same(before, a.Device)
}

// accept takes the best match as the device.
func (a *Accepted) accept(r Result) {
	a.Device, a.Rule, a.Pending = r.Device, r.Rule, 0
	if r.Rule == "" {
		a.Learned = 0
	}
}

// contest notes since when the endpoint has contradicted itself. before is the
// category of the rival until now.
func (a *Accepted) contest(before string, now int64) {
	rival := a.rival()
	switch {
	case !Strong(a.Device) || !Strong(rival) || kin(a.Device.Category, rival.Category):
		a.Contested = 0
	case a.Contested == 0 || before != rival.Category:
		a.Contested = now
	}
}

// settled lets the latest match replace the device if it has held long enough.
func (a Accepted) settled(now int64) Accepted {
	if held(a.Pending, now, Hold) {
		at := a.Pending + int64(Hold)
		if Strong(a.Device) && Strong(a.Last.Device) && !kin(a.Device.Category, a.Last.Device.Category) {
			a.Former, a.Replaced = a.Device, at
		}
		a.accept(a.Last)
		a.contest("", at)
	}
	if held(a.Replaced, now, Remember) {
		a.Former, a.Replaced = profiler.Device{}, 0
	}
	return a
}

func same(a, b profiler.Device) bool {
	return a.Category == b.Category && a.Family == b.Family && a.Name == b.Name
}

// View is what an endpoint shows. A nil device is not known.
type View struct {
	Device, Other *profiler.Device
	Conflict      bool
}

// View tells what the endpoint shows at now (Unix nanoseconds).
//
// override is what the operator says; where it has a value it is the device,
// and what is accepted is the other one. A conflict is then that the accepted
// device is strong and of another category, which the operator's must be known
// to the rules for (known): an operator's own word contradicts nothing.
func (a Accepted) View(now int64, override profiler.Device, known bool) View {
	a = a.settled(now)
	if override.Category != "" || override.Family != "" || override.Name != "" {
		return a.overridden(override, known)
	}
	v := View{Device: shown(a.Device)}
	switch rival := a.rival(); {
	case held(a.Contested, now, Hold):
		v.Other, v.Conflict = shown(rival), true
	case a.Replaced != 0:
		v.Other, v.Conflict = shown(a.Former), true
	case a.Pending != 0:
		v.Other = shown(rival)
	default:
		v.Other = shown(a.Last.Other)
	}
	return v
}

func (a Accepted) overridden(override profiler.Device, known bool) View {
	v := View{Device: &profiler.Device{Category: override.Category, Family: override.Family, Name: override.Name}}
	v.Other = shown(a.Device)
	v.Conflict = known && override.Category != "" && Strong(a.Device) &&
		!strings.EqualFold(override.Category, a.Device.Category) && !kin(override.Category, a.Device.Category)
	return v
}

// shown is a device as a value of its own, nil where there is none.
func shown(d profiler.Device) *profiler.Device {
	if d == (profiler.Device{}) {
		return nil
	}
	return &d
}
