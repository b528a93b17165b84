// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"bytes"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Workers that see the first messages of the same streams at the same time get
// the same streams.
func TestStreamsAreEnteredOnce(t *testing.T) {
	const workers, streams = 4, 500
	s := NewStreams(Limits{})
	var got [workers][streams]*Stream
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range streams {
				got[w][i] = s.of(exporterID(uint32(i), 0, V9), 1)
			}
		})
	}
	wg.Wait()
	for w := range workers {
		if got[w] != got[0] {
			t.Errorf("worker %d has other streams than worker 0", w)
		}
	}
	if n := len(s.List()); n != streams {
		t.Errorf("%d streams, want %d", n, streams)
	}
}

// Workers enter, learn, forget, wait and count in a registry that is far too
// small, while others list, save, load and expire. The sums are right at the
// end, and every set that waited is in exactly one place.
func TestStreamsConcurrently(t *testing.T) {
	const workers, rounds = 4, 10_000
	s := NewStreams(Limits{Streams: 64, Templates: 16, AllTemplateBytes: 40_000, Waiting: 4, AllWaitingBytes: 40_000, OptionsBytes: 10_000})
	var kept, replayed atomic.Uint64
	var working, watching sync.WaitGroup
	for w := range workers {
		working.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(w), 7))
			now := streamsStart
			for range rounds {
				now = now.Add(20 * time.Millisecond)
				x := s.of(exporterID(rnd.Uint32N(100), rnd.Uint32N(2), V9), now.UnixNano())
				b := waitingBatch(now)
				id := uint16(256 + rnd.IntN(40))
				switch known := x.template(id); {
				case known != nil && known.id != id:
					t.Errorf("template %d of %d", known.id, id)
				case known != nil:
					b.Records = make([]Record, 3)
				default:
					if come, ok := x.wait(b, id, []byte("body")); ok && come == nil {
						kept.Add(1)
					}
				}
				switch rnd.IntN(4) {
				case 0:
					come := plainTemplate(id, 1+rnd.IntN(5))
					x.learn(come, now.UnixNano())
					waited, _ := x.due(come, nil, math.MaxInt)
					replayed.Add(uint64(len(waited)))
				case 1:
					x.forget(id)
				case 2:
					x.learnName(uint32(id), []byte("eth0"), plenty())
					x.learnRate(uint64(id), 1+rnd.Uint32N(5), plenty())
				}
				x.note(b, Units{Advance: 1, Carried: 1})
			}
		})
	}
	var done atomic.Bool
	for _, watch := range []func(){
		func() { s.List(); s.Lost(); s.Waiting(); s.Evicted(); s.Changed() },
		func() { s.Expire(streamsStart.Add(30 * time.Minute)) },
		func() {
			var b bytes.Buffer
			if err := s.Save(&b); err != nil {
				t.Error(err)
			}
			if _, err := s.Load(&b, streamsStart); err != nil {
				t.Error(err)
			}
		},
	} {
		watching.Go(func() {
			for !done.Load() {
				watch()
			}
		})
	}
	working.Wait()
	done.Store(true)
	watching.Wait()

	var held, waitingBytes, options int64
	waiting := 0
	for x := range s.all {
		sum, known := x.templates.Load().cost(), 0
		for _, y := range x.templates.Load().all {
			sum += int64(y.cost())
			known++
		}
		if sum != x.held.Load() || known > 0 && known != x.templates.Load().known {
			t.Errorf("%v holds %d bytes and counts %d", x.ID, sum, x.held.Load())
		}
		held += sum
		waiting += len(x.backlog.sets)
		waitingBytes += x.backlog.bytes.Load()
		options += x.optionBytes
	}
	if held != s.templateBytes.Load() || waiting != s.Waiting() || waitingBytes != s.waitingBytes.Load() || options != s.optionsBytes.Load() {
		t.Errorf("%d bytes of templates, %d waiting, %d bytes, %d of options; counted %d, %d, %d, %d",
			held, waiting, waitingBytes, options, s.templateBytes.Load(), s.Waiting(), s.waitingBytes.Load(), s.optionsBytes.Load())
	}
	if got := replayed.Load() + s.Evicted().Waiting + uint64(waiting); got != kept.Load() {
		t.Errorf("%d sets were kept; %d were decoded, %d given up, %d wait", kept.Load(), replayed.Load(), s.Evicted().Waiting, waiting)
	}
	if s.Evicted().Streams == 0 || s.Evicted().Templates == 0 || replayed.Load() == 0 {
		t.Errorf("nothing was replaced or decoded late: %+v, %d", s.Evicted(), replayed.Load())
	}
}
