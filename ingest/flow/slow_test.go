// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"time"
)

// slowV5 is the obvious decoder that the real one is held against. It is
// written from Cisco's format tables B-3 and B-4 and shares nothing with the
// package but the types: encoding/binary reads structs that spell the tables
// out, netip makes the addresses, package time does the arithmetic.
func slowV5(b []byte) (Message, []Record, ProblemSet, Drop) {
	if len(b) == 0 {
		return Message{}, nil, 0, DropEmpty
	}
	if len(b) == 1 {
		return Message{}, nil, 0, DropShortHeader
	}
	if b[0] != 0 || b[1] != 5 {
		return Message{}, nil, 0, DropUnknownVersion
	}
	var h struct {
		Version, Count            uint16
		SysUptime                 uint32
		UnixSecs, UnixNsecs       uint32
		FlowSequence              uint32
		EngineType, EngineID      uint8
		SamplingModeAndIntervalBE uint16
	}
	in := bytes.NewReader(b)
	if binary.Read(in, binary.BigEndian, &h) != nil {
		return Message{}, nil, 0, DropShortHeader
	}

	export := time.Unix(int64(h.UnixSecs), 0)
	if h.UnixNsecs <= 999_999_999 {
		export = export.Add(time.Duration(h.UnixNsecs))
	}
	m := Message{
		Version:      V5,
		SamplingMode: uint8(h.SamplingModeAndIntervalBE / 16384),
		Domain:       uint32(h.EngineType)*256 + uint32(h.EngineID),
		Sequence:     h.FlowSequence,
		Uptime:       h.SysUptime,
		Sampling:     uint32(h.SamplingModeAndIntervalBE % 16384),
		ExportTime:   export.UnixNano(),
		Count:        int(h.Count),
	}

	var recs []Record
	for len(recs) < m.Count {
		r, ok := slowV5Record(in, export, h.SysUptime, m.Sampling)
		if !ok {
			break
		}
		recs = append(recs, r)
	}
	whole := 24 + 48*len(recs)
	var p ProblemSet
	if h.Count == 0 {
		p = p.With(ProblemCountZero)
	}
	if h.Count > 30 {
		p = p.With(ProblemCountOverMax)
	}
	if len(recs) < m.Count {
		p = p.With(ProblemCountPastEnd)
	} else if len(b) != whole {
		p = p.With(ProblemTrailingBytes)
	}
	return m, recs, p, NoDrop
}

func slowV5Record(in *bytes.Reader, export time.Time, uptime, sampling uint32) (Record, bool) {
	var w struct {
		SrcAddr, DstAddr, NextHop [4]byte
		Input, Output             uint16
		DPkts, DOctets            uint32
		First, Last               uint32
		SrcPort, DstPort          uint16
		Pad1, TCPFlags, Prot, TOS uint8
		SrcAS, DstAS              uint16
		SrcMask, DstMask          uint8
		Pad2                      uint16
	}
	if binary.Read(in, binary.BigEndian, &w) != nil {
		return Record{}, false
	}
	return Record{
		Start:    slowUptime(export, uptime, w.First).UnixNano(),
		End:      slowUptime(export, uptime, w.Last).UnixNano(),
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
		Sampling: sampling,
		Present: HasSrc | HasDst | HasSrcPort | HasDstPort | HasProto | HasTCPFlags |
			HasStart | HasEnd | HasPackets | HasBytes | HasInIf | HasOutIf,
	}, true
}

// slowUptime takes, of the moments 2^32 ms apart that the value can mean, the
// one nearest to the export; of two equally near ones the later.
func slowUptime(export time.Time, uptime, at uint32) time.Time {
	const wrap = int64(1) << 32
	age := int64(uptime) - int64(at)
	if age >= wrap/2 {
		age -= wrap
	}
	if age < -wrap/2 {
		age += wrap
	}
	return export.Add(-time.Duration(age) * time.Millisecond)
}
