// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"sync/atomic"

	"github.com/portolan/portolan/profiler"
)

// pending is an observation on its way to the Sink, with the claim that its
// answer goes to.
type pending struct {
	obs   profiler.Observation
	claim slot
}

// queue carries observations from one worker to the batcher: a ring with one
// producer and one consumer. The worker writes entries and publishes a whole
// burst of them with one store of tail; the batcher copies entries out and
// gives the places back with one store of head. Each side keeps the other's
// index as it last saw it and re-reads it only when that is not enough, so that
// the two cache lines move as seldom as possible. A full queue refuses: the
// worker counts the loss and goes on.
//
// A Go channel was rejected: it takes a lock per entry.
type queue struct {
	entries []pending
	mask    uint64

	_        [64]byte
	tail     atomic.Uint64 // written by the worker: entries before it are readable
	next     uint64        // the worker's: written but not yet published
	seenHead uint64        // the worker's copy of head

	_    [64]byte
	head atomic.Uint64 // written by the batcher: entries before it are free
	_    [64]byte
}

// newQueue makes a queue of size entries, a power of two.
func newQueue(size int) *queue {
	return &queue{entries: make([]pending, size), mask: uint64(size - 1)}
}

// push adds an entry that becomes visible at the next publish. False: full.
func (q *queue) push(p *pending) bool {
	if q.next-q.seenHead == uint64(len(q.entries)) {
		q.seenHead = q.head.Load()
		if q.next-q.seenHead == uint64(len(q.entries)) {
			return false
		}
	}
	q.entries[q.next&q.mask] = *p
	q.next++
	return true
}

// publish shows the batcher all that was pushed and reports whether there was
// anything new.
func (q *queue) publish() bool {
	if q.tail.Load() == q.next {
		return false
	}
	q.tail.Store(q.next)
	return true
}

// drain moves up to cap(dst)-len(dst) entries to dst.
func (q *queue) drain(dst []pending) []pending {
	head, tail := q.head.Load(), q.tail.Load()
	for head != tail && len(dst) < cap(dst) {
		dst = append(dst, q.entries[head&q.mask])
		head++
	}
	q.head.Store(head)
	return dst
}

// len is the number of published entries that wait.
func (q *queue) len() uint64 { return q.tail.Load() - q.head.Load() }
