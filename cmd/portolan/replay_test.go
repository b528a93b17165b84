// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portolan/portolan/ingest"
	"github.com/portolan/portolan/ingest/flow"
	"github.com/portolan/portolan/profiler"
)

// replayed runs the verb, with every port that is seen, reads its JSON and checks
// the books.
func replayed(t testing.TB, args ...string) replayResult {
	t.Helper()
	got := offlineVerb(t, append([]string{"replay", "--output", "json", "--ports", "all"}, args...)...)
	if got.code != 0 {
		t.Fatalf("replay %q: exit %d, %s", args, got.code, got.stderr)
	}
	var r replayResult
	if err := json.Unmarshal([]byte(got.stdout), &r); err != nil {
		t.Fatal(err)
	}
	balanced(t, &r.Ledger)
	return r
}

// balanced checks the three identities.
func balanced(t testing.TB, l *ingest.Ledger) {
	t.Helper()
	sum := func(m map[string]uint64) (n uint64) {
		for _, v := range m {
			n += v
		}
		return n
	}
	if d := l.Datagrams; d.Received != d.Decoded+sum(d.Dropped) {
		t.Errorf("datagrams do not add up: %+v", d)
	}
	if s := l.Sides; 2*l.Records != s.External+s.Duplicate+s.Undetermined+s.Observed+sum(s.Dropped) {
		t.Errorf("sides of %d records do not add up: %+v", l.Records, s)
	}
	if p := l.Posts; l.Sides.Observed != p.Acknowledged+p.InFlight+sum(p.Lost) || p.InFlight != 0 {
		t.Errorf("posts of %d observed do not add up: %+v", l.Sides.Observed, p)
	}
}

// The golden files hold, by hand: 5 datagrams were received, 4 of them decoded.
// Of 2 × 8 sides 4 are external (a name server, 198.51.100.7, multicast, and
// 203.0.113.9) and 3 have no port (a ping's two, GRE's one). Of the 9 others
// 3 are duplicates: port 9100 of 10.1.0.5 is seen three times and port 50000 of
// 10.1.0.20 twice. Seven flows were lost on the way from 192.0.2.1.
func TestReplay(t *testing.T) {
	t.Chdir("testdata")
	testdata, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	threeFiles(t, ".")
	args := []string{"replay", "a.pcap", "b.pcap", "c.dat", "--ports", "all", "--endpoints", filepath.Join(testdata, "endpoints.csv"), "--internal", "10.1.0.0/24"}
	asJSON := offlineVerb(t, append(args, "--output", "json")...)
	asTable := offlineVerb(t, args...)
	again := offlineVerb(t, append(args, "--output", "json")...)
	otherOrder := slices.Clone(args)
	otherOrder[1], otherOrder[2], otherOrder[3] = "c.dat", "b.pcap", "a.pcap"
	reversed := offlineVerb(t, append(otherOrder, "--output", "json")...)

	t.Chdir(filepath.Dir(testdata))
	golden(t, "replay.json", asJSON.stdout)
	golden(t, "replay.txt", asTable.stdout)
	if asJSON.code != 0 || asJSON.stderr != "" || asTable.code != 0 || asTable.stderr != "" {
		t.Errorf("exit %d and %d, stderr %q and %q", asJSON.code, asTable.code, asJSON.stderr, asTable.stderr)
	}
	if diff := cmp.Diff(asJSON.stdout, again.stdout); diff != "" {
		t.Errorf("the second run differs:\n%s", diff)
	}
	if diff := cmp.Diff(asJSON.stdout, reversed.stdout); diff != "" {
		t.Errorf("the order of the files decides where their times should:\n%s", diff)
	}
	var r replayResult
	if err := json.Unmarshal([]byte(asJSON.stdout), &r); err != nil {
		t.Fatal(err)
	}
	balanced(t, &r.Ledger)
}

// An address that becomes an endpoint when first seen misses nothing of what one
// that was known from the beginning gets.
func TestDiscoveredEndpointsMissNothing(t *testing.T) {
	dir := t.TempDir()
	rng := newTestRand()
	var datagrams []sent
	for i := range 60 {
		at := seven.Add(time.Duration(i) * time.Second)
		var records []flow.Record
		for range 1 + rng.IntN(30) {
			side := func() string { return fmt.Sprintf("10.%d.0.%d:%d", rng.IntN(2), 1+rng.IntN(40), 1+rng.IntN(50)) }
			records = append(records, flowOf(at, []uint8{protoTCP, protoUDP}[rng.IntN(2)], side(), side()))
		}
		datagrams = append(datagrams, sent{at, router4, sensor4, message(at, flow.V5Header{}, records...)})
	}
	path := filepath.Join(dir, "all.pcap")
	writePcap(t, path, datagrams...)
	found := replayed(t, path, "--internal", "10.1.0.0/16")
	csv := "ip\n"
	for _, e := range found.Endpoints {
		csv += e.ID + "\n"
	}
	if len(found.Endpoints) != 40 {
		t.Errorf("%d endpoints of 40 were found", len(found.Endpoints))
	}
	writeFile(t, filepath.Join(dir, "known.csv"), []byte(csv))
	known := replayed(t, path, "--endpoints", filepath.Join(dir, "known.csv"))
	for i := range known.Endpoints {
		if e := &known.Endpoints[i]; !e.AddedAt.Equal(seven) {
			t.Errorf("%s of the file was added at %s", e.ID, e.AddedAt)
		}
		if e := &found.Endpoints[i]; !e.AddedAt.Equal(firstPort(e)) {
			t.Errorf("%s was added at %s and first seen at %s", e.ID, e.AddedAt, firstPort(e))
		}
		known.Endpoints[i].AddedAt = found.Endpoints[i].AddedAt
	}
	if diff := cmp.Diff(known, found, cmp.AllowUnexported(replayResult{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("known (-) and found (+) differ:\n%s", diff)
	}
}

// firstPort is when the first port of an endpoint was seen.
func firstPort(e *profiler.Endpoint) time.Time {
	var first time.Time
	for _, p := range e.Listening {
		if first.IsZero() || p.FirstSeen.Before(first) {
			first = p.FirstSeen
		}
	}
	return first
}

func TestReplayInterval(t *testing.T) {
	path := filepath.Join(t.TempDir(), "day.pcap")
	var datagrams []sent
	for _, d := range []time.Duration{0, 59 * time.Minute, 2 * time.Hour} {
		at := seven.Add(d)
		datagrams = append(datagrams, sent{at, router4, sensor4, message(at, flow.V5Header{}, flowOf(at, protoTCP, "10.1.0.5:22", "203.0.113.9:61000"))})
	}
	writePcap(t, path, datagrams...)
	for interval, want := range map[string]map[string]uint64{
		"24h": {"added": 1, "updated": 0, "duplicate": 0, "withdrawn": 0},
		"1h":  {"added": 1, "updated": 1, "duplicate": 0, "withdrawn": 0},
	} {
		r := replayed(t, path, "--interval", interval)
		if diff := cmp.Diff(want, r.Ledger.Posts.Answers); diff != "" {
			t.Errorf("--interval %s: %s", interval, diff)
		}
		updated := seven
		if interval == "1h" {
			updated = seven.Add(2 * time.Hour)
		}
		if e := r.Endpoints[0]; !e.UpdatedAt.Equal(updated) || !e.Listening[0].LastSeen.Equal(updated) || !e.AddedAt.Equal(seven) {
			t.Errorf("--interval %s: added %s, updated %s, last seen %s", interval, e.AddedAt, e.UpdatedAt, e.Listening[0].LastSeen)
		}
	}
}

func TestReplayInternal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.pcap")
	var records []flow.Record
	for i, a := range []string{"10.0.0.1", "172.16.0.1", "172.32.0.1", "192.168.0.1", "169.254.0.1", "198.51.100.1",
		"127.0.0.1", "0.0.0.0", "224.0.0.251", "255.255.255.255"} {
		records = append(records, flowOf(seven, protoTCP, a+":22", fmt.Sprintf("203.0.113.%d:61000", i)))
	}
	writePcap(t, path, sent{seven, router4, sensor4, message(seven, flow.V5Header{}, records...)})
	private := []string{"10.0.0.1", "172.16.0.1", "192.168.0.1"}
	writeFile(t, path+".csv", []byte("mac,ip\n02:00:00:00:00:01,198.51.100.1\n"))
	for _, c := range []struct {
		args []string
		want []string
	}{
		{nil, private},
		{[]string{"--internal", "10.0.0.0/8,192.168.0.0/16"}, []string{"10.0.0.1", "192.168.0.1"}},
		{[]string{"--internal", "::ffff:10.0.0.0/104"}, []string{"10.0.0.1"}},
		{[]string{"--internal", "198.51.100.1"}, []string{"198.51.100.1"}},
		{[]string{"--internal", "fe80::/10"}, nil},
		{[]string{"--internal", "224.0.0.0/3"}, nil},
		{[]string{"--internal", "0.0.0.0/8,127.0.0.0/8,169.254.0.0/16"}, []string{"169.254.0.1", "127.0.0.1"}},
		{[]string{"--endpoints", path + ".csv"}, []string{"02:00:00:00:00:01"}},
		{[]string{"--endpoints", path + ".csv", "--internal", "198.51.100.0/24"}, []string{"02:00:00:00:00:01"}},
		{[]string{"--endpoints", path + ".csv", "--internal", "10.0.0.0/8"}, []string{"02:00:00:00:00:01", "10.0.0.1"}},
	} {
		var got []string
		for _, e := range replayed(t, append(c.args, path)...).Endpoints {
			got = append(got, e.ID)
			if len(e.Listening) != 1 || e.Listening[0].Port != 22 || e.Listening[0].Evidence != "seen" || len(e.Contacted) != 0 {
				t.Errorf("%q: %s has %+v", c.args, e.ID, e.Listening)
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", c.args, diff)
		}
	}
}

func TestReplayUsage(t *testing.T) {
	for _, c := range []struct {
		args   []string
		stderr string
	}{
		{nil, "arg"},
		{[]string{"--ports", "some", "x"}, "--ports"},
		{[]string{"--ports", "some", "x"}, "--ports"},
		{[]string{"--interval", "59m", "x"}, "at least 1h"},
		{[]string{"--interval", "day", "x"}, "--interval"},
		{[]string{"--internal", "10.0.0.0/33", "x"}, "10.0.0.0/33"},
		{[]string{"--internal", "10.0.0.1/8", "x"}, "10.0.0.0/8"},
		{[]string{"--internal", "", "x"}, "--internal"},
		{[]string{"--output", "xml", "x"}, "--output"},
	} {
		got := offlineVerb(t, append([]string{"replay"}, c.args...)...)
		if got.code != 2 || got.stdout != "" || !strings.Contains(got.stderr, c.stderr) {
			t.Errorf("%q: exit %d, stdout %q, stderr %q", c.args, got.code, got.stdout, got.stderr)
		}
	}
}

func TestReplayBadInput(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	t.Chdir(t.TempDir())
	threeFiles(t, ".")
	whole, err := os.ReadFile("a.pcap")
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, "cut.pcap", whole[:len(whole)-3])
	writeFile(t, "bad.csv", []byte("mac,ip\n,010.0.0.1\n02:00:00:00:00:01,10.0.0.1\nx,10.0.0.2\n,10.0.0.1\n"))
	for _, c := range []struct {
		args   []string
		stderr []string
	}{
		{[]string{"missing.pcap", "a.pcap", "."}, []string{"missing.pcap: no such file", ".: is a directory"}},
		{[]string{"cut.pcap", "b.pcap"}, []string{"cut.pcap: packet 4: the file ends"}},
		{[]string{"--endpoints", "missing.csv", "a.pcap"}, []string{"missing.csv: no such file"}},
		{[]string{"--endpoints", "bad.csv", "a.pcap"}, []string{"bad.csv", "row 2, column ip", "row 4, column mac", "row 5, column ip"}},
	} {
		got := offlineVerb(t, append([]string{"replay", "--output", "json"}, c.args...)...)
		if got.code != 3 || got.stdout != "" {
			t.Errorf("%q: exit %d, stdout %q", c.args, got.code, got.stdout)
		}
		for _, want := range c.stderr {
			if !strings.Contains(got.stderr, want) {
				t.Errorf("%q: %q is not in %s", c.args, want, got.stderr)
			}
		}
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestReplayWithoutExports(t *testing.T) {
	t.Chdir(t.TempDir())
	writePcap(t, "dns.pcap", sent{seven, router4, netip.MustParseAddrPort("192.0.2.53:53"), make([]byte, 40)})
	writePcap(t, "none.pcap")
	got := offlineVerb(t, "replay", "--output", "json", "dns.pcap", "none.pcap")
	var r replayResult
	if err := json.Unmarshal([]byte(got.stdout), &r); err != nil {
		t.Fatal(err)
	}
	if got.code != 0 || r.Ledger.Datagrams.Received != 0 || r.Exporters == nil || r.Endpoints == nil || !strings.Contains(got.stderr, "no flow export") {
		t.Errorf("exit %d, %+v, %s", got.code, r, got.stderr)
	}
	if table := offlineVerb(t, "replay", "dns.pcap"); table.code != 0 || !strings.Contains(table.stdout, "datagrams  0 received") {
		t.Errorf("exit %d, %s", table.code, table.stdout)
	}
}

// Raw files have the time of the message's header.
func TestReplayRawFile(t *testing.T) {
	dir := t.TempDir()
	threeFiles(t, dir)
	r := replayed(t, filepath.Join(dir, "c.dat"))
	at := seven.Add(45 * time.Second)
	if len(r.Endpoints) != 1 || !r.Endpoints[0].Listening[0].FirstSeen.Equal(at) || !r.Endpoints[0].AddedAt.Equal(at) {
		t.Errorf("%+v", r.Endpoints)
	}
	if len(r.Exporters) != 1 || r.Exporters[0].Exporter != "" || !r.Exporters[0].LastSeen.Equal(at) {
		t.Errorf("%+v", r.Exporters)
	}
}

// Endpoints are discovered in records that waited for their template, too, and
// each datagram is decoded once: the books have every record once.
func TestReplayOfDataBeforeItsTemplate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "v9.pcap")
	h := flow.V9Header{ExportTime: seven.UnixNano(), Uptime: 3_600_000}
	data := flow.AppendV9(nil, h, []flow.Record{flowOf(seven, protoTCP, "10.1.0.20:50000", "10.1.0.5:9100")})
	sflow := flow.AppendSFlow(nil, flow.SFlowHeader{Agent: router4.Addr().As16(), Sampling: 100},
		[]flow.Record{flowOf(seven, protoUDP, "10.1.0.21:5353", "203.0.113.9:53")})
	odd := netip.AddrPortFrom(sensor4.Addr(), 9999)
	writePcap(t, path,
		sent{seven, router4, odd, data},
		sent{seven.Add(time.Minute), router4, odd, flow.AppendV9Templates(nil, h)},
		sent{seven.Add(2 * time.Minute), router4, odd, sflow})
	r := replayed(t, path)
	if l := r.Ledger; l.Datagrams.Decoded != 3 || l.Records != 2 || l.WaitingSets != 0 || l.Sides.Observed != 3 || l.Posts.Acknowledged != 3 {
		t.Errorf("%+v", l)
	}
	var got []string
	for i := range r.Endpoints {
		e := &r.Endpoints[i]
		got = append(got, e.ID+" "+portList(e.Listening, 9)+" "+e.Listening[0].FirstSeen.Format("15:04"))
	}
	if want := []string{"10.1.0.20 tcp/50000 07:00", "10.1.0.5 tcp/9100 07:00", "10.1.0.21 udp/5353 07:02"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if len(r.Exporters) != 2 || r.Exporters[0].Templates+r.Exporters[1].Templates != 2 {
		t.Errorf("%+v", r.Exporters)
	}
}

// One datagram of softflowd, carried in three ways: three requests from 10.77.0.1
// to a web server on port 8080 of 10.77.0.2, and one to port 9, which refused.
func TestReplayOfARealExporter(t *testing.T) {
	from := filepath.Join("..", "..", "ingest", "capture", "testdata")
	for file, exporter := range map[string]string{"softflowd-v5.pcap": "127.0.0.1", "softflowd-v5-ipv6-any.pcap": "::1", "softflowd-v5.dat": ""} {
		r := replayed(t, filepath.Join(from, file))
		if l := r.Ledger; l.Datagrams.Decoded != 1 || l.Records != 8 || l.Sides.External != 0 || len(l.Problems) != 0 {
			t.Errorf("%s: %+v", file, l)
		}
		if len(r.Exporters) != 1 || r.Exporters[0].Exporter != exporter {
			t.Errorf("%s: exporters %+v", file, r.Exporters)
		}
		if len(r.Endpoints) != 2 {
			t.Fatalf("%s: endpoints %+v", file, r.Endpoints)
		}
		client, server := r.Endpoints[0], r.Endpoints[1]
		if client.ID != "10.77.0.1" || server.ID != "10.77.0.2" || len(client.Listening) != 4 ||
			portList(server.Listening, 9) != "tcp/9 tcp/8080" {
			t.Errorf("%s: client %s with %s, server %s with %s", file, client.ID, portList(client.Listening, 9), server.ID, portList(server.Listening, 9))
		}
	}
}

func BenchmarkReplay(b *testing.B) {
	const datagrams = 2000
	path := manyRecords(b, datagrams)
	for b.Loop() {
		if got := offlineVerb(b, "replay", path); got.code != 0 {
			b.Fatalf("exit %d, %s", got.code, got.stderr)
		}
	}
	b.ReportMetric(float64(b.N)*datagrams*flow.MaxV5Records/b.Elapsed().Seconds(), "records/s")
}
