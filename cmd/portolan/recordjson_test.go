// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"encoding/json"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portolan/portolan/ingest/flow"
	"github.com/portolan/portolan/profiler"
)

// plainRecord is a record as encoding/json writes it: what the text made by hand
// is checked against.
type plainRecord struct {
	Exporter       string  `json:"exporter,omitempty"`
	Domain         uint32  `json:"domain"`
	Version        string  `json:"version"`
	Src            string  `json:"src,omitempty"`
	Dst            string  `json:"dst,omitempty"`
	SrcPort        *uint16 `json:"src_port,omitempty"`
	DstPort        *uint16 `json:"dst_port,omitempty"`
	Proto          string  `json:"proto,omitempty"`
	TCPFlags       *uint8  `json:"tcp_flags,omitempty"`
	Packets        *uint64 `json:"packets,omitempty"`
	Bytes          *uint64 `json:"bytes,omitempty"`
	Start          string  `json:"start,omitempty"`
	End            string  `json:"end,omitempty"`
	InIf           uint32  `json:"in_if,omitempty"`
	OutIf          uint32  `json:"out_if,omitempty"`
	SrcMAC         string  `json:"src_mac,omitempty"`
	DstMAC         string  `json:"dst_mac,omitempty"`
	VLAN           uint16  `json:"vlan,omitempty"`
	Sampling       uint32  `json:"sampling,omitempty"`
	Direction      string  `json:"direction,omitempty"`
	Initiator      string  `json:"initiator,omitempty"`
	ReversePackets uint64  `json:"reverse_packets,omitempty"`
	ReverseBytes   uint64  `json:"reverse_bytes,omitempty"`
	ReverseFlags   uint8   `json:"reverse_tcp_flags,omitempty"`
	Event          *uint8  `json:"firewall_event,omitempty"`
}

// given is a pointer to v where the record has the field, nil elsewhere.
func given[T any](r *flow.Record, f flow.Fields, v T) *T {
	if r.Present&f == 0 {
		return nil
	}
	return &v
}

func plain(m *flow.Batch, r *flow.Record) plainRecord {
	p := plainRecord{
		Domain: m.Domain, Version: m.Version.String(), InIf: r.InIf, OutIf: r.OutIf, VLAN: r.VLAN, Sampling: r.Sampling,
		Packets: given(r, flow.HasPackets, r.Packets), Bytes: given(r, flow.HasBytes, r.Bytes), Event: given(r, flow.HasEvent, r.Event),
		Direction: map[flow.Direction]string{flow.Ingress: "ingress", flow.Egress: "egress"}[r.Direction],
		Initiator: map[flow.End]string{flow.SourceEnd: "src", flow.DestinationEnd: "dst"}[r.Initiator],
	}
	if m.Stream.ID.Exporter != [16]byte{} {
		p.Exporter = netip.AddrFrom16(m.Stream.ID.Exporter).Unmap().String()
	}
	text := func(to *string, f flow.Fields, s string) {
		if r.Present&f != 0 {
			*to = s
		}
	}
	text(&p.Src, flow.HasSrc, netip.AddrFrom16(r.Src).Unmap().String())
	text(&p.Dst, flow.HasDst, netip.AddrFrom16(r.Dst).Unmap().String())
	text(&p.Proto, flow.HasProto, profiler.ProtoName(r.Proto))
	text(&p.SrcMAC, flow.HasSrcMAC, net.HardwareAddr(r.SrcMAC[:]).String())
	text(&p.DstMAC, flow.HasDstMAC, net.HardwareAddr(r.DstMAC[:]).String())
	text(&p.Start, flow.HasStart, plainTime(r.Start))
	text(&p.End, flow.HasEnd, plainTime(r.End))
	ported := slices.Contains([]string{"tcp", "udp", "sctp"}, p.Proto)
	if r.SrcPort != 0 || ported && r.Present&flow.HasSrcPort != 0 {
		p.SrcPort = &r.SrcPort
	}
	if r.DstPort != 0 || ported && r.Present&flow.HasDstPort != 0 {
		p.DstPort = &r.DstPort
	}
	if r.Present&flow.HasReverse != 0 {
		p.ReversePackets, p.ReverseBytes = r.ReversePackets, r.ReverseBytes
	}
	if r.Proto == 6 {
		p.TCPFlags = given(r, flow.HasTCPFlags, r.TCPFlags)
		if r.Present&flow.HasReverse != 0 {
			p.ReverseFlags = r.ReverseTCPFlags
		}
	}
	return p
}

func plainTime(ns int64) string {
	t := time.Unix(0, ns).UTC()
	if t.Nanosecond() < 1e6 {
		return t.Format("2006-01-02T15:04:05Z")
	}
	return t.Format("2006-01-02T15:04:05.000Z") // Format truncates
}

func TestRecordJSON(t *testing.T) {
	rng := newTestRand()
	// Mostly the values where something changes.
	pick := func(values ...uint64) uint64 {
		if i := rng.IntN(len(values) + 1); i < len(values) {
			return values[i]
		}
		return rng.Uint64()
	}
	addr := func() (a [16]byte) {
		switch rng.IntN(4) {
		case 0:
		case 1:
			a[15] = 1
		case 2:
			a = netip.AddrFrom4([4]byte{10, 0, byte(rng.Uint32()), 1}).As16()
		default:
			for i := range a {
				a[i] = byte(rng.Uint32())
			}
		}
		return a
	}
	mac := func() (m [6]byte) {
		for i := range m {
			m[i] = byte(pick(0, 0xff))
		}
		return m
	}
	instant := func() int64 {
		const now = 1_795_417_200_000_000_000
		return int64(pick(0, 1, 999_999, 1_000_000, now, now+1, now+123e6, now+120e6, now+7e6, now+999_999_999, ^uint64(0)))
	}
	for range 20_000 {
		r := flow.Record{
			Src: addr(), Dst: addr(), SrcPort: uint16(pick(0, 53)), DstPort: uint16(pick(0, 2048)),
			Proto: uint8(pick(1, 6, 6, 17, 58, 132, 0)), TCPFlags: uint8(pick(0, 27)), InIf: uint32(pick(0, 1)), OutIf: uint32(pick(0, 2)),
			Packets: pick(0, 1), Bytes: pick(0, 40), Start: instant(), End: instant(), SrcMAC: mac(), DstMAC: mac(), VLAN: uint16(pick(0, 10)),
			Sampling: uint32(pick(0, 100)), Direction: flow.Direction(rng.IntN(3)), Initiator: flow.End(rng.IntN(3)),
			ReversePackets: pick(0, 1), ReverseBytes: pick(0, 40), ReverseTCPFlags: uint8(pick(0, 18)), Event: uint8(pick(0, 3)),
			Present: flow.Fields(pick(0, ^uint64(0), ^uint64(0))),
		}
		m := flow.Batch{
			Message: flow.Message{Domain: uint32(pick(0, 7)), Version: flow.Version(1 + rng.IntN(flow.Versions-1))},
			Stream:  &flow.Stream{ID: flow.StreamID{Exporter: addr()}},
		}
		want, err := json.Marshal(plain(&m, &r))
		if err != nil {
			t.Fatal(err)
		}
		got := appendRecordJSON(appendBatchJSON(nil, &m), &r)
		if diff := cmp.Diff(string(want)+"\n", string(got)); diff != "" {
			t.Fatalf("%+v\n%s", r, diff)
		}
	}
}

func TestTCPFlags(t *testing.T) {
	for flags, want := range map[uint8]string{0: "........", 0x1b: "...AP.SF", 0xff: "CEUAPRSF", 0x04: ".....R..", 0x80: "C......."} {
		if got := tcpFlags(flags); got != want {
			t.Errorf("tcpFlags(%#x) is %q, want %q", flags, got, want)
		}
	}
}
