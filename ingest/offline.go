// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"time"

	"github.com/portolan/portolan/ingest/flow"
)

// Offline is the same path without a network: datagrams are handed in one by
// one with the time at which they were captured, and everything happens on the
// caller's goroutine, so that the same input gives the same result every time.
type Offline struct {
	worker  *worker
	batcher *batcher
	settler *settler
}

// NewOffline makes one. Of c it uses Set, Sink, Interval, Pairs, Log,
// Describe and Discover.
func NewOffline(c Config) (*Offline, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	s := newShared(&c, flow.Limits{Seed: 1})
	b := newBatcher(s, c.Sink)
	w := newWorker(s, b.wake)
	w.decoder.Patient = true // nobody waits for the next datagram
	settler := newSettler(s, b.wake)
	b.queues = []*queue{w.queue, settler.queue}
	return &Offline{worker: w, batcher: b, settler: settler}, nil
}

// Datagram takes one UDP payload that source sent at the given time. The bytes
// are borrowed until Datagram returns. It posts when a good batch has gathered.
func (o *Offline) Datagram(ctx context.Context, at time.Time, source [16]byte, payload []byte) error {
	b := &o.worker.burst
	b.datagrams[0] = datagram{payload, source}
	b.n = 1
	if now := uint32(at.Unix()); o.settler.evidence != nil && now >= o.settler.last+settleEvery {
		if err := o.settle(ctx, at, false); err != nil {
			return err
		}
	}
	o.worker.process(PathFile, at.UnixNano())
	b.datagrams[0] = datagram{}
	if o.worker.queue.len() >= maxBatch {
		return o.Flush(ctx)
	}
	return nil
}

// Flush posts all that has gathered. It returns the cause where ctx ended first.
func (o *Offline) Flush(ctx context.Context) error {
	for o.batcher.collect() {
		o.batcher.post(ctx)
	}
	return ctx.Err()
}

// End decides what is undecided, because no more comes after the given time, and
// posts it.
func (o *Offline) End(ctx context.Context, at time.Time) error {
	return o.settle(ctx, at, true)
}

// settle posts what the evidence has settled, however much that is: nobody else
// empties the queue.
func (o *Offline) settle(ctx context.Context, at time.Time, end bool) error {
	o.settler.makeRoom = func() { _ = o.Flush(ctx) } // its error is that of the next line but one
	o.settler.settle(at.UnixNano(), end)
	return o.Flush(ctx)
}

// Status is the state of the books and the exporters.
func (o *Offline) Status() Status {
	return status(o.worker.shared, o.batcher, []*worker{o.worker}, o.settler)
}

// Close lets go of the endpoint set.
func (o *Offline) Close() { o.worker.reader.Close() }
