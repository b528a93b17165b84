// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// # Stopping instead of exiting
//
// Pebble knows two answers to an error after which it cannot vouch for the
// disk: Logger.Fatalf, whose default is os.Exit and which must not return, or
// its caller would go on as though the write had succeeded; and a panic on the
// goroutine that commits. Both would end a process that still has sockets, an
// XDP program and a book to close in order.
//
// The breaker answers for us. It notes the first such error, which closes
// Store.Failed, and then parks the goroutine that ran into it, for good and
// with whatever locks it holds. Pebble can then do nothing further, above all
// not write after a failed sync and not delete a log whose table was never
// finished. Our side never waits for Pebble alone: a commit runs on a goroutine
// of its own and the caller waits for it or for the breaker. The price is a few
// parked goroutines and the lock on the directory until the process ends.
//
// Rejected: panicking in Fatalf, which nobody can recover on Pebble's own
// goroutines (flush, compaction); runtime.Goexit, which runs the deferred
// unlocks, so that the next flush carries on with a manifest that is half
// written. Fatalf alone is not enough either: Pebble 2.1.7 panics in
// DB.rotateWAL, when a log cannot be closed or created, at a point where it has
// given up the mutex that a deferred call then unlocks, and the runtime ends
// the process for that without a chance to recover. So the breaker also sits
// under Pebble, in the file system, and does not let an error of writing a log
// come back at all.
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
		close(b.failed)
		b.told <- b.err
		close(b.told)
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

// stop fails and does not return.
func (b *breaker) stop(cause error) {
	b.fail(cause)
	if b.armed.Load() {
		select {}
	}
	runtime.Goexit()
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
	b.stop(fmt.Errorf("pebble: "+format, args...))
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

// guardedFS is the file system under Pebble with the breaker in it.
type guardedFS struct {
	vfs.FS
	b *breaker
}

// Unwrap is part of vfs.FS.
func (f guardedFS) Unwrap() vfs.FS { return f.FS }

// guarded are the files of which an error of writing must not reach Pebble.
func guarded(name string) bool { return strings.HasSuffix(name, ".log") }

func (f guardedFS) wrap(name string, file vfs.File, err error) (vfs.File, error) {
	if !guarded(name) {
		return file, err
	}
	if err := f.b.check("create", name, err); err != nil {
		return nil, err
	}
	return guardedFile{file, f.b, name}, nil
}

// Create is part of vfs.FS.
func (f guardedFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.Create(name, c)
	return f.wrap(name, file, err)
}

// ReuseForWrite is part of vfs.FS.
func (f guardedFS) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.ReuseForWrite(old, name, c)
	return f.wrap(name, file, err)
}

// check returns err, or does not return at all.
func (b *breaker) check(op, name string, err error) error {
	if err != nil && b.armed.Load() {
		b.stop(fmt.Errorf("cannot %s %s: %w", op, name, err))
	}
	return err
}

type guardedFile struct {
	vfs.File
	b    *breaker
	name string
}

func (f guardedFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	return n, f.b.check("write", f.name, err)
}

func (f guardedFile) Sync() error { return f.b.check("sync", f.name, f.File.Sync()) }

func (f guardedFile) SyncData() error { return f.b.check("sync", f.name, f.File.SyncData()) }

func (f guardedFile) SyncTo(n int64) (bool, error) {
	full, err := f.File.SyncTo(n)
	return full, f.b.check("sync", f.name, err)
}

func (f guardedFile) Close() error { return f.b.check("close", f.name, f.File.Close()) }
