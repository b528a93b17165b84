// SPDX-License-Identifier: Apache-2.0

package profiler

import "time"

// PortState is what is held of one (endpoint, proto, port, role). Times are
// Unix nanoseconds, of arrival at the sensor.
type PortState struct {
	First    int64    // the earliest time it was seen
	Last     int64    // the latest time it was seen, as of the last post
	Posted   int64    // the time of the last post: the Last of its observation
	Evidence Evidence // the strongest evidence so far
	Exporter [16]byte // who showed it, at that evidence; IPv4 as ::ffff:a.b.c.d
}

// Decide is the rule by which an observation is applied. have is what is held
// of that port, nil for nothing; ports is how many ports the endpoint has; base
// is the reprofile interval. It returns the state to hold from now on and the
// outcome; the state is meaningful, and to be written, only for [Added] and
// [Updated].
//
//   - A port that is not held is added, unless the endpoint has [MaxPorts].
//   - A held port is updated when its own interval ([PairInterval]) has passed
//     since the last post, or when the evidence is stronger than what is held.
//   - Else it is a duplicate. That makes applying a post twice harmless.
//
// The evidence held never weakens: that a port was proved to be served is not
// unlearned from a weaker record of it. First and Last are the least and the
// greatest time seen, whatever order posts arrive in; the last post is the
// observation's Last even where that is earlier, as after a clock was set back,
// because the next post is compared with the clock as it is now.
//
// Staleness of the binding is not its business: the caller knows the bindings.
func Decide(have *PortState, ports int, o *Observation, base time.Duration) (PortState, Outcome) {
	if have == nil {
		if ports >= MaxPorts {
			return PortState{}, OverLimit
		}
		return PortState{
			First:    min(o.First, o.Last),
			Last:     max(o.First, o.Last),
			Posted:   o.Last,
			Evidence: o.Evidence,
			Exporter: o.Exporter,
		}, Added
	}
	if o.Evidence <= have.Evidence && !Due(have.Posted, o.Last, PairInterval(base, o)) {
		return *have, Duplicate
	}
	next := *have
	next.First = min(have.First, o.First, o.Last)
	next.Last = max(have.Last, o.First, o.Last)
	next.Posted = o.Last
	if o.Evidence >= have.Evidence {
		next.Evidence, next.Exporter = o.Evidence, o.Exporter
	}
	return next, Updated
}
