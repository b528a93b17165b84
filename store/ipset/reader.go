// SPDX-License-Identifier: Apache-2.0

package ipset

import (
	"slices"
	"sync/atomic"
)

// Reader is one worker's way into a Live. Only that worker may use it. It has
// cache lines of its own, because the worker writes it and others are near.
type Reader struct {
	_     [128]byte
	epoch atomic.Uint64 // 0: parked, holds no View
	live  *Live
	_     [112]byte
}

// Reader registers a reader, parked. Close it when the worker ends.
func (l *Live) Reader() *Reader {
	r := &Reader{live: l}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.readers = append(l.readers, r)
	return r
}

// Acquire returns the present View and gives up the previous one. Call it once
// per batch. It neither locks nor allocates.
func (r *Reader) Acquire() *View {
	// The order matters: first the epoch is published, then the View loaded.
	// See the essay above View.
	if e := r.live.epoch.Load(); r.epoch.Load() != e {
		r.epoch.Store(e)
	}
	return r.live.view.Load()
}

// Park gives up the View: call it before waiting for packets, so that a silent
// queue does not keep an old base mapped.
func (r *Reader) Park() { r.epoch.Store(0) }

// Close parks and unregisters the reader. It is not used again.
func (r *Reader) Close() {
	r.Park()
	l := r.live
	l.mu.Lock()
	defer l.mu.Unlock()
	l.readers = slices.DeleteFunc(l.readers, func(o *Reader) bool { return o == r })
}
