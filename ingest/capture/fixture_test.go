// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"encoding/hex"
	"io"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/portolan/portolan/ingest/flow"
)

// TestRealExporter reads what softflowd sent about four TCP connections, three
// to a web server and one refused; see testdata/README.md.
func TestRealExporter(t *testing.T) {
	client, server := netip.MustParseAddr("10.77.0.1"), netip.MustParseAddr("10.77.0.2")
	for name, from := range map[string]string{
		"softflowd-v5.pcap":          "127.0.0.1",
		"softflowd-v5-ipv6-any.pcap": "::1",
		"softflowd-v5.dat":           "",
	} {
		t.Run(name, func(t *testing.T) {
			got, err := all(t, open(t, filepath.Join("testdata", name)).Next)
			if err != io.EOF || len(got) != 1 {
				t.Fatalf("%d datagrams, %v", len(got), err)
			}
			d := got[0]
			if from != "" && (d.Source.Addr() != netip.MustParseAddr(from) || d.Time.Year() != 2026) || d.Raw != (from == "") {
				t.Errorf("%v → %v at %v, raw %v", d.Source, d.Destination, d.Time, d.Raw)
			}
			var m flow.Message
			if drop := m.Parse(d.Payload); drop != flow.NoDrop {
				t.Fatal(drop, hex.EncodeToString(d.Payload))
			}
			recs, problems := m.Append(nil)
			if len(recs) != 8 || problems != 0 {
				t.Fatalf("%d records, problems %b", len(recs), problems)
			}
			toWeb, fromWeb, toRefused := 0, 0, 0
			for _, r := range recs {
				src, dst := netip.AddrFrom16(r.Src).Unmap(), netip.AddrFrom16(r.Dst).Unmap()
				if r.Proto != 6 || r.Packets == 0 || r.End < r.Start || !(src == client && dst == server || src == server && dst == client) {
					t.Errorf("%+v", r)
				}
				switch {
				case dst == server && r.DstPort == 8080:
					toWeb++
				case src == server && r.SrcPort == 8080:
					fromWeb++
				case dst == server && r.DstPort == 9:
					toRefused++
				}
			}
			if toWeb != 3 || fromWeb != 3 || toRefused != 1 {
				t.Errorf("%d records to the web server, %d from it, %d to the closed port; want 3, 3, 1", toWeb, fromWeb, toRefused)
			}
		})
	}
}
