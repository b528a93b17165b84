// SPDX-License-Identifier: Apache-2.0

package api

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portolan/portolan/ingest"
	"github.com/portolan/portolan/store"
)

func TestSI(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 0.44: "0.4", 1: "1", 9.96: "10.0", 42.4: "42", 9999: "9999", 9999.6: "10 k", 84_000: "84 k", 84_210: "84.2 k",
		999_499: "999 k", 999_501: "1 M", 1_234_567: "1.23 M", 12e9: "12 G", 5e15: "5000 T",
	} {
		if got := SI(v); got != want {
			t.Errorf("SI(%v) = %q, want %q", v, got, want)
		}
	}
}

func TestAgo(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Hour: "now", 0: "now", time.Second: "1 s ago", 59 * time.Second: "59 s ago", time.Minute: "1 min ago",
		47 * time.Hour: "47 h ago", 49 * time.Hour: "2 days ago",
	} {
		if got := Ago(d); got != want {
			t.Errorf("Ago(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestMeter(t *testing.T) {
	var m meter
	at := func(seconds float64, count uint64) string {
		if r := m.at(testStart.Add(time.Duration(seconds*float64(time.Second))), count); r != nil {
			return SI(*r)
		}
		return "none"
	}
	for i, step := range []struct {
		seconds float64
		count   uint64
		want    string
	}{
		{0, 0, "none"},      // nothing to compare with
		{0.5, 50, "none"},   // too short
		{2, 200, "100"},     //
		{5, 500, "100"},     // becomes the next to compare with
		{5.1, 510, "100"},   // somebody else asks: over the span before
		{8.5, 1200, "200"},  // 700 in 3.5 s
		{300, 9999, "none"}, // nobody asked for long
		{304, 9999, "0"},    // nothing came since
		{305, 10, "none"},   // counts went back: another sensor
	} {
		if got := at(step.seconds, step.count); got != step.want {
			t.Errorf("step %d: %s, want %s", i, got, step.want)
		}
	}
}

// statusOf is the status of one sensor, with some endpoints known.
func statusOf(t *testing.T, in ingest.Status, change func(*Server)) Status {
	t.Helper()
	s, _ := newServer(t)
	s.Sensor = &sensor{in}
	if change != nil {
		change(s)
	}
	return s.Status()
}

func TestSentence(t *testing.T) {
	st := contractStatus()
	st.LostByGaps = 12
	st.RingDrops = map[string]uint64{"rx_dropped": 5, "rx_fill_ring_empty": 5}
	want := "1 exporter, 40 records so far, 12 lost, 5 dropped by the kernel, 1 observation not posted, receiving by copy-mode AF_XDP and UDP sockets, last record 2 s ago"
	if got := statusOf(t, st, nil).Sentence; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	none := ingest.Status{Paths: []ingest.ReceivePath{{Interface: "eth1", Path: "copy", State: "off", Reason: "another program is attached"}, {Listen: ":2055", Path: "udp", State: "up"}}}
	if got, want := statusOf(t, none, nil).Sentence, "No datagrams in the 1 h since the start, listening by UDP sockets"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := statusOf(t, ingest.Status{}, nil).Sentence; !strings.HasSuffix(got, "listening by nothing") {
		t.Error(got)
	}
}

func TestAttention(t *testing.T) {
	good := func() ingest.Status {
		st := contractStatus()
		st.Ledger.Datagrams.Dropped, st.Ledger.Problems, st.Ledger.Posts.Lost = nil, nil, nil
		st.Exporters[0].Waiting, st.Exporters[0].WaitingSince = 0, time.Time{}
		return st
	}
	for _, tt := range []struct {
		name   string
		in     func(*ingest.Status)
		server func(*Server)
		want   string // beginning of the first line; "" for none
		urgent bool
	}{
		{"all well", func(*ingest.Status) {}, nil, "", false},
		{"not healthy first", func(st *ingest.Status) { st.RingDrops = map[string]uint64{"rx_dropped": 1} },
			func(s *Server) { s.Healthy = func() error { return errors.New("worker 0 stands still") } }, "Not healthy: worker 0 stands still.", true},
		{"not ready", func(*ingest.Status) {}, func(s *Server) { s.Ready = func() error { return store.ErrClosed } }, "Not ready: the store is closed.", true},
		{"link down", func(st *ingest.Status) { st.Paths[0].State, st.Paths[0].Reason = "link down", "no carrier" }, nil, "eth1 queue 0 is link down: no carrier.", true},
		{"a wish that was refused", func(st *ingest.Status) { st.Paths[0].State, st.Paths[0].Reason = "off", "a program is attached" }, nil, "eth1 queue 0 has no AF_XDP, so its datagrams come by the UDP sockets: a program is attached.", false},
		{"posts lost", func(st *ingest.Status) { st.Ledger.Posts.Lost = map[string]uint64{"stale": 2, "queue_full": 3} }, nil, "5 observations not posted since the start (queue_full 3, stale 2).", true},
		{"table full", func(st *ingest.Status) { st.Ledger.Sides.Dropped["table_full"] = 1 }, nil, "1 side found no place", true},
		{"gaps of v9", func(st *ingest.Status) { st.Exporters[0].Lost = 1 }, nil, "The exporters' sequence numbers say that 1 message never", true},
		{"gaps of two kinds", func(st *ingest.Status) {
			st.Exporters[0].Lost = 2
			st.Exporters = append(st.Exporters, ingest.Exporter{Exporter: "192.0.2.2", Version: "v5", Lost: 30, LastSeen: st.Exporters[0].LastSeen})
		}, nil, "The exporters' sequence numbers say that 30 flows and 2 messages never arrived.", true},
		{"one gap in very many", func(st *ingest.Status) { st.Exporters[0].Lost, st.Exporters[0].Datagrams = 1, 1_000_000 }, nil, "", false},
		{"a template is missing", func(st *ingest.Status) { wait(&st.Exporters[0], 2*time.Minute) }, nil,
			"Exporter 192.0.2.1 (v9): waiting for template since 2026-11-23T06:58:02Z (2 min ago). An exporter sends its templates every few minutes, and what needs them is kept until then: wait, or lower its template refresh.", false},
		{"a template is missing for long", func(st *ingest.Status) {
			wait(&st.Exporters[0], 20*time.Minute)
			other := st.Exporters[0]
			other.Domain = 7
			wait(&other, 30*time.Minute)
			st.Exporters = append(st.Exporters, other)
		}, nil, "Exporter 192.0.2.1 (v9, domain 7), and 1 other with it: waiting for template since 2026-11-23T06:30:02Z (30 min ago).", true},
		{"a clock is right", func(st *ingest.Status) { st.Exporters[0].SkewMilliseconds = new(int64(-2000)) }, nil, "", false},
		{"a clock is ahead", func(st *ingest.Status) { st.Exporters[0].SkewMilliseconds = new(int64(3000)) }, nil, "The clock of exporter 192.0.2.1 (v9) is 3 s ahead: set it by NTP.", false},
		{"two clocks are behind", func(st *ingest.Status) {
			st.Exporters[0].SkewMilliseconds = new(int64(-7200_000))
			st.Exporters = append(st.Exporters, st.Exporters[0])
		}, nil, "The clocks of 2 exporters are off, or this machine's is; that of 192.0.2.1 (v9) is 2 h behind: set them by NTP.", false},
		{"silent", func(st *ingest.Status) { st.Exporters[0].LastSeen = testStart }, nil, "Exporter 192.0.2.1 has sent nothing for 1 h.", true},
		{"no endpoints", func(*ingest.Status) {}, func(s *Server) { s.Repository = &memory{} }, "No endpoints are known", true},
		{"none matches", func(st *ingest.Status) { st.Ledger.Sides.External = 80 }, nil, "No record touches a known endpoint.", true},
		{"stray datagram", func(st *ingest.Status) { st.Ledger.Datagrams.Dropped = map[string]uint64{"short_header": 1} }, nil, "1 datagram could not be decoded (short_header 1).", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			st := good()
			tt.in(&st)
			got := statusOf(t, st, tt.server)
			first := ""
			if len(got.Attention) > 0 {
				first = got.Attention[0]
			}
			if tt.want == "" != (first == "") || !strings.HasPrefix(first, tt.want) || (got.Urgent > 0) != tt.urgent {
				t.Errorf("%d urgent of %q, want first %q", got.Urgent, got.Attention, tt.want)
			}
		})
	}
}

// wait lets an exporter's sets wait for so long at the time of newServer.
func wait(e *ingest.Exporter, d time.Duration) {
	e.Waiting, e.WaitingSince = 3, testStart.Add(time.Hour+2*time.Second-d)
}

func TestExporterInWords(t *testing.T) {
	now := testStart
	e := ingest.Exporter{Version: "v9", Lost: 1, Waiting: 2, WaitingSince: now.Add(-time.Minute), Sampling: []uint32{100, 1000}, SkewMilliseconds: new(int64(90_000))}
	if got := Waiting(&e, now); got != "waiting for template since 2026-11-23T05:59:00Z (1 min ago, 2 data sets)" {
		t.Error(got)
	}
	if got := Notes(&e); !slices.Equal(got, []string{"sampled 1 in 100, 1 in 1000", "clock 1 min ahead"}) {
		t.Errorf("got %q", got)
	}
	if got := Name(&e); got != "without an address (v9)" {
		t.Error(got)
	}
	for version, want := range map[string]string{"v1": "-", "v5": "12 flows", "v7": "12 flows", "v9": "12 messages", "ipfix": "12 records", "sflow5": "12 datagrams"} {
		if got := Loss(&ingest.Exporter{Version: version, Lost: 12}); got != want {
			t.Errorf("%s: %s", version, got)
		}
	}
	remembered := ingest.Exporter{Templates: 1}
	if got := Notes(&remembered); !slices.Equal(got, []string{"nothing since the start"}) {
		t.Errorf("got %q", got)
	}
	fine := ingest.Exporter{Sampling: []uint32{1}, SkewMilliseconds: new(int64(1500))}
	if got := Notes(&fine); len(got) != 0 || Waiting(&fine, now) != "" {
		t.Errorf("got %q and %q", got, Waiting(&fine, now))
	}
}
