// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"sync"
	"sync/atomic"
)

// sequence estimates what was lost on the way from the exporter: the span of
// its sequence numbers less what all workers together received, so that two
// receive paths with reordered messages fake no gap. What a number counts is the
// format's (see Units); v1 has none.
//
// A message is late if its number is behind what was expected. A number too far
// behind or ahead means that the exporter has restarted, and so does one behind
// that comes when nothing has come ahead for restartAfter: messages overtake
// each other within milliseconds. A restart begins a new span and loses nothing
// of the estimate. A duplicate counts as late, and hides as much loss as it
// carries.
//
// Where a template is not known, nobody can tell how many records a message of
// IPFIX carries. The next step ahead then counts as received, and with it what
// really was lost between the two messages; if the message is late itself, its
// unknown records stay lost. Both errors are a message's records.
//
// Some exporters do not count the options records that a message carries. The
// message then reaches from behind what was expected to ahead of it: it is
// not late, and counts with what it adds.
//
// The number of a message counts what was sent before it; that of some
// exporters (softflowd's and Open vSwitch's IPFIX, Open vSwitch's v5) includes
// what the message carries itself. Where two messages carry differently many
// records their difference tells one from the other: see vote.
type sequence struct {
	high     atomic.Uint64 // unwrapped number that is expected next, 0: nothing seen yet
	base     atomic.Uint64 // unwrapped number that the span began with
	received atomic.Uint64 // units received since base
	before   atomic.Uint64 // lost in spans that a restart of the exporter ended
	moved    atomic.Int64  // about when high last moved, Unix nanoseconds
	unknown  atomic.Bool   // the next step ahead counts as received

	last      atomic.Uint64 // number<<32 | units of the last message, noVote where they tell nothing
	votes     atomic.Int32  // for numbers that include the message
	including atomic.Bool   // they won

	gaps, late, restarts atomic.Uint64

	mu sync.Mutex // held while a span is begun
}

const (
	// firstUnwrapped keeps unwrapped numbers clear of zero, whatever is subtracted.
	firstUnwrapped = 1 << 40
	// A number up to lateWindow units behind is late, not a restart; one up to
	// gapWindow ahead is a gap. Beyond, the exporter has restarted.
	lateWindow = 1 << 16
	gapWindow  = 1 << 24
	// restartAfter is for how long nothing may have moved ahead before a message
	// that is late.
	restartAfter = 10 * nsPerSecond
	// movedGrain is how exactly it is known when high last moved; storing
	// it for every message would cost more than all the rest.
	movedGrain = nsPerSecond
	// A lead of votesToWin decides what a number includes.
	votesToWin = 2
	// noVote stands for a last message that tells nothing, and so does the 0
	// before the first. As a message it would carry more than one can.
	noVote = 1<<32 - 1
)

// note takes one message: its sequence number, what it means to it, and when it
// arrived.
func (s *sequence) note(number uint32, u Units, arrival int64) {
	s.vote(number, u)
	if s.including.Load() {
		number -= u.Advance
	}
	end := number + u.Advance
	for {
		high := s.high.Load()
		ahead := int32(end - uint32(high))
		if high == 0 || ahead > gapWindow || ahead < -lateWindow {
			s.begin(high, number, u, arrival)
			return
		}
		behind := int32(number-uint32(high)) < 0
		if moved := s.moved.Load(); behind && ahead <= 0 && moved != 0 && arrival-moved > restartAfter {
			s.begin(high, number, u, arrival)
			return
		}
		if ahead > 0 && !s.high.CompareAndSwap(high, high+uint64(ahead)) {
			continue
		}
		if !behind || ahead > 0 {
			s.move(arrival)
		}
		switch {
		case !behind:
			s.received.Add(uint64(u.Carried))
			s.step(number-uint32(high), u)
		case ahead > 0: // it reaches from behind to ahead
			s.received.Add(uint64(min(u.Carried, uint32(ahead))))
		default:
			s.received.Add(uint64(u.Carried))
			s.late.Add(1)
		}
		return
	}
}

// move notes that there was progress.
func (s *sequence) move(arrival int64) {
	if arrival-s.moved.Load() > movedGrain {
		s.moved.Store(arrival)
	}
}

// step goes on with a message that is not late, with a gap in front of it or
// none.
func (s *sequence) step(gap uint32, u Units) {
	// The records that a number includes are in front of it.
	credit := s.unknown.Load() || u.Unknown && s.including.Load()
	switch {
	case gap > 0 && credit:
		s.received.Add(uint64(gap))
	case gap > 0:
		s.gaps.Add(1)
	}
	if s.unknown.Load() != u.Unknown {
		s.unknown.Store(u.Unknown && !s.including.Load())
	}
}

// begin starts a span with this message, unless another worker has just done so.
func (s *sequence) begin(seen uint64, number uint32, u Units, arrival int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.high.Load() != seen {
		s.received.Add(uint64(u.Carried))
		return
	}
	if seen != 0 {
		s.restarts.Add(1)
	}
	s.before.Add(s.gap())
	s.span(number, u, arrival)
}

// span begins a span with a message. s.mu is held.
func (s *sequence) span(number uint32, u Units, arrival int64) {
	s.received.Store(uint64(u.Carried))
	s.base.Store(firstUnwrapped + uint64(number))
	s.high.Store(firstUnwrapped + uint64(number) + uint64(u.Advance))
	s.moved.Store(arrival)
	s.unknown.Store(u.Unknown && !s.including.Load())
}

// vote compares a message with the last one. Only where they carry differently
// many records do the two meanings of the number differ: either it follows the
// last number and what that message carried, or it is ahead of it by what
// this one carries. Where messages are lost or reordered it is neither.
func (s *sequence) vote(number uint32, u Units) {
	this := uint64(number)<<32 | uint64(u.Advance)
	if u.Unknown || u.Advance > 1<<16 {
		this = noVote
	}
	last := s.last.Swap(this)
	carried := uint32(last)
	if carried == u.Advance || this == noVote || last == noVote || last == 0 {
		return
	}
	vote := int32(0)
	switch number - uint32(last>>32) {
	case carried:
		vote = -1
	case u.Advance:
		vote = 1
	default:
		return
	}
	if v := s.votes.Load() + vote; -votesToWin <= v && v <= votesToWin {
		s.votes.Store(v)
		if including := v > 0; (v == votesToWin || v == -votesToWin) && including != s.including.Load() {
			s.decide(number, u, including)
		}
	}
}

// decide changes what a number is taken to include. What was counted under the
// other meaning was wrong, so it is forgotten.
func (s *sequence) decide(number uint32, u Units, including bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.including.Store(including)
	s.before.Store(0)
	s.gaps.Store(0)
	s.late.Store(0)
	s.restarts.Store(0)
	if including {
		number -= u.Advance
	}
	// note counts the message itself.
	s.span(number, Units{}, s.moved.Load())
}

// gap is what the current span lacks.
func (s *sequence) gap() uint64 {
	high, base, received := s.high.Load(), s.base.Load(), s.received.Load()
	if high-base <= received {
		return 0 // duplicates can make it more than the span
	}
	return high - base - received
}

// lost is the estimate over all spans, in the units of the format's sequence
// number.
func (s *sequence) lost() uint64 { return s.before.Load() + s.gap() }
