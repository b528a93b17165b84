// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// encodable draws records that v9 and IPFIX both hold without a loss, of both
// address families.
func encodable(t *rapid.T, export int64) []Record {
	age := rapid.Int64Range(0, 1<<31-1)
	recs := make([]Record, rapid.IntRange(1, 30).Draw(t, "records"))
	for i := range recs {
		six := rapid.Bool().Draw(t, "IPv6")
		addr := func(name string) (a [16]byte) {
			copy(a[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, name))
			if !six {
				copy(a[:], mappedPrefix[:])
			}
			return a
		}
		recs[i] = Record{
			Src: addr("src"), Dst: addr("dst"),
			SrcPort: rapid.Uint16().Draw(t, "sport"), DstPort: rapid.Uint16().Draw(t, "dport"),
			Proto: rapid.Uint8().Draw(t, "proto"), TCPFlags: rapid.Uint8().Draw(t, "flags"),
			Start:   export - age.Draw(t, "start")*nsPerMs,
			End:     export - age.Draw(t, "end")*nsPerMs,
			Packets: uint64(rapid.Uint32().Draw(t, "packets")),
			Bytes:   uint64(rapid.Uint32().Draw(t, "bytes")),
			InIf:    rapid.Uint32().Draw(t, "in"), OutIf: rapid.Uint32().Draw(t, "out"),
		}
	}
	return recs
}

// encoded is what the templates hold of records.
func encoded(recs []Record) []Record {
	out := make([]Record, len(recs))
	for i, r := range recs {
		out[i] = Record{
			Src: r.Src, Dst: r.Dst, SrcPort: r.SrcPort, DstPort: r.DstPort,
			Proto: r.Proto, TCPFlags: r.TCPFlags, Start: r.Start, End: r.End,
			Packets: r.Packets, Bytes: r.Bytes, InIf: r.InIf, OutIf: r.OutIf,
		}
	}
	return out
}

// decodeEncoded decodes datagrams of one exporter, in which nothing is wrong.
func decodeEncoded(t *rapid.T, datagrams ...[]byte) (recs []Record, last Message) {
	d := NewDecoder(NewStreams(Limits{}))
	for _, datagram := range datagrams {
		if drop := d.Begin(addressOf("192.0.2.1"), encodedExport, datagram); drop != NoDrop {
			t.Fatal(drop)
		}
		for b := d.Next(); b != nil; b = d.Next() {
			recs = append(recs, b.Records...)
			last = b.Message
		}
		if d.Problems() != 0 {
			t.Fatalf("problems %b", d.Problems())
		}
	}
	return recs, last
}

func TestRoundTripV9(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := V9Header{
			ExportTime: rapid.Int64Range(1<<22, math.MaxUint32).Draw(t, "export") * nsPerSecond,
			Uptime:     rapid.Uint32().Draw(t, "uptime"),
			Sequence:   rapid.Uint32().Draw(t, "sequence"),
			Domain:     rapid.Uint32().Draw(t, "domain"),
		}
		want := encodable(t, h.ExportTime)
		got, m := decodeEncoded(t, AppendV9Templates(nil, h), AppendV9(nil, h, want))
		if d := cmp.Diff(encoded(want), encoded(got)); d != "" {
			t.Fatal(d)
		}
		if back := (V9Header{m.ExportTime, m.Uptime, m.Sequence, m.Domain}); back != h || m.Count != len(want) {
			t.Fatalf("header %+v, count %d; wrote %+v", back, m.Count, h)
		}
	})
}

func TestRoundTripIPFIX(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := IPFIXHeader{
			ExportTime: rapid.Int64Range(1<<22, math.MaxUint32).Draw(t, "export") * nsPerSecond,
			Sequence:   rapid.Uint32().Draw(t, "sequence"),
			Domain:     rapid.Uint32().Draw(t, "domain"),
		}
		want := encodable(t, h.ExportTime)
		for i := range want {
			want[i].Packets |= rapid.Uint64().Draw(t, "packets")
			want[i].Bytes |= rapid.Uint64().Draw(t, "bytes")
		}
		// Both messages in one datagram, as some exporters send them.
		got, m := decodeEncoded(t, AppendIPFIX(AppendIPFIXTemplates(nil, h), h, want))
		if d := cmp.Diff(encoded(want), encoded(got)); d != "" {
			t.Fatal(d)
		}
		if back := (IPFIXHeader{m.ExportTime, m.Sequence, m.Domain}); back != h {
			t.Fatalf("header %+v, wrote %+v", back, h)
		}
	})
}

func TestRoundTripSFlow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := SFlowHeader{
			Agent:    addressOf(rapid.SampledFrom([]string{"192.0.2.1", "2001:db8::1"}).Draw(t, "agent")),
			SubAgent: rapid.Uint32().Draw(t, "sub-agent"),
			Sequence: rapid.Uint32().Draw(t, "sequence"),
			Uptime:   rapid.Uint32().Draw(t, "uptime"),
			Samples:  rapid.Uint32().Draw(t, "samples"),
			Sampling: rapid.Uint32Range(1, 1<<20).Draw(t, "sampling"),
			Expanded: rapid.Bool().Draw(t, "expanded"),
		}
		want := encodable(t, encodedExport)
		for i := range want {
			r := &want[i]
			r.Proto = rapid.SampledFrom([]uint8{1, 6, 17, 58, 132}).Draw(t, "transport")
			if r.Proto != 6 {
				r.TCPFlags = 0
			}
			if r.Proto == 1 || r.Proto == 58 {
				r.SrcPort = 0
			}
			r.Packets, r.Bytes = 1, rapid.Uint64Range(60, 65535).Draw(t, "bytes")
			r.InIf, r.OutIf = r.InIf>>3, r.OutIf>>3
			r.Start, r.End = 0, 0
		}
		got, m := decodeEncoded(t, AppendSFlow(nil, h, want))
		for i := range got {
			if got[i].Sampling != h.Sampling {
				t.Fatalf("record %d: sampling %d, wrote %d", i, got[i].Sampling, h.Sampling)
			}
			got[i].Start, got[i].End = 0, 0 // a sample has none
		}
		if d := cmp.Diff(encoded(want), encoded(got)); d != "" {
			t.Fatal(d)
		}
		if m.Agent != h.Agent || m.Domain != h.SubAgent || m.Sequence != h.Sequence || m.Uptime != h.Uptime || m.Count != len(want) {
			t.Fatalf("header %+v, wrote %+v", m, h)
		}
	})
}
