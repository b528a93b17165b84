// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"encoding/binary"
	"testing"

	"github.com/portolan/portolan/ingest/flow"
)

// Streams of one exporter are kept apart by domain and version, and what a record
// was observed by is the exporter of its stream.
func TestExportersAreKeptApart(t *testing.T) {
	sink := newMemorySink()
	o := newOffline(t, Config{Set: setOf(t, "10.0.0.1"), Sink: sink})
	r := tcp("10.0.0.1", 22, "8.8.8.8", 50000)
	at := day.UnixNano()
	for i, send := range []struct {
		from    string
		payload []byte
	}{
		{"192.0.2.1", flow.AppendV5(nil, flow.V5Header{ExportTime: at, Domain: 1}, []flow.Record{r})},
		{"192.0.2.1", flow.AppendV5(nil, flow.V5Header{ExportTime: at, Domain: 2}, []flow.Record{r})},
		{"192.0.2.1", flow.AppendSFlow(nil, flow.SFlowHeader{SubAgent: 2, Agent: addr("192.0.2.9")}, []flow.Record{r})},
		{"2001:db8::1", flow.AppendV5(nil, flow.V5Header{ExportTime: at, Domain: 1}, []flow.Record{r})},
	} {
		r.SrcPort = uint16(100 + i)
		if err := o.Datagram(t.Context(), day, addr(send.from), send.payload); err != nil {
			t.Fatal(err)
		}
	}
	type key struct {
		address, version string
		domain           uint32
	}
	got := map[key]uint64{}
	for _, e := range o.Status().Exporters {
		got[key{e.Exporter, e.Version, e.Domain}] = e.Records
	}
	for _, k := range []key{{"192.0.2.1", "v5", 1}, {"192.0.2.1", "v5", 2}, {"192.0.2.1", "sflow5", 2}, {"2001:db8::1", "v5", 1}} {
		if got[k] != 1 {
			t.Errorf("%v has %d records", k, got[k])
		}
	}
	if len(got) != 4 {
		t.Errorf("exporters %v", got)
	}
}

// A flood of forged addresses pushes out itself, and is counted.
func TestExportersAreBounded(t *testing.T) {
	const forged = 20_000
	o := newOffline(t, Config{Set: setOf(t), Sink: newMemorySink()})
	payload := v5(0, day, tcp("10.0.0.1", 22, "8.8.8.8", 50000))
	for n := range uint32(forged) {
		from := addr("192.0.0.0")
		binary.BigEndian.PutUint32(from[12:], 192<<24+n)
		if err := o.Datagram(t.Context(), day, from, payload); err != nil {
			t.Fatal(err)
		}
	}
	st := o.Status()
	if kept := uint64(len(st.Exporters)); kept+st.Evicted.Streams != forged || kept > 8192 {
		t.Errorf("%d exporters are kept, %d were evicted", kept, st.Evicted.Streams)
	}
	if st.Ledger.Records != forged {
		t.Errorf("%d records", st.Ledger.Records)
	}
	checkBooks(t, &st.Ledger)
}
