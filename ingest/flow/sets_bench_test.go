// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"encoding/binary"
	"testing"
)

// BenchmarkDataSet is the reading of records by a plan alone: the set of an
// ordinary router's template, without the message around it.
func BenchmarkDataSet(b *testing.B) {
	for _, version := range []Version{V9, IPFIX} {
		b.Run(version.String(), func(b *testing.B) {
			t, body, n := encodedSet(b, version)
			d := NewDecoder(NewStreams(Limits{}))
			batch := Batch{Message: Message{Version: version, ExportTime: 1_700_000_000 * nsPerSecond, Uptime: 1_000_000}, Stream: &Stream{}}
			b.ReportAllocs()
			for b.Loop() {
				d.left, batch.Records = MaxRecords, nil
				d.data(&batch, t, body)
			}
			if len(batch.Records) != n {
				b.Fatalf("%d records", len(batch.Records))
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/record")
		})
	}
}

// encodedSet is the first data set that the package's encoder makes of 24 flows.
func encodedSet(b *testing.B, version Version) (t *template, body []byte, n int) {
	recs := make([]Record, 24)
	for i := range recs {
		r := &recs[i]
		mapIPv4(&r.Src, []byte{10, 0, 0, byte(i)})
		mapIPv4(&r.Dst, []byte{192, 0, 2, byte(i)})
		r.SrcPort, r.DstPort, r.Proto, r.Packets, r.Bytes = 40000+uint16(i), 443, 6, 3, 400
		r.Start, r.End = 1_700_000_000*nsPerSecond, 1_700_000_001*nsPerSecond
	}
	var templates, data []byte
	header := ipfixHeaderSize
	if version == V9 {
		templates, data = AppendV9Templates(nil, V9Header{}), AppendV9(nil, V9Header{}, recs)
		header = v9HeaderSize
	} else {
		templates, data = AppendIPFIXTemplates(nil, IPFIXHeader{}), AppendIPFIX(nil, IPFIXHeader{}, recs)
	}
	id := binary.BigEndian.Uint16(data[header:])
	set := templates[header+setHeaderSize:]
	for len(set) > templateHeaderSize {
		size, _ := definitionSize(version, false, set[2:])
		if binary.BigEndian.Uint16(set) == id {
			t, _ = parseTemplate(version, false, id, set[2:2+size])
		}
		set = set[2+size:]
	}
	if t == nil {
		b.Fatalf("no template %d", id)
	}
	return t, data[header+setHeaderSize:], len(recs)
}
