// SPDX-License-Identifier: Apache-2.0

package store

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/portolan/portolan/profiler"
	"github.com/portolan/portolan/store/ipset"
)

// # Who writes and who reads
//
// Writers (Post, Import, Discover, Delete, Forget, SetInterval) take mu, one at a time, and hold
// it over the synced commit. That is what makes "a post for an old generation
// is refused in the same commit" true without a transaction: nothing moves
// between the look at the generation and the write. What they keep in memory
// (owners, free, counters) belongs to mu and changes after the commit only, so
// that a commit that fails leaves it telling the truth about the disk.
//
// Readers (Endpoint, Endpoints, Bindings) never take mu. Each works through one
// Pebble iterator, which sees one moment of the store, so that an endpoint is
// never shown with the ports of another. They hold life for reading; Close
// takes it for writing and so waits for them.
//
// Sensors read neither: they look addresses up in the endpoint-IP set (Live),
// which a writer changes right after its commit. A sensor may post with a
// generation that has just ended; that is what the check in Post is for.
//
// Rejected: a lock per endpoint, or Pebble's own concurrency between posts. The
// commit is one fsync and takes a thousand times as long as all the rest, and a
// sensor batches while it waits; two commits at once would save little and the
// check and the write would need a transaction around them. A cache of ports in
// memory: 16 bytes a pair are spent on it in the sensor already, and one look
// into Pebble's memtable or block cache costs a microsecond or two.

// ErrClosed: the store was closed.
var ErrClosed = errors.New("the store is closed")

// Store is an open store. Its methods may be called from any goroutine.
type Store struct {
	breaker  *breaker
	dir      string
	o        Options
	db       *pebble.DB
	lock     *pebble.Lock
	identity identity
	interval atomic.Int64 // ns

	life   sync.RWMutex
	closed bool // under life

	forget forgetter

	mu       sync.Mutex // the fields below
	counters counters
	// discovered is how many endpoints Discover made that nobody has named since,
	// newest the time of the latest observation since Open.
	discovered uint64
	newest     int64
	owners     []owner  // by binding id; index 0 is no binding
	free       []uint32 // ids of deleted bindings
	post       poster
	set        set

	counts  atomic.Pointer[Counts]
	profile profile
}

// owner is what a post is checked against. 16 bytes a binding.
type owner struct {
	gen      uint32
	endpoint uint64 // 0: free
}

// Counts is how much a store holds.
type Counts struct {
	Endpoints uint64 `json:"endpoints"`
	Bindings  uint64 `json:"bindings"` // addresses
	Ports     uint64 `json:"ports"`    // of all endpoints, in both roles
	// Discovered is how many of the endpoints were made of an address that was
	// seen, and named by nobody since.
	Discovered uint64 `json:"discovered,omitempty"`
	// Forgotten is how many ports have aged out since the store was opened.
	Forgotten uint64 `json:"forgotten,omitempty"`
}

// Counts returns how much the store holds, as of the last commit.
func (s *Store) Counts() Counts { return *s.counts.Load() }

// publish makes the counters visible to Counts.
func (s *Store) publish() {
	s.counts.Store(&Counts{s.counters.endpoints, s.counters.bindings, s.counters.ports, s.discovered, s.forget.ports})
}

// Failed delivers the error that has stopped the store, once, and is closed
// then. It wraps ErrFailed. Whoever receives it shuts the process down in
// order, with a deadline: a read that was under way may not return.
func (s *Store) Failed() <-chan error { return s.breaker.told }

// failure is why the store has stopped, nil while it works.
func (s *Store) failure() error { return s.breaker.failure() }

// Live is the endpoint-IP set as of the last commit. Close closes it; its
// readers must have been closed before.
func (s *Store) Live() *ipset.Live { return s.set.live }

// Interval is the reprofile interval.
func (s *Store) Interval() time.Duration { return time.Duration(s.interval.Load()) }

// SetInterval changes the reprofile interval and keeps the change. It refuses
// one under profiler.MinInterval with profiler.ErrInterval.
func (s *Store) SetInterval(d time.Duration) error {
	if err := profiler.CheckInterval(d); err != nil {
		return err
	}
	return s.write(func() error {
		b := s.db.NewBatch()
		_ = b.Set(metaInterval, appendNumber(nil, uint64(d)), nil)
		if err := s.commit(b); err != nil {
			return err
		}
		s.interval.Store(int64(d))
		return nil
	})
}

// write runs fn as the only writer, if the store is open and well.
func (s *Store) write(fn func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.failure(); err != nil {
		return err
	}
	s.life.RLock()
	defer s.life.RUnlock()
	if s.closed {
		return ErrClosed
	}
	if s.o.ReadOnly {
		return pebble.ErrReadOnly
	}
	return fn()
}

// commit writes a batch and syncs the log. The batch is not used afterwards.
// It returns nil only when the batch is durable; after an error the store has
// stopped.
func (s *Store) commit(b *pebble.Batch) error {
	done := make(chan error, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				s.breaker.fail(fmt.Errorf("pebble: %v", r))
			}
		}()
		done <- b.Commit(pebble.Sync)
	}()
	select {
	case err := <-done:
		if err != nil {
			s.breaker.fail(err)
			return s.failure()
		}
		return b.Close()
	case <-s.breaker.failed:
		return s.failure()
	}
}

// Close brings the endpoint-IP file up to date, waits for readers and closes
// the store. After a failure it returns that failure and leaves the files to
// the end of the process. Closing twice is harmless.
func (s *Store) Close() error {
	if err := s.failure(); err != nil {
		s.profile.end() // and not waited for: it may be reading
		s.forget.end()
		return errors.Join(err, s.set.live.Close())
	}
	s.stopProfile()
	s.stopForget()
	s.stopSet()
	s.mu.Lock() // before life, as in write
	defer s.mu.Unlock()
	s.life.Lock()
	defer s.life.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	if !s.o.ReadOnly {
		s.finishSet()
	}
	return errors.Join(s.set.live.Close(), s.closePebble())
}

// closePebble closes Pebble unless that runs into a failure.
func (s *Store) closePebble() error {
	done := make(chan error, 1)
	go func() { done <- errors.Join(s.db.Close(), s.lock.Close()) }()
	select {
	case err := <-done:
		return err
	case <-s.breaker.failed:
		return s.failure()
	}
}
