// SPDX-License-Identifier: Apache-2.0

package flow

import "encoding/binary"

// Ids of sets, RFC 7011 section 3.3.2 and RFC 3954 section 5.2. Those from
// minTemplateID on are data sets and name their template.
const (
	v9TemplateSet      = 0
	v9OptionsSet       = 1
	ipfixTemplateSet   = 2
	ipfixOptionsSet    = 3
	minTemplateID      = 256
	setHeaderSize      = 4
	templateHeaderSize = 4
	optionsHeaderSize  = 6
)

// walk is the state of going through the sets of one message.
type walk struct {
	records   int  // data records, options among them, decoded or not
	found     int  // templates of either kind
	templates int  // in the whole datagram
	news      int  // rates and names that it may still change
	blind     bool // a data set's template is unknown, so nobody knows its records
	offsets   [MaxFields]uint16
	widths    [MaxFields]uint16
}

// sets decodes the sets of a v9 or IPFIX message.
func (d *Decoder) sets(b *Batch) Units {
	w := &d.walk
	w.records, w.found, w.blind = 0, 0, false
	whole := d.eachSet(b, b.body)
	if b.Version == V9 {
		// The count has templates in it. Many exporters count sets instead,
		// so only more than there is means that something is missing.
		if b.Count == 0 {
			d.problem(ProblemCountZero)
		}
		if whole && !w.blind && b.Count > w.records+w.found {
			d.problem(ProblemCountPastEnd)
		}
	}
	return Units{Advance: uint32(w.records), Carried: uint32(w.records), Unknown: w.blind}
}

// eachSet walks the sets, and tells whether it came to the end without a doubt.
func (d *Decoder) eachSet(b *Batch, left []byte) (whole bool) {
	be := binary.BigEndian
	for len(left) >= setHeaderSize {
		id, length := be.Uint16(left), int(be.Uint16(left[2:]))
		if length < setHeaderSize {
			d.problem(ProblemSetLength)
			return false
		}
		cut := length > len(left)
		if cut {
			d.problem(ProblemSetPastEnd)
			length = len(left)
		}
		body := left[setHeaderSize:length:length]
		left = left[length:]
		switch {
		case len(body) > 0:
			d.set(b, id, body)
		case !cut:
			d.problem(ProblemSetEmpty)
		}
		if cut {
			return false
		}
	}
	if len(left) > 0 {
		d.problem(ProblemTrailingBytes)
	}
	return true
}

// set decodes what follows the header of one set.
func (d *Decoder) set(b *Batch, id uint16, body []byte) {
	templates, options := uint16(v9TemplateSet), uint16(v9OptionsSet)
	if b.Version == IPFIX {
		templates, options = ipfixTemplateSet, ipfixOptionsSet
	}
	switch {
	case id >= minTemplateID:
		d.dataSet(b, id, body)
	case id == templates:
		d.templateSet(b, false, body)
	case id == options:
		d.templateSet(b, true, body)
	default:
		d.problem(ProblemSetReserved)
	}
}

// templateSet enters the templates of a set. What is too short for one at its
// end is padding, whatever it holds.
func (d *Decoder) templateSet(b *Batch, options bool, set []byte) {
	be := binary.BigEndian
	for len(set) >= templateHeaderSize {
		id, count := be.Uint16(set), be.Uint16(set[2:])
		if b.Version == IPFIX && count == 0 && id != 0 {
			d.problem(ProblemTemplateWithdrawn)
			set = set[templateHeaderSize:]
			continue
		}
		if options && len(set) < optionsHeaderSize || id == 0 && zero(set) {
			return
		}
		size, whole := definitionSize(b.Version, options, set[2:])
		if !whole {
			d.problem(ProblemTemplateCut)
			if id >= minTemplateID {
				b.Stream.forget(id)
			}
			return
		}
		d.walk.found++
		d.walk.templates++
		if d.walk.templates > MaxTemplates {
			d.problem(ProblemTooManyTemplates)
			return
		}
		d.define(b, id, options, set[2:2+size])
		set = set[2+size:]
	}
}

// zero tells whether all bytes are.
func zero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

// define enters one template. Exporters announce the same ones again and again,
// so the usual case is that it is known.
func (d *Decoder) define(b *Batch, id uint16, options bool, definition []byte) {
	if id < minTemplateID {
		d.problem(ProblemTemplateID)
		return
	}
	known := b.Stream.template(id)
	if known.is(options, definition) && !known.restored && !b.Stream.waits() {
		known.touch(d.arrival)
		return
	}
	t, problems := parseTemplate(b.Version, options, id, definition)
	d.problems |= problems
	if t == nil {
		b.Stream.forget(id)
		return
	}
	if replaced := b.Stream.learn(t, d.arrival); replaced != nil {
		d.problem(ProblemTemplateChanged)
	}
	d.owe(b.Stream, t)
}

// touch notes that the template is in use.
func (t *template) touch(now int64) {
	if s := now / nsPerSecond; t.used.Load() != s {
		t.used.Store(s)
	}
}

// dataSet decodes a data set, or has it wait for its template.
func (d *Decoder) dataSet(b *Batch, id uint16, body []byte) {
	t := b.Stream.template(id)
	if t == nil {
		kept := false
		if t, kept = b.Stream.wait(b, id, body); t == nil {
			d.walk.blind = true
			if !kept {
				d.problem(ProblemNoTemplate)
			}
			return
		}
	}
	t.touch(d.arrival)
	d.walk.records += d.data(b, t, body)
}

// waited decodes a set that had to wait, by the template that it waited for.
func (d *Decoder) waited(b *Batch, w *waitingSet) { d.data(b, w.template, w.body) }

// data decodes the records of a set and returns how many there are, decoded or
// not.
func (d *Decoder) data(b *Batch, t *template, body []byte) int {
	switch {
	case t.options:
		return d.optionsData(b, t, body)
	case t.varying:
		return d.varyingData(b, t, body)
	}
	n := len(body) / t.size
	out := d.take(b, n)
	if len(out) == 0 {
		return n // thousands of sets without a record fit into a datagram
	}
	c := newContext(b)
	t.plan.begin(out, &c)
	for i := range t.plan.ops {
		t.plan.ops[i].run(out, body, t.size, &c)
	}
	t.plan.end(out, &c)
	d.problems |= c.problems
	return n
}

// take makes room for n records in the batch, or for as many as the datagram
// may still have.
func (d *Decoder) take(b *Batch, n int) []Record {
	if n > d.left {
		d.problem(ProblemTooManyRecords)
		n = d.left
	}
	at := len(b.Records)
	d.left -= n
	// The batch is always the beginning of d.records.
	b.Records = d.records[:at+n]
	return b.Records[at:]
}

// newContext is what all records of a message share.
func newContext(b *Batch) context {
	c := context{export: b.ExportTime, uptime: b.Uptime, hasBase: b.Version == V9, sampling: b.Stream.options.rates()}
	if init, ok := b.Stream.options.initTime(); ok && !c.hasBase {
		c.uptime, c.hasBase = uint32((b.ExportTime-init)/nsPerMs), true
	}
	return c
}

// begin gives the records what is the same for all of the template.
func (p *plan) begin(out []Record, c *context) {
	clear(out)
	only := c.sampling.single()
	for i := range out {
		r := &out[i]
		r.Present, r.Initiator, r.Sampling = p.present, p.initiator, only
	}
}

// end fills in the stream's sampling rate where the record's own is 0, which
// says nothing.
func (p *plan) end(out []Record, c *context) {
	only := c.sampling.single()
	if !p.rated || only == 0 {
		return
	}
	for i := range out {
		if out[i].Sampling == 0 {
			out[i].Sampling = only
		}
	}
}

// varyingData decodes records that have values of variable length: each is
// measured, then read by the same ops as a set of one.
func (d *Decoder) varyingData(b *Batch, t *template, body []byte) (n int) {
	c := newContext(b)
	for len(body) >= t.size {
		size := d.measure(t, body)
		if size < 0 {
			d.problem(ProblemValuePastEnd)
			break
		}
		n++
		of := body
		body = body[size:]
		out := d.take(b, 1)
		if len(out) == 0 {
			continue // counted, as far as they go
		}
		t.plan.begin(out, &c)
		for _, o := range t.plan.ops {
			o.at, o.at2 = d.walk.offsets[o.field]+uint16(o.skip), d.walk.offsets[o.field2]
			if o.width == varWidth {
				o.width = d.walk.widths[o.field]
			}
			o.run(out, of, 0, &c)
		}
		t.plan.end(out, &c)
	}
	d.problems |= c.problems
	return n
}

// measure finds where the fields of the record are that b begins with. It
// returns the record's length, which is above 0, or -1 where b does not hold it.
func (d *Decoder) measure(t *template, b []byte) int {
	at := 0
	for i, f := range t.fields {
		width := int(f.width)
		if f.width == varWidth {
			if at >= len(b) {
				return -1
			}
			width = int(b[at])
			at++
			if width == 255 {
				if at+2 > len(b) {
					return -1
				}
				width = int(binary.BigEndian.Uint16(b[at:]))
				at += 2
			}
		}
		if at+width > len(b) {
			return -1
		}
		d.walk.offsets[i], d.walk.widths[i] = uint16(at), uint16(width)
		at += width
	}
	return at
}
