// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"sync"
	"sync/atomic"
	"time"
)

// StreamID names a stream of messages that has templates and a sequence of its
// own: an exporter's observation domain in one version.
type StreamID struct {
	Exporter [16]byte // the address that sent it; IPv4 as ::ffff:a.b.c.d, :: if unknown
	Domain   uint32
	Version  Version
}

// Units are what a message means to its stream's sequence.
type Units struct {
	// Advance is by how many the message says that it advances the sequence.
	Advance uint32
	// Carried is how many of them it really carried.
	Carried uint32
	// Unknown: the message carried more, but nobody can tell how many, because
	// a template is not known.
	Unknown bool
}

// Stream is the state of one stream. Every worker that gets messages of it
// counts here with atomic operations, a few per message; what changes seldom is
// behind mu. See Streams for who may do what.
type Stream struct {
	ID    StreamID
	owner *Streams

	datagrams      atomic.Uint64 // messages
	records        atomic.Uint64
	optionsRecords atomic.Uint64
	counterSamples atomic.Uint64
	firstSeen      atomic.Int64  // arrival of the first message, Unix nanoseconds; 0: none yet
	lastSeen       atomic.Int64  // arrival of the latest one
	entered        atomic.Int64  // when it was entered or its newest restored template was used
	trusted        atomic.Bool   // it was established before a restart
	rate           atomic.Uint32 // sampling of the latest record
	sequence       sequence
	skew           skew

	templates atomic.Pointer[templateTable]
	held      atomic.Int64 // bytes that its templates take; written under mu
	backlog   backlog

	mu          sync.Mutex
	gone        bool  // under mu: it has left the registry, whose sums it no longer counts in
	optionBytes int64 // under mu: what its options take

	options options
}

// establishedAfter is how long messages must have come before a stream is
// established.
const establishedAfter = int64(time.Minute)

// established tells whether the stream has proved to be of use: it is the last
// to make room for others. A flood of invented streams cannot be, until it has
// gone on for a minute with records that could be decoded.
func (s *Stream) established() bool {
	if s.trusted.Load() {
		return true
	}
	first := s.firstSeen.Load()
	return first != 0 && s.lastSeen.Load()-first >= establishedAfter &&
		s.records.Load()+s.optionsRecords.Load()+s.counterSamples.Load() > 0
}

// touched is when the stream last showed that it lives, Unix nanoseconds.
func (s *Stream) touched() int64 { return max(s.lastSeen.Load(), s.entered.Load()) }

// note counts a message, or records that waited for their template.
func (s *Stream) note(b *Batch, u Units) {
	if n := len(b.Records); n > 0 {
		s.records.Add(uint64(n))
		if r := b.Records[n-1].Sampling; r != s.rate.Load() {
			s.rate.Store(r)
		}
	}
	if b.OptionsRecords > 0 {
		s.optionsRecords.Add(uint64(b.OptionsRecords))
	}
	if b.CounterSamples > 0 {
		s.counterSamples.Add(uint64(b.CounterSamples))
	}
	if b.Delayed {
		return
	}
	s.datagrams.Add(1)
	if s.firstSeen.Load() == 0 {
		s.firstSeen.CompareAndSwap(0, b.Arrival)
	}
	// Workers may store in the wrong order: a little too early does no harm.
	if b.Arrival > s.lastSeen.Load() {
		s.lastSeen.Store(b.Arrival)
	}
	if b.Version != V1 { // which has no sequence
		s.sequence.note(b.Sequence, u, b.Arrival)
	}
	if b.ExportTime != 0 && b.Arrival != 0 {
		s.skew.note(&b.Message, b.Arrival)
	}
}

// retire takes the stream out of its owner's sums, when it has left the
// registry. A worker that still decodes a message of it may go on; what it
// keeps in the stream from now on dies with it. It returns how many templates
// are gone.
func (s *Stream) retire() (templates int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	templates = s.dropTemplates()
	s.backlog.drop(s.owner, len(s.backlog.sets))
	s.owner.optionsBytes.Add(-s.optionBytes)
	s.gone = true
	s.owner.lostBefore.Add(s.sequence.lost())
	return templates
}
