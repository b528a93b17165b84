// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// # Stopping instead of exiting
//
// Pebble knows two answers to an error after which it cannot vouch for the
// disk: Logger.Fatalf, whose default is os.Exit and which must not return, or
// its caller would go on as though the write had succeeded; and a panic on the
// goroutine that commits. Both would end a process that still has sockets, an
// XDP program and a book to close in order. Worse, Pebble 2.1.7 panics in
// DB.rotateWAL, when a log cannot be created, at a point where it has given up
// the mutex that a deferred call then unlocks, and the runtime ends the process
// for that without a chance to recover.
//
// The breaker sits under Pebble, in the file system, where it can do better
// (guardedFS): an error of writing a log, a manifest or a marker does not come
// back at all. It is noted, which closes Store.Failed, and the goroutine that
// ran into it is parked for good. From then on so is every goroutine that wants
// to change anything on the disk. Pebble can do nothing further, above all not
// write after a failed sync and not delete a log whose table was never
// finished. What is left of Fatalf are broken invariants; it notes the failure
// and ends its goroutine with the deferred unlocks, and the file system is shut
// behind it. The price is a few parked goroutines, and the lock on the
// directory, until the process ends.
//
// Why there and not in Fatalf alone: Fatalf is called with DB.mu held. A
// goroutine parked in it keeps that mutex, and a reader that gives up the last
// reference to an old version waits for it, with Store.mu in its hand; so that
// in one run of fifty everything hung. Pebble holds DB.mu over no write to the
// disk, so a goroutine that is parked in the file system keeps nothing that a
// reader needs. A panic instead cannot be recovered on Pebble's own goroutines
// (flush, compaction).
//
// Our side never waits for Pebble alone: a commit runs on a goroutine of its
// own, and the caller waits for it or for the breaker.
//
// While Open runs nothing is promised yet and errors are answered: the file
// system returns them, and Fatalf ends only the goroutine that opens.
type breaker struct {
	log    *slog.Logger
	armed  atomic.Bool
	once   sync.Once
	err    error         // valid once failed is closed
	failed chan struct{} // closed at the first failure
	told   chan error    // Store.Failed

	mu          sync.Mutex
	window      time.Time // of the limit on Pebble's error lines
	lines, held int
	background  time.Time // since when background work fails without a success
}

// ErrFailed is wrapped, together with the cause, by every call after the store
// has stopped.
var ErrFailed = errors.New("the store has stopped after an error; restart the program once the cause is removed")

func newBreaker(log *slog.Logger) *breaker {
	return &breaker{log: log, failed: make(chan struct{}), told: make(chan error, 1)}
}

func (b *breaker) fail(cause error) {
	b.once.Do(func() {
		b.err = fmt.Errorf("%w: %w", ErrFailed, cause)
		b.told <- b.err
		close(b.told)
		close(b.failed)
		b.log.Error("the store has stopped", "err", cause)
	})
}

// failure is nil for as long as all is well.
func (b *breaker) failure() error {
	select {
	case <-b.failed:
		return b.err
	default:
		return nil
	}
}

// Infof is part of pebble.Logger.
func (b *breaker) Infof(format string, args ...any) {
	if b.log.Enabled(context.Background(), slog.LevelDebug) {
		b.log.Debug("pebble: " + fmt.Sprintf(format, args...))
	}
}

// Errorf is part of pebble.Logger. On a full disk Pebble retries without pause
// and would log a hundred lines a second; ten in ten seconds tell as much.
func (b *breaker) Errorf(format string, args ...any) {
	b.mu.Lock()
	now := time.Now()
	if now.Sub(b.window) > 10*time.Second {
		b.window, b.lines = now, 0
	}
	b.lines++
	if b.lines > 10 {
		b.held++
		b.mu.Unlock()
		return
	}
	held := b.held
	b.held = 0
	b.mu.Unlock()
	b.log.Error("pebble: "+fmt.Sprintf(format, args...), "suppressed", held)
}

// Fatalf is part of pebble.Logger. It does not return.
func (b *breaker) Fatalf(format string, args ...any) {
	b.fail(fmt.Errorf("pebble: "+format, args...))
	runtime.Goexit()
}

// patience is how long flushes and compactions may go on failing. Until then
// it may be a disk that is full for a moment; after it writes would soon stall
// for ever.
const patience = 10 * time.Second

// listener tells what happens inside Pebble.
func (b *breaker) listener() *pebble.EventListener {
	l := &pebble.EventListener{
		BackgroundError: func(err error) {
			b.Errorf("background error: %s", err)
			b.worked(err)
		},
		// The read that met it gets the error as well; this covers compactions.
		DataCorruption: func(i pebble.DataCorruptionInfo) { b.fail(fmt.Errorf("pebble: %s", i)) },
		FlushEnd:       func(i pebble.FlushInfo) { b.worked(i.Err) },
		CompactionEnd:  func(i pebble.CompactionInfo) { b.worked(i.Err) },
		DiskSlow: func(i pebble.DiskSlowInfo) {
			b.log.Warn("the disk is slow", "file", i.Path, "took", i.Duration)
		},
	}
	l.EnsureDefaults(b)
	return l
}

// worked notes how background work ended, and fails when patience is over.
func (b *breaker) worked(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case err == nil || errors.Is(err, pebble.ErrCancelledCompaction):
		b.background = time.Time{}
	case b.background.IsZero():
		b.background = time.Now()
	case time.Since(b.background) > patience:
		b.fail(fmt.Errorf("cannot write tables: %w", err))
	}
}
