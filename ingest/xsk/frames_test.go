// SPDX-License-Identifier: Apache-2.0

//go:build linux

package xsk

import (
	"testing"
	"time"
)

// What the kernel loses between the redirect and us has exactly two names in
// copy mode (net/xdp/xsk.c): rx_dropped, for want of a free frame or for a frame
// too long, and rx_ring_full. So, of what the program redirected,
//
//	redirected = Received + Refused + Dropped + RingFull
//
// once the ring is drained; FillEmpty repeats a part of Dropped. In front of the
// program the sending device may refuse frames, which it counts as well:
//
//	sent = redirected + the sending device's tx_dropped
func TestEveryFrameOnceOrCounted(t *testing.T) {
	frames := uint64(1_000_000)
	if testing.Short() {
		frames = 100_000
	}
	for _, tc := range []struct {
		name   string
		frames int
		starve uint64 // sent before the first Receive
		count  uint64
	}{
		{"roomy", 8192, 0, frames},
		{"starved", 64, 5000, 50_000},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, 0)
			s := r.open(t, Config{Mode: Copy, Frames: tc.frames})
			began := time.Now()
			sent := make(chan error, 1)
			start, first := make(chan struct{}), make(chan struct{})
			go func() { sent <- r.sendNumbered(tc.count, tc.starve, first, start) }()
			<-first
			close(start)
			book := receiveNumbered(t, r, s, tc.count, sent)
			took := time.Since(began)

			st, err := s.Stats()
			must(t, err)
			redirected, passed := r.verdicts(t)
			refused := r.refused(t)
			t.Logf("%d sent in %s (%.0f/s): %d refused by the device, %d redirected, %+v", tc.count, took.Round(time.Millisecond),
				float64(tc.count)/took.Seconds(), refused, redirected, st)
			if passed != 0 {
				t.Errorf("%d frames were passed, want all redirected", passed)
			}
			if got := redirected + refused; got != tc.count {
				t.Errorf("redirected + refused by the device = %d, want the %d sent", got, tc.count)
			}
			if got := st.Received + st.Refused + st.Dropped + st.RingFull; got != redirected {
				t.Errorf("received + refused + dropped + ring full = %d, want the %d redirected", got, redirected)
			}
			if book.seen != st.Received {
				t.Errorf("%d distinct numbers among %d frames received", book.seen, st.Received)
			}
			if st.FillEmpty > st.Dropped || st.Refused != 0 || st.InvalidDescs != 0 {
				t.Errorf("stats %+v: want FillEmpty ≤ Dropped and no descriptor refused", st)
			}
			if tc.starve > 0 && st.Dropped < tc.starve-uint64(tc.frames)-refused {
				t.Errorf("dropped %d, want at least what was sent before the first Receive", st.Dropped)
			}
		})
	}
}

// sendNumbered sends frames 0 to count-1. It closes first when it has sent
// pause of them, and then waits for start.
func (r *rig) sendNumbered(count, pause uint64, first, start chan struct{}) error {
	batch := make([][]byte, 0, len(r.sends))
	var bufs [64][maxLen]byte
	paused := false
	for seq := uint64(0); seq < count; {
		if seq >= pause && !paused {
			close(first)
			<-start
			paused = true
		}
		batch = batch[:0]
		for i := range min(uint64(len(bufs)), count-seq) {
			batch = append(batch, numbered(bufs[i][:], seq+i))
		}
		if _, err := r.send(batch); err != nil {
			return err
		}
		seq += uint64(len(batch))
	}
	return nil
}

type book struct{ seen uint64 }

// receiveNumbered receives until every frame sent has been accounted for.
func receiveNumbered(t *testing.T, r *rig, s *Socket, count uint64, sent <-chan error) (b book) {
	t.Helper()
	seen := make([]bool, count)
	done := false
	until := time.Now().Add(2 * deadline)
	for {
		must(t, s.Wait(10*time.Millisecond))
		l := s.Receive(64)
		for i := range l.Len() {
			n, ok := check(l.Frame(i))
			if !ok || n >= count {
				t.Fatalf("frame %d has wrong contents (%d bytes)", n, len(l.Frame(i)))
			}
			if seen[n] {
				t.Fatalf("frame %d received twice", n)
			}
			seen[n] = true
			b.seen++
		}
		empty := l.Len() == 0
		l.End()
		select {
		case err := <-sent:
			must(t, err)
			done = true
		default:
		}
		if done && empty {
			st, err := s.Stats()
			must(t, err)
			if redirected, _ := r.verdicts(t); redirected+r.refused(t) >= count && st.Received+st.Dropped+st.RingFull+st.Refused >= redirected {
				return b
			}
		}
		if time.Now().After(until) {
			return b // the books below will say what is missing
		}
	}
}
