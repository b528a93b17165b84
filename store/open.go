// SPDX-License-Identifier: Apache-2.0

package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/portolan/portolan/profiler"
	"github.com/portolan/portolan/profiler/rules"
	"github.com/portolan/portolan/store/ipset"
)

// schema is the version of the layout in keys.go and values.go.
const schema = 1

// Errors of Open, wrapped with the directory and what to do.
var (
	ErrBusy    = errors.New("the store is open in another process")
	ErrVersion = errors.New("the store was written by a newer version of the program")
	ErrNoSpace = errors.New("not enough free disk space to open the store")
	ErrMissing = errors.New("there is no store")
)

// Options of Open; the zero value will do.
type Options struct {
	// FS is where Pebble's files are; nil is the disk. The endpoint-IP set is
	// always on the disk, because it is mapped.
	FS vfs.FS
	// Interval is the reprofile interval, at least profiler.MinInterval. 0 is
	// the one set last by SetInterval, else profiler.DefaultInterval.
	Interval time.Duration
	// Logger takes the profiler stream; nil discards it.
	Logger *slog.Logger
	// Now is the clock for added_at, updated_at and moves of addresses; nil is
	// time.Now. Posts bring their own time.
	Now func() time.Time
	// Forget is after what time a port ages out that was not seen again, at least
	// MinForget; 0 is never. SetForget changes it.
	Forget time.Duration
	// ReadOnly opens an existing store and changes nothing on the disk.
	ReadOnly bool
	// MinFree is the free space in bytes below which Open refuses, because
	// Pebble would try to write for ever; 0 is 64 MiB, negative is no check.
	MinFree int64
	// Rules are what endpoints are matched against, Vendors who made their
	// network cards. Without rules nothing is matched; SetRules changes both.
	Rules   *rules.Set
	Vendors *rules.Vendors
	// ProfileOnCall leaves matching to whoever calls Profile.
	ProfileOnCall bool
	// RebuildAt is the number of changes of the endpoint-IP set from which a new
	// file is built in the background; 0 is a default.
	RebuildAt int
}

func (o *Options) defaults() error {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.MinFree == 0 {
		o.MinFree = 64 << 20
	}
	if o.Vendors == nil {
		o.Vendors = &rules.Vendors{}
	}
	if o.RebuildAt == 0 {
		o.RebuildAt = defaultRebuildAt
	}
	if err := CheckForget(o.Forget); err != nil {
		return err
	}
	if o.Interval != 0 {
		return profiler.CheckInterval(o.Interval)
	}
	return nil
}

// Open opens the store in dir and creates it where there is none. It refuses a
// store that another process has open (ErrBusy), one of a newer version
// (ErrVersion), a file system without free space (ErrNoSpace), and a log or a
// manifest that was damaged; pebble.IsCorruptionError tells the last.
func Open(dir string, o Options) (*Store, error) {
	if err := o.defaults(); err != nil {
		return nil, err
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot open the store %s: %w", dir, err)
	}
	s := &Store{dir: abs, o: o, breaker: newBreaker(o.Logger)}
	s.profile.know.Store(&knowledge{o.Rules, o.Vendors})
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("cannot open the store %s: %w", dir, err)
	}
	return s, nil
}

func (s *Store) open() (err error) {
	db := s.o.FS.PathJoin(s.dir, "db")
	if err := s.prepare(db); err != nil {
		return err
	}
	lock, err := lockDir(db, s.o.FS)
	if err != nil {
		return err
	}
	defer func() {
		switch {
		case err == nil:
		case s.db == nil:
			err = errors.Join(err, lock.Close())
		case s.failure() == nil:
			err = errors.Join(err, s.db.Close(), lock.Close())
		}
	}()
	exists, err := peek(db, s.o.FS)
	if err != nil {
		return err
	}
	if s.o.ReadOnly && !exists {
		return ErrMissing
	}
	if err := s.openPebble(db, lock); err != nil {
		return err
	}
	s.lock = lock
	created, err := s.identify()
	if err != nil {
		return err
	}
	if created || !exists {
		// The first log of a new Pebble is of the old format, in which a flipped
		// byte silently ends the log: records behind it, synced and acknowledged,
		// would be gone without an error. Opening again starts a log of the new one.
		if err := s.db.Close(); err != nil {
			return err
		}
		s.db = nil
		if err := s.openPebble(db, lock); err != nil {
			return err
		}
	}
	if err := s.load(); err != nil {
		return err
	}
	if err := s.openSet(); err != nil {
		return err
	}
	s.openProfile()
	s.openForget()
	s.breaker.armed.Store(true)
	return s.failure()
}

// prepare makes the directory and looks for free space on its file system.
func (s *Store) prepare(db string) error {
	fs := s.o.FS
	if s.o.ReadOnly {
		if _, err := fs.Stat(db); err != nil {
			return fmt.Errorf("%w: %w", ErrMissing, err)
		}
		return nil
	}
	if err := makeDir(db, fs); err != nil {
		return err
	}
	usage, err := fs.GetDiskUsage(db)
	switch {
	case errors.Is(err, vfs.ErrUnsupported):
	case err != nil:
		return err
	case s.o.MinFree > 0 && usage.AvailBytes < uint64(s.o.MinFree):
		return fmt.Errorf("%w: %d MiB are free and %d MiB are needed; make room on that file system",
			ErrNoSpace, usage.AvailBytes>>20, s.o.MinFree>>20)
	}
	return nil
}

// makeDir makes a directory with its parents and syncs every directory that got
// an entry, so that a power cut cannot take away the store with its name.
func makeDir(dir string, fs vfs.FS) error {
	var parents []string
	for d := dir; ; d = fs.PathDir(d) {
		_, err := fs.Stat(d)
		if err == nil {
			break
		}
		if !errors.Is(err, os.ErrNotExist) {
			return err
		}
		parents = append(parents, fs.PathDir(d))
	}
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, p := range parents {
		d, err := fs.OpenDir(p)
		if err != nil {
			return err
		}
		if err := errors.Join(d.Sync(), d.Close()); err != nil {
			return fmt.Errorf("cannot sync the directory %s: %w", p, err)
		}
	}
	return nil
}

// lockDir takes the lock that keeps a second process out.
func lockDir(db string, fs vfs.FS) (*pebble.Lock, error) {
	lock, err := pebble.LockDirectory(db, fs)
	switch {
	case err == nil:
		return lock, nil
	case errors.Is(err, syscall.EAGAIN), strings.Contains(err.Error(), "lock held by current process"):
		return nil, fmt.Errorf("%w; stop that one, or ask it through its socket", ErrBusy)
	}
	return nil, err
}

// peek looks at the version of the files before Pebble does, because Pebble
// has no error value for a newer one.
func peek(db string, fs vfs.FS) (exists bool, err error) {
	desc, err := pebble.Peek(db, fs)
	switch {
	case err == nil:
		return desc.Exists, nil
	case strings.Contains(err.Error(), "unknown format major version"):
		return false, fmt.Errorf("%w: %w", ErrVersion, err)
	}
	return false, err
}

// openPebble opens Pebble on a goroutine of its own, which Fatalf may end.
func (s *Store) openPebble(db string, lock *pebble.Lock) error {
	opts := &pebble.Options{
		FS:                 guardedFS{s.o.FS, s.breaker},
		Lock:               lock,
		Logger:             s.breaker,
		EventListener:      s.breaker.listener(),
		FormatMajorVersion: pebble.FormatNewest,
		ReadOnly:           s.o.ReadOnly,
		CacheSize:          64 << 20,
		MemTableSize:       16 << 20,
	}
	// Most questions are for a port that an endpoint does not have yet.
	for i := range opts.Levels {
		opts.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	done := make(chan error, 1)
	go func() {
		db, err := pebble.Open(db, opts)
		if err == nil {
			s.db = db
		}
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-s.breaker.failed:
		return s.failure()
	}
}

// identify reads which store this is, and writes it into a new one.
func (s *Store) identify() (created bool, err error) {
	v, closer, err := s.db.Get(metaIdentity)
	if err == nil {
		defer closer.Close()
		// The version stands first in every shape of this record.
		if len(v) >= 5 && binary.BigEndian.Uint32(v[1:]) > schema {
			return false, fmt.Errorf("%w: schema %d, and this one knows %d", ErrVersion, binary.BigEndian.Uint32(v[1:]), schema)
		}
		return false, s.identity.decode(v)
	}
	if !errors.Is(err, pebble.ErrNotFound) {
		return false, err
	}
	it, err := s.db.NewIter(nil)
	if err != nil {
		return false, err
	}
	foreign := it.First()
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return false, err
	}
	if foreign || s.o.ReadOnly {
		return false, errors.New("this is a Pebble store, but not one of this program")
	}
	s.identity = identity{schema: schema, id: rand.Uint64()}
	first := counters{nextEndpoint: 1, nextBinding: 1}
	b := s.db.NewBatch()
	_ = b.Set(metaIdentity, s.identity.append(nil), nil)
	_ = b.Set(metaCounters, first.append(nil), nil)
	return true, s.commit(b)
}

// load reads what is kept in memory: the counters, the interval, and the
// generation and owner of every binding.
func (s *Store) load() error {
	r, err := s.reader()
	if err != nil {
		return err
	}
	defer r.close()
	v, ok := r.get(metaCounters)
	if !ok {
		return errors.Join(corrupt("no counters", metaCounters), r.err())
	}
	if err := s.counters.decode(v); err != nil {
		return err
	}
	if v, ok := r.get(metaDiscovered); ok {
		n, err := decodeNumber(v)
		if err != nil {
			return err
		}
		s.discovered = n
	}
	s.publish()
	interval := s.o.Interval
	if v, ok := r.get(metaInterval); ok && interval == 0 {
		n, err := decodeNumber(v)
		if err != nil {
			return err
		}
		interval = time.Duration(n)
	}
	if interval == 0 {
		interval = profiler.DefaultInterval
	}
	s.interval.Store(int64(interval))
	return s.loadBindings(r)
}

func (s *Store) loadBindings(r *reader) error {
	s.owners = make([]owner, s.counters.nextBinding)
	used := uint64(0)
	for k, v := range r.prefix([]byte{keyBinding}) {
		id, b, err := decodeBinding(k, v)
		if err != nil {
			return err
		}
		if id == 0 || id >= s.counters.nextBinding {
			return corrupt("binding", k)
		}
		s.owners[id] = owner{b.gen, b.endpoint}
		if b.endpoint == 0 {
			s.free = append(s.free, id)
		} else {
			used++
			if b.since != 0 {
				s.set.moved = append(s.set.moved, ipset.Moved{ID: id, Since: b.since})
			}
		}
	}
	if used != s.counters.bindings {
		return fmt.Errorf("%w: %d bindings where %d are counted", ErrCorrupt, used, s.counters.bindings)
	}
	return r.err()
}
