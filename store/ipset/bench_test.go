// SPDX-License-Identifier: Apache-2.0

package ipset

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"
)

// dense spreads n addresses evenly over blocks /16s of 10.0.0.0/8 and up;
// every address is a different one.
func dense(n, blocks int) []Entry {
	per := (n + blocks - 1) / blocks
	entries := make([]Entry, 0, n)
	for b := range blocks {
		for i := range min(per, n-len(entries)) {
			low := uint32(i)
			if per <= 1<<15 {
				low = uint32(i) * uint32(1<<16/per)
			}
			entries = append(entries, Entry{a4(10<<24 + uint32(b)<<16 + low), Binding{uint32(len(entries)), 1}})
		}
	}
	return entries
}

// dual is n IPv6 addresses of SLAAC shape in 64 networks.
func dual(n int) []Entry {
	rng := rand.New(rand.NewPCG(1, 2))
	entries := make([]Entry, n)
	for i := range entries {
		e := &entries[i]
		e.Addr = [16]byte{0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, byte(rng.Uint32() & 63)}
		binary.BigEndian.PutUint64(e.Addr[8:], rng.Uint64())
		e.Binding = Binding{uint32(i), 1}
	}
	return entries
}

func a4(a uint32) [16]byte {
	out := [16]byte{10: 0xff, 11: 0xff}
	binary.BigEndian.PutUint32(out[12:], a)
	return out
}

type shape struct {
	name string
	make func() []Entry
	big  bool
}

var shapes = []shape{
	{"v4/1M/30-dense", func() []Entry { return dense(1e6, 30) }, false},
	{"v4/1M/100-each", func() []Entry { return dense(1e6, 10000) }, false},
	{"v6/1M", func() []Entry { return dual(1e6) }, false},
	{"v4/10M/200-dense", func() []Entry { return dense(1e7, 200) }, true},
	{"v6/10M", func() []Entry { return dual(1e7) }, true},
}

// each runs fn for every shape, with a set that holds it.
func eachShape(b *testing.B, fn func(b *testing.B, entries []Entry, path string)) {
	for _, s := range shapes {
		b.Run(s.name, func(b *testing.B) {
			if s.big && testing.Short() {
				b.Skip("10 M addresses: run without -short")
			}
			entries := s.make()
			path := filepath.Join(b.TempDir(), "ip.set")
			start := time.Now()
			if err := Write(path, entries); err != nil {
				b.Fatal(err)
			}
			b.Logf("written in %v", time.Since(start).Round(time.Millisecond))
			fn(b, entries, path)
		})
	}
}

func BenchmarkLookup(b *testing.B) {
	eachShape(b, func(b *testing.B, entries []Entry, path string) {
		set, err := Open(path)
		if err != nil {
			b.Fatal(err)
		}
		live := NewLive(set)
		defer live.Close()
		reader := live.Reader()
		defer reader.Close()
		view := reader.Acquire()

		rng := rand.New(rand.NewPCG(3, 4))
		const lap = 1 << 18
		hit := make([][16]byte, lap)
		mixed := make([][16]byte, lap) // half external, most of them nowhere near
		for i := range hit {
			hit[i] = entries[rng.IntN(len(entries))].Addr
			mixed[i] = hit[i]
			if rng.Uint32()&1 == 0 {
				mixed[i] = a4(rng.Uint32())
				if hit[i][0] != 0 {
					mixed[i] = [16]byte{0x20, 0x01, 15: 1}
					binary.BigEndian.PutUint64(mixed[i][8:], rng.Uint64())
				}
			}
		}
		out := make([]Binding, lap)
		for _, kind := range []struct {
			name  string
			addrs [][16]byte
		}{{"hit", hit}, {"half", mixed}} {
			b.Run(kind.name+"/single", func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; i < b.N; i += lap {
					for j := range kind.addrs {
						out[j], _ = view.Lookup(&kind.addrs[j])
					}
				}
			})
			b.Run(kind.name+"/batch", func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; i < b.N; i += lap {
					view.LookupBatch(kind.addrs, out)
				}
			})
		}
	})
}

func BenchmarkBuildAndOpen(b *testing.B) {
	eachShape(b, func(b *testing.B, entries []Entry, path string) {
		b.Run("write", func(b *testing.B) {
			for range b.N {
				if err := Write(path, entries); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("open", func(b *testing.B) {
			for range b.N {
				s, err := Open(path)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(s.Bytes())/float64(s.Len()), "B/endpoint")
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
}

// BenchmarkChange: one more change on top of an overlay of n entries, and a
// lookup under it.
func BenchmarkChange(b *testing.B) {
	for _, n := range []int{0, 1000, 10_000, 100_000, 1_000_000} {
		entries := dense(n+1, 30)
		live := NewLive(nil)
		changes := make([]Change, n)
		for i := range changes {
			changes[i] = Change{Addr: entries[i].Addr, Binding: entries[i].Binding}
		}
		live.Change(changes)
		b.Run(fmt.Sprintf("one-on-%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for i := range b.N {
				live.Change([]Change{{Addr: entries[n].Addr, Binding: Binding{uint32(i), 1}}})
			}
		})
		reader := live.Reader()
		view := reader.Acquire()
		rng := rand.New(rand.NewPCG(5, 6))
		addrs := make([][16]byte, 1<<16)
		for i := range addrs {
			addrs[i] = entries[rng.IntN(len(entries))].Addr
		}
		out := make([]Binding, len(addrs))
		b.Run(fmt.Sprintf("lookup-on-%d", n), func(b *testing.B) {
			for i := 0; i < b.N; i += len(addrs) {
				view.LookupBatch(addrs, out)
			}
		})
		reader.Close()
		if err := live.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAcquire(b *testing.B) {
	live := NewLive(nil)
	defer live.Close()
	r := live.Reader()
	defer r.Close()
	b.Run("same-epoch", func(b *testing.B) {
		for range b.N {
			r.Acquire()
		}
	})
	b.Run("after-park", func(b *testing.B) {
		for range b.N {
			r.Acquire()
			r.Park()
		}
	})
}
