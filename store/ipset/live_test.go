// SPDX-License-Identifier: Apache-2.0

package ipset

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// pool is where the property test takes addresses from: few enough to collide,
// with neighbours across every border.
func pool() [][16]byte {
	var all [][16]byte
	for _, text := range edges {
		all = append(all, ip(text))
	}
	for _, e := range dense(300, 3) {
		all = append(all, e.Addr)
	}
	for _, e := range dual(100) {
		all = append(all, e.Addr)
	}
	return all
}

// TestAgainstMap: whatever is written, changed and swapped, a View answers like
// a plain map.
func TestAgainstMap(t *testing.T) {
	addrs := pool()
	path := filepath.Join(t.TempDir(), "ip.set")
	rapid.Check(t, func(t *rapid.T) {
		binding := rapid.Custom(func(t *rapid.T) Binding {
			return Binding{rapid.Uint32().Draw(t, "id"), rapid.Uint32Range(1, 3).Draw(t, "gen")}
		})
		addr := rapid.SampledFrom(addrs)
		change := rapid.Custom(func(t *rapid.T) Change {
			return Change{Addr: addr.Draw(t, "addr"), Binding: binding.Draw(t, "binding"), Remove: rapid.Bool().Draw(t, "remove")}
		})
		want := map[[16]byte]Binding{}
		note := func(changes []Change) {
			for _, c := range changes {
				if c.Remove {
					delete(want, c.Addr)
				} else {
					want[c.Addr] = c.Binding
				}
			}
		}
		base := func() *Set {
			entries := make([]Entry, 0, len(want))
			for a, b := range want {
				entries = append(entries, Entry{a, b})
			}
			if err := Write(path, entries); err != nil {
				t.Fatal(err)
			}
			s, err := Open(path)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		note(rapid.SliceOfN(change, 0, 300).Draw(t, "first"))
		live := NewLive(base())
		reader := live.Reader()
		for range rapid.IntRange(0, 6).Draw(t, "steps") {
			changes := rapid.SliceOfN(change, 0, 30).Draw(t, "changes")
			switch rapid.IntRange(0, 3).Draw(t, "swap") {
			case 0: // a new base, and changes that came meanwhile
				next := base()
				note(changes)
				live.Swap(next, changes)
			case 1:
				if rapid.Bool().Draw(t, "empty") {
					clear(want)
					note(changes)
					live.Swap(nil, changes)
				}
			default:
				note(changes)
				live.Change(changes)
			}
			compare(t, reader.Acquire(), live, addrs, want)
		}
		reader.Close()
		if err := live.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func compare(t *rapid.T, v *View, live *Live, addrs [][16]byte, want map[[16]byte]Binding) {
	if v.Len() != len(want) || live.Len() != len(want) {
		t.Fatalf("Len %d and %d, want %d", v.Len(), live.Len(), len(want))
	}
	out := make([]Binding, len(addrs))
	for i := range out {
		out[i] = Binding{99, 99} // must be overwritten
	}
	v.LookupBatch(addrs, out)
	for i := range addrs {
		wanted, in := want[addrs[i]]
		if b, ok := v.Lookup(&addrs[i]); b != wanted || ok != in {
			t.Fatalf("%v: %v %v, want %v %v", addrs[i], b, ok, wanted, in)
		}
		if out[i] != wanted {
			t.Fatalf("%v in a batch: %v, want %v", addrs[i], out[i], wanted)
		}
		if k := keyOf(&addrs[i]); in && k.is4() && v.Member4(k.v4()) != 1 {
			t.Fatalf("%v is no member", addrs[i])
		}
	}
}

func TestOverlayKeepsOnlyDifferences(t *testing.T) {
	a, b, c := ip("10.0.0.1"), ip("10.0.0.2"), ip("fd00::1")
	live := NewLive(opened(t, []Entry{{a, Binding{1, 1}}}))
	defer live.Close()
	for _, step := range []struct {
		name         string
		change       Change
		overlay, len int
	}{
		{"what the base says", Change{a, Binding{1, 1}, 0, false}, 0, 1},
		{"another owner", Change{a, Binding{1, 2}, 0, false}, 1, 1},
		{"the base's again", Change{a, Binding{1, 1}, 0, false}, 0, 1},
		{"removed", Change{a, Binding{}, 0, true}, 1, 0},
		{"removed twice", Change{a, Binding{}, 0, true}, 1, 0},
		{"unknown removed", Change{b, Binding{}, 0, true}, 1, 0},
		{"added", Change{b, Binding{2, 1}, 0, false}, 2, 1},
		{"IPv6 added", Change{c, Binding{3, 1}, 0, false}, 3, 2},
		{"added removed", Change{b, Binding{}, 0, true}, 2, 1},
		{"back", Change{a, Binding{1, 1}, 0, false}, 1, 2},
	} {
		live.Change([]Change{step.change})
		if live.Overlay() != step.overlay || live.Len() != step.len {
			t.Errorf("%s: overlay %d, want %d; Len %d, want %d", step.name, live.Overlay(), step.overlay, live.Len(), step.len)
		}
	}
}

// guarded is a set whose pages become unreadable instead of being unmapped, so
// that no later mapping can hide a late reader: it would be killed by SIGSEGV.
func guarded(t testing.TB, path string, gone *atomic.Int64) *Set {
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	s.unmap = func(b []byte) error {
		gone.Add(1)
		return unix.Mprotect(b, unix.PROT_NONE)
	}
	return s
}

func TestReclaim(t *testing.T) {
	path, _ := fileOf(t, small())
	var gone atomic.Int64
	live := NewLive(guarded(t, path, &gone))
	first, second := live.Reader(), live.Reader()
	old := first.Acquire()
	live.Swap(guarded(t, path, &gone), nil)
	a := ip(edges[0])
	if _, ok := old.Lookup(&a); !ok || gone.Load() != 0 || live.Reclaim() != 1 {
		t.Fatalf("a held base is gone: %v %d", ok, gone.Load())
	}
	second.Acquire() // a later epoch; the first still holds the old base
	if live.Reclaim() != 1 {
		t.Fatal("reclaimed under the first reader")
	}
	first.Acquire()
	if live.Reclaim() != 0 || gone.Load() != 1 {
		t.Fatal("not reclaimed although all have passed")
	}
	live.Swap(nil, nil)
	second.Park()
	if live.Reclaim() != 1 {
		t.Fatal("reclaimed under the first reader")
	}
	if err := live.Close(); !errors.Is(err, ErrReaders) {
		t.Fatalf("Close under a reader: %v", err)
	}
	first.Close()
	if err := live.Close(); err != nil || gone.Load() != 2 {
		t.Fatalf("Close: %v, %d gone", err, gone.Load())
	}
}

// TestReclaimByItself: without any further call the old base goes once its
// reader parks.
func TestReclaimByItself(t *testing.T) {
	path, _ := fileOf(t, small())
	var gone atomic.Int64
	live := NewLive(guarded(t, path, &gone))
	defer live.Close()
	r := live.Reader()
	r.Acquire()
	live.Swap(nil, nil)
	r.Park()
	for deadline := time.Now().Add(10 * time.Second); gone.Load() == 0; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("still mapped after 10 s")
		}
	}
}

// TestSwapUnderReaders swaps as fast as it can under readers that hold, yield
// and park. Base number n binds every address with generation n.
func TestSwapUnderReaders(t *testing.T) {
	const swaps, workers = 400, 4
	dir := t.TempDir()
	addrs := pool()
	write := func(gen uint32) string {
		var entries []Entry
		for i, a := range addrs {
			entries = append(entries, Entry{a, Binding{uint32(i), gen}})
		}
		path := filepath.Join(dir, "ip.set")
		if err := Write(path, entries); err != nil {
			t.Fatal(err)
		}
		return path
	}
	var gone atomic.Int64
	live := NewLive(guarded(t, write(1), &gone))
	var stop atomic.Bool
	var views atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		r := live.Reader()
		wg.Go(func() {
			defer r.Close()
			out := make([]Binding, len(addrs))
			last := uint32(0)
			for n := 0; !stop.Load(); n++ {
				v := r.Acquire()
				first, _ := v.Lookup(&addrs[0])
				if first.Gen < last {
					t.Errorf("generation %d after %d", first.Gen, last)
				}
				last = first.Gen
				if n%3 == 0 {
					runtime.Gosched()
				}
				v.LookupBatch(addrs, out)
				for i, b := range out {
					if b != (Binding{uint32(i), last}) {
						t.Errorf("address %d: %v in a view of generation %d", i, b, last)
						return
					}
				}
				if n%5 == 0 {
					r.Park()
				}
				views.Add(1)
			}
		})
	}
	wg.Go(func() { // a second writer, whose address the readers do not look at
		for n := uint32(1); !stop.Load(); n++ {
			live.Change([]Change{{Addr: ip("192.0.2.1"), Binding: Binding{0, n}, Remove: n%2 == 0}})
			runtime.Gosched()
		}
	})
	for gen := uint32(2); gen <= swaps; gen++ {
		live.Swap(guarded(t, write(gen), &gone), nil)
	}
	stop.Store(true)
	wg.Wait()
	if err := live.Close(); err != nil {
		t.Fatal(err)
	}
	if gone.Load() != swaps {
		t.Errorf("%d of %d bases unmapped", gone.Load(), swaps)
	}
	t.Logf("%d views over %d swaps", views.Load(), swaps)
	if views.Load() == 0 {
		t.Error("no reader has run")
	}
}

// TestMappingsGo counts the real mappings of the file.
func TestMappingsGo(t *testing.T) {
	path, _ := fileOf(t, small())
	live := NewLive(nil)
	for range 10 {
		s, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		live.Swap(s, nil)
		if n := mappings(t, path); n != 1 {
			t.Fatalf("%d mappings after a swap without readers", n)
		}
	}
	if err := live.Close(); err != nil {
		t.Fatal(err)
	}
	_, data := fileOf(t, small())
	data[len(data)-1] ^= 1
	overwrite(t, path, data)
	if _, err := Open(path); err == nil {
		t.Fatal("opened a corrupt file")
	}
	if n := mappings(t, path); n != 0 {
		t.Errorf("%d mappings left", n)
	}
}

func mappings(t *testing.T, path string) int {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(maps), path)
}

func TestNoAllocation(t *testing.T) {
	live := NewLive(opened(t, small()))
	defer live.Close()
	live.Change([]Change{{Addr: ip("10.9.9.9"), Binding: Binding{1, 1}}, {Addr: ip("fd09::9"), Binding: Binding{2, 1}}})
	r := live.Reader()
	defer r.Close()
	addrs := pool()
	out := make([]Binding, len(addrs))
	if n := testing.AllocsPerRun(100, func() {
		v := r.Acquire()
		for i := range addrs {
			v.Lookup(&addrs[i])
		}
		v.LookupBatch(addrs, out)
		r.Park()
	}); n != 0 {
		t.Errorf("%v allocations per batch", n)
	}
}
