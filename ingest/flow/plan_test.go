// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"encoding/binary"
	"fmt"
	"testing"
	"unsafe"
)

// one decodes a single record of a template.
func one(t *testing.T, version Version, definition, record []byte) (Record, ProblemSet) {
	t.Helper()
	tpl, problems := parseTemplate(version, false, 256, definition)
	if tpl == nil {
		t.Fatalf("the template is not valid: %b", problems)
	}
	d := NewDecoder(NewStreams(Limits{}))
	b := Batch{Message: Message{Version: version, ExportTime: 1_700_000_000 * nsPerSecond, Uptime: 1_000_000}, Stream: &Stream{}}
	d.left = MaxRecords
	d.data(&b, tpl, record)
	if len(b.Records) != 1 {
		t.Fatalf("%d records", len(b.Records))
	}
	return b.Records[0], problems | d.problems
}

// definition is a template of v9, or of IPFIX without enterprises, from pairs of
// element and width.
func definition(fields ...uint16) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(len(fields)/2))
	for _, f := range fields {
		b = binary.BigEndian.AppendUint16(b, f)
	}
	return b
}

// TestPlanIsExact: whatever element a template has and whatever width that may
// have, nothing but its own field of the Record changes, and what stands before
// and behind it in the record is not read.
func TestPlanIsExact(t *testing.T) {
	fields := map[want][]string{
		wantSrc4: {"Src"}, wantSrc6: {"Src"}, wantDst4: {"Dst"}, wantDst6: {"Dst"},
		wantSrcPort: {"SrcPort"}, wantDstPort: {"DstPort"}, wantProto: {"Proto"}, wantTCPFlags: {"TCPFlags"},
		wantPackets: {"Packets"}, wantBytes: {"Bytes"},
		wantReversePackets: {"ReversePackets"}, wantReverseBytes: {"ReverseBytes"},
		wantInIf: {"InIf"}, wantOutIf: {"OutIf"}, wantSrcMAC: {"SrcMAC"}, wantDstMAC: {"DstMAC"},
		wantVLAN: {"VLAN"}, wantDirection: {"Direction"}, wantEvent: {"Event"}, wantBiflow: {"Initiator"},
		wantStart: {"Start"}, wantEnd: {"End"}, wantRate: {"Sampling"},
	}
	for id, s := range sources {
		names, simple := fields[s.want]
		if s.rank == 0 || !simple {
			continue
		}
		if uint16(id) == ieSamplingPacketInterval {
			continue // a rate only with its space
		}
		for _, version := range []Version{V9, IPFIX} {
			for width := uint16(1); width <= 16; width++ {
				if !(field{id: uint16(id), width: width}).fits(s.want) {
					continue
				}
				t.Run(fmt.Sprintf("%s/%d/%d", version, id, width), func(t *testing.T) {
					record := []byte{0xee, 0xee, 0xee}
					value := make([]byte, width)
					value[width-1] = 1
					if elementType(uint16(id)) == typeDateTimeMicroseconds {
						value[width-2] = 8 // the lowest 11 bits mean nothing
					}
					record = append(append(record, value...), 0xee)
					r, problems := one(t, version, definition(65000&0x7fff, 3, uint16(id), width, 65001&0x7fff, 1), record)
					if problems != 0 {
						t.Errorf("problems %b", problems)
					}
					checkOnly(t, &r, names, uint16(id), version)
				})
			}
		}
	}
}

// checkOnly asserts that of all fields of a record only those are set that are
// named, and what an element brings along.
func checkOnly(t *testing.T, r *Record, names []string, id uint16, version Version) {
	t.Helper()
	base := *r
	base.Present = 0
	switch id {
	case ieInitiatorOctets, ieInitiatorPackets, ieResponderOctets, ieResponderPackets:
		if r.Initiator != SourceEnd {
			t.Errorf("initiator %d", r.Initiator)
		}
		base.Initiator = NoEnd
	case ieObservationTimeSeconds, ieObservationTimeMilliseconds, ieObservationTimeMicroseconds, ieObservationTimeNanoseconds:
		if r.End != r.Start {
			t.Errorf("start %d, end %d", r.Start, r.End)
		}
		base.End = 0
	}
	uptime := id == ieFlowStartSysUpTime || id == ieFlowEndSysUpTime
	for _, n := range names {
		f, ok := recordFields[n]
		if !ok {
			t.Fatalf("no field %s", n)
		}
		b := unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(&base), f.offset)), f.size)
		if zero(b) && !(uptime && version == IPFIX) {
			t.Errorf("%s is not set", n)
		}
		clear(b)
	}
	if base != (Record{}) {
		t.Errorf("more than %v is set: %+v", names, base)
	}
}

// recordFields is where Record's fields lie.
var recordFields = map[string]struct{ offset, size uintptr }{
	"Src": {unsafe.Offsetof(Record{}.Src), 16}, "Dst": {unsafe.Offsetof(Record{}.Dst), 16},
	"SrcPort": {unsafe.Offsetof(Record{}.SrcPort), 2}, "DstPort": {unsafe.Offsetof(Record{}.DstPort), 2},
	"Proto": {unsafe.Offsetof(Record{}.Proto), 1}, "TCPFlags": {unsafe.Offsetof(Record{}.TCPFlags), 1},
	"Initiator": {unsafe.Offsetof(Record{}.Initiator), 1}, "Direction": {unsafe.Offsetof(Record{}.Direction), 1},
	"Sampling": {unsafe.Offsetof(Record{}.Sampling), 4},
	"Start":    {unsafe.Offsetof(Record{}.Start), 8}, "End": {unsafe.Offsetof(Record{}.End), 8},
	"Packets": {unsafe.Offsetof(Record{}.Packets), 8}, "Bytes": {unsafe.Offsetof(Record{}.Bytes), 8},
	"ReversePackets": {unsafe.Offsetof(Record{}.ReversePackets), 8}, "ReverseBytes": {unsafe.Offsetof(Record{}.ReverseBytes), 8},
	"InIf": {unsafe.Offsetof(Record{}.InIf), 4}, "OutIf": {unsafe.Offsetof(Record{}.OutIf), 4},
	"SrcMAC": {unsafe.Offsetof(Record{}.SrcMAC), 6}, "DstMAC": {unsafe.Offsetof(Record{}.DstMAC), 6},
	"VLAN": {unsafe.Offsetof(Record{}.VLAN), 2}, "Event": {unsafe.Offsetof(Record{}.Event), 1},
}
