// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/portolan/portolan/ingest/flow"
	"github.com/portolan/portolan/profiler"
	"github.com/portolan/portolan/profiler/api"
)

// reload asks a daemon on its local socket.
func (p *running) reload(t *testing.T) (int, string) {
	t.Helper()
	c := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", filepath.Join(p.data, api.SocketName))
	}}}
	defer c.CloseIdleConnections()
	res, err := c.Post("http://portolan/-/reload", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

func (p *running) interval(t *testing.T) string {
	t.Helper()
	var st api.Status
	p.get(t, "/api/v1/status", &st)
	return st.Interval
}

// dial opens a UDP socket to the daemon.
func (p *running) dial(t *testing.T) net.Conn {
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
	t.Cleanup(func() { c.Close() })
	return c
}

// synAck is a flow that shows a listening port: its source has answered.
func synAck(src string, port uint16, dst string, start, end time.Time) []byte {
	r := flow.Record{
		Src: netip.MustParseAddr(src).As16(), Dst: netip.MustParseAddr(dst).As16(), SrcPort: port, DstPort: 50000,
		Proto: 6, TCPFlags: 0x1b, Packets: 10, Bytes: 4000, Start: start.UnixNano(), End: end.UnixNano(),
	}
	return flow.AppendV5(nil, flow.V5Header{ExportTime: time.Now().UnixNano(), Uptime: 1 << 30}, []flow.Record{r})
}

func write(t *testing.T, c net.Conn, b []byte) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
}

func rewrite(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestReload: what can change at run time does, by both ways, what is wrong
// changes nothing, and what needs a restart is left as it was.
func TestReload(t *testing.T) {
	file := tempFile(t, "interval: 24h\nports: all\n")
	p := startRun(t, "--listen", "127.0.0.1:0", "--config", file)
	c := p.dial(t)
	now := time.Now()
	write(t, c, synAck("10.9.0.2", 443, "198.51.100.1", now, now))
	waitFor(t, "a record", func() bool { return p.metric(t, `portolan_records_total{version="v5"}`) == 1 })

	for _, bad := range []string{"interval: 1m\n", "interval: 2h\ndiscover: [10.9.0.1/24]\n", "interval: 2h\nnothing: 1\n", "interval: 2h\nrules: /no/such\n"} {
		rewrite(t, file, bad)
		if code, body := p.reload(t); code != http.StatusUnprocessableEntity || !strings.Contains(body, filepath.Base(file)) || p.interval(t) != "24h0m0s" {
			t.Errorf("%q: %d %s, interval %s", bad, code, body, p.interval(t))
		}
	}

	rewrite(t, file, "interval: 2h\nports: inferred\nforget: never\ndiscover: [10.9.0.0/24]\ndiscover_limit: 1\nlog_level: error\n")
	if code, body := p.reload(t); code != http.StatusOK || p.interval(t) != "2h0m0s" {
		t.Fatalf("%d %s, interval %s", code, body, p.interval(t))
	}
	waitFor(t, "an endpoint that is discovered", func() bool {
		write(t, c, synAck("10.9.0.2", 443, "198.51.100.1", now, now))
		return p.metric(t, "portolan_discovered_total") == 1
	})
	waitFor(t, "its port, seen by all", func() bool {
		write(t, c, synAck("10.9.0.2", 443, "198.51.100.1", now, now))
		return strings.Contains(string(p.read(t, "/api/v1/endpoints")), `"evidence":"seen"`)
	})
	waitFor(t, "one that is not, because of the limit", func() bool {
		write(t, c, synAck("10.9.0.3", 443, "198.51.100.1", now, now))
		return p.metric(t, `portolan_discover_dropped_total{reason="limit"}`) >= 1
	})
	if n := p.metric(t, "portolan_endpoints"); n != 1 {
		t.Errorf("%v endpoints", n)
	}

	rewrite(t, file, "interval: 3h\nexporters: [192.0.2.0/24]\n")
	waitFor(t, "the interval after SIGHUP", func() bool {
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		return p.interval(t) == "3h0m0s"
	})
	waitFor(t, "a datagram of nobody who may send", func() bool {
		write(t, c, synAck("10.9.0.2", 443, "198.51.100.1", now, now))
		return p.metric(t, `portolan_datagrams_dropped_total{reason="denied"}`) >= 1
	})
}

// TestReloadKeepsFlags: a flag comes before the file, whatever the file says then.
func TestReloadKeepsFlags(t *testing.T) {
	file := tempFile(t, "interval: 24h\n")
	p := startRun(t, "--listen", "127.0.0.1:0", "--config", file, "--interval", "5h", "--discover", "10.9.0.0/24,2001:db8::/64", "--discover-limit", "7")
	rewrite(t, file, "interval: 2h\n")
	if code, body := p.reload(t); code != http.StatusOK || p.interval(t) != "5h0m0s" {
		t.Errorf("%d %s, interval %s", code, body, p.interval(t))
	}
}

// TestAddressMoves: the new holder gets its own port posted though the old one
// had the same a moment ago, the old one keeps what it had, and a flow of before
// the move is nobody's. All of that still holds after a restart.
func TestAddressMoves(t *testing.T) {
	p := startRun(t, "--listen", "127.0.0.1:0")
	const oldMAC, newMAC = "02:00:00:00:00:01", "02:00:00:00:00:02"
	ports := func(p *running, mac string) int {
		var e profiler.Endpoint
		p.get(t, "/api/v1/endpoints/"+mac, &e)
		return len(e.Listening)
	}
	p.mustRun(t, "endpoints", "import", tempFile(t, "mac,ip\n"+oldMAC+",10.9.0.2\n"), "--data", p.data)
	c := p.dial(t)
	before := time.Now()
	write(t, c, synAck("10.9.0.2", 443, "198.51.100.1", before, before))
	waitFor(t, "a port of the first holder", func() bool { return ports(p, oldMAC) == 1 })

	p.mustRun(t, "endpoints", "import", tempFile(t, "mac,ip\n"+newMAC+",10.9.0.2\n"), "--data", p.data)
	after := time.Now()
	write(t, c, synAck("10.9.0.2", 22, "198.51.100.1", before.Add(-time.Second), before))
	write(t, c, synAck("10.9.0.2", 23, "198.51.100.1", before, time.Now()))
	dropped := func(p *running, reason string) float64 {
		return p.metric(t, `portolan_sides_dropped_total{reason="`+reason+`"}`)
	}
	waitFor(t, "flows that are nobody's", func() bool { return dropped(p, "before_move") == 1 && dropped(p, "straddles_move") == 1 })
	waitFor(t, "the clock of the export to have passed the move", func() bool { return time.Since(after) > 10*time.Millisecond })
	now := time.Now()
	write(t, c, synAck("10.9.0.2", 443, "198.51.100.1", now, now))
	waitFor(t, "the same port of the new holder", func() bool { return ports(p, newMAC) == 1 })
	if n := ports(p, oldMAC); n != 1 {
		t.Errorf("the former holder has %d ports", n)
	}
	if code := p.stop(); code != exitOK {
		t.Fatalf("the run ended with %d", code)
	}
	second := startRun(t, "--listen", "127.0.0.1:0", "--data", p.data)
	write(t, second.dial(t), synAck("10.9.0.2", 22, "198.51.100.1", before.Add(-time.Second), before))
	waitFor(t, "a flow that is nobody's after a restart", func() bool { return dropped(second, "before_move") == 1 })
}
