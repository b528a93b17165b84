// SPDX-License-Identifier: Apache-2.0

package ipset

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// TestTightSwaps opens all bases beforehand and then swaps back to back. Half of
// the workers park after every View, so that the writer often sees a parked
// reader and unmaps at once.
func TestTightSwaps(t *testing.T) {
	const swaps, workers = 3000, 4
	path, _ := fileOf(t, small())
	var gone atomic.Int64
	bases := make([]*Set, swaps)
	for i := range bases {
		bases[i] = guarded(t, path, &gone)
	}
	live := NewLive(nil)
	live.Swap(bases[0], nil)
	var stop atomic.Bool
	var wg sync.WaitGroup
	var lost, views atomic.Int64
	for w := range workers {
		r := live.Reader()
		wg.Go(func() {
			defer r.Close()
			a := ip(edges[0])
			for !stop.Load() {
				v := r.Acquire()
				for range 50 {
					if _, ok := v.Lookup(&a); !ok {
						lost.Add(1)
					}
				}
				views.Add(1)
				if w%2 == 0 {
					r.Park()
				}
			}
		})
	}
	for _, base := range bases[1:] {
		live.Swap(base, nil)
		if views.Load()&1 == 0 {
			runtime.Gosched()
		}
	}
	stop.Store(true)
	wg.Wait()
	if err := live.Close(); err != nil {
		t.Fatal(err)
	}
	if lost.Load() != 0 || gone.Load() != swaps {
		t.Errorf("%d lookups in an unmapped base; %d of %d bases unmapped", lost.Load(), gone.Load(), swaps)
	}
	t.Logf("%d views over %d swaps", views.Load(), swaps)
}

// TestStalledAcquire walks through an Acquire by hand and stalls it where it is
// most exposed: after it has loaded the epoch, and after it has published a
// number that is stale by then.
func TestStalledAcquire(t *testing.T) {
	path, _ := fileOf(t, small())
	var gone atomic.Int64
	live := NewLive(guarded(t, path, &gone))
	r := live.Reader()
	a := ip(edges[0])

	e := live.epoch.Load()
	live.Swap(guarded(t, path, &gone), nil) // sees it parked
	live.Swap(guarded(t, path, &gone), nil)
	if gone.Load() != 2 {
		t.Fatalf("%d of 2 bases unmapped under a parked reader", gone.Load())
	}
	r.epoch.Store(e)
	live.Swap(guarded(t, path, &gone), nil) // sees a stale number
	if gone.Load() != 2 {
		t.Fatal("unmapped under a reader that has published an earlier epoch")
	}
	v := live.view.Load()
	live.Swap(nil, nil)
	if _, ok := v.Lookup(&a); !ok || gone.Load() != 2 || live.Reclaim() != 2 {
		t.Fatal("the view of a stalled reader is gone")
	}
	r.Acquire()
	if live.Reclaim() != 0 || gone.Load() != 4 {
		t.Fatal("not reclaimed after the reader's next Acquire")
	}
	r.Close()
	if err := live.Close(); err != nil {
		t.Fatal(err)
	}
}
