// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"time"
)

// slowV1 and slowV7 are to v1 and v7 what slowV5 is to v5: written from Cisco's
// format tables B-1, B-2, B-5 and B-6, which they spell out as structs.
func slowV1(b []byte) (Message, []Record, ProblemSet, Drop) {
	var h struct {
		Version, Count      uint16
		SysUptime           uint32
		UnixSecs, UnixNsecs uint32
	}
	in := bytes.NewReader(b)
	if binary.Read(in, binary.BigEndian, &h) != nil {
		return Message{}, nil, 0, DropShortHeader
	}
	export := slowTime(h.UnixSecs, h.UnixNsecs)
	m := Message{Version: V1, Uptime: h.SysUptime, ExportTime: export.UnixNano(), Count: int(h.Count)}
	var recs []Record
	for len(recs) < m.Count {
		var w struct {
			SrcAddr, DstAddr, NextHop [4]byte
			Input, Output             uint16
			DPkts, DOctets            uint32
			First, Last               uint32
			SrcPort, DstPort          uint16
			Pad1                      uint16
			Prot, TOS, Flags          uint8
			Pad2                      [7]byte
		}
		if binary.Read(in, binary.BigEndian, &w) != nil {
			break
		}
		recs = append(recs, Record{
			Start:    slowUptime(export, h.SysUptime, w.First).UnixNano(),
			End:      slowUptime(export, h.SysUptime, w.Last).UnixNano(),
			Packets:  uint64(w.DPkts),
			Bytes:    uint64(w.DOctets),
			Src:      netip.AddrFrom4(w.SrcAddr).As16(),
			Dst:      netip.AddrFrom4(w.DstAddr).As16(),
			InIf:     uint32(w.Input),
			OutIf:    uint32(w.Output),
			SrcPort:  w.SrcPort,
			DstPort:  w.DstPort,
			Proto:    w.Prot,
			TCPFlags: w.Flags,
			Present:  slowFixedFields,
		})
	}
	return m, recs, slowFixedProblems(m.Count, len(recs), 24, len(b)-16-48*len(recs)), NoDrop
}

func slowV7(b []byte) (Message, []Record, ProblemSet, Drop) {
	var h struct {
		Version, Count         uint16
		SysUptime              uint32
		UnixSecs, UnixNsecs    uint32
		FlowSequence, Reserved uint32
	}
	in := bytes.NewReader(b)
	if binary.Read(in, binary.BigEndian, &h) != nil {
		return Message{}, nil, 0, DropShortHeader
	}
	export := slowTime(h.UnixSecs, h.UnixNsecs)
	m := Message{
		Version: V7, Uptime: h.SysUptime, ExportTime: export.UnixNano(), Count: int(h.Count),
		Sequence: h.FlowSequence,
	}
	var recs []Record
	for len(recs) < m.Count {
		var w struct {
			SrcAddr, DstAddr, NextHop   [4]byte
			Input, Output               uint16
			DPkts, DOctets              uint32
			First, Last                 uint32
			SrcPort, DstPort            uint16
			Flags1, TCPFlags, Prot, TOS uint8
			SrcAS, DstAS                uint16
			SrcMask, DstMask            uint8
			Flags2                      uint16
			RouterSC                    [4]byte
		}
		if binary.Read(in, binary.BigEndian, &w) != nil {
			break
		}
		recs = append(recs, Record{
			Start:    slowUptime(export, h.SysUptime, w.First).UnixNano(),
			End:      slowUptime(export, h.SysUptime, w.Last).UnixNano(),
			Packets:  uint64(w.DPkts),
			Bytes:    uint64(w.DOctets),
			Src:      netip.AddrFrom4(w.SrcAddr).As16(),
			Dst:      netip.AddrFrom4(w.DstAddr).As16(),
			InIf:     uint32(w.Input),
			OutIf:    uint32(w.Output),
			SrcPort:  w.SrcPort,
			DstPort:  w.DstPort,
			Proto:    w.Prot,
			TCPFlags: w.TCPFlags,
			Present:  slowFixedFields,
		})
	}
	return m, recs, slowFixedProblems(m.Count, len(recs), 28, len(b)-24-52*len(recs)), NoDrop
}

const slowFixedFields = HasSrc | HasDst | HasSrcPort | HasDstPort | HasProto | HasTCPFlags |
	HasStart | HasEnd | HasPackets | HasBytes | HasInIf | HasOutIf

func slowTime(seconds, nanoseconds uint32) time.Time {
	t := time.Unix(int64(seconds), 0)
	if nanoseconds <= 999_999_999 {
		t = t.Add(time.Duration(nanoseconds))
	}
	return t
}

// slowFixedProblems compares what was announced with what was found, and with
// the bytes behind it.
func slowFixedProblems(announced, found, most, behind int) (p ProblemSet) {
	if announced == 0 {
		p = p.With(ProblemCountZero)
	}
	if announced > most {
		p = p.With(ProblemCountOverMax)
	}
	if found < announced {
		p = p.With(ProblemCountPastEnd)
	} else if behind > 0 {
		p = p.With(ProblemTrailingBytes)
	}
	return p
}
