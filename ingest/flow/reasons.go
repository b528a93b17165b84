// SPDX-License-Identifier: Apache-2.0

package flow

import "fmt"

// Drop is the reason why a whole datagram was not decoded.
type Drop uint8

const (
	// NoDrop: the header was accepted.
	NoDrop Drop = iota
	// DropEmpty: a datagram of 0 bytes.
	DropEmpty
	// DropShortHeader: a datagram too short to hold a version number, or of
	// a known version and shorter than the header of that version.
	DropShortHeader
	// DropUnknownVersion: a version that this release does not decode,
	// whatever the length.
	DropUnknownVersion

	// DropBadLength: an IPFIX message whose length field is less than its header.
	DropBadLength

	// Drops is the number of values, for counter arrays. Index 0 is NoDrop.
	Drops = iota
)

var dropNames = [Drops]string{"", "empty", "short_header", "unknown_version", "bad_length"}

// String returns the reason as used in metrics and the ledger, empty for NoDrop.
func (d Drop) String() string {
	if int(d) < len(dropNames) {
		return dropNames[d]
	}
	return fmt.Sprintf("drop(%d)", uint8(d))
}

// Problem is something wrong inside a datagram whose header was accepted. What
// can be decoded is decoded all the same.
type Problem uint8

// In the fixed formats (v1, v5, v7), and in v9 and sFlow where it says so.
const (
	// ProblemCountZero: the header announces no records (v9 too). Bytes behind
	// such a header of a fixed format are trailing bytes as well.
	ProblemCountZero Problem = iota
	// ProblemCountOverMax: the header of a fixed format announces more than the
	// format's maximum, 24 for v1, 30 for v5, 28 for v7. Records that are
	// present are decoded.
	ProblemCountOverMax
	// ProblemCountPastEnd: the header announces more records than the bytes
	// hold (fixed formats), or more samples (sFlow), or more records of any
	// kind than were found where every template is known (v9). Only whole
	// records are decoded; the piece of one that may follow belongs to this
	// problem and is not called trailing.
	ProblemCountPastEnd
	// ProblemTrailingBytes: bytes follow the last announced record, the last
	// sample, the last set or the last message of the datagram.
	ProblemTrailingBytes

	// ProblemMessagePastEnd: an IPFIX message is longer than what is left of
	// the datagram. The sets that are there are decoded.
	ProblemMessagePastEnd
	// ProblemSetLength: a set of less than 4 bytes, which its header takes.
	// The rest of the message is skipped.
	ProblemSetLength
	// ProblemSetPastEnd: a set is longer than what is left of its message.
	// What the message holds of it is decoded.
	ProblemSetPastEnd
	// ProblemSetEmpty: a set with nothing in it.
	ProblemSetEmpty
	// ProblemSetReserved: a set with an id that no version defines: 2 to 255
	// for v9, 0, 1 and 4 to 255 for IPFIX. It is skipped.
	ProblemSetReserved

	// ProblemTemplateID: a template with an id below 256. It is ignored.
	ProblemTemplateID
	// ProblemTemplateCut: a template that its set does not hold whole. It
	// and the rest of the set are ignored; one of the same id is forgotten.
	ProblemTemplateCut
	// ProblemTemplateSize: a template without fields (v9), with more than
	// MaxFields of them, or whose records would have no bytes or more than
	// MaxRecordSize. It is ignored, and one of the same id is forgotten.
	ProblemTemplateSize
	// ProblemTemplateScope: an options template without a scope, or whose
	// scope or length makes no sense. As ProblemTemplateSize.
	ProblemTemplateScope
	// ProblemTemplateChanged: a template replaces a different one of its id. It
	// happens where an exporter is configured anew; often, two processes share
	// an id, or somebody forges.
	ProblemTemplateChanged
	// ProblemTemplateWithdrawn: an IPFIX template withdrawal. Over UDP there
	// are none (RFC 7011 section 8.1): it is ignored.
	ProblemTemplateWithdrawn
	// ProblemTooManyTemplates: a datagram holds more than MaxTemplates
	// templates. The rest is ignored.
	ProblemTooManyTemplates
	// ProblemFieldWidth: a template gives an element that the decoder uses a
	// width that the element cannot have. The field is skipped.
	ProblemFieldWidth
	// ProblemNoTemplate: a data set whose template is unknown was given up,
	// because too many wait already.
	ProblemNoTemplate
	// ProblemValuePastEnd: a value of variable length is longer than what is
	// left of its set, which is skipped.
	ProblemValuePastEnd
	// ProblemTooManyRecords: a datagram holds more than MaxRecords records.
	// The rest is skipped.
	ProblemTooManyRecords
	// ProblemSamplingRate: an exporter told a sampling rate of 0, or none that
	// fits 32 bits. It is ignored.
	ProblemSamplingRate
	// ProblemInterfaceName: an interface's name has bytes that are not UTF-8
	// or not printable. They are replaced.
	ProblemInterfaceName

	// ProblemAgentAddress: an sFlow datagram, or an address inside a sample,
	// of an address type that is neither IPv4 nor IPv6.
	ProblemAgentAddress
	// ProblemSampleLength: an sFlow sample, or a record of one, with a length
	// that makes no sense: longer than what is left, or too short for what it
	// must hold. The sample is skipped, and so is what it was to hold.
	ProblemSampleLength
	// ProblemHeaderCut: a sampled header ends before the addresses or the
	// ports that its protocols promise. What was read until there counts.
	ProblemHeaderCut

	// Problems is the number of values, for counter arrays.
	Problems = iota
)

var problemNames = [Problems]string{
	"count_zero", "count_over_max", "count_past_end", "trailing_bytes",
	"message_past_end", "set_length", "set_past_end", "set_empty", "set_reserved",
	"template_id", "template_cut", "template_size", "template_scope", "template_changed",
	"template_withdrawn", "too_many_templates", "field_width", "no_template", "value_past_end", "too_many_records",
	"sampling_rate", "interface_name",
	"agent_address", "sample_length", "header_cut",
}

// String returns the reason as used in metrics and the ledger.
func (p Problem) String() string {
	if int(p) < len(problemNames) {
		return problemNames[p]
	}
	return fmt.Sprintf("problem(%d)", uint8(p))
}

// ProblemSet holds each Problem p of one datagram as bit 1<<p. 0 means none.
type ProblemSet uint64

// Has tells whether p is in the set.
func (s ProblemSet) Has(p Problem) bool { return s>>p&1 != 0 }

// With returns the set with p in it.
func (s ProblemSet) With(p Problem) ProblemSet { return s | 1<<p }
