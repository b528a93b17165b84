// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"fmt"
	"testing"

	"github.com/portolan/portolan/ingest/flow"
)

// portolan decodes as a worker does, into memory that it has.
type portolan struct {
	message flow.Message
	records []flow.Record
}

func newPortolan() *portolan { return &portolan{records: make([]flow.Record, 0, flow.MaxV5Records)} }

func (p *portolan) decode(packet []byte) error {
	if drop := p.message.Parse(packet); drop != flow.NoDrop {
		return fmt.Errorf("dropped: %v", drop)
	}
	p.records, _ = p.message.Append(p.records[:0])
	return nil
}

func (p *portolan) flows(t *testing.T, packet []byte) []flow.Record {
	t.Helper()
	if err := p.decode(packet); err != nil {
		t.Fatal(err)
	}
	return common(p.records)
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
