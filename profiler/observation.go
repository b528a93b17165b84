// SPDX-License-Identifier: Apache-2.0

package profiler

import (
	"fmt"
	"strings"
	"time"
)

// Role tells which way a port is used by the endpoint that it is told of.
type Role uint8

const (
	// Listening: the endpoint serves the port.
	Listening Role = iota
	// Contacted: the endpoint uses that port of somebody else.
	Contacted
)

// String returns the JSON name.
func (r Role) String() string {
	if r == Contacted {
		return "contacted"
	}
	return "listening"
}

// Evidence is why an observation is believed. The numeric order is the order
// of trust: a greater value is the stronger evidence. It is defined here once;
// lists and policies ask for a minimum of it.
type Evidence uint8

const (
	// NoEvidence is the zero value and never posted.
	NoEvidence Evidence = iota
	// Seen: the port stood in a record (`ports: all`); nobody asked which side served.
	Seen
	// Class: the port ranges of the two sides alone decide.
	Class
	// Peer: the far port is known to be a client's.
	Peer
	// Service: a registered or listed port against one that is not.
	Service
	// Symmetric: the same UDP port at both ends, answered.
	Symmetric
	// FanIn: many distinct counterpart ports met this one.
	FanIn
	// Handshake: a lone SYN-ACK left the port.
	Handshake
	// Exporter: the exporter declared who initiated.
	Exporter

	evidences = iota
)

var evidenceNames = [evidences]string{"", "seen", "class", "peer", "service", "symmetric", "fan-in", "handshake", "exporter"}

// String returns the JSON name ("fan-in", "seen", …), empty for NoEvidence.
func (e Evidence) String() string {
	if int(e) < len(evidenceNames) {
		return evidenceNames[e]
	}
	return fmt.Sprintf("evidence(%d)", uint8(e))
}

// EvidenceNames lists the names of all evidence, the weakest first.
func EvidenceNames() []string { return evidenceNames[Seen:] }

// ParseEvidence is the inverse of String.
func ParseEvidence(s string) (Evidence, error) {
	for i, n := range evidenceNames {
		if n == s && n != "" {
			return Evidence(i), nil
		}
	}
	return NoEvidence, fmt.Errorf("unknown evidence %.40q; it is one of %s", s, strings.Join(EvidenceNames(), ", "))
}

// Observation is one thing learned about one endpoint: its binding, in the
// generation that the sensor knew, uses a port in a role. It is a fixed-size
// value without pointers, so that rings and tables of it cost the garbage
// collector nothing. It carries the binding, not the address, so that an
// address that moved in the meantime is recognised.
type Observation struct {
	Binding  uint32   // stable id of the binding (IP address ↔ endpoint)
	Gen      uint32   // its generation; a post for another generation is stale
	Port     uint16   // in host order, 1–65535
	Proto    uint8    // IANA protocol number
	Role     Role     //
	Evidence Evidence //
	Exporter [16]byte // who showed it; IPv4 as ::ffff:a.b.c.d
	First    int64    // arrival of the first record, Unix nanoseconds
	Last     int64    // arrival of the latest record, Unix nanoseconds

	// Counterparts is how many distinct counterparts were seen so far, 0 where
	// they are not counted.
	Counterparts uint32
	// Flows is how many flows were seen since the last post of the pair, 0 where
	// they are not counted.
	Flows uint32
	// Withdraw: what was posted of this pair no longer holds, because its
	// evidence has been vetoed. Evidence is then the strongest that was vetoed,
	// and Last the arrival of the record that did it.
	Withdraw bool
}

// Outcome is what the profiler answers to one observation.
type Outcome uint8

const (
	// Unanswered is the zero value: the batch has not been applied.
	Unanswered Outcome = iota
	// Added: the endpoint did not have the port before.
	Added
	// Updated: it had it, and the reprofile interval had passed or the evidence is stronger.
	Updated
	// Duplicate: it had it, within the reprofile interval. Nothing was written.
	Duplicate
	// Stale: the binding is gone or of another generation. Nothing was written.
	Stale
	// OverLimit: the endpoint has MaxPorts ports already. Nothing was written.
	OverLimit
	// Withdrawn: the port was held and is not believed any more.
	Withdrawn

	// Outcomes is the number of outcomes.
	Outcomes = iota
)

var outcomeNames = [Outcomes]string{"unanswered", "added", "updated", "duplicate", "stale", "port_limit", "withdrawn"}

// String returns the metric label.
func (o Outcome) String() string {
	if int(o) < len(outcomeNames) {
		return outcomeNames[o]
	}
	return fmt.Sprintf("outcome(%d)", uint8(o))
}

// Acknowledged reports whether the post reached the profiler and is accounted
// for there: added, updated, withdrawn, or recognised as a duplicate.
func (o Outcome) Acknowledged() bool { return o >= Added && o <= Duplicate || o == Withdrawn }

// Batch is what travels from a sensor to the profiler: observations sorted by
// binding, so that those of one endpoint (a post) stand together. Applying a
// batch twice is harmless: the second time everything is a duplicate.
//
// The sender owns it until it hands it over and again once it is answered; the
// receiver fills Outcomes and Posted (same length and order as Observations)
// and keeps nothing of it.
type Batch struct {
	Observations []Observation
	Outcomes     []Outcome
	// Posted is when the pair was last posted, as the profiler now holds it, in
	// Unix nanoseconds: the observation's own time where it was added, updated
	// or withdrawn, an earlier one where it is a duplicate, 0 where nothing is
	// held. The sensor's interval runs from there, so that a restart does not
	// begin it anew.
	Posted []int64
}

// MaxPorts is how many (protocol, port, role) entries one endpoint keeps. A
// scan of all 65,536 ports must not fill the store; what is over is counted.
const MaxPorts = 4096

// The reprofile interval: how long the same pair is ignored after a post.
const (
	DefaultInterval = 24 * time.Hour
	MinInterval     = time.Hour
)

// ErrInterval is wrapped by CheckInterval.
var ErrInterval = fmt.Errorf("the reprofile interval must be at least %s", MinInterval)

// CheckInterval refuses a reprofile interval under MinInterval.
func CheckInterval(d time.Duration) error {
	if d < MinInterval {
		return fmt.Errorf("%w, not %s", ErrInterval, d)
	}
	return nil
}

// PairInterval is the interval of one (binding, proto, port, role) in
// nanoseconds: base × [1, 1.25), from a hash of the pair, so that a site whose
// devices were all seen at nine o'clock does not post again in step every day.
// Sensor and profiler both use it, on the same arrival times, and so agree.
func PairInterval(base time.Duration, o *Observation) int64 {
	h := uint64(o.Binding)<<32 | uint64(o.Port)<<16 | uint64(o.Proto)<<8 | uint64(o.Role)
	// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	h ^= h >> 31
	return int64(base) + int64(base)/1024*int64(h>>56)
}

// Due reports whether a pair that was last posted at last may be posted again
// at now, both Unix nanoseconds. A last post in the future, as a clock that was
// set back leaves it, does not silence the pair until that time comes again.
func Due(last, now, interval int64) bool {
	age := now - last
	return age >= interval || age < -int64(time.Minute)
}
