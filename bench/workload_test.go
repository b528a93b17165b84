// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bench

import (
	"bytes"
	"math"
	"net/netip"
	"strings"
	"testing"

	"github.com/portolan/portolan/ingest/flow"
)

// decode decodes a datagram that has to be sound.
func decode(t *testing.T, b []byte) (flow.Message, []flow.Record) {
	t.Helper()
	var m flow.Message
	if drop := m.Parse(b); drop != flow.NoDrop {
		t.Fatalf("datagram of %d bytes is dropped: %v", len(b), drop)
	}
	records, problems := m.Append(nil)
	if problems != 0 {
		t.Fatalf("datagram has problems %b", problems)
	}
	return m, records
}

func TestWorkloadIsAsDescribed(t *testing.T) {
	w := Workload{
		Endpoints: 300, Prefix: netip.MustParsePrefix("10.20.0.0/16"), NonePercent: 10, BothPercent: 20,
		ServicePort: 100, Services: 50, ClientPort: 40000, Clients: 1000, Records: 30,
	}
	inside, err := w.Addresses()
	if err != nil {
		t.Fatal(err)
	}
	if len(inside) != 300 || inside[0].String() != "10.20.0.1" || inside[299].String() != "10.20.1.44" {
		t.Fatalf("%d internal addresses, %v to %v", len(inside), inside[0], inside[len(inside)-1])
	}
	known := map[netip.Addr]bool{}
	for _, a := range inside {
		known[a] = true
	}
	const datagrams = 2000
	var shares [3]float64
	seen := map[netip.Addr]bool{}
	for n := range uint64(datagrams) {
		b, err := w.Datagram(nil, n)
		if err != nil {
			t.Fatal(err)
		}
		m, records := decode(t, b)
		if m.Sequence != uint32(n*30) || len(records) != 30 {
			t.Fatalf("datagram %d has sequence %d and %d records", n, m.Sequence, len(records))
		}
		for _, r := range records {
			src, dst := netip.AddrFrom16(r.Src).Unmap(), netip.AddrFrom16(r.Dst).Unmap()
			sides := 0
			for _, a := range []netip.Addr{src, dst} {
				if known[a] {
					sides++
					seen[a] = true
				} else if !netip.MustParsePrefix("198.18.0.0/15").Contains(a) {
					t.Fatalf("address %v is neither internal nor external", a)
				}
			}
			shares[sides]++
			if src == dst && sides == 2 {
				t.Fatalf("flow from %v to itself", src)
			}
			low, high := min(r.SrcPort, r.DstPort), max(r.SrcPort, r.DstPort)
			if low < 100 || low >= 150 || high < 40000 || high >= 41000 {
				t.Fatalf("ports %d and %d", low, high)
			}
			if r.End != m.ExportTime || r.End-r.Start != 1e9 {
				t.Fatalf("flow from %d to %d, exported at %d", r.Start, r.End, m.ExportTime)
			}
		}
	}
	if len(seen) != 300 {
		t.Errorf("%d of 300 endpoints occur", len(seen))
	}
	for i, want := range []float64{0.1, 0.7, 0.2} {
		if got := shares[i] / (datagrams * 30); math.Abs(got-want) > 0.01 {
			t.Errorf("%.3f of the records have %d internal sides, want %.1f", got, i, want)
		}
	}
}

func TestTruthIsWhatTheDatagramsSay(t *testing.T) {
	w := Mix()
	w.Endpoints, w.Services, w.Clients, w.Records = 20, 5, 10, 7
	const from, n = 1000, 200
	truth, err := w.Truth(from, n)
	if err != nil {
		t.Fatal(err)
	}
	inside := netip.MustParsePrefix("10.0.0.0/8")
	pairs := map[Pair]uint64{}
	for i := range uint64(n) {
		b, _ := w.Datagram(nil, from+i)
		_, records := decode(t, b)
		for _, r := range records {
			for _, p := range []Pair{
				{netip.AddrFrom16(r.Src).Unmap(), r.Proto, r.SrcPort},
				{netip.AddrFrom16(r.Dst).Unmap(), r.Proto, r.DstPort},
			} {
				if inside.Contains(p.Addr) {
					pairs[p]++
				}
			}
		}
	}
	var sides, served uint64
	for p, count := range pairs {
		if truth.Pairs[p] != count {
			t.Fatalf("%v occurs %d times, the truth says %d", p, count, truth.Pairs[p])
		}
		sides += count
		if p.Port < 1000 {
			served += count
			if truth.Served[p] != count {
				t.Fatalf("%v is served %d times, the truth says %d", p, count, truth.Served[p])
			}
		}
	}
	if len(pairs) != len(truth.Pairs) || truth.Internal != sides || truth.Records != n*7 ||
		truth.Internal+truth.External != 2*truth.Records || truth.Datagrams != n {
		t.Errorf("%d pairs and %d sides, the truth is %+v", len(pairs), sides, truth)
	}
	var contacted uint64
	for _, count := range truth.Contacted {
		contacted += count
	}
	if served+contacted != sides {
		t.Errorf("%d served and %d contacted of %d internal sides", served, contacted, sides)
	}
}

func TestSeedsDiffer(t *testing.T) {
	a, _ := Workload{Seed: 1}.Datagram(nil, 0)
	b, _ := Workload{Seed: 2}.Datagram(nil, 0)
	again, _ := Workload{Seed: 1}.Datagram(nil, 0)
	if bytes.Equal(a, b) || !bytes.Equal(a, again) {
		t.Error("a seed does not decide on the workload")
	}
}

func TestWorkloadRefused(t *testing.T) {
	for say, w := range map[string]Workload{
		"has room for 1 to 254": {Prefix: netip.MustParsePrefix("10.0.0.0/24"), Endpoints: 255},
		"not in 1 to 30":        {Records: 31},
		"IPv4 addresses only":   {Prefix: netip.MustParsePrefix("fd00::/8")},
		"overlaps":              {Prefix: netip.MustParsePrefix("198.18.4.0/24"), Endpoints: 2},
		"100 together":          {NonePercent: 60, BothPercent: 41},
		"need two endpoints":    {Endpoints: 1, BothPercent: 1},
		"within 1 to 65535":     {ClientPort: 65535, Clients: 2},
		"1970 and 2106":         {ExportTime: 1},
		"overlap":               {ServicePort: 32000, Services: 1000},
	} {
		_, err := w.Datagram(nil, 0)
		if err == nil || !strings.Contains(err.Error(), say) {
			t.Errorf("%+v: got %v, want %q", w, err, say)
		}
	}
}
