// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"encoding/binary"
	"slices"

	"github.com/portolan/portolan/ingest/capture"
	"github.com/portolan/portolan/ingest/flow"
)

// exportPorts are the UDP ports that exporters send to as a rule: NetFlow 2055,
// 9555, 9995 and 9996, IPFIX 4739, sFlow 6343.
var exportPorts = []uint16{2055, 4739, 6343, 9555, 9995, 9996}

// isExport tells whether a datagram of a file is a flow export or was meant to
// be one. A capture holds whatever the network carried, and in all of it some
// datagram begins like a flow export by chance (a DNS query with the right
// number, for one). So where the port does not say that it is one, all of it has
// to look like one.
func isExport(d *capture.Datagram) bool {
	return d.Raw || slices.Contains(exportPorts, d.Destination.Port()) || slices.Contains(exportPorts, d.Source.Port()) ||
		plausible(d.Payload)
}

// plausible tells whether a payload has the shape of a flow export from its
// first byte to its last.
func plausible(payload []byte) bool {
	var m flow.Message
	if m.Parse(payload) != flow.NoDrop {
		return false
	}
	switch m.Version {
	case flow.V5:
		return m.Count > 0 && m.Count <= flow.MaxV5Records
	case flow.V9:
		const header = 20
		return m.Count > 0 && len(payload) > header && plausibleSets(payload[header:], 0, 1)
	case flow.IPFIX:
		return plausibleMessages(payload)
	case flow.SFlow5:
		return plausibleSamples(payload, m.Count)
	}
	_, problems := m.Append(nil)
	return problems == 0
}

// plausibleMessages tells whether b is IPFIX messages to its end.
func plausibleMessages(b []byte) bool {
	const header = 16
	for len(b) > 0 {
		var m flow.Message
		if m.Parse(b) != flow.NoDrop || m.Version != flow.IPFIX {
			return false
		}
		length := int(binary.BigEndian.Uint16(b[2:]))
		if length > len(b) || length == header || !plausibleSets(b[header:length], 2, 3) {
			return false
		}
		b = b[length:]
	}
	return true
}

// plausibleSets tells whether b is sets to its end: of data, or with one of the
// ids of templates. RFC 7011 section 3.3, RFC 3954 section 5.
func plausibleSets(b []byte, templates, options uint16) bool {
	const header, firstData = 4, 256
	for len(b) > 0 {
		if len(b) < header {
			return false
		}
		id, length := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
		if length <= header || length > len(b) || id < firstData && id != templates && id != options {
			return false
		}
		b = b[length:]
	}
	return true
}

// plausibleSamples tells whether an sFlow datagram holds the samples that it
// announces. A sample has a format and a length in bytes, both of 32 bits. Of the
// formats, those of the standard are below firstUnknown, and an enterprise's have
// its number in the upper 20 bits.
func plausibleSamples(b []byte, count int) bool {
	const ipv4Agent, ipv6Agent = 1, 2
	const sampleHeader, firstUnknown = 8, 16
	at := 0
	switch binary.BigEndian.Uint32(b[4:]) {
	case ipv4Agent:
		at = 28
	case ipv6Agent:
		at = 40
	default:
		return false
	}
	if count == 0 || at > len(b) {
		return false
	}
	b = b[at:]
	for ; count > 0; count-- {
		if len(b) < sampleHeader {
			return false
		}
		format, length := binary.BigEndian.Uint32(b), uint64(binary.BigEndian.Uint32(b[4:]))
		if format < 1<<12 && (format == 0 || format >= firstUnknown) || length%4 != 0 || length > uint64(len(b)-sampleHeader) {
			return false
		}
		b = b[sampleHeader+length:]
	}
	return true
}
