// SPDX-License-Identifier: Apache-2.0

package flow

//go:generate go run ./registry/generate.go

// reversePEN is the private enterprise number under which a biflow repeats the
// registry's elements for its second direction: element 1 of this enterprise is
// octetDeltaCount of the packets that flowed back (RFC 5103 section 6.1).
const reversePEN = 29305

// dataType is the abstract data type of an information element (RFC 7012
// section 3.1; the lists RFC 6313, unsigned256 RFC 9740). The values are those
// that an exporter sends in informationElementDataType (RFC 5610 section 3.1).
type dataType uint8

const (
	typeOctetArray dataType = iota
	typeUnsigned8
	typeUnsigned16
	typeUnsigned32
	typeUnsigned64
	typeSigned8
	typeSigned16
	typeSigned32
	typeSigned64
	typeFloat32
	typeFloat64
	typeBoolean
	typeMacAddress
	typeString
	typeDateTimeSeconds      // unsigned32, seconds since 1970 UTC
	typeDateTimeMilliseconds // unsigned64, milliseconds since 1970 UTC
	typeDateTimeMicroseconds // seconds since 1900 UTC and 2^-32 seconds, the lowest 11 bits are ignored
	typeDateTimeNanoseconds  // seconds since 1900 UTC and 2^-32 seconds
	typeIPv4Address
	typeIPv6Address
	typeBasicList
	typeSubTemplateList
	typeSubTemplateMultiList
	typeUnsigned256

	// typeUnknown is the type of what the registry does not assign.
	typeUnknown dataType = 255
)

// dataTypeNames are the registry's names of the types, in the order of their values.
var dataTypeNames = [...]string{
	"octetArray",
	"unsigned8", "unsigned16", "unsigned32", "unsigned64",
	"signed8", "signed16", "signed32", "signed64",
	"float32", "float64",
	"boolean", "macAddress", "string",
	"dateTimeSeconds", "dateTimeMilliseconds", "dateTimeMicroseconds", "dateTimeNanoseconds",
	"ipv4Address", "ipv6Address",
	"basicList", "subTemplateList", "subTemplateMultiList",
	"unsigned256",
}

// String gives the registry's name of the type, or "unknown".
func (t dataType) String() string {
	if int(t) < len(dataTypeNames) {
		return dataTypeNames[t]
	}
	return "unknown"
}

// validWidth tells whether IPFIX lets a value of the type take n octets. Whole
// numbers may be sent in fewer octets than their type has, and a float64 as a
// float32 (RFC 7011 section 6.2); addresses, times and booleans may not. A list
// takes at least its header (RFC 6313 section 4.5). The width 65535 of a
// template stands for a variable length and not for a width: the caller looks
// for it first.
//
// A width that is not valid is no reason to refuse a template. NetFlow v9 leaves
// the widths of many fields to the exporter (RFC 3954 section 8), and some send
// more than the registry's type holds, such as a samplerId (48) of 4 octets.
// Octets, strings and what is unknown may take any width, and none, so the caller
// has to see to it that a record as a whole takes one at least.
func (t dataType) validWidth(n uint16) bool {
	switch t {
	case typeUnsigned8, typeSigned8:
		return n == 1
	case typeUnsigned16, typeSigned16:
		return 1 <= n && n <= 2
	case typeUnsigned32, typeSigned32:
		return 1 <= n && n <= 4
	case typeUnsigned64, typeSigned64:
		return 1 <= n && n <= 8
	case typeUnsigned256:
		return 1 <= n && n <= 32
	case typeFloat32:
		return n == 4
	case typeFloat64:
		return n == 4 || n == 8
	case typeBoolean:
		return n == 1
	case typeMacAddress:
		return n == 6
	case typeDateTimeSeconds, typeIPv4Address:
		return n == 4
	case typeDateTimeMilliseconds, typeDateTimeMicroseconds, typeDateTimeNanoseconds:
		return n == 8
	case typeIPv6Address:
		return n == 16
	case typeBasicList:
		return n >= 5
	case typeSubTemplateList:
		return n >= 3
	case typeSubTemplateMultiList:
		return n >= 1
	default:
		return true
	}
}

// elementType gives the abstract data type of an element that IANA's registry
// assigns, and typeUnknown for every other. It is not for the elements of an
// enterprise, except that those of reversePEN have the types of the registry's.
func elementType(id uint16) dataType {
	if int(id) < len(elementTypes) {
		return elementTypes[id]
	}
	return typeUnknown
}

// elementName gives the registry's name of an element, as in "octetDeltaCount",
// and "" for one that it does not assign.
func elementName(id uint16) string {
	if int(id) < len(elementTypes) {
		return elementNames[elementNameEnds[id]:elementNameEnds[id+1]]
	}
	return ""
}
