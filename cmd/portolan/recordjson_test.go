// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portolan/portolan/ingest/capture"
	"github.com/portolan/portolan/ingest/flow"
	"github.com/portolan/portolan/profiler"
)

// plainRecord is a record as encoding/json writes it: what the text made by hand
// is checked against.
type plainRecord struct {
	Exporter string  `json:"exporter,omitempty"`
	Domain   uint32  `json:"domain"`
	Version  string  `json:"version"`
	Src      string  `json:"src"`
	Dst      string  `json:"dst"`
	SrcPort  *uint16 `json:"src_port,omitempty"`
	DstPort  *uint16 `json:"dst_port,omitempty"`
	Proto    string  `json:"proto"`
	TCPFlags *uint8  `json:"tcp_flags,omitempty"`
	Packets  uint64  `json:"packets"`
	Bytes    uint64  `json:"bytes"`
	Start    string  `json:"start,omitempty"`
	End      string  `json:"end,omitempty"`
	InIf     uint32  `json:"in_if,omitempty"`
	OutIf    uint32  `json:"out_if,omitempty"`
	Sampling uint32  `json:"sampling,omitempty"`
}

func plain(d *capture.Datagram, m *flow.Message, r *flow.Record) plainRecord {
	p := plainRecord{
		Domain: m.Domain, Version: m.Version.String(), Sampling: m.Sampling,
		Src: netip.AddrFrom16(r.Src).Unmap().String(), Dst: netip.AddrFrom16(r.Dst).Unmap().String(),
		Proto: profiler.ProtoName(r.Proto), Packets: r.Packets, Bytes: r.Bytes, InIf: r.InIf, OutIf: r.OutIf,
	}
	if !d.Raw {
		p.Exporter = d.Source.Addr().String()
	}
	ported := r.Proto == 6 || r.Proto == 17 || r.Proto == 132
	if ported || r.SrcPort != 0 {
		p.SrcPort = &r.SrcPort
	}
	if ported || r.DstPort != 0 {
		p.DstPort = &r.DstPort
	}
	if r.Proto == 6 {
		p.TCPFlags = &r.TCPFlags
	}
	at := func(ns int64) string {
		if ns == 0 && m.Version != flow.V5 {
			return ""
		}
		t := time.Unix(0, ns).UTC()
		if t.Nanosecond() < 1e6 {
			return t.Format("2006-01-02T15:04:05Z")
		}
		return t.Format("2006-01-02T15:04:05.000Z") // Format truncates
	}
	p.Start, p.End = at(r.Start), at(r.End)
	return p
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
	instant := func() int64 {
		const now = 1_795_417_200_000_000_000
		return int64(pick(0, 1, 999_999, 1_000_000, now, now+1, now+123e6, now+120e6, now+7e6, now+999_999_999, ^uint64(0)))
	}
	for range 20_000 {
		r := flow.Record{
			Src: addr(), Dst: addr(), SrcPort: uint16(pick(0, 53)), DstPort: uint16(pick(0, 2048)),
			Proto: uint8(pick(1, 6, 6, 17, 58, 132, 0)), TCPFlags: uint8(pick(0, 27)), InIf: uint32(pick(0, 1)), OutIf: uint32(pick(0, 2)),
			Packets: pick(0, 1), Bytes: pick(0, 40), Start: instant(), End: instant(),
		}
		m := flow.Message{Domain: uint32(pick(0, 7)), Sampling: uint32(pick(0, 100))}
		m.Version = []flow.Version{flow.V5, flow.IPFIX}[rng.IntN(2)]
		d := capture.Datagram{Raw: rng.IntN(3) == 0, Source: []netip.AddrPort{router4, router6}[rng.IntN(2)]}
		want, err := json.Marshal(plain(&d, &m, &r))
		if err != nil {
			t.Fatal(err)
		}
		got := appendRecordJSON(appendDatagramJSON(nil, &d, &m), &r, &m)
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
