// SPDX-License-Identifier: Apache-2.0

package flow

import "math"

// MaxRecords is the most records that are decoded of one datagram: more than
// the smallest records that make sense fill 9,216 bytes with, and a bound for
// the work that a datagram of one-byte records can ask for.
const MaxRecords = 2048

// Batch is what one message brought: its header, the stream that it belongs to,
// and its records. It and the records are the Decoder's, valid until the next
// call of Next or Begin.
type Batch struct {
	Message
	// Stream is the state of the exporter's stream that sent it.
	Stream *Stream
	// Arrival is when the datagram arrived, as given to Begin. For records that
	// waited for their template it is when their own datagram did.
	Arrival int64
	// Records are the flow records, as many as could be decoded.
	Records []Record
	// OptionsRecords and CounterSamples count what else was decoded.
	OptionsRecords, CounterSamples int
	// Delayed: these records waited for their template, and their datagram has
	// been counted before.
	Delayed bool
}

// MaxMessages is the most IPFIX messages that one datagram may have.
const MaxMessages = 64

// maxReady is how many sets a Decoder holds whose template has come and whose
// turn has not.
const maxReady = 128

// Decoder turns datagrams into batches of records, with the help of the
// Streams that it shares with other Decoders. One goroutine owns it. In steady
// state it does not allocate: only what changes a stream's state does, which
// is a new exporter, a new template, a set without one or a new name.
type Decoder struct {
	// Patient: sets that waited for a template are decoded at once, however
	// many they are. A file has time for that; a worker on a network decodes
	// MaxRecords of them a datagram, so that no template costs it more.
	Patient bool

	streams  *Streams
	source   [16]byte
	arrival  int64
	next     Message // the next message of the datagram
	more     bool    // there is one
	messages int     // of this datagram, so far
	left     int     // records that this datagram may still have
	overdue  int     // records of former datagrams that may still be decoded in this one
	problems ProblemSet
	ready    []waitingSet // sets whose template has come
	turn     int          // the first of them that has not been decoded
	batch    Batch
	walk     walk
	records  [MaxRecords]Record
}

// NewDecoder makes a Decoder that shares s.
func NewDecoder(s *Streams) *Decoder {
	return &Decoder{streams: s, ready: make([]waitingSet, 0, maxReady)}
}

// Begin takes a datagram that the exporter at source sent and that arrived at
// the given time, Unix nanoseconds. The bytes are borrowed until the next
// Begin. Where it returns another value than NoDrop, nothing of it is decoded;
// Next then returns what former datagrams left for later, if anything.
func (d *Decoder) Begin(source [16]byte, arrival int64, datagram []byte) Drop {
	d.problems, d.more, d.messages = 0, false, 0
	d.left, d.overdue, d.walk.templates, d.walk.news = MaxRecords, MaxRecords, 0, maxNews
	if drop := d.next.Parse(datagram); drop != NoDrop {
		return drop
	}
	d.source, d.arrival, d.more = source, arrival, true
	return NoDrop
}

// Next decodes the next message of the datagram, or sets of former datagrams
// whose template this one brought. It returns nil where there is none left.
func (d *Decoder) Next() *Batch {
	b := &d.batch
	switch {
	case d.more:
		d.message(b)
	case d.owed() > 0 && (d.overdue > 0 || d.Patient):
		d.replay(b)
	default:
		return nil
	}
	return b
}

// Problems tells what was wrong inside the datagram, complete once Next has
// returned nil.
func (d *Decoder) Problems() ProblemSet { return d.problems }

// problem notes that something is wrong with the datagram.
func (d *Decoder) problem(p Problem) { d.problems = d.problems.With(p) }

// message decodes d.next into b and parses the header behind it.
func (d *Decoder) message(b *Batch) {
	*b = Batch{Message: d.next, Arrival: d.arrival}
	b.Stream = d.streams.of(StreamID{d.source, b.Domain, b.Version}, d.arrival)
	s := b.Stream
	var units Units
	switch b.Version {
	case V9:
		d.sets(b)
		units = Units{Advance: 1, Carried: 1}
	case IPFIX:
		units = d.sets(b)
	case SFlow5:
		d.samples(b)
		units = Units{Advance: 1, Carried: 1}
	default:
		units = d.fixed(b)
	}
	s.note(b, units)
	d.advance(b)
}

// fixed decodes a message of a format without templates. v5 and v7 number the
// flows: a message that announces more than it carries has lost them, unless
// the announcement is none that the format allows.
func (d *Decoder) fixed(b *Batch) Units {
	n := b.Message.Records()
	b.Records = d.records[:n]
	b.decodeFixed(b.Records)
	d.problems |= b.fixedProblems(n)
	u := Units{Advance: uint32(b.Count), Carried: uint32(n)}
	if b.Count > fixedSize[b.Version].most {
		u.Advance = u.Carried
	}
	return u
}

// advance goes to the message that follows b's in its datagram, if there is
// one: only IPFIX has several.
func (d *Decoder) advance(b *Batch) {
	d.more = false
	if b.cut {
		d.problem(ProblemMessagePastEnd)
	}
	if len(b.rest) == 0 {
		return
	}
	d.messages++
	if d.messages == MaxMessages || d.next.Parse(b.rest) != NoDrop || d.next.Version != IPFIX {
		d.problem(ProblemTrailingBytes)
		return
	}
	d.more = true
}

// owe notes the sets that waited for a template of a stream. Where more of them
// gather than their turns can take, because somebody makes them faster than
// one datagram each, the rest is given up.
func (d *Decoder) owe(s *Stream, t *template) {
	most := math.MaxInt
	if !d.Patient {
		most = maxReady - d.owed()
	}
	if d.turn > 0 && s.waits() { // use the room of those that had their turn
		d.ready = d.ready[:copy(d.ready, d.ready[d.turn:])]
		clear(d.ready[len(d.ready):][:d.turn])
		d.turn = 0
	}
	var more bool
	if d.ready, more = s.due(t, d.ready, most); more {
		d.problem(ProblemTooManyRecords)
	}
}

// owed is how many sets have not had their turn.
func (d *Decoder) owed() int { return len(d.ready) - d.turn }

// replay decodes a set that waited for its template. It is another datagram's,
// whose records were not counted in that one.
func (d *Decoder) replay(b *Batch) {
	w := d.ready[d.turn]
	d.ready[d.turn] = waitingSet{}
	if d.turn++; d.owed() == 0 {
		d.ready, d.turn = d.ready[:0], 0
	}
	*b = Batch{Message: w.message, Arrival: w.arrival, Delayed: true, Stream: w.stream}
	d.left = MaxRecords
	d.waited(b, &w)
	d.overdue -= max(1, len(b.Records)+b.OptionsRecords)
	b.Stream.note(b, Units{})
}
