// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/portolan/portolan/profiler"
)

// Sink takes posts. Post returns after everything it accepted is durable, with
// an outcome for every observation; where it returns an error, nothing of the
// batch counts as posted and the same batch is offered again. It is called from
// one goroutine at a time. Applying a batch twice must be harmless.
type Sink interface {
	Post(ctx context.Context, b *profiler.Batch) error
}

const (
	// maxBatch is the most observations in one call of the Sink.
	maxBatch = 4096
	// linger is how long the batcher lets a batch grow after its first
	// observation: short against the second within which a new port is to be
	// visible, long against a synced commit.
	linger = 20 * time.Millisecond
	// A Sink that refuses is asked again after firstRetry, then ever slower.
	firstRetry = 50 * time.Millisecond
	lastRetry  = 2 * time.Second
)

// batcher carries observations from the workers' queues to the Sink and the
// answers back into the table of pairs. One goroutine runs it.
type batcher struct {
	*shared
	sink    Sink
	queues  []*queue
	wake    chan struct{}
	held    atomic.Int64 // taken from a queue, not yet answered
	page    ledgerPage
	counts  tally
	pending []pending
	batch   profiler.Batch
}

func newBatcher(s *shared, sink Sink) *batcher {
	return &batcher{
		shared:  s,
		sink:    sink,
		wake:    make(chan struct{}, 1),
		pending: make([]pending, 0, maxBatch),
		batch: profiler.Batch{
			Observations: make([]profiler.Observation, 0, maxBatch),
			Outcomes:     make([]profiler.Outcome, maxBatch),
			Posted:       make([]int64, maxBatch),
		},
	}
}

// run posts until stop is closed, and then what is left in the queues, until
// ctx ends. What the Sink has not taken by then is counted as lost.
func (b *batcher) run(ctx context.Context, stop <-chan struct{}) {
	for stopping := false; !stopping; {
		select {
		case <-b.wake:
			select {
			case <-time.After(linger):
			case <-stop:
				stopping = true
			}
		case <-stop:
			stopping = true
		}
		for b.collect() {
			b.post(ctx)
		}
	}
}

// collect takes the next batch from the queues, each in its turn.
func (b *batcher) collect() bool {
	b.pending = b.pending[:0]
	for _, q := range b.queues {
		n := len(b.pending)
		b.held.Add(int64(min(q.len(), uint64(cap(b.pending)-n))))
		b.pending = q.drain(b.pending)
		b.held.Store(int64(len(b.pending)))
	}
	// Those of one endpoint stand together: they are a post.
	slices.SortStableFunc(b.pending, func(x, y pending) int {
		return cmp.Or(cmp.Compare(x.obs.Binding, y.obs.Binding), cmp.Compare(x.obs.Gen, y.obs.Gen))
	})
	return len(b.pending) > 0
}

// post offers the collected batch to the Sink until it takes it or ctx ends.
func (b *batcher) post(ctx context.Context) {
	n := len(b.pending)
	b.batch.Observations = b.batch.Observations[:0]
	for i := range b.pending {
		b.batch.Observations = append(b.batch.Observations, b.pending[i].obs)
	}
	b.batch.Outcomes, b.batch.Posted = b.batch.Outcomes[:n], b.batch.Posted[:n]
	for retry := firstRetry; ; retry = min(2*retry, lastRetry) {
		clear(b.batch.Outcomes)
		err := b.sink.Post(ctx, &b.batch)
		if err == nil {
			b.answer()
			break
		}
		if ctx.Err() != nil {
			b.giveUp(err)
			break
		}
		if retry == firstRetry || retry == lastRetry {
			b.log.Warn("the profiler did not take a batch, trying again", "observations", n, "error", err)
		}
		select {
		case <-time.After(retry):
		case <-ctx.Done():
		}
	}
	// In this order: once nothing is in flight, all answers are in the books.
	b.page.publish(&b.counts)
	b.held.Store(0)
}

// answer enters the Sink's outcomes into the table and the books.
func (b *batcher) answer() {
	for i := range b.pending {
		p := &b.pending[i]
		o := b.batch.Outcomes[i]
		if p.obs.Withdraw { // no side was observed for it
			if o == profiler.Withdrawn {
				b.counts.answers[o]++
			}
			continue
		}
		b.counts.answers[o]++
		switch {
		case o.Acknowledged():
			b.pairs.posted(p.claim, uint32(b.batch.Posted[i]/int64(time.Second)))
		case o == profiler.OverLimit:
			// Remembered like a post, or every record would ask again.
			b.counts.lost[lossPortLimit]++
			b.pairs.posted(p.claim, uint32(p.obs.Last/int64(time.Second)))
		default:
			b.counts.lost[lossStale]++
			b.pairs.forget(p.claim)
		}
	}
	if b.log.Enabled(context.Background(), slog.LevelDebug) {
		b.logPosts()
	}
}

// giveUp counts a batch that the Sink did not take in time.
func (b *batcher) giveUp(err error) {
	for i := range b.pending {
		if p := &b.pending[i]; !p.obs.Withdraw {
			b.counts.lost[lossShutdown]++
			b.pairs.forget(p.claim)
		}
	}
	if !errors.Is(err, context.Canceled) {
		b.log.Error("posts were lost: the profiler did not take them before the sensor stopped", "observations", len(b.pending), "error", err)
	}
}

// inFlight is the number of observations that are queued or held.
func (b *batcher) inFlight() uint64 {
	n := uint64(b.held.Load())
	for _, q := range b.queues {
		n += q.len()
	}
	return n
}

// logPosts tells one story per endpoint: which ports were added or updated.
func (b *batcher) logPosts() {
	for i := 0; i < len(b.pending); {
		first := &b.pending[i].obs
		mac, ip := b.describe(first.Binding)
		var ports []string
		for ; i < len(b.pending) && b.pending[i].obs.Binding == first.Binding && b.pending[i].obs.Gen == first.Gen; i++ {
			if o := b.batch.Outcomes[i]; o == profiler.Added || o == profiler.Updated {
				port := strconv.Itoa(int(b.pending[i].obs.Port))
				ports = append(ports, port)
				b.log.Debug("port "+o.String(), "ip", ip, "port", port)
			}
		}
		if len(ports) > 0 {
			b.log.Debug("post to profiler", "mac", mac, "ip", ip, "ports", ports)
		}
	}
}
