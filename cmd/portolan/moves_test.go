// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/portolan/portolan/ingest"
	"github.com/portolan/portolan/ingest/flow"
	"github.com/portolan/portolan/profiler"
	"github.com/portolan/portolan/store"
)

// TestPostInFlightOverAMove: a post that is under way when its address moves is
// refused and counted, and the same port of the new holder is posted at once
// though the former one had it an hour ago.
func TestPostInFlightOverAMove(t *testing.T) {
	now := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	s, err := store.Open(t.TempDir(), store.Options{FS: vfs.NewMem(), Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	o, err := ingest.NewOffline(ingest.Config{Set: s.Live(), Sink: s, Infer: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		o.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	give := func(mac string) {
		t.Helper()
		rows, err := profiler.ParseCSV(strings.NewReader("mac,ip\n" + mac + ",10.0.0.1\n"))
		if err == nil {
			_, err = s.Import(rows, store.ImportOptions{})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	see := func(port uint16) { // a lone SYN-ACK
		t.Helper()
		now = now.Add(time.Second)
		r := flow.Record{
			Src: netip.MustParseAddr("10.0.0.1").As16(), Dst: netip.MustParseAddr("198.51.100.1").As16(), SrcPort: port, DstPort: 50000,
			Proto: 6, TCPFlags: 0x12, Packets: 1, Bytes: 60, Start: now.UnixNano(), End: now.UnixNano(),
		}
		d := flow.AppendV5(nil, flow.V5Header{ExportTime: now.UnixNano(), Uptime: 1 << 30}, []flow.Record{r})
		if err := o.Datagram(t.Context(), now, [16]byte{15: 1}, d); err != nil {
			t.Fatal(err)
		}
	}
	flush := func() ingest.PostCounts {
		t.Helper()
		if err := o.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		return o.Status().Ledger.Posts
	}
	listening := func(id string) (list []uint16) {
		t.Helper()
		e, err := s.Endpoint(id)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range e.Listening {
			list = append(list, p.Port)
		}
		return list
	}
	const a, b = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
	give(a)
	see(443)
	flush()
	now = now.Add(time.Hour)
	see(22) // under way …
	give(b) // … when the address moves
	if p := flush(); p.Lost["stale"] != 1 || p.Acknowledged != 1 {
		t.Errorf("%+v", p)
	}
	see(443)
	if p := flush(); p.Acknowledged != 2 || p.Answers["added"] != 2 {
		t.Errorf("%+v", p)
	}
	for mac, want := range map[string]uint16{a: 443, b: 443} {
		if got := listening(mac); len(got) != 1 || got[0] != want {
			t.Errorf("%s listens on %v", mac, got)
		}
	}
}
