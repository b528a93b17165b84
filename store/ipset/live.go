// SPDX-License-Identifier: Apache-2.0

package ipset

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// RebuildAt is the number of overlay entries from which a new base is worth
// building. Up to there the overlay takes a few megabytes, which mostly stay in
// the cache, and one more change costs some tens of microseconds.
const RebuildAt = 1 << 16

// # How readers and writers share a Live
//
// Who writes: the control path, one writer at a time behind Live.mu. Change and
// Swap build a new View beside the current one and store it in one atomic
// pointer. Nothing that a reader can see is ever modified.
//
// Who reads: one worker per Reader. Acquire publishes the epoch that the worker
// has seen and loads the View; the View is the worker's until its next Acquire
// or Park. A worker does that once per batch, so a change is visible from the
// next batch on.
//
// What has to be reclaimed: a View and its overlay are ordinary memory and the
// garbage collector's. Only a base that was swapped out needs care, because its
// mapping vanishes with munmap. So the epoch counts swaps: Swap stores the new
// View, then increases the epoch to E, and puts the old base aside until every
// reader has published 0 (parked) or at least E.
//
// Why that is enough. Go's atomics are sequentially consistent, so all of them
// have one order. Look at a reader when the writer reads its published epoch:
//
//   - It reads 0, or the reader is not registered yet: an Acquire that follows
//     publishes later in that order, and loads the View later still, thus after
//     the writer stored the new one. It cannot get the old base. This holds even
//     if the reader loaded the epoch long ago and publishes a stale number; such
//     a number only delays a later reclaim. Acquire therefore needs no re-check.
//   - It reads at least E: the reader loaded the epoch after the writer had
//     increased it, which was after the new View was stored, and loaded the View
//     after that. Its previous View ended when it called Acquire.
//   - It reads less than E: the reader may hold the old base. It stays.
//
// Acquire skips the publishing store when it would store the number that is
// there already; the value in memory is the same, and so is the argument.
//
// What was rejected. A RWMutex or a reference count per Acquire writes a cache
// line that all workers share, twice a batch, and a lock makes a worker wait for
// a control path. A finalizer on the base runs when the collector likes, on a
// goroutine of its own, and the collector does not see pointers into a mapping
// that a worker still uses. Hazard pointers need the re-check and protect one
// object each, for no gain at one load per batch. Copying the file into the
// heap makes the collector own it, and doubles the memory during every swap.

// View is one state of the set: a base and what has changed since. It is valid
// until the reader that acquired it calls Acquire, Park or Close.
type View struct {
	summary *[1024]uint64 // of base and overlay together
	base    *Set
	over    *overlay // nil if nothing has changed since the base
	moved   *moved   // nil if no address has moved
	len     int
}

// Live is a set that changes under its readers. The zero Live is not usable;
// see NewLive. Change, Swap, Reclaim, Len and Close may be called from any
// goroutine.
type Live struct {
	view  atomic.Pointer[View]
	epoch atomic.Uint64 // starts at 1; Swap increases it

	mu      sync.Mutex
	readers []*Reader
	retired []retired
	timer   *time.Timer
	closed  bool
}

type retired struct {
	set   *Set
	epoch uint64
}

// NewLive starts with base, which may be nil for an empty set, and owns it from
// now on.
func NewLive(base *Set) *Live {
	l := &Live{}
	l.epoch.Store(1)
	l.view.Store(newView(base))
	return l
}

// newView is base as it is.
func newView(base *Set) *View {
	if base == nil {
		base = nothing
	}
	return &View{summary: base.summary, base: base, len: base.Len()}
}

// with is v after changes.
func (v *View) with(changes []Change) *View {
	over, grown := v.over.apply(v.base, changes)
	next := &View{summary: v.summary, base: v.base, over: over, moved: v.moved.apply(changes), len: v.len + grown}
	if over == nil {
		next.summary = v.base.summary
		return next
	}
	// A /16 that loses its last address keeps its bit until the next base: that
	// costs a look at the overlay, where clearing it would cost a count per /16.
	for i := range changes {
		k := keyOf(&changes[i].Addr)
		if h := k.v4() >> 16; k.is4() && !changes[i].Remove && next.summary[h>>6]>>(h&63)&1 == 0 {
			if next.summary == v.summary {
				merged := *v.summary
				next.summary = &merged
			}
			next.summary[h>>6] |= 1 << (h & 63)
		}
	}
	return next
}

// Change applies changes in order; every reader sees all of them from its next
// Acquire on. Removing an unknown address does nothing. A binding of generation
// 0 is a programming error and panics. Cost: proportional to the changes, plus
// 1/256 of the overlay for each; call it with many at once.
func (l *Live) Change(changes []Change) {
	if len(changes) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.view.Store(l.view.Load().with(changes))
	l.reclaim()
}

// Swap replaces the base, which may be nil for an empty one and is owned by
// Live from now on, and forgets all changes except rest: those that came after
// the entries of the new base were read. When bindings moved stays known. The
// old base is unmapped when every reader has passed. A set is given to a Live
// once: never pass one again that was swapped out.
func (l *Live) Swap(base *Set, rest []Change) {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := newView(base)
	next.moved = l.view.Load().moved
	l.replace(next.with(rest))
}

func (l *Live) replace(v *View) {
	old := l.view.Swap(v).base
	epoch := l.epoch.Add(1)
	if old != nothing && old != v.base {
		l.retired = append(l.retired, retired{old, epoch})
	}
	if l.reclaim() > 0 && !l.closed {
		l.watch(10 * time.Millisecond)
	}
}

// watch tries again after d, then after twice as long, up to a second, until
// nothing is left to unmap.
func (l *Live) watch(d time.Duration) {
	if l.timer != nil {
		l.timer.Stop()
	}
	l.timer = time.AfterFunc(d, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.reclaim() > 0 && !l.closed {
			l.watch(min(2*d, time.Second))
		}
	})
}

// Reclaim unmaps the old bases that every reader has passed and returns how
// many are still waiting. Live does so by itself after a Swap; a number that
// stays above 0 for seconds means that a reader neither acquires nor parks.
func (l *Live) Reclaim() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reclaim()
}

func (l *Live) reclaim() int {
	l.retired = slices.DeleteFunc(l.retired, func(r retired) bool {
		for _, reader := range l.readers {
			if e := reader.epoch.Load(); e != 0 && e < r.epoch {
				return false
			}
		}
		// munmap of a range that mmap returned cannot fail.
		return r.set.Close() == nil
	})
	return len(l.retired)
}

// Len counts the addresses, changes included.
func (l *Live) Len() int { return l.view.Load().len }

// Overlay counts the addresses whose binding differs from the base's. See
// [RebuildAt].
func (l *Live) Overlay() int {
	if o := l.view.Load().over; o != nil {
		return o.n
	}
	return 0
}

// ErrReaders: a base is still mapped because a reader has not passed.
var ErrReaders = errors.New("readers still hold an endpoint-IP set")

// Close empties the set and unmaps everything. Readers must have been parked or
// closed; otherwise what they hold stays mapped, the error is ErrReaders, and
// Close may be called again.
func (l *Live) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.timer != nil {
		l.timer.Stop()
	}
	l.replace(newView(nil))
	if n := len(l.retired); n > 0 {
		return fmt.Errorf("%d mappings kept: %w", n, ErrReaders)
	}
	return nil
}

func newSeed() uint64 { return rand.Uint64() }
