// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"time"

	"github.com/portolan/portolan/ingest/flow"
	"github.com/portolan/portolan/store/ipset"
)

const (
	// headerGrain is how much later than it was a flow can seem to be where the
	// export time in the header is cut to whole seconds, as in NetFlow v9 and
	// IPFIX. A flow that ended less than this after a move may have ended before.
	headerGrain = int64(time.Second)
	// oldestFlow is the greatest age of a flow that is believed. Routers can be
	// told to keep a flow for a week at most before they export it; a record that
	// claims more has its times from a broken clock and counts as without.
	oldestFlow = int64(7 * 24 * time.Hour)
)

// span is when a flow was, on the sensor's clock: from its first to its last
// packet.
//
// It is the arrival less the flow's age at export, and an age is the difference
// of two times of one exporter's clock, so that a clock that is wrong, by however
// much, cancels out. Where the header's clock and that of the flows differ, a
// record seems too old or too new by that difference, always the same: it is left
// out for that much longer after a move, and not for ever.
//
// What is missing is taken as wide as it can be: a flow without an end may have
// lasted until the export, and one without any time was when it arrived.
func span(b *flow.Batch, r *flow.Record) (first, last int64) {
	first, last = b.Arrival, b.Arrival
	if b.ExportTime == 0 {
		return first, last
	}
	if r.Present&flow.HasEnd != 0 {
		last -= age(b.ExportTime, r.End)
		first = last
	}
	if r.Present&flow.HasStart != 0 {
		first = min(first, b.Arrival-age(b.ExportTime, r.Start))
	}
	return first, last
}

// age is how long before the export something was; 0 where that cannot be, such
// as of a flow that went on while the header was written.
func age(export, at int64) int64 {
	d := export - at
	if d < 0 || d > oldestFlow {
		return 0
	}
	return d
}

// touchMoved loads what hold will ask for, all at once so that the cache misses
// overlap. Where nothing has moved of late, hold asks for next to nothing.
func (w *worker) touchMoved(view *ipset.View, bindings []ipset.Binding, arrival int64) {
	if view.LastMove() < arrival-int64(time.Hour) {
		return
	}
	for _, b := range bindings {
		if b.Gen > 1 {
			w.touched ^= uint64(view.Since(b))
		}
	}
}

// hold takes a record's sides from holders who did not have the address at the
// flow's own time. Only bindings of a generation above 1 can be such: the first
// of an address is open to the past. A flow of before the move was the former
// holder's, whose binding is closed: what it shows cannot be posted any more,
// and is dropped like a flow that went on over the move, in a fate of its own.
//
// The moment of a move is when the sensor learned of it, which is never before
// the address changed hands; so a flow that begins later is the new holder's, and
// no time of grace is needed but the grain of the header's clock.
func (w *worker) hold(view *ipset.View, b *flow.Batch, r *flow.Record, src, dst ipset.Binding) (ipset.Binding, ipset.Binding) {
	first, last := span(b, r)
	if r.Present&(flow.HasStart|flow.HasEnd) != 0 && (b.Version == flow.V9 || b.Version == flow.IPFIX) {
		first -= headerGrain
	}
	if first >= view.LastMove() {
		return src, dst
	}
	return w.holds(view, src, first, last), w.holds(view, dst, first, last)
}

// holds returns b if it held from first to last, and else nobody's binding.
func (w *worker) holds(view *ipset.View, b ipset.Binding, first, last int64) ipset.Binding {
	if b.Gen <= 1 {
		return b
	}
	switch since := view.Since(b); {
	case first >= since, since == 0: // 0: of an ID that is used again, and open to the past
		return b
	case last < since:
		w.counts.sides[fateBeforeMove]++
	default:
		w.counts.sides[fateStraddlesMove]++
	}
	return ipset.Binding{}
}
