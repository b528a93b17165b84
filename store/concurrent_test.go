// SPDX-License-Identifier: Apache-2.0

package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/portolan/portolan/profiler"
)

// TestConcurrent: posts, imports, deletes and reads at once leave indexes,
// counters, memory and the sensors' set in agreement.
func TestConcurrent(t *testing.T) {
	s := opened(t, t.TempDir(), Options{RebuildAt: 50})
	var wg sync.WaitGroup
	var acked, stale atomic.Int64
	changed := make(chan struct{})
	for w := range 2 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 2))
			reader := s.Live().Reader()
			defer reader.Close()
			for {
				select {
				case <-changed:
					return
				default:
				}
				b := &profiler.Batch{}
				view := reader.Acquire()
				for range 8 {
					a := address{10: 0xff, 11: 0xff, 12: 10, 15: byte(rng.IntN(16))}
					if bind, ok := view.Lookup(&a); ok {
						b.Observations = append(b.Observations, profiler.Observation{Binding: bind.ID, Gen: bind.Gen,
							Port: uint16(1 + rng.IntN(30)), Proto: 6, Evidence: profiler.Seen, First: 1, Last: 1})
					}
				}
				reader.Park()
				if err := s.Post(t.Context(), b); err != nil {
					t.Error(err)
					return
				}
				for _, o := range b.Outcomes {
					if o.Acknowledged() {
						acked.Add(1)
					} else {
						stale.Add(1)
					}
				}
			}
		})
	}
	wg.Go(func() {
		defer close(changed)
		rng := rand.New(rand.NewPCG(3, 3))
		for acked.Load() < 500 || s.Counts().Endpoints == 0 {
			ip := fmt.Sprintf("10.0.0.%d", rng.IntN(16))
			if rng.IntN(3) == 0 {
				if err := s.Delete(ip); err != nil && !errors.Is(err, ErrNotFound) {
					t.Error(err)
				}
				continue
			}
			mac := ""
			if rng.IntN(3) > 0 {
				mac = fmt.Sprintf("02:00:00:00:00:%02x", rng.IntN(8))
			}
			imported(t, s, "mac,ip\n"+mac+","+ip+"\n")
		}
	})
	wg.Go(func() {
		for range 100 {
			if _, _, err := s.Endpoints("", 5, nil); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	if acked.Load() == 0 {
		t.Error("nothing was acknowledged")
	}
	verify(t, s)
	t.Logf("%d acknowledged, %d stale, %+v", acked.Load(), stale.Load(), s.Counts())
}
