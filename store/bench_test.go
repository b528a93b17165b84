// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/portolan/portolan/profiler"
)

// rowsOf makes n endpoints with a MAC and an address each.
func rowsOf(n int) []profiler.Row {
	rows := make([]profiler.Row, n)
	for i := range rows {
		rows[i] = profiler.Row{Row: i + 2, MAC: profiler.MAC{2, 0, 0, byte(i >> 16), byte(i >> 8), byte(i)},
			IP: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), Hostname: fmt.Sprintf("host-%d", i)}
	}
	return rows
}

// BenchmarkPost posts new ports to a store on the disk, synced, in batches; and
// the same ports again, which are duplicates.
func BenchmarkPost(b *testing.B) {
	for _, size := range []int{1, 100, 4096} {
		for _, kind := range []string{"added", "duplicate"} {
			b.Run(fmt.Sprintf("%s/batch=%d", kind, size), func(b *testing.B) {
				s := opened(b, b.TempDir(), Options{FS: vfs.Default})
				if _, err := s.Import(rowsOf(10_000), ImportOptions{}); err != nil {
					b.Fatal(err)
				}
				batch := &profiler.Batch{Observations: make([]profiler.Observation, size)}
				next := 0
				fill := func() {
					for i := range batch.Observations {
						batch.Observations[i] = profiler.Observation{Binding: uint32(next%10_000 + 1), Gen: 1, Port: uint16(next/10_000%4000 + 1),
							Proto: 6, Evidence: profiler.Seen, First: t0.UnixNano(), Last: t0.UnixNano()}
						next++
					}
				}
				fill()
				if err := s.Post(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
				b.ReportAllocs()
				for b.Loop() {
					if kind == "added" {
						fill()
					}
					if err := s.Post(b.Context(), batch); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "posts/s")
			})
		}
	}
}

// BenchmarkImport brings 100,000 endpoints into an empty store on the disk.
func BenchmarkImport(b *testing.B) {
	rows := rowsOf(100_000)
	for b.Loop() {
		s, err := Open(b.TempDir(), Options{})
		if err != nil {
			b.Fatal(err)
		}
		begin := time.Now()
		if _, err := s.Import(rows, ImportOptions{}); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(begin).Seconds(), "s/import")
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
