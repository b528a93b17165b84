// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"math/bits"

	"github.com/portolan/portolan/profiler"
)

// Told is what Settle has decided of a port.
type Told struct {
	Binding, Gen uint32
	Port         uint16
	Proto        uint8
	Evidence     profiler.Evidence
	Counterparts uint32
	// Withdraw: what was told of the port before does not hold.
	Withdraw bool
	// First is when it was first seen, Unix seconds.
	First uint32
}

const (
	// settleAfter is how long a port is observed before what is weak counts, in
	// seconds: by then whoever serves has mostly shown it.
	settleAfter = 300
	// watched is for how long an endpoint has to be known before chance has had
	// its time, in seconds. Of one that was seen for less, nothing can have
	// come again.
	watched = 3600
	// weakPorts is the most ports of an endpoint that weak evidence may show.
	// Who has more is a client whose ports look like a service's by chance.
	weakPorts = 8
	// refused is for how long nothing weak counts of such an endpoint.
	refused = 24 * 3600
)

// Settle decides what has been observed for long enough by now (Unix seconds),
// and withdraws what it decided before and has been contradicted since. end: no
// more records come, so all is decided. What tell does not take, by returning
// false, is told again by the next Settle.
func (t *Table) Settle(now uint32, end bool, tell func(Told) bool) {
	for n := range t.chunks {
		c := t.chunks[n].Load()
		if c == nil {
			continue
		}
		for i := range c {
			if e := &c[i]; e.head.Load() != 0 && e.head.Load()&isBusy == 0 {
				t.settle(e, uint32(n*chunkSize+i), now, end, tell)
			}
		}
	}
}

// settle does so for one endpoint.
func (t *Table) settle(e *endpoint, binding, now uint32, end bool, tell func(Told) bool) {
	gen := uint32(e.head.Load() >> 32)
	young := end && now-e.seen() < watched
	var weak [slots]Told
	n := 0
	for i := range e.slots {
		s := &e.slots[i]
		state := s.state.Load()
		if state == 0 || !end && now-uint32(state>>32) < settleAfter {
			continue
		}
		k := makeKey(protoOf(state), binding, gen, uint16(state>>portShift))
		if t.confirmed(k) != profiler.NoEvidence {
			s.free() // proved otherwise
			continue
		}
		own := rank(k.proto(), k.port())
		told := Told{
			Binding: binding, Gen: gen, Port: k.port(), Proto: k.proto(), Evidence: t.verdict(k, s, own, young),
			Counterparts: uint32(bits.OnesCount64(s.fan.Load())), First: uint32(state >> 32),
		}
		switch {
		case told.Evidence == profiler.NoEvidence && state&isPosted != 0:
			if tell(told.withdrawn()) {
				s.free()
			}
		case told.Evidence == profiler.NoEvidence:
		case strong(told.Evidence, own):
			s.add(state&matchMask, isPosted)
			if tell(told) && !end {
				t.confirm(k, told.Evidence)
				s.free()
			}
		case now >= uint32(e.budget.Load()):
			weak[n] = told
			n++
		case state&isPosted != 0 && tell(told.withdrawn()): // which was not taken before
			s.free()
		}
	}
	t.weak(e, weak[:n], now, tell)
}

// weak tells of an endpoint's weak ports, if they are few. Else it withdraws them,
// and lets none count for a day.
func (t *Table) weak(e *endpoint, ports []Told, now uint32, tell func(Told) bool) {
	many := len(ports) > weakPorts
	if many {
		e.budget.Store(uint64(now + refused))
	}
	for _, told := range ports {
		s := e.look(told.Proto, told.Port)
		switch {
		case s == nil:
		case !many:
			s.add(match(told.Proto, told.Port), isPosted)
			tell(told)
		default:
			if s.state.Load()&isPosted == 0 || tell(told.withdrawn()) {
				s.free()
			}
		}
	}
}

// withdrawn takes back what was told.
func (t Told) withdrawn() Told {
	t.Withdraw, t.Evidence = true, withdrawable
	return t
}

// protoOf is the protocol of a slot's state.
func protoOf(state uint64) uint8 { return [4]uint8{0, tcp, udp, 132}[state&protoMask] }

// withdrawable is the strongest evidence that can be withdrawn: a handshake and
// what the exporter declares stand.
const withdrawable = profiler.FanIn

// strong tells whether evidence stands whatever comes later.
func strong(e profiler.Evidence, own uint8) bool {
	return e >= profiler.FanIn || e == profiler.Service && own == listedLow
}

// verdict is what a slot shows once it has been observed for long enough. young:
// the endpoint was not known for long, and nothing more will come.
func (t *Table) verdict(k key, s *slot, own uint8, young bool) profiler.Evidence {
	state := s.state.Load()
	fan := bits.OnesCount64(s.fan.Load())
	proto := k.proto()
	// Of one packet in many the answer is seldom seen.
	unseen := young && state&isSampled != 0 && state&isIn != 0
	if state&(isClient|isTransfer) != 0 && fan < 4 || !answered(proto, state) && !unseen {
		return profiler.NoEvidence
	}
	k2 := needed(proto, state, own)
	if young {
		k2 = min(k2, neededYoung(proto, state, own))
	}
	if own == ftpData {
		return profiler.NoEvidence
	}
	same := state&isSame != 0 && state&(isBetter|isWorse) == 0
	better := state&isBetter != 0 && state&(isWorse|isSame) == 0
	switch {
	case fan >= k2 && t.outweighs(k, s, fan):
		return profiler.FanIn
	case proto == udp && same && state&isOut != 0 && state&isIn != 0:
		return profiler.Symmetric
	case own >= unlisted && t.vetoed(k, s):
		return profiler.NoEvidence
	case better && own <= assigned && (own != listedEphemeral || young && t.ephemeral(proto, s)):
		return profiler.Service
	case !young || t.farIs(isTransfer, k, s):
		return profiler.NoEvidence
	case t.farIs(isClient, k, s):
		return profiler.Peer
	case better && !t.guess(proto, s, own):
		return profiler.Class
	}
	return profiler.NoEvidence
}

// neededYoung is needed for an endpoint that was not known for long.
func neededYoung(proto uint8, state uint64, own uint8) int {
	if proto == udp && own >= otherHigh || state&isSame != 0 && state&(isBetter|isWorse) == 0 {
		return 4
	}
	return 2
}

// guess tells whether the ranges of the two ports are worth nothing.
func (t *Table) guess(proto uint8, s *slot, own uint8) bool {
	far := rank(proto, uint16(s.far.Load()>>16))
	port := uint16(s.state.Load() >> portShift)
	return own >= otherHigh && far >= otherHigh || own == far || proto == udp && (port >= 10000 || own == otherLow && !t.ephemeral(proto, s))
}

// ephemeral tells whether the other end's port is from a range that systems take
// clients' ports from.
func (t *Table) ephemeral(proto uint8, s *slot) bool {
	far := rank(proto, uint16(s.far.Load()>>16))
	return far >= windowsRPC || far == otherLow
}

// farIs tells whether a flag was set of the other end's port.
func (t *Table) farIs(flag uint64, k key, s *slot) bool {
	far := t.farSlot(s.farKey(k.proto()))
	return far != nil && far.state.Load()&flag != 0
}
