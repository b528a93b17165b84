// SPDX-License-Identifier: Apache-2.0

package profiler

import "time"

// PortState is what is held of one (endpoint, proto, port, role). Times are
// Unix nanoseconds, of arrival at the sensor.
type PortState struct {
	First        int64    // the earliest time it was seen
	Last         int64    // the latest time it was seen, as of the last post
	Posted       int64    // the time of the last post: the Last of its observation
	Evidence     Evidence // the strongest evidence so far; of a withdrawn port, what it had
	Exporter     [16]byte // who showed it, at that evidence; IPv4 as ::ffff:a.b.c.d
	Counterparts uint32   // the most distinct counterparts told of; 0: not counted
	Flows        uint64   // the flows of all posts that were applied; 0: not counted
	Withdrawn    int64    // when it was withdrawn; 0: it was not
	Vetoed       Evidence // the strongest evidence that the withdrawal covers, while it is withdrawn
}

// overtaken is how much later than a withdrawal a port must have been posted
// for the withdrawal to be the older of the two. Workers, and sensors, tell
// times of arrival that differ a little.
const overtaken = int64(time.Minute)

// Decide is the rule by which an observation is applied. have is what is held
// of that port, nil for nothing; ports is how many ports the endpoint has; base
// is the reprofile interval. It returns the state to hold from now on and the
// outcome; the state is to be written only for [Added], [Updated] and
// [Withdrawn].
//
//   - A port that is not held is added, unless the endpoint has [MaxPorts].
//   - A held port is updated when its own interval ([PairInterval]) has passed
//     since the last post, or when the evidence is stronger than what is held.
//   - A withdrawal of a held port withdraws it: it keeps what was known of it,
//     and no longer counts. It changes nothing where the port is not held, was
//     withdrawn already, rests on stronger evidence than what is withdrawn, or
//     was posted again since.
//   - A withdrawn port that is seen again, later or with stronger evidence than
//     was withdrawn, is updated at once and then rests on the new evidence.
//   - Else it is a duplicate. That makes applying a post twice harmless.
//
// The evidence of a port that stands never weakens: that a port was proved to
// be served is not unlearned from a weaker record of it. First and Last are the
// least and the greatest time seen, whatever order posts arrive in; the last
// post is the observation's Last even where that is earlier, as after a clock
// was set back, because the next post is compared with the clock as it is now.
// Flows add up over the posts that are applied, counterparts are the most that
// one of them told of.
//
// Staleness of the binding is not its business: the caller knows the bindings.
func Decide(have *PortState, ports int, o *Observation, base time.Duration) (PortState, Outcome) {
	switch {
	case o.Withdraw:
		return withdraw(have, o)
	case have == nil && ports >= MaxPorts:
		return PortState{}, OverLimit
	case have == nil:
		return PortState{
			First:        min(o.First, o.Last),
			Last:         max(o.First, o.Last),
			Posted:       o.Last,
			Evidence:     o.Evidence,
			Exporter:     o.Exporter,
			Counterparts: o.Counterparts,
			Flows:        uint64(o.Flows),
		}, Added
	case have.Withdrawn != 0:
		// What was vetoed does not come back by a post from before the veto.
		if o.Evidence <= have.Vetoed && o.Last <= have.Withdrawn {
			return *have, Duplicate
		}
	case o.Evidence <= have.Evidence && !Due(have.Posted, o.Last, PairInterval(base, o)):
		return *have, Duplicate
	}
	next := *have
	next.First = min(have.First, o.First, o.Last)
	next.Last = max(have.Last, o.First, o.Last)
	next.Posted = o.Last
	if o.Evidence >= have.Evidence || have.Withdrawn != 0 {
		next.Evidence, next.Exporter = o.Evidence, o.Exporter
	}
	next.Counterparts = max(have.Counterparts, o.Counterparts)
	next.Flows += uint64(o.Flows)
	next.Withdrawn, next.Vetoed = 0, NoEvidence
	return next, Updated
}

// withdraw is the part of Decide that is about withdrawals.
func withdraw(have *PortState, o *Observation) (PortState, Outcome) {
	switch {
	case have == nil:
		return PortState{}, Duplicate
	case have.Withdrawn != 0, have.Evidence > o.Evidence, have.Posted-o.Last > overtaken:
		return *have, Duplicate
	}
	next := *have
	next.Posted = o.Last
	next.Withdrawn = max(o.Last, 1) // 0 says that it was not
	next.Vetoed = o.Evidence
	return next, Withdrawn
}
