// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bench

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/portolan/portolan/ingest/flow"
	"github.com/portolan/portolan/profiler"
)

// smallDay is what most tests look at: two hours of work.
func smallDay() DayConfig {
	return DayConfig{Endpoints: 60, Duration: 2 * time.Hour, Start: time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)}
}

func newDay(t *testing.T, c DayConfig) *Day {
	t.Helper()
	d, err := NewDay(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// readDay decodes a whole day and gives each record with the time of its datagram.
func readDay(t *testing.T, d *Day, each func(at time.Time, exporter netip.Addr, r *flow.Record)) (datagrams, records int) {
	t.Helper()
	decoder := flow.NewDecoder(flow.NewStreams(flow.Limits{}))
	last := time.Time{}
	for {
		g, ok := d.Next()
		if !ok {
			break
		}
		if g.At.Before(last) {
			t.Fatalf("a datagram of %v after one of %v", g.At, last)
		}
		last = g.At
		datagrams++
		if drop := decoder.Begin(g.Exporter.As16(), g.At.UnixNano(), g.Payload); drop != 0 {
			t.Fatalf("datagram %d: %v", datagrams, drop)
		}
		for b := decoder.Next(); b != nil; b = decoder.Next() {
			records += len(b.Records)
			for i := range b.Records {
				each(g.At, g.Exporter, &b.Records[i])
			}
		}
		if p := decoder.Problems(); p != 0 {
			t.Fatalf("datagram %d has problems %b", datagrams, p)
		}
	}
	return datagrams, records
}

func TestDayIsTheSameForTheSameSeed(t *testing.T) {
	sum := func(c DayConfig) string {
		h := sha256.New()
		d := newDay(t, c)
		for g, ok := d.Next(); ok; g, ok = d.Next() {
			fmt.Fprintf(h, "%v %v %x\n", g.At, g.Exporter, g.Payload)
		}
		fmt.Fprint(h, d.Truth())
		return fmt.Sprintf("%x", h.Sum(nil))
	}
	c := DayConfig{Endpoints: 60, Duration: 20 * time.Minute, Moves: true}
	first := sum(c)
	if again := sum(c); again != first {
		t.Error("another day for the same seed")
	}
	c.Seed = 1
	if other := sum(c); other == first {
		t.Error("the same day for another seed")
	}
}

// TestDayHappensWhoeverWatches: what exporters see changes nothing of what is.
func TestDayHappensWhoeverWatches(t *testing.T) {
	c := smallDay()
	d := newDay(t, c)
	_, all := readDay(t, d, func(time.Time, netip.Addr, *flow.Record) {})
	want := d.Truth()
	for _, change := range []func(c *DayConfig){
		func(c *DayConfig) { c.Sampling = 100 },
		func(c *DayConfig) { c.Version = flow.V9 },
		func(c *DayConfig) { c.Version, c.Sampling = flow.IPFIX, 10 },
		func(c *DayConfig) { c.Exporters = DefaultExporters()[:1] },
	} {
		c := smallDay()
		change(&c)
		d := newDay(t, c)
		_, records := readDay(t, d, func(_ time.Time, _ netip.Addr, r *flow.Record) {
			if c.Sampling > 1 && r.Sampling != uint32(c.Sampling) {
				t.Fatalf("%v: a record says 1 in %d", d.Config().Version, r.Sampling)
			}
		})
		if !reflect.DeepEqual(d.Truth(), want) {
			t.Errorf("%+v: another truth", c)
		}
		if c.Sampling > 1 && records >= all/2 {
			t.Errorf("1 in %d: %d records of %d", c.Sampling, records, all)
		}
	}
}

// TestDayTruthIsWhatFlowsShow: every service that answered is in a record that
// says so, and nothing else answers so.
func TestDayTruthIsWhatFlowsShow(t *testing.T) {
	c := smallDay()
	c.Moves = true
	d := newDay(t, c)
	answered := map[DayFound]bool{}
	records := map[uint8]int{}
	readDay(t, d, func(at time.Time, exporter netip.Addr, r *flow.Record) {
		records[r.Proto]++
		if r.Packets == 0 || r.Bytes < 28*r.Packets {
			t.Fatalf("a record of %d packets and %d bytes", r.Packets, r.Bytes)
		}
		if r.Start > r.End || r.End > at.UnixNano() || r.Start < d.start-int64(time.Second) {
			t.Fatalf("a flow from %d to %d, exported at %d", r.Start, r.End, at.UnixNano())
		}
		if exporter == netip.MustParseAddr("192.0.2.4") && netip.AddrFrom16(r.Src).Unmap().As4()[0] != 10 {
			t.Fatalf("the branch's router shows a flow from %v", netip.AddrFrom16(r.Src))
		}
		shows := r.Proto == udp || r.Proto == tcp && (r.TCPFlags&(ack|rst) == ack || r.TCPFlags&(ack|psh) == ack|psh)
		if shows && exporter == netip.MustParseAddr("192.0.2.4") { // which sees no answers to its clients
			answered[DayFound{Addr: netip.AddrFrom16(r.Dst).Unmap(), Proto: r.Proto, Port: r.DstPort}] = true
		}
		f := DayFound{Addr: netip.AddrFrom16(r.Src).Unmap(), Proto: r.Proto, Port: r.SrcPort}
		if d.at(ipv4(f.Addr), r.Start) == nil {
			return // an address outside, or a start that was cut to a second
		}
		if shows {
			answered[f] = true
		}
		// A client's record has both flags too, but of two packets.
		if r.Proto == tcp && r.TCPFlags == syn|ack && r.Packets == 1 && d.bound[boundPort{d.at(ipv4(f.Addr), r.Start), tcp, f.Port}] == nil {
			t.Errorf("%v answers on %d, which is closed", f.Addr, f.Port)
		}
	})
	if records[1] == 0 || records[tcp] == 0 || records[udp] == 0 || records[50] == 0 {
		t.Errorf("records by protocol: %v", records)
	}
	kinds := map[Kind]int{}
	for _, s := range d.Truth() {
		if !s.Wanted() || s.Oneway != "" {
			continue
		}
		kinds[s.Kind]++
		if !answered[DayFound{Addr: s.Addr, Proto: s.Proto, Port: s.Port}] {
			t.Errorf("no record shows %+v", s)
		}
	}
	for _, k := range []Kind{KindListed, KindDevice, KindAgent, KindUnlisted, KindMicroservice, KindNodePort, KindAdmin} {
		if kinds[k] == 0 {
			t.Errorf("no service of the kind %s", k)
		}
	}
}

func TestDayMoves(t *testing.T) {
	c := smallDay()
	c.Moves = true
	d := newDay(t, c)
	if len(d.Moves()) == 0 {
		t.Fatal("no moves")
	}
	for _, m := range d.Moves() {
		// Nobody has the address for ten minutes at most.
		before, after := d.at(ipv4(m.Addr), m.At.Add(-11*time.Minute).UnixNano()), d.at(ipv4(m.Addr), m.At.UnixNano())
		if before == nil || before.mac != m.From || after == nil || after.mac != m.To || m.From == m.To {
			t.Errorf("%+v", m)
		}
	}
	rows := d.Endpoints()
	waiting := 0
	for i, r := range rows {
		if !r.IP.IsValid() {
			waiting++
		}
		if slices.IndexFunc(rows[i+1:], func(o profiler.Row) bool { return o.MAC == r.MAC || o.IP == r.IP && r.IP.IsValid() }) >= 0 {
			t.Errorf("%+v is there twice", r)
		}
	}
	if len(rows) != 60 || waiting != len(d.Moves()) {
		t.Errorf("%d endpoints, of which %d have no address yet, with %d moves", len(rows), waiting, len(d.Moves()))
	}
}

// TestDayFlags: what a finished connection, a scan and a sampled flow look like.
func TestDayFlags(t *testing.T) {
	flags := map[uint8]int{}
	lone := 0
	readDay(t, newDay(t, smallDay()), func(_ time.Time, _ netip.Addr, r *flow.Record) {
		if r.Proto == tcp {
			flags[r.TCPFlags]++
			if r.TCPFlags == syn|ack && r.Packets == 1 {
				lone++
			}
		}
	})
	for _, f := range []uint8{fin | syn | psh | ack, syn, syn | rst, rst | ack, rst, ack, fin, 0, fin | psh | urg, psh | ack, syn | psh | ack, syn | rst | psh | ack} {
		if flags[f] == 0 {
			t.Errorf("no record has flags %#x", f)
		}
	}
	if lone == 0 {
		t.Error("no SYN-ACK has a record of its own")
	}
}

// TestDayCalm has no scans, so that nothing says SYN and RST alone.
func TestDayCalm(t *testing.T) {
	c := smallDay()
	c.Calm = true
	d := newDay(t, c)
	readDay(t, d, func(_ time.Time, _ netip.Addr, r *flow.Record) {
		if r.Proto == tcp && (r.TCPFlags == syn|rst || r.TCPFlags == fin || r.TCPFlags == 0) {
			t.Fatalf("a scan from %v", netip.AddrFrom16(r.Src))
		}
	})
	for _, s := range d.Truth() {
		if s.Probes > 0 {
			t.Errorf("%+v was scanned", s)
		}
	}
}

func TestDayRefuses(t *testing.T) {
	one := func(change func(e *DayExporter)) []DayExporter {
		e := DefaultExporters()[0]
		change(&e)
		return []DayExporter{e}
	}
	for name, c := range map[string]DayConfig{
		"too few endpoints":  {Endpoints: 5},
		"too many endpoints": {Endpoints: 300_000},
		"too short":          {Duration: time.Minute},
		"sampling":           {Sampling: 20_000},
		"version":            {Version: flow.V7},
		"no address":         {Exporters: one(func(e *DayExporter) { e.Addr = netip.Addr{} })},
		"timeouts":           {Exporters: one(func(e *DayExporter) { e.Inactive = 0 })},
		"view":               {Exporters: one(func(e *DayExporter) { e.View = 99 })},
	} {
		if _, err := NewDay(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestScore(t *testing.T) {
	a, b := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	truth := []DayTruth{
		{Addr: a, MAC: [6]byte{2}, Proto: tcp, Port: 80, Kind: KindListed, Answers: 3},
		{Addr: a, MAC: [6]byte{2}, Proto: udp, Port: 5060, Kind: KindPeer, Answers: 3},
		{Addr: b, MAC: [6]byte{3}, Proto: tcp, Port: 22, Kind: KindListed, Answers: 1},
		{Addr: b, MAC: [6]byte{3}, Proto: tcp, Port: 23, Kind: KindListed},
	}
	s := Score(truth, []DayFound{
		{Addr: b, MAC: [6]byte{2}, Proto: tcp, Port: 80, Evidence: "fan-in"}, // by its MAC, whatever its address is now
		{Addr: a, Proto: udp, Port: 5060, Evidence: "fan-in"},
		{Addr: a, Proto: tcp, Port: 40000, Evidence: "table"},
		{Addr: a, Proto: tcp, Port: 40000, Evidence: "table"},
	})
	if want := (Figures{Services: 1, Bound: 1, False: 1, Missed: 1}); s.Total != want {
		t.Errorf("total %+v, want %+v", s.Total, want)
	}
	if p, r := s.Total.Precision(), s.Total.Recall(); p != 2./3 || r != .5 {
		t.Errorf("precision %v, recall %v", p, r)
	}
	if got, want := s.By["evidence fan-in"], (Figures{Services: 1, Bound: 1}); got != want {
		t.Errorf("fan-in %+v, want %+v", got, want)
	}
	if len(s.False) != 1 || s.False[0].Port != 40000 || len(s.Missed) != 1 || s.Missed[0].Port != 22 {
		t.Errorf("false %v, missed %v", s.False, s.Missed)
	}
}

func TestTruthFile(t *testing.T) {
	c := DayConfig{Endpoints: 60, Duration: 20 * time.Minute, Moves: true}
	d := newDay(t, c)
	readDay(t, d, func(time.Time, netip.Addr, *flow.Record) {})
	var file bytes.Buffer
	if err := WriteTruth(&file, d); err != nil {
		t.Fatal(err)
	}
	config, truth, err := ReadTruth(&file)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(config, d.Config()) {
		t.Errorf("configuration %+v, want %+v", config, d.Config())
	}
	if !reflect.DeepEqual(truth, d.Truth()) {
		t.Error("another truth than was written")
	}
}

// TestExplain: a client's port is told to be one.
func TestExplain(t *testing.T) {
	c := DayConfig{Endpoints: 60, Duration: 20 * time.Minute}
	d := newDay(t, c)
	var clients []DayFound
	readDay(t, d, func(_ time.Time, _ netip.Addr, r *flow.Record) {
		f := DayFound{Addr: netip.AddrFrom16(r.Src).Unmap(), Proto: r.Proto, Port: r.SrcPort}
		h := d.at(ipv4(f.Addr), r.Start)
		if len(clients) < 50 && h != nil && r.Proto == tcp && r.TCPFlags == syn && d.bound[boundPort{h, tcp, r.SrcPort}] == nil && !slices.Contains(clients, f) {
			clients = append(clients, f)
		}
	})
	why, err := Explain(c, clients)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range clients {
		if len(why[f]) == 0 {
			t.Errorf("nothing explains %+v", f)
		}
	}
	if len(clients) == 0 {
		t.Error("no client has sent a SYN alone")
	}
}

// TestDayIsBounded: ten busy minutes of 10,000 endpoints fit a bounded heap,
// however many records they are.
func TestDayIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("10,000 endpoints take some seconds")
	}
	d := newDay(t, DayConfig{Endpoints: 10_000, Duration: 10 * time.Minute, Start: time.Date(2026, 1, 5, 10, 0, 0, 0, time.UTC)})
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	n := 0
	greatest := uint64(0)
	for _, ok := d.Next(); ok; _, ok = d.Next() {
		if n++; n%20_000 == 0 {
			greatest = max(greatest, heap())
		}
	}
	greatest = max(greatest, heap())
	t.Logf("%d datagrams, %d MB, %d flows in caches at most", n, greatest>>20, d.inCache)
	if limit := uint64(150 << 20); greatest > limit {
		t.Errorf("%d MB", greatest>>20)
	}
}

// TestDayTrivialRules prints what two rules without any thought reach on a day
// of 400 endpoints; PORTOLAN_DAY is the sampling rate.
func TestDayTrivialRules(t *testing.T) {
	c := smallDay()
	if rate := os.Getenv("PORTOLAN_DAY"); rate != "" {
		n, err := strconv.Atoi(rate)
		if err != nil {
			t.Fatal(err)
		}
		c = DayConfig{Sampling: n}
	}
	d := newDay(t, c)
	begin := time.Now()
	every, lower := map[DayFound]bool{}, map[DayFound]bool{}
	datagrams, records := readDay(t, d, func(_ time.Time, _ netip.Addr, r *flow.Record) {
		if r.Proto != tcp && r.Proto != udp || r.SrcPort == 0 || r.DstPort == 0 {
			return
		}
		ends := []DayFound{{Addr: netip.AddrFrom16(r.Src).Unmap(), Port: r.SrcPort, Proto: r.Proto}, {Addr: netip.AddrFrom16(r.Dst).Unmap(), Port: r.DstPort, Proto: r.Proto}}
		for i, e := range ends {
			if d.holder[ipv4(e.Addr)] == nil {
				continue
			}
			every[e] = true
			if e.Port <= ends[1-i].Port {
				lower[e] = true
			}
		}
	})
	t.Logf("%d datagrams, %d records, %d flows in caches at most, in %v", datagrams, records, d.inCache, time.Since(begin).Round(time.Millisecond))
	truth := d.Truth()
	scores := map[string]*DayScore{}
	for name, found := range map[string]map[DayFound]bool{"every port": every, "lower port": lower} {
		var list []DayFound
		for f := range found {
			list = append(list, f)
		}
		s := Score(truth, list)
		scores[name] = s
		t.Logf("%s: %+v precision %.4f recall %.3f", name, s.Total, s.Total.Precision(), s.Total.Recall())
	}
	var table bytes.Buffer
	if _, err := scores["lower port"].WriteTo(&table); err != nil {
		t.Fatal(err)
	}
	t.Logf("lower port:\n%s", &table)
	// A day on which these are any good would test nothing.
	if p := scores["every port"].Total.Precision(); p > .2 {
		t.Errorf("precision %v of every port", p)
	}
	if c.Sampling <= 1 && scores["every port"].Total.Recall() < .95 {
		t.Errorf("recall %v of every port", scores["every port"].Total.Recall())
	}
}
