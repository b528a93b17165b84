// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	protoproducer "github.com/netsampler/goflow2/v2/producer/proto"
	"github.com/netsampler/goflow2/v2/utils"

	"github.com/portolan/portolan/ingest/flow"
)

// goflow2 is goflow2's own pipe for all formats, with the producer, the sampling
// system and the templates that its command makes by default. Left out are what
// sends the messages on and the wrappers that count in Prometheus and catch
// panics, which are not decoding.
type goflow2 struct {
	discards, collects utils.FlowPipe
	message            utils.Message
	sink               sink
}

func newGoflow2(tb testing.TB) *goflow2 {
	tb.Helper()
	var defaults *protoproducer.ProducerConfig
	config, err := defaults.Compile()
	if err != nil {
		tb.Fatal(err)
	}
	producer, err := protoproducer.CreateProtoProducer(config, protoproducer.CreateSamplingSystem)
	if err != nil {
		tb.Fatal(err)
	}
	g := &goflow2{message: utils.Message{
		Src:      netip.AddrPortFrom(exporter, 50000),
		Dst:      netip.MustParseAddrPort("192.0.2.2:2055"),
		Received: time.Unix(0, exportTime),
	}}
	g.discards = utils.NewFlowPipe(&utils.PipeConfig{Producer: producer})
	g.collects = utils.NewFlowPipe(&utils.PipeConfig{Producer: producer, Format: &g.sink})
	return g
}

func (g *goflow2) decode(packet []byte) error {
	g.message.Payload = packet
	return g.discards.DecodeFlow(&g.message)
}

func (g *goflow2) flows(t *testing.T, packet []byte) []flow.Record {
	t.Helper()
	g.sink.recs = nil
	g.message.Payload = packet
	if err := g.collects.DecodeFlow(&g.message); err != nil {
		t.Fatal(err)
	}
	return g.sink.recs
}

// sink keeps what a pipe would format.
type sink struct{ recs []flow.Record }

func (s *sink) Format(data any) (key, value []byte, err error) {
	m, ok := data.(*protoproducer.ProtoProducerMessage)
	if !ok {
		return nil, nil, fmt.Errorf("a %T is no message of goflow2's producer", data)
	}
	r := flow.Record{
		SrcPort: uint16(m.SrcPort), DstPort: uint16(m.DstPort),
		Proto: uint8(m.Proto), TCPFlags: uint8(m.TcpFlags), InIf: m.InIf, OutIf: m.OutIf,
		Packets: m.Packets, Bytes: m.Bytes, Start: int64(m.TimeFlowStartNs), End: int64(m.TimeFlowEndNs),
	}
	if m.SamplingRate > 0 {
		// A sample of sFlow: goflow2 gives it the time of arrival, and the
		// bytes of its frame with header and check sequence.
		const ethernet = 14 + 4
		r.Bytes -= ethernet
		r.Start, r.End = 0, 0
	}
	src, srcOK := netip.AddrFromSlice(m.SrcAddr)
	dst, dstOK := netip.AddrFromSlice(m.DstAddr)
	if !srcOK || !dstOK {
		return nil, nil, fmt.Errorf("addresses % x and % x", m.SrcAddr, m.DstAddr)
	}
	r.Src, r.Dst = src.As16(), dst.As16()
	s.recs = append(s.recs, r)
	return nil, nil, nil
}
