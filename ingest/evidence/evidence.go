// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"math/bits"

	"github.com/portolan/portolan/profiler"
)

// Side is one end of a record, as the worker found it.
type Side struct {
	Binding, Gen uint32 // whose it is
	Far, FarGen  uint32 // whose the other end is; 0 where it is nobody's
	FarHash      uint32 // a hash of the other end's address
	Port         uint16 // its own port
	FarPort      uint16 // the one at the other end
	Proto        uint8
	Flags        uint8 // TCP flags, 0 where the exporter has none
	Out          bool  // the record goes from this end to the other
	Single       bool  // the record is of one packet
	Few          bool  // and of so few that they open and close no connection
	Bare         bool  // no flags, from an exporter that has them of other records
	Sampled      bool  // the exporter takes one packet in many
	Group        bool  // the other end, or this one, is a multicast or broadcast address
	Initiator    Initiator
}

// Initiator is who opened the connection, as the exporter declares it.
type Initiator uint8

// The values: nobody knows, the end itself, the other one.
const (
	Unknown Initiator = iota
	Self
	Other
)

// Verdict is what a record shows about one of its ends at once. The zero value
// is nothing yet.
type Verdict struct {
	Listening    profiler.Evidence // why the end serves its port
	Contacted    bool              // it uses the far port
	Full         bool              // there is no place to observe the port in
	Counterparts uint32
}

const (
	tcp = 6
	udp = 17

	tftp = 69

	flagFIN = 1
	flagSYN = 2
	flagRST = 4
	flagPSH = 8
	flagACK = 16
)

// And is what two records, or the two directions of one, show together.
func (v Verdict) And(w Verdict) Verdict {
	return Verdict{max(v.Listening, w.Listening), v.Contacted || w.Contacted, v.Full || w.Full, max(v.Counterparts, w.Counterparts)}
}

// Judge takes a side at a time (Unix seconds) and tells what is certain by now.
// What is not, Settle decides later.
func (t *Table) Judge(s *Side, now uint32) Verdict {
	own, far := rank(s.Proto, s.Port), rank(s.Proto, s.FarPort)
	switch {
	case s.Port == 0 || s.FarPort == 0 || s.Group:
		return Verdict{}
	case s.Initiator != Unknown:
		return t.declared(s, far, now)
	}
	soft := false
	if s.Proto == tcp && s.Flags != 0 {
		f := s.Flags
		switch {
		case f&(flagSYN|flagACK|flagFIN|flagRST|flagPSH) == flagSYN|flagACK && s.Single:
			if s.Out {
				t.confirm(s.key(), profiler.Handshake)
				return Verdict{Listening: profiler.Handshake}
			}
			t.mark(s, isClient, now)
			return Verdict{Contacted: far <= listedHigh}
		case f&flagACK == 0:
			if f&flagSYN != 0 && s.Out {
				t.mark(s, isClient, now)
			}
			return Verdict{}
		case f&flagRST != 0 && f&(flagSYN|flagPSH|flagFIN) == 0:
			return Verdict{}
		}
		soft = f&(flagPSH|flagFIN|flagSYN) == 0 && !s.Out
		if s.Single && !s.Sampled && f&(flagPSH|flagSYN) == 0 {
			return Verdict{} // an ACK scan's, or a FIN scan's with ACK
		}
	} else if s.Proto == tcp && (s.Bare || s.Few && !s.Sampled) {
		return Verdict{} // a null scan's, or nothing that was answered
	}
	if far <= listedHigh && own >= unlisted {
		if s.Proto == udp && s.FarPort == tftp && s.Out {
			t.mark(s, isTransfer, now) // the answers come from another port (RFC 1350 section 4)
		}
		return Verdict{Contacted: s.Proto == tcp && !soft || !s.Out}
	}
	if e := t.confirmed(s.key()); e != profiler.NoEvidence {
		return Verdict{Listening: e}
	}
	return t.collect(s, own, far, soft, now)
}

// declared judges a side of a conversation whose initiator is declared. That one
// asked says nothing of whether the other was there: it has to have answered, by
// a record from it, or by flags that are those of a connection.
func (t *Table) declared(s *Side, far uint8, now uint32) Verdict {
	answered := s.Out == (s.Initiator == Other)
	if f := s.Flags; s.Proto == tcp && f != 0 {
		refused := f&flagRST != 0 && f&(flagSYN|flagPSH|flagFIN) == 0
		connected := f&flagPSH != 0 || f&(flagSYN|flagFIN) != 0 && !s.Single
		answered = f&flagACK != 0 && !refused && (answered || connected)
	}
	switch {
	case s.Initiator == Self && far > listedEphemeral:
		t.mark(s, isClient, now)
		fallthrough
	case s.Initiator == Self:
		return Verdict{Contacted: answered}
	case !answered:
		return Verdict{}
	}
	t.confirm(s.key(), profiler.Exporter)
	return Verdict{Listening: profiler.Exporter}
}

// collect enters what a record shows into the slot of its end's port, and
// decides if that is certain by now.
func (t *Table) collect(s *Side, own, far uint8, soft bool, now uint32) Verdict {
	set := uint64(isIn)
	switch {
	case s.Out:
		set = isOut
	case soft:
		set = isSoft
	}
	switch {
	case s.Port == s.FarPort:
		set |= isSame
	case reserved(s.Proto, s.Port, own, far):
		set |= isBetter | isWorse
	case own < far || own == far && s.Port < s.FarPort:
		set |= isBetter
	default:
		set |= isWorse
	}
	if s.Sampled {
		set |= isSampled
	}
	slot := t.slot(s, now)
	want := match(s.Proto, s.Port)
	if slot == nil {
		return Verdict{Full: true}
	}
	if !slot.add(want, set) {
		return Verdict{}
	}
	slot.meet(s.Far, s.FarGen, s.FarPort)
	// Of UDP what comes in counts, because what goes out may be a scan's; that
	// something went out as well is asked for later.
	// An ACK alone that leaves a client's port may be a scan's as well.
	probe := s.Proto == tcp && s.Single && own >= windowsRPC && s.Flags == flagACK
	if !soft && !probe && (s.Proto == tcp || !s.Out) && (far > listedEphemeral || s.Port == s.FarPort) {
		h := uint32(s.FarPort) * 0x9e3779b1
		if s.Port == s.FarPort {
			h = s.FarHash * 0x9e3779b1
		}
		slot.count(1<<(h>>26), window(own), now)
	}
	v := t.certain(s.key(), slot, own)
	if v == profiler.NoEvidence {
		return Verdict{}
	}
	n := bits.OnesCount64(slot.fan.Load())
	slot.add(want, isPosted)
	if n >= overwhelming {
		t.confirm(s.key(), v)
		slot.free()
	}
	return Verdict{Listening: v, Counterparts: uint32(n)}
}

// overwhelming is how many counterparts nothing can outweigh.
const overwhelming = 8

// window is for how long counterparts are counted together, in seconds: where
// the port could be a client's, by chance used again, for an hour.
func window(own uint8) uint32 {
	if own == listedEphemeral || own >= windowsRPC {
		return 3600
	}
	return 24 * 3600
}

// needed is how many distinct counterparts prove a port.
func needed(proto uint8, state uint64, own uint8) int {
	k := 2
	switch {
	case state&isSame != 0 && state&(isBetter|isWorse) == 0:
		return 8
	case proto == tcp && own >= otherHigh:
		k = 3
	case proto == udp && own >= otherHigh:
		k = 6
	case proto == udp:
		k = 4
	}
	if state&isWorse != 0 {
		k = max(k, 4)
	}
	return k
}

// certain tells what a slot proves without waiting for more.
func (t *Table) certain(k key, slot *slot, own uint8) profiler.Evidence {
	state := slot.state.Load()
	fan := bits.OnesCount64(slot.fan.Load())
	switch {
	case state&(isClient|isTransfer) != 0 && fan < 4:
		return profiler.NoEvidence
	case own != ftpData && fan >= needed(k.proto(), state, own) && t.outweighs(k, slot, fan):
		return profiler.FanIn
	case own == listedLow && state&isBetter != 0 && state&isWorse == 0 && answered(k.proto(), state) && !t.vetoed(k, slot):
		return profiler.Service
	}
	return profiler.NoEvidence
}

// reserved tells whether the listed port may be a client's of a service that is
// listed as well: NFS and its like are asked from ports below 1024, and UDP
// clients that keep their socket keep its port for as long.
func reserved(proto uint8, port uint16, own, far uint8) bool {
	return far == listedEphemeral && (proto == udp && own == listedHigh || own == listedLow && port >= 600)
}

// answered tells whether the end has taken part: an unanswered question proves
// nothing.
func answered(proto uint8, state uint64) bool {
	if proto == udp {
		return state&isOut != 0
	}
	return state&(isOut|isIn) != 0
}

// outweighs tells whether so many counterparts are not fewer than the other end
// has.
func (t *Table) outweighs(k key, slot *slot, fan int) bool {
	return fan >= overwhelming || fan >= t.farFan(k, slot)
}

// farFan is how many counterparts the other end's port has met.
func (t *Table) farFan(k key, slot *slot) int {
	far := t.farSlot(slot.farKey(k.proto()))
	if far == nil {
		return 0
	}
	return bits.OnesCount64(far.fan.Load())
}

// vetoed tells whether the other end is the one that serves.
func (t *Table) vetoed(k key, slot *slot) bool {
	if far := slot.farKey(k.proto()); far != 0 && t.confirmed(far) != profiler.NoEvidence {
		return true
	}
	n := t.farFan(k, slot)
	return n >= 2 && n > bits.OnesCount64(slot.fan.Load())
}
