// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"encoding/binary"
	"slices"
	"time"
)

// slowCollector is the obvious collector of NetFlow v9 and IPFIX that the real
// one is held against, written from RFC 3954, RFC 7011 and RFC 5103. It shares
// nothing with the package but the types of its answers: maps keep what is
// known, each record becomes a list of values, and a Record is made by asking
// that list for one element after the other.
type slowCollector struct {
	streams map[StreamID]*slowStream
	ready   []slowWaiting // sets whose template has come
	changes int           // of what is known
	news    int           // rates and names that the datagram may still change
}

// slowStream is an exporter's observation domain in one version.
type slowStream struct {
	templates map[uint16]slowTemplate
	waiting   []slowWaiting
	told      slowTold
}

// slowTemplate is a template record, RFC 7011 section 3.4.1 and 3.4.2.
type slowTemplate struct {
	options bool
	fields  []slowField
	wire    []byte // as it came, without its id
}

// slowField is a field specifier, RFC 7011 section 3.2, RFC 3954 section 5.2.
type slowField struct {
	element slowElement
	width   int // slowVarying: each value tells its own
	scope   bool
}

const slowVarying = 65535

// slowElement is an information element: one of IANA's, where the enterprise
// is 0, or a field type of v9. A scope of v9 has a number space of its own
// (RFC 3954 section 6.1), which is slowScopeOfV9 here.
type slowElement struct {
	enterprise uint32
	id         uint16
}

const slowScopeOfV9 = 1<<32 - 1

// slowValue is the value of one field of one record.
type slowValue struct {
	element slowElement
	bytes   []byte
	scope   bool
}

// slowWaiting is a data set whose template is not known yet.
type slowWaiting struct {
	stream *slowStream
	header Message
	id     uint16
	body   []byte
	came   slowTemplate // the template, once it has come
}

// slowAnswer is what a datagram comes to.
type slowAnswer struct {
	Drop     Drop
	Problems ProblemSet
	Batches  []slowBatch
}

// slowBatch is what a message comes to, or sets that waited.
type slowBatch struct {
	Header  Message
	Delayed bool
	Records []Record
	Options int
}

func newSlowStream() *slowStream {
	return &slowStream{templates: make(map[uint16]slowTemplate), told: newSlowTold()}
}

func newSlowCollector() *slowCollector {
	return &slowCollector{streams: make(map[StreamID]*slowStream)}
}

// slowReader takes big-endian numbers and pieces off the front of some bytes.
type slowReader []byte

func (r *slowReader) take(n int) []byte {
	b := (*r)[:n]
	*r = (*r)[n:]
	return b
}

func (r *slowReader) u8() int     { return int(r.take(1)[0]) }
func (r *slowReader) u16() int    { return int(binary.BigEndian.Uint16(r.take(2))) }
func (r *slowReader) u32() uint32 { return binary.BigEndian.Uint32(r.take(4)) }

// datagram decodes what one exporter sent in one datagram.
func (c *slowCollector) datagram(source [16]byte, in []byte) (a slowAnswer) {
	header, body, rest, drop := slowMessageHeader(in)
	if drop != NoDrop {
		return slowAnswer{Drop: drop}
	}
	c.news = slowMaxNews
	room := slowRoom{templates: slowMaxTemplates, records: slowMaxRecords}
	for n := 1; ; n++ {
		c.message(&a, &room, source, header, body)
		if slowMessageCut(in) {
			a.Problems = a.Problems.With(ProblemMessagePastEnd)
		}
		if len(rest) == 0 {
			break
		}
		in = rest
		if header, body, rest, drop = slowMessageHeader(in); drop != NoDrop || header.Version != IPFIX || n == slowMaxMessages {
			a.Problems = a.Problems.With(ProblemTrailingBytes)
			break
		}
	}
	c.late(&a)
	return a
}

// late decodes the sets of former messages whose template has come, until it
// has had as many records of them as a datagram may have. Each set may have as
// many, so it can become twice as many in all. A set without any counts for one.
func (c *slowCollector) late(a *slowAnswer) {
	for had := 0; had < slowMaxRecords && len(c.ready) > 0; c.ready = c.ready[1:] {
		x := c.ready[0]
		w := &slowWalk{changes: &c.changes, news: &c.news, answer: a, room: &slowRoom{records: slowMaxRecords}, header: x.header, stream: x.stream}
		w.batch = slowBatch{Header: x.header, Delayed: true}
		w.records(x.came, x.body)
		a.Batches = append(a.Batches, w.batch)
		had += max(1, len(w.batch.Records)+w.batch.Options)
	}
}

// slowRoom is how much a datagram may still bring.
type slowRoom struct{ templates, records int }

const (
	slowMaxTemplates = 256
	slowMaxRecords   = 2048
	slowMaxMessages  = 64
	slowMaxReady     = 128
	slowMaxNews      = 48
)

// slowMessageHeader reads a message's header: RFC 3954 section 5.1, RFC 7011 section
// 3.1. Of other versions it knows only that they are none of these two.
func slowMessageHeader(in []byte) (m Message, body, rest []byte, drop Drop) {
	if len(in) == 0 {
		return m, nil, nil, DropEmpty
	}
	if len(in) == 1 {
		return m, nil, nil, DropShortHeader
	}
	r := slowReader(in)
	switch version := r.u16(); {
	case version == 9 && len(in) < 20, version == 10 && len(in) < 16:
		return m, nil, nil, DropShortHeader
	case version == 9:
		m.Version = V9
		m.Count = r.u16()
		m.Uptime = r.u32()
		m.ExportTime = time.Unix(int64(r.u32()), 0).UnixNano()
		m.Sequence = r.u32()
		m.Domain = r.u32()
		return m, r, nil, NoDrop
	case version == 10:
		m.Version = IPFIX
		length := r.u16()
		m.ExportTime = time.Unix(int64(r.u32()), 0).UnixNano()
		m.Sequence = r.u32()
		m.Domain = r.u32()
		if length < 16 {
			return Message{}, nil, nil, DropBadLength
		}
		if length > len(in) {
			length = len(in)
		}
		return m, in[16:length], in[length:], NoDrop
	}
	return m, nil, nil, DropUnknownVersion
}

// slowMessageCut tells whether an IPFIX message says that it is longer than
// what there is of it.
func slowMessageCut(in []byte) bool {
	r := slowReader(in)
	return r.u16() == 10 && r.u16() > len(in)
}

// slowWalk is the state of decoding one message.
type slowWalk struct {
	changes *int
	news    *int
	answer  *slowAnswer
	room    *slowRoom
	header  Message
	stream  *slowStream
	batch   slowBatch
	found   int  // templates and records of any kind
	stopped bool // the walk ended before the end of the message
	unknown bool // a set's template is not known
	ready   []slowWaiting
}

func (w *slowWalk) problem(p Problem) { w.answer.Problems = w.answer.Problems.With(p) }

// message decodes one message.
func (c *slowCollector) message(a *slowAnswer, room *slowRoom, source [16]byte, header Message, body []byte) {
	id := StreamID{source, header.Domain, header.Version}
	if c.streams[id] == nil {
		c.streams[id] = newSlowStream()
		c.changes++
	}
	w := &slowWalk{changes: &c.changes, news: &c.news, answer: a, room: room, header: header, stream: c.streams[id]}
	w.batch.Header = header
	w.sets(body)
	w.checkCount()
	a.Batches = append(a.Batches, w.batch)
	for _, x := range w.ready {
		if len(c.ready) == slowMaxReady {
			w.problem(ProblemTooManyRecords)
			break
		}
		c.ready = append(c.ready, x)
	}
}

// checkCount compares the header's count of v9 with what the message has.
func (w *slowWalk) checkCount() {
	switch {
	case w.header.Version != V9:
	case w.header.Count == 0:
		w.problem(ProblemCountZero)
	case w.header.Count > w.found && !w.stopped && !w.unknown:
		w.problem(ProblemCountPastEnd)
	}
}

// sets walks the sets of a message, RFC 7011 section 3.3.
func (w *slowWalk) sets(body []byte) {
	r := slowReader(body)
	for len(r) > 0 {
		if len(r) < 4 {
			w.problem(ProblemTrailingBytes)
			return
		}
		id, length := r.u16(), r.u16()
		if length < 4 {
			w.problem(ProblemSetLength)
			w.stopped = true
			return
		}
		if length == 4 {
			w.problem(ProblemSetEmpty)
			continue
		}
		if length-4 > len(r) {
			w.problem(ProblemSetPastEnd)
			w.stopped = true
			length = 4 + len(r)
		}
		if len(r) == 0 {
			return // of a set that is cut behind its header nothing is there
		}
		w.set(id, r.take(length-4))
	}
}

// set decodes what follows the header of a set.
func (w *slowWalk) set(id int, body []byte) {
	templates, options := 2, 3
	if w.header.Version == V9 {
		templates, options = 0, 1
	}
	switch {
	case id == templates:
		w.templateSet(body)
	case id == options && w.header.Version == V9:
		w.optionsTemplateSetV9(body)
	case id == options:
		w.optionsTemplateSetIPFIX(body)
	case id < 256:
		w.problem(ProblemSetReserved)
	default:
		w.data(uint16(id), body)
	}
}

// templateSet reads template records: RFC 3954 section 5.2, RFC 7011 section 3.4.1.
func (w *slowWalk) templateSet(body []byte) {
	r := slowReader(body)
	for len(r) >= 4 && !slowZero(r) {
		if w.withdrawal(&r) {
			continue
		}
		id := uint16(r.u16())
		from := r
		count := r.u16()
		var t slowTemplate
		if whole := w.fieldList(&r, &t, count, 0); !whole {
			w.cut(id)
			return
		}
		t.wire = from[:len(from)-len(r)]
		if !w.accept(id, t, true) {
			return
		}
	}
}

// optionsTemplateSetIPFIX reads options template records, RFC 7011 section 3.4.2.2.
func (w *slowWalk) optionsTemplateSetIPFIX(body []byte) {
	r := slowReader(body)
	for len(r) >= 4 && !slowZero(r) {
		if w.withdrawal(&r) {
			continue
		}
		if len(r) < 6 {
			return
		}
		id := uint16(r.u16())
		from := r
		count, scopes := r.u16(), r.u16()
		t := slowTemplate{options: true}
		if whole := w.fieldList(&r, &t, count, scopes); !whole {
			w.cut(id)
			return
		}
		t.wire = from[:len(from)-len(r)]
		if !w.accept(id, t, 1 <= scopes && scopes <= count) {
			return
		}
	}
}

// optionsTemplateSetV9 reads options template records, RFC 3954 section 6.1,
// which tell how many bytes the specifiers take and not how many they are.
func (w *slowWalk) optionsTemplateSetV9(body []byte) {
	r := slowReader(body)
	for len(r) >= 6 && !slowZero(r) {
		id := uint16(r.u16())
		from := r
		scopeBytes, optionBytes := r.u16(), r.u16()
		if scopeBytes+optionBytes > len(r) {
			w.cut(id)
			return
		}
		t := slowTemplate{options: true}
		list := slowReader(r.take(scopeBytes + optionBytes))
		fit := scopeBytes%4 == 0 && optionBytes%4 == 0
		if fit {
			w.fieldList(&list, &t, (scopeBytes+optionBytes)/4, scopeBytes/4)
		}
		t.wire = from[:len(from)-len(r)]
		if !w.accept(id, t, fit) {
			return
		}
	}
}

func slowZero(b []byte) bool { return !slices.ContainsFunc(b, func(c byte) bool { return c != 0 }) }

// withdrawal takes a template record of IPFIX that withdraws templates, RFC
// 7011 section 8.1.
func (w *slowWalk) withdrawal(r *slowReader) bool {
	look := *r
	if id, count := look.u16(), look.u16(); w.header.Version != IPFIX || count != 0 || id == 0 {
		return false
	}
	r.take(4)
	w.problem(ProblemTemplateWithdrawn)
	return true
}

// fieldList reads as many field specifiers and tells whether they were all there.
func (w *slowWalk) fieldList(r *slowReader, t *slowTemplate, count, scopes int) bool {
	for i := range count {
		if len(*r) < 4 {
			return false
		}
		f := slowField{scope: i < scopes}
		f.element.id = uint16(r.u16())
		f.width = r.u16()
		switch {
		case w.header.Version == V9 && f.scope:
			f.element.enterprise = slowScopeOfV9
		case w.header.Version == IPFIX && f.element.id >= 0x8000:
			if len(*r) < 4 {
				return false
			}
			f.element.id -= 0x8000
			f.element.enterprise = r.u32()
		}
		t.fields = append(t.fields, f)
	}
	return true
}

// cut forgets the template that one was to replace which is not all there.
func (w *slowWalk) cut(id uint16) {
	w.problem(ProblemTemplateCut)
	w.forget(id)
}

func (w *slowWalk) forget(id uint16) {
	delete(w.stream.templates, id)
	*w.changes++
}

// accept enters a template that was read, or forgets the one that it was to
// replace. It tells whether more of the set may be read.
func (w *slowWalk) accept(id uint16, t slowTemplate, scopeOK bool) bool {
	w.found++
	if w.room.templates == 0 {
		w.problem(ProblemTooManyTemplates)
		return false
	}
	w.room.templates--
	switch {
	case id < 256:
		w.problem(ProblemTemplateID)
	case !scopeOK:
		w.problem(ProblemTemplateScope)
		w.forget(id)
	case len(t.fields) == 0 || len(t.fields) > 256 || t.least() == 0 || t.least() > 65515:
		w.problem(ProblemTemplateSize)
		w.forget(id)
	default:
		w.learn(id, t)
	}
	return true
}

// learn enters a template and takes the sets that waited for it.
func (w *slowWalk) learn(id uint16, t slowTemplate) {
	old, known := w.stream.templates[id]
	same := known && old.options == t.options && slices.Equal(old.wire, t.wire)
	if same && len(w.stream.waiting) == 0 {
		return // announced again, as exporters do all the time
	}
	*w.changes++
	if known && !same {
		w.problem(ProblemTemplateChanged)
	}
	for _, f := range t.fields {
		if f.width != 0 && !t.options && !slowWidthOK(w.header.Version, f) {
			w.problem(ProblemFieldWidth)
		}
	}
	t.wire = slices.Clone(t.wire)
	w.stream.templates[id] = t
	var left []slowWaiting
	for _, s := range w.stream.waiting {
		if s.id == id {
			s.came = t
			w.ready = append(w.ready, s)
		} else {
			left = append(left, s)
		}
	}
	w.stream.waiting = left
}

// data decodes a data set, RFC 7011 section 3.4.3.
func (w *slowWalk) data(id uint16, body []byte) {
	t, known := w.stream.templates[id]
	if !known {
		w.unknown = true
		w.wait(id, body)
		return
	}
	w.records(t, body)
}

// records decodes what a data set of a known template holds.
func (w *slowWalk) records(t slowTemplate, body []byte) {
	for r := slowReader(body); len(r) >= t.least(); {
		values, ok := t.record(w.header.Version, &r)
		if !ok {
			w.problem(ProblemValuePastEnd)
			return
		}
		w.found++
		if w.room.records == 0 {
			w.problem(ProblemTooManyRecords)
			continue
		}
		w.room.records--
		if t.options {
			w.batch.Options++
			if w.stream.told.learns(w.header.Version, values) {
				*w.changes++
			}
			w.problems(w.stream.told.learn(w.header.Version, values, w.news))
			continue
		}
		record, p := slowRecord(w.header, &w.stream.told, values)
		w.problems(p)
		w.batch.Records = append(w.batch.Records, record)
	}
}

func (w *slowWalk) problems(p ProblemSet) { w.answer.Problems |= p }

// least is the least number of bytes that a record takes.
func (t slowTemplate) least() (n int) {
	for _, f := range t.fields {
		if f.width == slowVarying {
			n++
		} else {
			n += f.width
		}
	}
	return n
}

// record takes one record, RFC 7011 section 7 for values of variable length.
func (t slowTemplate) record(v Version, r *slowReader) (values []slowValue, ok bool) {
	for _, f := range t.fields {
		n := f.width
		if f.width == slowVarying {
			if len(*r) < 1 {
				return nil, false
			}
			if n = r.u8(); n == 255 {
				if len(*r) < 2 {
					return nil, false
				}
				n = r.u16()
			}
		}
		if n > len(*r) {
			return nil, false
		}
		b := r.take(n)
		if f.width != 0 && (t.options || slowWidthOK(v, f)) {
			values = append(values, slowValue{f.element, b, f.scope})
		}
	}
	return values, true
}

// wait keeps a set until its template comes.
func (w *slowWalk) wait(id uint16, body []byte) {
	*w.changes++
	if !slowMayWait(w.stream, len(body)) {
		w.problem(ProblemNoTemplate)
		return
	}
	w.stream.waiting = append(w.stream.waiting, slowWaiting{stream: w.stream, header: w.header, id: id, body: slices.Clone(body)})
}

// slowMayWait tells whether the backlog of a stream has room for another set:
// for 64 of them and 256 KiB, each with 192 bytes of what belongs to it.
func slowMayWait(s *slowStream, n int) bool {
	const sets, memory, each = 64, 256 << 10, 192
	held := n + each
	for _, o := range s.waiting {
		held += len(o.body) + each
	}
	return len(s.waiting) < sets && held <= memory
}
