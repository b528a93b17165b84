// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bench

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// MaxDuration is the longest that one run of a generator takes.
const MaxDuration = 10 * time.Minute

// Load is how much of a workload to send, and how fast. A run ends with Count or
// Duration, whichever comes first.
type Load struct {
	// Count is how many datagrams to send, at least 1.
	Count uint64
	// Rate is in datagrams per second; 0 is as fast as it goes.
	Rate int
	// Duration is up to MaxDuration, which is also the default.
	Duration time.Duration
}

// maxRate is far beyond what one sender reaches, and keeps intervals above zero.
const maxRate = 100_000_000

// Check tells what is wrong with a Load, nil if nothing is.
func (l Load) Check() error {
	_, err := l.check()
	return err
}

func (l Load) check() (Load, error) {
	if l.Duration == 0 {
		l.Duration = MaxDuration
	}
	switch {
	case l.Count == 0:
		return l, errors.New("load: a count of datagrams is needed, at least 1")
	case l.Rate < 0 || l.Rate > maxRate:
		return l, fmt.Errorf("load: rate %d is not in 0 (no limit) to %d datagrams per second", l.Rate, maxRate)
	case l.Duration < 0 || l.Duration > MaxDuration:
		return l, fmt.Errorf("load: duration %v is not in 0 to %v", l.Duration, MaxDuration)
	}
	return l, nil
}

// Result is what one run has sent.
type Result struct {
	First   uint64        // number of the first datagram in the workload
	Sent    uint64        // datagrams handed to the device or the socket
	Records uint64        // flow records in them
	Refused uint64        // how often a socket said that nobody listens; UDP only
	Elapsed time.Duration // until the last datagram was sent
}

// Rate is in datagrams per second, 0 where there was no time to measure.
func (r Result) Rate() float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return float64(r.Sent) / r.Elapsed.Seconds()
}

// Generator sends a workload. Each Run goes on where the one before stopped, so
// that sequence numbers have no gap. A Generator runs once at a time; Sent may be
// called meanwhile.
type Generator interface {
	// Run sends. The Result is right also where err is not nil: it is then
	// what was sent before, for example until ctx ended (ctx.Err()).
	// That Duration passed before Count was reached is no error.
	Run(ctx context.Context, l Load) (Result, error)
	// Sent is how many datagrams were sent in all runs together.
	Sent() (uint64, error)
	// Close frees what the generator holds.
	Close() error
}

var (
	_ Generator = (*Live)(nil)
	_ Generator = (*UDP)(nil)
)
