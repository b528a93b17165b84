// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/portolan/portolan/ingest"
	"github.com/portolan/portolan/profiler/api"
)

// What an exporter lacks is in its row: in words, with the time since when.
func TestStatusOfExporters(t *testing.T) {
	st := api.Status{Sentence: "2 exporters", StartedAt: seven, Uptime: 600}
	st.Ledger.OptionsRecords, st.Ledger.CounterSamples, st.Ledger.WaitingSets = 2, 1, 3
	var out bytes.Buffer
	err := writeStatus(&out, st, []ingest.Exporter{
		{Exporter: "192.0.2.1", Version: "v9", Domain: 7, Datagrams: 12, Lost: 4, Templates: 17, Waiting: 3,
			WaitingSince: seven.Add(8 * time.Minute), LastSeen: seven.Add(9 * time.Minute), SkewMilliseconds: new(int64(-5000))},
		{Exporter: "192.0.2.2", Version: "ipfix", Templates: 2}, // known from before a restart
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"besides 2 options records and 1 counter sample; 3 data sets wait for a template",
		"192.0.2.1 7 v9 12 0 4 messages 17 2026-11-23T07:09:00Z waiting for template since 2026-11-23T07:08:00Z (2 min ago, 3 data sets); clock 5 s behind",
		"192.0.2.2 0 ipfix 0 0 0 records 2 - nothing since the start",
	} {
		if text := strings.Join(strings.Fields(out.String()), " "); !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
}
