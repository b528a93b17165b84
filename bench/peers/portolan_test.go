// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"fmt"
	"testing"

	"github.com/portolan/portolan/ingest/flow"
)

// portolan decodes as a worker does: with a Decoder of its own, into memory that
// the Decoder has.
type portolan struct{ decoder *flow.Decoder }

func newPortolan() *portolan {
	return &portolan{decoder: flow.NewDecoder(flow.NewStreams(flow.Limits{}))}
}

func (p *portolan) decode(packet []byte) error {
	if drop := p.decoder.Begin(exporter.As16(), exportTime, packet); drop != flow.NoDrop {
		return fmt.Errorf("dropped: %v", drop)
	}
	for p.decoder.Next() != nil {
	}
	return nil
}

func (p *portolan) flows(t *testing.T, packet []byte) (recs []flow.Record) {
	t.Helper()
	if drop := p.decoder.Begin(exporter.As16(), exportTime, packet); drop != flow.NoDrop {
		t.Fatalf("dropped: %v", drop)
	}
	for b := p.decoder.Next(); b != nil; b = p.decoder.Next() {
		recs = append(recs, common(b.Records)...)
	}
	if problems := p.decoder.Problems(); problems != 0 {
		t.Fatalf("problems %b", problems)
	}
	return recs
}

// common is what of records all collectors tell.
func common(recs []flow.Record) []flow.Record {
	out := make([]flow.Record, len(recs))
	for i, r := range recs {
		out[i] = flow.Record{
			Src: r.Src, Dst: r.Dst, SrcPort: r.SrcPort, DstPort: r.DstPort,
			Proto: r.Proto, TCPFlags: r.TCPFlags, InIf: r.InIf, OutIf: r.OutIf,
			Packets: r.Packets, Bytes: r.Bytes, Start: r.Start, End: r.End,
		}
	}
	return out
}
