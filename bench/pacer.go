// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bench

import (
	"context"
	"time"
)

// pacer tells a generator when to send how much. It belongs to one run.
//
// Datagrams go in batches of about a tick's worth. What a late wake-up
// has missed is made up for at twice the rate at most, and what is older than
// pacerMemory never: a burst of any length would measure the receiver's buffers
// and not its speed.
type pacer struct {
	load     Load
	start    time.Time // when datagram 0 was due
	begin    time.Time
	deadline time.Time
	last     time.Time // when the last batch was given out
	sent     uint64
	elapsed  time.Duration
}

const (
	pacerTick   = time.Millisecond
	pacerMemory = 100 * time.Millisecond
)

// newPacer checks the load and starts its clock.
func newPacer(l Load) (*pacer, error) {
	l, err := l.check()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return &pacer{load: l, start: now, begin: now, deadline: now.Add(l.Duration)}, nil
}

// wait waits until datagrams are due and returns how many, up to most. It
// returns 0 once the load is sent, its duration over, or ctx done.
func (p *pacer) wait(ctx context.Context, most uint64) uint64 {
	for {
		now := time.Now()
		rest := p.load.Count - p.sent
		if rest == 0 || !now.Before(p.deadline) || ctx.Err() != nil {
			return 0
		}
		if p.load.Rate == 0 {
			return min(rest, most)
		}
		if late := now.Sub(p.due()); late > pacerMemory {
			p.start = p.start.Add(late - pacerMemory)
		}
		at := p.due()
		if next := p.last.Add(pacerTick); next.After(at) {
			at = next
		}
		if !now.Before(at) {
			p.last = now
			perTick := uint64(p.load.Rate) * uint64(pacerTick) / uint64(time.Second)
			// The datagram that is due now is not in the product yet.
			due := 1 + uint64(now.Sub(p.start).Seconds()*float64(p.load.Rate)) - p.sent
			return min(rest, most, max(due, 1), 1+2*perTick)
		}
		if at.After(p.deadline) {
			at = p.deadline
		}
		timer := time.NewTimer(at.Sub(now))
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// due is when the next datagram should go.
func (p *pacer) due() time.Time {
	return p.start.Add(time.Duration(float64(p.sent) / float64(p.load.Rate) * float64(time.Second)))
}

// done counts what was sent.
func (p *pacer) done(n uint64) {
	p.sent += n
	p.elapsed = time.Since(p.begin)
}
