// SPDX-License-Identifier: Apache-2.0

package ipset

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"
)

// TestMovedAgainstMap: whatever is bound, moved, removed and swapped, a View
// tells since when a binding holds as a plain map does, and a View that was
// acquired before a change goes on telling what it told.
func TestMovedAgainstMap(t *testing.T) {
	addrs := pool()
	path := filepath.Join(t.TempDir(), "ip.set")
	rapid.Check(t, func(t *rapid.T) {
		change := rapid.Custom(func(t *rapid.T) Change {
			return Change{
				Addr:    rapid.SampledFrom(addrs).Draw(t, "addr"),
				Binding: Binding{rapid.Uint32Range(0, 3*movedPageSize).Draw(t, "id"), 2},
				Since:   rapid.Int64Range(0, 3).Draw(t, "since"),
				Remove:  rapid.Bool().Draw(t, "remove"),
			}
		})
		live := NewLive(nil)
		defer live.Close()
		reader := live.Reader()
		defer reader.Close()
		want := map[uint32]int64{}
		for _, m := range rapid.SliceOf(change).Draw(t, "at the start") {
			live.SetMoved([]Moved{{m.Binding.ID, m.Since}})
			want[m.Binding.ID] = m.Since
		}
		for range rapid.IntRange(1, 5).Draw(t, "steps") {
			before, old := live.view.Load(), map[uint32]int64{}
			for id := range uint32(3*movedPageSize + 1) {
				old[id] = before.moved.since(id)
			}
			changes := rapid.SliceOfN(change, 0, 20).Draw(t, "changes")
			if rapid.Bool().Draw(t, "swap") {
				if err := Write(path, nil); err != nil {
					t.Fatal(err)
				}
				base, err := Open(path)
				if err != nil {
					t.Fatal(err)
				}
				live.Swap(base, changes)
			} else {
				live.Change(changes)
			}
			for _, c := range changes {
				if !c.Remove {
					want[c.Binding.ID] = c.Since
				}
			}
			view := reader.Acquire()
			for _, since := range want {
				if since > view.LastMove() {
					t.Fatalf("a move at %d, and the last at %d", since, view.LastMove())
				}
			}
			for id := range uint32(3*movedPageSize + 1) {
				if got := view.Since(Binding{id, 2}); got != want[id] {
					t.Fatalf("binding %d holds since %d, want %d", id, got, want[id])
				}
				if got := before.moved.since(id); got != old[id] {
					t.Fatalf("binding %d of an old view holds since %d, and held since %d before", id, got, old[id])
				}
			}
		}
	})
}

// TestMovedLeavesFirstBindingsAlone: bindings that never moved cost no page.
func TestMovedLeavesFirstBindingsAlone(t *testing.T) {
	live := NewLive(nil)
	defer live.Close()
	live.Change([]Change{{Addr: ip("10.0.0.1"), Binding: Binding{1 << 30, 1}}})
	if m := live.view.Load().moved; m != nil {
		t.Errorf("%d pages for a binding that is open to the past", len(m.pages))
	}
}

// BenchmarkSince: one look where all of a million bindings have moved, in random
// order, and one more move on top of them.
func BenchmarkSince(b *testing.B) {
	const n = 1 << 20
	live := NewLive(nil)
	defer live.Close()
	list := make([]Moved, n)
	for i := range list {
		list[i] = Moved{uint32(i), int64(i + 1)}
	}
	live.SetMoved(list)
	view := live.view.Load()
	rng := rand.New(rand.NewPCG(5, 6))
	bindings := make([]Binding, 1<<16)
	for i := range bindings {
		bindings[i] = Binding{rng.Uint32N(n), 2}
	}
	b.Run(fmt.Sprintf("of-%d", n), func(b *testing.B) {
		b.ReportAllocs()
		sum := int64(0)
		for i := range b.N {
			sum += view.Since(bindings[i&(len(bindings)-1)])
		}
		sink(uint64(sum))
	})
	b.Run(fmt.Sprintf("move-one-of-%d", n), func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			live.SetMoved([]Moved{{bindings[i&(len(bindings)-1)].ID, int64(i + 1)}})
		}
	})
}
