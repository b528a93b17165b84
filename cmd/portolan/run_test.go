// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/portolan/portolan/ingest/flow"
	"github.com/portolan/portolan/netns"
	"github.com/portolan/portolan/profiler"
	"github.com/portolan/portolan/profiler/api"
)

// refused runs a daemon that must not start, within a bounded time.
func refused(t *testing.T, code int, says string, args ...string) {
	t.Helper()
	var out bytes.Buffer
	got := execute(t.Context(), append([]string{"run"}, args...), &out, &out)
	if got != code || !strings.Contains(out.String(), says) {
		t.Errorf("run %v: exit code %d, want %d and %q\n%s", args, got, code, says, &out)
	}
}

// usedUDP is a UDP address of loopback that is taken.
func usedUDP(t *testing.T) string {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.LocalAddr().String()
}

func TestRunRefusals(t *testing.T) {
	p := startRun(t, "--listen", "127.0.0.1:0")
	free := []string{"--listen", "127.0.0.1:0", "--http", "none"}
	with := func(args ...string) []string { return append(args, free...) }
	refused(t, exitRuntime, "open in another process", with("--data", p.data)...)
	refused(t, exitRuntime, "in use", "--data", t.TempDir(), "--listen", usedUDP(t), "--http", "none")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	refused(t, exitRuntime, "choose another with --http", "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--http", l.Addr().String())
	refused(t, exitInput, `no such interface: "nosuch0"`, with("--data", t.TempDir(), "--interface", "nosuch0")...)
	refused(t, exitInput, "no network namespace", with("--data", t.TempDir(), "--netns", "portolan-no-such")...)
	refused(t, exitRuntime, "cannot make the data directory", with("--data", "/proc/no/such")...)
}

func TestRunDemandsARung(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: it makes network namespaces and tries AF_XDP in them")
	}
	a, b := newNS(t), newNS(t)
	if err := netns.Veth(a, "va", b, "vb", netns.VethOptions{AddrB: []netip.Prefix{netip.MustParsePrefix("192.0.2.2/24")}}); err != nil {
		t.Fatal(err)
	}
	refused(t, exitUnsupported, "zero-copy: bind: operation not supported", "--data", t.TempDir(), "--http", "none", "--netns", b.Path(), "--interface", "vb", "--require", "zc")
}

// What is posted before a restart is still there after it, and what comes again
// within the interval is answered duplicate and written nowhere. The templates are
// still there, too: the second daemon gets none.
func TestRestart(t *testing.T) {
	first := startRun(t, "--listen", "127.0.0.1:0")
	first.mustRun(t, "endpoints", "import", tempFile(t, "ip\n10.9.0.2\n"), "--data", first.data)
	export := func(p *running, templates bool) {
		t.Helper()
		addr := ""
		waitFor(t, "the UDP address", func() bool {
			var st api.Status
			p.get(t, "/api/v1/status", &st)
			for _, r := range st.ReceivePath {
				addr = r.Listen
			}
			return addr != ""
		})
		c, err := net.Dial("udp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		h := flow.V9Header{ExportTime: time.Now().UnixNano(), Uptime: 1000}
		datagrams := [][]byte{flow.AppendV9(nil, h, []flow.Record{{
			Src: netip.MustParseAddr("10.9.0.2").As16(), Dst: netip.MustParseAddr("198.51.100.1").As16(), SrcPort: 443, DstPort: 50000, Proto: 6, TCPFlags: 0x1b, Packets: 5,
		}})}
		if templates {
			datagrams = append(datagrams, flow.AppendV9Templates(nil, h)) // the data waits for them
		}
		for _, d := range datagrams {
			if _, err := c.Write(d); err != nil {
				t.Fatal(err)
			}
		}
		waitFor(t, "an acknowledged post", func() bool { return p.metric(t, `portolan_posts_total{outcome="acknowledged"}`) == 1 })
	}
	export(first, true)
	// What device it is follows the port, in a moment of its own.
	var before string
	waitFor(t, "the device", func() bool {
		before = first.mustRun(t, "endpoints", "show", "10.9.0.2", "--data", first.data, "--output", "json")
		return strings.Contains(before, `"device"`)
	})
	if code := first.stop(); code != exitOK {
		t.Fatalf("the first run ended with %d", code)
	}
	second := startRun(t, "--listen", "127.0.0.1:0", "--data", first.data)
	second.data = first.data
	export(second, false)
	if n := second.metric(t, `portolan_profiler_answers_total{answer="duplicate"}`); n != 1 {
		t.Errorf("%v duplicates\n%s", n, second.read(t, "/metrics"))
	}
	if after := second.mustRun(t, "endpoints", "show", "10.9.0.2", "--data", first.data, "--output", "json"); after != before {
		t.Errorf("before the restart %s\nafter %s", before, after)
	}
}

// Bad datagrams are counted by their reasons and disturb nothing else, and the
// status's books are those of the metrics.
func TestBadDatagrams(t *testing.T) {
	p := startRun(t, "--listen", "127.0.0.1:0")
	p.mustRun(t, "endpoints", "import", tempFile(t, "mac,ip\n02:00:00:00:00:01,10.9.0.2\n"), "--data", p.data)
	var st api.Status
	p.get(t, "/api/v1/status", &st)
	addr := st.ReceivePath[len(st.ReceivePath)-1].Listen
	for i, r := range st.ReceivePath { // several sockets share the address
		if r.Listen != addr {
			t.Fatalf("path %d: %+v", i, r)
		}
	}
	c, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	good := flow.AppendV5(nil, flow.V5Header{ExportTime: time.Now().UnixNano()}, []flow.Record{{
		Src: netip.MustParseAddr("10.9.0.2").As16(), SrcPort: 443, DstPort: 51000, Proto: 6, TCPFlags: 0x1b, Packets: 5,
	}})
	count := func(n byte, hi byte) []byte { b := bytes.Clone(good); b[2], b[3] = hi, n; return b }
	for _, b := range [][]byte{
		{}, {5}, good[:23], {0, 9, 0, 1}, append([]byte{0, 10}, good...), {0, 8, 0, 1}, // dropped: 6
		count(0, 0), count(31, 0), count(255, 255), append(bytes.Clone(good), 0), good, // decoded: 5
	} {
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, "eleven datagrams and one post", func() bool {
		p.get(t, "/api/v1/status", &st)
		return st.Ledger.Datagrams.Received == 11 && st.Ledger.Posts.Acknowledged == 1
	})
	l := st.Ledger
	if l.Datagrams.Decoded != 5 || l.Datagrams.Dropped["empty"] != 1 || l.Datagrams.Dropped["short_header"] != 3 ||
		l.Datagrams.Dropped["unknown_version"] != 1 || l.Datagrams.Dropped["bad_length"] != 1 {
		t.Errorf("%+v", l.Datagrams)
	}
	for problem, n := range map[string]uint64{"count_zero": 1, "count_over_max": 2, "count_past_end": 2, "trailing_bytes": 2} {
		if l.Problems[problem] != n {
			t.Errorf("%s: %d, want %d", problem, l.Problems[problem], n)
		}
		if m := p.metric(t, fmt.Sprintf("portolan_problems_total{reason=%q}", problem)); m != float64(n) {
			t.Errorf("metric of %s: %v", problem, m)
		}
	}
	if m := p.metric(t, `portolan_sides_total{outcome="observed"}`); m != float64(l.Sides.Observed) || m != 1 {
		t.Errorf("observed %v in the metrics, %d in the status", m, l.Sides.Observed)
	}
	var e profiler.Endpoint
	if err := json.Unmarshal(p.read(t, "/api/v1/endpoints/02:00:00:00:00:01"), &e); err != nil {
		t.Fatal(err)
	}
	if names := portNames(e.Listening); len(names) != 1 || names[0] != "tcp/443" {
		t.Errorf("%v", names)
	}
	for _, path := range []string{"/-/healthy", "/-/ready", "/"} {
		if len(p.read(t, path)) == 0 {
			t.Errorf("%s is empty", path)
		}
	}
	if out := p.mustRun(t, "status", "--data", p.data); !strings.Contains(out, "datagrams  11 received = 5 decoded + 1 bad_length + 1 empty + 3 short_header + 1 unknown_version") {
		t.Errorf("status:\n%s", out)
	}
}
