// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/portolan/portolan/ingest/flow"
	"github.com/portolan/portolan/store/ipset"
)

// benchEndpoints is how many endpoints the steady state is measured with: in
// 10.0.0.0/8, sixteen dense /16s.
const benchEndpoints = 1 << 20

// BenchmarkSteadyState is decode, lookup, evidence and dedup of traffic whose
// pairs have all been posted: 10, 70 and 20 % of records with 0, 1 and 2
// internal sides, four ports an endpoint. ns/record is the figure to compare.
//
// first: no address has ever moved; moved: every one has, two hours ago; moving:
// so it is, and a further one moves now, so that each side has to be asked about;
// discovering: as first, and each external address is held against four prefixes.
func BenchmarkSteadyState(b *testing.B) {
	b.Run("first", func(b *testing.B) { benchSteadyState(b, false, false) })
	b.Run("moved", func(b *testing.B) { benchSteadyState(b, true, false) })
	b.Run("discovering", func(b *testing.B) {
		benchSteadyState(b, false, false, "192.168.0.0/16", "172.16.0.0/12", "10.0.0.0/8", "fc00::/7")
	})
	b.Run("moving", func(b *testing.B) { benchSteadyState(b, true, true) })
}

func benchSteadyState(b *testing.B, moved, moving bool, internal ...string) {
	entries := make([]ipset.Entry, benchEndpoints)
	moves := make([]ipset.Moved, 0, benchEndpoints)
	for i := range entries {
		entries[i] = ipset.Entry{Addr: addrOf(i), Binding: ipset.Binding{ID: uint32(i + 1), Gen: 1}}
		if moved {
			entries[i].Binding.Gen = 2
			moves = append(moves, ipset.Moved{ID: uint32(i + 1), Since: day.Add(-2 * time.Hour).UnixNano()})
		}
	}
	path := filepath.Join(b.TempDir(), "endpoints")
	if err := ipset.Write(path, entries); err != nil {
		b.Fatal(err)
	}
	set, err := ipset.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	live := ipset.NewLive(set)
	b.Cleanup(func() { live.Close() })
	live.SetMoved(moves)
	if moving {
		live.SetMoved([]ipset.Moved{{ID: benchEndpoints + 1, Since: day.Add(time.Hour).UnixNano()}})
	}
	o := newOffline(b, Config{Set: live, Sink: newMemorySink(), Pairs: 8 * benchEndpoints})

	if len(internal) > 0 {
		f, err := newFinder(&Config{Set: live, Internal: prefixes(internal...)})
		if err != nil {
			b.Fatal(err)
		}
		o.worker.finder, o.worker.found = f, new(foundRing)
	}

	datagrams := benchTraffic(1 << 14)
	for _, d := range datagrams {
		if err := o.Datagram(b.Context(), day, addr("192.0.2.1"), d); err != nil {
			b.Fatal(err)
		}
	}
	if err := o.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	before := o.Status().Ledger
	ctx := b.Context()
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if err := o.Datagram(ctx, day, addr("192.0.2.1"), datagrams[i&(len(datagrams)-1)]); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	after := o.Status().Ledger
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(after.Records-before.Records), "ns/record")
	if n := after.Sides.Observed - before.Sides.Observed; n > uint64(b.N) {
		b.Errorf("%d observations in the steady state", n)
	}
	checkBooks(b, &after)
}

// benchTraffic makes datagrams of 30 records each.
func benchTraffic(n int) [][]byte {
	rnd := rand.New(rand.NewPCG(5, 2055))
	internal := func() ([16]byte, uint16) {
		i := rnd.IntN(benchEndpoints)
		return addrOf(i), uint16(1000 + (i*7+rnd.IntN(4))%60000)
	}
	external := func() ([16]byte, uint16) {
		a := addr("100.64.0.0")
		a[13], a[14], a[15] = byte(64+rnd.IntN(64)), byte(rnd.Uint32()), byte(rnd.Uint32())
		return a, 443
	}
	datagrams := make([][]byte, n)
	records := make([]flow.Record, flow.MaxV5Records)
	for i := range datagrams {
		for j := range records {
			side := [2]func() ([16]byte, uint16){internal, external}
			switch p := rnd.IntN(10); {
			case p == 0:
				side[0] = external
			case p < 3:
				side[1] = internal
			case p < 6:
				side[0], side[1] = external, internal
			}
			r := &records[j]
			*r = flow.Record{Proto: protoTCP, TCPFlags: 0x1b, Packets: 10, Bytes: 4000, Start: day.UnixNano(), End: day.UnixNano()}
			r.Src, r.SrcPort = side[0]()
			r.Dst, r.DstPort = side[1]()
		}
		datagrams[i] = v5(uint32(i*len(records)), day, records...)
	}
	return datagrams
}
