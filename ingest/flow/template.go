// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"encoding/binary"
	"slices"
	"sync/atomic"
)

const (
	// MaxFields is the most fields that a template may have. Those of routers
	// have up to about 50.
	MaxFields = 256
	// MaxRecordSize is the most bytes that a record may have: what the
	// largest UDP datagram leaves behind the headers of a message and a set.
	MaxRecordSize = 65515
	// MaxTemplates is the most templates that one datagram may announce.
	MaxTemplates = 256

	// varWidth is the width of a field whose values tell their own (RFC 7011
	// section 7). NetFlow v9 does not know it, but H3C's Comware sends it
	// there too, and as a width it would fit no datagram.
	varWidth = 65535
	// enterpriseBit marks an element of an enterprise, whose number follows
	// (RFC 7011 section 3.2). In v9 it is a bit of the element's number.
	enterpriseBit = 0x8000
)

// template is a template record of v9 or IPFIX, validated and compiled. It is
// immutable but for used, and so can be read by any worker without a lock.
type template struct {
	id      uint16
	version Version // V9 or IPFIX
	options bool    // an options template
	scopes  int     // of an options template: how many of the fields are its scope
	// definition is the template as it came: what follows its id. It tells
	// whether another one is the same, and is what is kept over a restart.
	definition []byte
	// size is the length of a record in bytes; of one with values of variable
	// length, the least.
	size    int
	varying bool
	fields  []field // those that have a width, where varying or options
	plan    plan
	// used is when a set of it was last decoded or it was last announced, in
	// Unix seconds.
	used atomic.Int64
	// restored: it was read from a file and no exporter has announced it since.
	restored bool
}

// field is one field of a template.
type field struct {
	id         uint16
	width      uint16 // varWidth: of variable length
	enterprise uint32 // 0: an element of IANA's registry, or one of v9
}

// cost is about how much memory it takes, in bytes.
func (t *template) cost() int {
	return 256 + cap(t.definition) + cap(t.fields)*8 + cap(t.plan.ops)*24
}

// is tells whether the template is what a definition says.
func (t *template) is(options bool, definition []byte) bool {
	return t != nil && t.options == options && string(t.definition) == string(definition)
}

// definitionHead is how many bytes of a definition come before its fields: the
// number of fields, and for an options template that of its scope.
func definitionHead(options bool) int {
	if options {
		return 4
	}
	return 2
}

// definitionSize is the length of the definition that b begins with, and
// whether b holds it whole.
func definitionSize(version Version, options bool, b []byte) (size int, whole bool) {
	size = definitionHead(options)
	if len(b) < size {
		return size, false
	}
	be := binary.BigEndian
	count := int(be.Uint16(b))
	switch {
	case version == V9 && options: // two lengths in bytes, RFC 3954 section 6.1
		size += count + int(be.Uint16(b[2:]))
	case version == V9:
		size += 4 * count
	default:
		for ; count > 0; count-- {
			if len(b) < size+4 {
				return size, false
			}
			if be.Uint16(b[size:])&enterpriseBit != 0 {
				size += 4
			}
			size += 4
		}
	}
	return size, len(b) >= size
}

// parseTemplate validates and compiles a definition: what follows the id of a
// template, of the length that definitionSize gives. It returns nil where it is
// not valid, and what was wrong. The definition is copied.
func parseTemplate(version Version, options bool, id uint16, definition []byte) (*template, ProblemSet) {
	t := &template{id: id, version: version, options: options, definition: slices.Clone(definition)}
	count, ok := t.parseHead()
	if !ok {
		return nil, ProblemSet(0).With(ProblemTemplateScope)
	}
	if count == 0 || count > MaxFields {
		return nil, ProblemSet(0).With(ProblemTemplateSize)
	}
	var room [MaxFields]field // on the stack: most templates keep none of it
	fields := room[:0]
	for b := t.definition[definitionHead(options):]; len(b) >= 4; {
		var f field
		f, b = parseField(version, b)
		t.size += int(f.width)
		if f.width == varWidth {
			t.varying = true
			t.size += 1 - varWidth
		}
		fields = append(fields, f)
	}
	if t.size < 1 || t.size > MaxRecordSize {
		return nil, ProblemSet(0).With(ProblemTemplateSize)
	}
	return t, t.compile(fields)
}

// parseHead reads how many fields there are, and how many of them are the scope.
func (t *template) parseHead() (count int, ok bool) {
	be := binary.BigEndian
	count = int(be.Uint16(t.definition))
	if !t.options {
		return count, true
	}
	second := int(be.Uint16(t.definition[2:]))
	if t.version == V9 {
		// Lengths of the two lists. Some exporters have no scope.
		t.scopes = count / 4
		return (count + second) / 4, count%4 == 0 && second%4 == 0
	}
	t.scopes = second
	return count, 1 <= second && second <= count
}

// parseField reads one field and returns what follows it. b has at least 4
// bytes, and in IPFIX the 4 of an enterprise as well where its bit is set.
func parseField(version Version, b []byte) (field, []byte) {
	be := binary.BigEndian
	f := field{id: be.Uint16(b), width: be.Uint16(b[2:])}
	if version == V9 || f.id&enterpriseBit == 0 {
		return f, b[4:]
	}
	f.id &^= enterpriseBit
	f.enterprise = be.Uint32(b[4:])
	return f, b[8:]
}

// compile makes the plan of the fields, and drops those that no record has
// bytes for, which some exporters announce.
func (t *template) compile(fields []field) ProblemSet {
	kept := fields[:0]
	scopes := t.scopes
	for i, f := range fields {
		if f.width != 0 {
			kept = append(kept, f)
		} else if i < scopes {
			t.scopes--
		}
	}
	if t.options {
		t.fields = append([]field(nil), kept...)
		return 0
	}
	c := compiler{version: t.version}
	c.choose(kept)
	t.plan = c.plan()
	if t.varying {
		t.fields = append([]field(nil), kept...)
	}
	return c.problems
}
