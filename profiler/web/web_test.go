// SPDX-License-Identifier: Apache-2.0

package web

import (
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/portolan/portolan/ingest"
	"github.com/portolan/portolan/profiler"
	"github.com/portolan/portolan/profiler/api"
	"github.com/portolan/portolan/store"
)

type source struct {
	status api.Status
	items  []profiler.Endpoint
	next   string
	after  string // as asked for
	err    error
}

func (s *source) Status() api.Status { return s.status }

func (s *source) Endpoints(after string, limit int) ([]profiler.Endpoint, string, error) {
	s.after = after
	if s.err != nil {
		return nil, "", s.err
	}
	return s.items[:min(limit, len(s.items))], s.next, nil
}

var now = time.Date(2026, 11, 23, 7, 0, 0, 0, time.UTC)

// working is a sensor that does its work.
func working() *source {
	queue := 0
	e := profiler.Endpoint{
		MAC: profiler.MAC{0, 0x11, 0x22, 0x33, 0x44, 0x55}, Hostname: "printer-3",
		Addresses: []netip.Addr{netip.MustParseAddr("10.1.0.5")}, UpdatedAt: now.Add(-90 * time.Second),
		Listening: []profiler.Port{{Proto: "tcp", Port: 9100, Service: "pdl-datastream", Evidence: "seen"}},
	}
	e.Finish()
	return &source{
		items: []profiler.Endpoint{e},
		status: api.Status{
			Sentence: "1 exporter, 84 k records/s, 0 lost", Version: "1.2.3", At: now, Endpoints: 1, Addresses: 1, Ports: "all", Interval: "24h0m0s",
			Ledger: ingest.Ledger{
				Datagrams: ingest.DatagramCounts{Received: 41, Decoded: 40, Dropped: map[string]uint64{"short_header": 1}},
				Records:   1200,
				Sides:     ingest.SideCounts{External: 1000, Duplicate: 1300, Undetermined: 1, Observed: 90, Dropped: map[string]uint64{"no_port": 9}},
				Posts:     ingest.PostCounts{Acknowledged: 80, InFlight: 7, Lost: map[string]uint64{"stale": 1}},
			},
			ReceivePath: []ingest.ReceivePath{{Interface: "eth1", Queue: &queue, Path: "copy", State: "up", Reason: "the driver has no zero-copy", Packets: 41, Program: map[string]uint64{"redirect": 41}}},
			Streams:     []ingest.Exporter{{Exporter: "192.0.2.1", Version: "v5", Datagrams: 40, Records: 1200, Lost: 30, LastSeen: now.Add(-time.Second)}},
		},
	}
}

func get(h http.Handler, target string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", target, nil))
	return w
}

// want reports what the page for s lacks of texts, and returns the page.
func want(t *testing.T, s *source, texts ...string) string {
	t.Helper()
	w := get(Handler(s), "/")
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	body := w.Body.String()
	for _, x := range texts {
		if !strings.Contains(body, x) {
			t.Errorf("the page lacks %s", x)
		}
	}
	if t.Failed() {
		t.Logf("%s", body)
	}
	return body
}

func TestPage(t *testing.T) {
	body := want(t, working(),
		`<p class="sentence">1 exporter, 84 k records/s, 0 lost</p>`, ">Working<",
		"eth1 queue 0", "copy-mode AF_XDP", "the driver has no zero-copy", "redirect 41",
		"192.0.2.1", "30 flows", "1 s ago", "printer-3", `href="/api/v1/endpoints/00:11:22:33:44:55"`, "10.1.0.5", "9100/tcp", "pdl-datastream", "1 min ago",
		`<meta http-equiv="refresh" content="5">`, `<html lang="en">`, `name="viewport"`,
	)
	for _, never := range []string{"<script", "http://", "https://", "style=", " onload"} {
		if strings.Contains(body, never) {
			t.Errorf("the page has %q", never)
		}
	}
	if n, m := strings.Count(body, "<table"), strings.Count(body, "<caption>"); n != 4 || n != m {
		t.Errorf("%d tables with %d captions", n, m)
	}
}

// What an exporter lacks, and what is to know of it, is in its row.
func TestExporterRemarks(t *testing.T) {
	s := working()
	s.status.Streams = append(s.status.Streams,
		ingest.Exporter{Exporter: "192.0.2.2", Version: "v9", Templates: 17, Waiting: 3, WaitingSince: now.Add(-4 * time.Minute), Sampling: []uint32{512}, SkewMilliseconds: new(int64(-90_000)), LastSeen: now},
		ingest.Exporter{Version: "v1"})
	body := want(t, s, `<span class="tag waiting">waiting for template since 2026-11-23T06:56:00Z (4 min ago, 3 data sets)</span>`,
		"sampled 1 in 512", "clock 1 min behind", "0 messages", ">17<", "no address")
	if strings.Count(body, "tag waiting") != 2 { // the other is the book that is off
		t.Error("an exporter that waits for nothing is shown to")
	}
}

func TestBooksAddUp(t *testing.T) {
	list := books(&working().status.Ledger)
	for i, off := range []uint64{0, 0, 2} { // the last is off by two, as a page read under load can be
		b := list[i]
		var sum uint64
		for _, x := range b.Terms {
			sum += x.N
		}
		if b.Off != off || b.Total-sum != off {
			t.Errorf("%s: %d of %d, off by %d, want %d", b.Name, sum, b.Total, b.Off, off)
		}
	}
	want(t, working(), "2 × 1,200 records", "<b>2,400</b>", "<b>1,300</b> <small>duplicate</small>", "off by 2", ">yes<")
}

func TestHeaders(t *testing.T) {
	h := Handler(working())
	for target, media := range map[string]string{"/": "text/html; charset=utf-8", "/style.css": "text/css; charset=utf-8", "/icon.svg": "image/svg+xml", "/nothing": "text/plain; charset=utf-8"} {
		w := get(h, target)
		for k, v := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
			"X-Content-Type-Options":  "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store", "Content-Type": media,
		} {
			if got := w.Header().Get(k); got != v {
				t.Errorf("%s: %s is %q, want %q", target, k, got, v)
			}
		}
	}
}

func TestUnknownPaths(t *testing.T) {
	h := Handler(working())
	for _, target := range []string{"/index.html", "/page.html", "/favicon.ico", "/a/b", "/style.css/x"} {
		if w := get(h, target); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", target, w.Code)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("POST", "/", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", w.Code)
	}
}

// TestHostile puts markup and characters that turn the text around into every
// field that somebody else fills in.
func TestHostile(t *testing.T) {
	const img, rtl = `"><img src=x onerror=alert(1)>`, "evil\u202egpj.exe\x07\u2066\u200b"
	for name, bad := range map[string]string{"markup": img, "direction": rtl} {
		s := working()
		e := &s.items[0]
		e.ID, e.Hostname, e.MACVendor, e.OSType = bad, bad, bad, bad
		e.Device = &profiler.Device{Category: bad, Family: bad, Name: bad}
		e.Listening[0].Service, e.Listening[0].Evidence, e.Listening[0].Proto = bad, bad, bad
		st := &s.status
		st.Sentence, st.Attention, st.Version, st.Ports, st.Interval = bad, []string{bad}, bad, bad, bad
		st.ReceivePath[0].Interface, st.ReceivePath[0].Reason, st.ReceivePath[0].State, st.ReceivePath[0].Path = bad, bad, bad, bad
		st.ReceivePath[0].Drops, st.ReceivePath[0].Program = map[string]uint64{bad: 1}, map[string]uint64{bad: 1}
		st.Ledger.Datagrams.Dropped = map[string]uint64{bad: 1}
		st.Streams[0].Exporter, st.Streams[0].Version = bad, bad
		s.next = bad
		body := want(t, s)
		if strings.Contains(body, "<img src=x") || strings.ContainsAny(body, "\u202e\u2066\u200b\x07") {
			t.Errorf("%s got through:\n%s", name, body)
		}
		if name == "direction" && !strings.Contains(html.UnescapeString(body), "evil⟨U+202E⟩gpj.exe⟨U+0007⟩⟨U+2066⟩⟨U+200B⟩") {
			t.Error("the characters do not show")
		}
	}
	if got := show("Café – 打印机 👍"); got != "Café – 打印机 👍" {
		t.Errorf("show spoils %q", got)
	}
	if got := show("a\xffb"); got != "a⟨U+FFFD⟩b" {
		t.Errorf("show(invalid) = %q", got)
	}
}

func TestEmptyStates(t *testing.T) {
	s := &source{status: api.Status{At: now, ReceivePath: []ingest.ReceivePath{{Listen: "[::]:2055", Path: "udp", State: "up"}}}}
	want(t, s, "Waiting for datagrams", "Nothing has been received. Let a router export NetFlow, IPFIX or sFlow to this machine at UDP [::]:2055.", "portolan doctor", "portolan endpoints import FILE.csv")

	s.status.ReceivePath = nil
	want(t, s, "No source is open")

	s = working()
	s.status.Streams = nil
	want(t, s, "none of them is a flow export that can be read")

	s = working()
	s.status.Attention, s.status.Urgent = []string{"The <cable> is out."}, 1
	want(t, s, "Needs attention", "<li>The &lt;cable&gt; is out.</li>")
	s.status.Urgent = 0
	want(t, s, "Working, with remarks")
}

func TestPaging(t *testing.T) {
	s := working()
	s.next = "a&b=c"
	body := get(Handler(s), "/?after=x%26y").Body.String()
	if s.after != "x&y" {
		t.Errorf("asked for %q", s.after)
	}
	if !strings.Contains(body, `<a href="/?after=a%26b%3dc" rel="next">`) || !strings.Contains(body, ">First page<") {
		t.Errorf("no links in %s", body)
	}
	s.next = ""
	if body := want(t, s); strings.Contains(body, "<nav") {
		t.Error("links on a list of one page")
	}
	s.items = nil
	for err, status := range map[error]int{store.ErrCursor: http.StatusNotFound, errors.New("the disk is gone"): http.StatusInternalServerError} {
		s.err = fmt.Errorf("list: %w", err)
		w := get(Handler(s), "/?after=zz")
		if w.Code != status || !strings.Contains(w.Body.String(), `<a href="/">First page</a>`) || !strings.Contains(w.Body.String(), "84 k records/s") {
			t.Errorf("%v: %d %s", err, w.Code, w.Body)
		}
	}
}

func TestLongRows(t *testing.T) {
	s := working()
	e := &s.items[0]
	e.Listening, e.Addresses = nil, nil
	for i := range profiler.MaxPorts {
		e.Listening = append(e.Listening, profiler.Port{Proto: "tcp", Port: uint16(i + 1)})
	}
	for i := range 10 {
		e.Addresses = append(e.Addresses, netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}))
	}
	for i := range 150 {
		s.status.Streams = append(s.status.Streams, ingest.Exporter{Exporter: fmt.Sprintf("198.51.100.%d", i)})
	}
	body := want(t, s, "24/tcp", "and 4072 more", "and 6 more", "and 51 more", "198.51.100.98")
	if strings.Contains(body, ">25/tcp") || strings.Contains(body, "198.51.100.99<") {
		t.Error("a row without end")
	}
}

// A port shows its evidence, a withdrawn one is marked and not among the others,
// and what contradicts a device stands beside it.
func TestDeviceAndWithdrawn(t *testing.T) {
	s := working()
	e := &s.items[0]
	e.Device = &profiler.Device{Category: "Printer", Family: "HP", Name: "HP LaserJet", Rel: 95, Score: 80}
	e.Other, e.Conflict = &profiler.Device{Category: "<b>Camera", Rel: 90, Score: 70}, true
	e.Listening[0].Evidence = "fan-in"
	e.Withdrawn = []profiler.Port{{Proto: "udp", Port: 40000, Evidence: "class", WithdrawnAt: now}}
	body := want(t, s, "reliability 95, score 80", `<span class="tag wrong">conflict</span>`, "or <bdi>&lt;b&gt;Camera</bdi>", "(fan-in)",
		"<s title=", "evidence was: class, withdrawn 2026-11-23T", "40000/udp</s>")
	if strings.Contains(body, `class="port" title=" evidence: class`) {
		t.Error("a withdrawn port is listed as listening")
	}
}
