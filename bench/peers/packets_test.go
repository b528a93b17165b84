// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/portolan/portolan/ingest/flow"
)

const (
	// packetsPerFormat is more than a core's own caches hold, so that neither
	// side finds the bytes of the round before there.
	packetsPerFormat = 4096
	recordsPerPacket = 30 // what v5 has; in v9 and IPFIX a frame of 2 KB holds as many
	samplesPerPacket = 7
	sampling         = 1000
	second, ms       = int64(1e9), int64(1e6)
	exportTime       = 1767225600 * second // a whole one, which every format holds
	uptime           = 3_600_000           // ms
)

var exporter = netip.MustParseAddr("192.0.2.1")

// format is one format of flow export and packets in it.
type format struct {
	name      string
	perPacket int
	templates []byte // a packet to send first, nil if there are no templates
	encode    func(dst []byte, number int, recs []flow.Record) []byte
}

// formats have the same flows, 4096 packets of each.
var formats = []format{
	{
		name: "v5", perPacket: recordsPerPacket,
		encode: func(dst []byte, number int, recs []flow.Record) []byte {
			h := flow.V5Header{ExportTime: exportTime, Uptime: uptime, Sequence: uint32(number * recordsPerPacket)}
			return flow.AppendV5(dst, h, recs)
		},
	},
	{
		name: "v9", perPacket: recordsPerPacket,
		templates: flow.AppendV9Templates(nil, flow.V9Header{ExportTime: exportTime, Uptime: uptime}),
		encode: func(dst []byte, number int, recs []flow.Record) []byte {
			h := flow.V9Header{ExportTime: exportTime, Uptime: uptime, Sequence: uint32(number) + 1}
			return flow.AppendV9(dst, h, recs)
		},
	},
	{
		name: "ipfix", perPacket: recordsPerPacket,
		templates: flow.AppendIPFIXTemplates(nil, flow.IPFIXHeader{ExportTime: exportTime}),
		encode: func(dst []byte, number int, recs []flow.Record) []byte {
			h := flow.IPFIXHeader{ExportTime: exportTime, Sequence: uint32(number * recordsPerPacket)}
			return flow.AppendIPFIX(dst, h, recs)
		},
	},
	{
		name: "sflow", perPacket: samplesPerPacket,
		encode: func(dst []byte, number int, recs []flow.Record) []byte {
			h := flow.SFlowHeader{
				Agent: exporter.As16(), Sequence: uint32(number), Uptime: uptime,
				Samples: uint32(number * samplesPerPacket), Sampling: sampling,
			}
			return flow.AppendSFlow(dst, h, recs)
		},
	},
}

// packets encodes the flows of all packets of a format, which lie one behind the
// other in memory as in a receive ring.
func (f format) packets() [][]byte {
	var arena []byte
	ends := make([]int, 0, packetsPerFormat)
	for number := range packetsPerFormat {
		arena = f.encode(arena, number, f.records(number))
		ends = append(ends, len(arena))
	}
	packets, begin := make([][]byte, 0, packetsPerFormat), 0
	for _, end := range ends {
		packets = append(packets, arena[begin:end:end])
		begin = end
	}
	return packets
}

// records are the flows in the packet of a number, with what every format holds:
// three quarters TCP and the others UDP, between an internal and an external
// address, in either direction.
func (f format) records(number int) []flow.Record {
	random := rand.New(rand.NewPCG(1, uint64(number)))
	recs := make([]flow.Record, f.perPacket)
	for i := range recs {
		r := &recs[i]
		*r = flow.Record{
			Src: ip4(10<<24 | random.Uint32N(1<<16)), SrcPort: uint16(1 + random.Uint32N(1000)),
			Dst: ip4(198<<24 | 18<<16 | random.Uint32N(1<<17)), DstPort: uint16(32768 + random.Uint32N(28232)),
			Proto: 6, TCPFlags: uint8(0x02 | random.Uint32N(0x20)),
			InIf: 1 + random.Uint32N(48), OutIf: 1 + random.Uint32N(48),
			Packets: 1 + random.Uint64N(1000),
			End:     exportTime - random.Int64N(1000)*ms,
		}
		r.Bytes = r.Packets * (40 + random.Uint64N(1461))
		r.Start = r.End - random.Int64N(60_000)*ms
		if random.Uint32N(4) == 0 {
			r.Proto, r.TCPFlags = 17, 0
		}
		if random.Uint32N(2) == 0 {
			r.Src, r.Dst, r.SrcPort, r.DstPort = r.Dst, r.Src, r.DstPort, r.SrcPort
		}
		if f.name == "sflow" {
			// One packet, and no times.
			r.Bytes, r.Packets, r.Start, r.End = r.Bytes/r.Packets, 1, 0, 0
		}
	}
	return recs
}

func ip4(n uint32) [16]byte {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b).As16()
}

func (f format) String() string { return f.name }

// collector is one of the programs compared.
type collector interface {
	// decode decodes one packet and throws away what came of it.
	decode(packet []byte) error
	// flows decodes one packet and tells what came of it.
	flows(t *testing.T, packet []byte) []flow.Record
}
