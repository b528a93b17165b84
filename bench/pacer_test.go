// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bench

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestPacerKeepsTheRate(t *testing.T) {
	for _, rate := range []int{1, 7, 999, 1000, 33_333, 1_000_000} {
		synctest.Test(t, func(t *testing.T) {
			p, err := newPacer(Load{Count: uint64(3 * rate), Rate: rate})
			if err != nil {
				t.Fatal(err)
			}
			for n := p.wait(t.Context(), 1<<14); n > 0; n = p.wait(t.Context(), 1<<14) {
				if limit := uint64(1 + 2*rate/1000); n > limit {
					t.Fatalf("rate %d: %d at once, want up to %d", rate, n, limit)
				}
				p.done(n)
				if early := float64(p.sent-1) / float64(rate); p.elapsed.Seconds() < early-1e-6 {
					t.Fatalf("rate %d: %d sent after %v", rate, p.sent, p.elapsed)
				}
			}
			if p.sent != uint64(3*rate) {
				t.Errorf("rate %d: sent %d", rate, p.sent)
			}
			if over := p.elapsed.Seconds() - 3; over > 0.003 {
				t.Errorf("rate %d: took %v, want 3 s at most", rate, p.elapsed)
			}
		})
	}
}

func TestPacerForgetsALongStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := newPacer(Load{Count: 1_000_000, Rate: 10_000, Duration: 5 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		stalled := false
		for n := p.wait(t.Context(), 64); n > 0; n = p.wait(t.Context(), 64) {
			p.done(n)
			if p.sent >= 10_000 && !stalled {
				stalled = true
				time.Sleep(2 * time.Second)
			}
		}
		// 5 s less the stall of 2 s, of which 100 ms are made up for.
		if p.sent < 30_900 || p.sent > 31_100 {
			t.Errorf("sent %d, want about 31,000", p.sent)
		}
	})
}

func TestPacerEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := newPacer(Load{Count: 10, Rate: 1, Duration: 2500 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		for n := p.wait(t.Context(), 64); n > 0; n = p.wait(t.Context(), 64) {
			p.done(n)
		}
		if took := time.Since(p.begin); p.sent != 3 || took != 2500*time.Millisecond {
			t.Errorf("sent %d in %v, want 3 in 2.5 s", p.sent, took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		p, _ = newPacer(Load{Count: 10, Rate: 1})
		p.done(p.wait(ctx, 64))
		cancel()
		if n := p.wait(ctx, 64); n != 0 {
			t.Errorf("%d due after the context's end", n)
		}
	})
}

func TestLoadRefused(t *testing.T) {
	for _, l := range []Load{{}, {Count: 1, Rate: -1}, {Count: 1, Rate: maxRate + 1}, {Count: 1, Duration: -1}, {Count: 1, Duration: MaxDuration + 1}} {
		if _, err := newPacer(l); err == nil {
			t.Errorf("%+v is accepted", l)
		}
	}
}
