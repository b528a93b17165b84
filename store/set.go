// SPDX-License-Identifier: Apache-2.0

package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/portolan/portolan/store/ipset"
)

const defaultRebuildAt = ipset.RebuildAt

// set is the store's side of the endpoint-IP set: which file it is based on and
// what has changed since. Under Store.mu, except live.
//
// The name of the file is its proof of fitness: the store's random identity and
// the number of the change of the bindings (counters.seq) that it was made at.
// The file is written after the commit of that change was synced, so a file of
// a number that the store has never reached cannot be; a file of an older one
// is what a crash leaves, and is built anew. Nothing else has to be kept in
// step, and deleting the file is always safe.
type set struct {
	live     *ipset.Live
	dir      string
	seq      uint64 // that the base was made at
	log      []ipset.Change
	moved    []ipset.Moved // what the store was opened with, until live has it
	building bool
	stopping bool
	wg       sync.WaitGroup
}

func (s *Store) setPath(seq uint64) string {
	return filepath.Join(s.set.dir, fmt.Sprintf("%016x-%d.ipset", s.identity.id, seq))
}

// openSet opens the set, and tells it of the bindings that have moved.
func (s *Store) openSet() error {
	if err := s.openLive(); err != nil {
		return err
	}
	s.set.live.SetMoved(s.set.moved)
	s.set.moved = nil
	return nil
}

// openLive maps the file of the present bindings, or makes it. A disk that does
// not take the file is no reason to stop: the set then lives in memory.
func (s *Store) openLive() error {
	s.set.dir = filepath.Join(s.dir, "ipset")
	path := s.setPath(s.counters.seq)
	base, err := ipset.Open(path)
	if err == nil && uint64(base.Len()) != s.counters.bindings {
		err = fmt.Errorf("%d addresses where the store has %d", base.Len(), s.counters.bindings)
		_ = base.Close()
	}
	if err == nil {
		s.set.live, s.set.seq = ipset.NewLive(base), s.counters.seq
		s.tidySet()
		return nil
	}
	if errors.Is(err, os.ErrNotExist) {
		s.o.Logger.Debug("no endpoint-IP file of the present state; building it", "file", path)
	} else {
		s.o.Logger.Warn("the endpoint-IP file is refused and built anew", "file", path, "err", err)
	}
	r, err := s.reader()
	if err != nil {
		return err
	}
	entries, err := r.entries(s.counters.bindings)
	if err = firstOf(err, r.close()); err != nil {
		return err
	}
	if !s.o.ReadOnly {
		base, err = s.buildSet(path, entries)
		if err == nil {
			s.set.live, s.set.seq = ipset.NewLive(base), s.counters.seq
			s.tidySet()
			return nil
		}
		s.o.Logger.Warn("cannot write the endpoint-IP file; the set is kept in memory", "file", path, "err", err)
	}
	s.set.live = ipset.NewLive(nil)
	s.set.log = make([]ipset.Change, len(entries))
	for i, e := range entries {
		s.set.log[i] = ipset.Change{Addr: e.Addr, Binding: e.Binding}
	}
	s.set.live.Change(s.set.log)
	return nil
}

func firstOf(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// entries reads the whole set.
func (r *reader) entries(n uint64) ([]ipset.Entry, error) {
	entries := make([]ipset.Entry, 0, n)
	for k, v := range r.prefix([]byte{keyBinding}) {
		id, b, err := decodeBinding(k, v)
		if err != nil {
			return nil, err
		}
		if b.endpoint != 0 {
			entries = append(entries, ipset.Entry{Addr: b.addr, Binding: ipset.Binding{ID: id, Gen: b.gen}})
		}
	}
	return entries, r.err()
}

func (s *Store) buildSet(path string, entries []ipset.Entry) (*ipset.Set, error) {
	if err := os.MkdirAll(s.set.dir, 0o700); err != nil {
		return nil, err
	}
	if err := ipset.Write(path, entries); err != nil {
		return nil, err
	}
	return ipset.Open(path)
}

// tidySet deletes files of earlier states and what an interrupted build left.
// The directory is ours alone.
func (s *Store) tidySet() {
	if s.o.ReadOnly {
		return
	}
	current := filepath.Base(s.setPath(s.set.seq))
	files, err := os.ReadDir(s.set.dir)
	if err != nil {
		s.o.Logger.Warn("cannot look for old endpoint-IP files", "err", err)
		return
	}
	for _, f := range files {
		if f.Name() == current {
			continue
		}
		if err := os.Remove(filepath.Join(s.set.dir, f.Name())); err != nil {
			s.o.Logger.Warn("cannot delete an old endpoint-IP file", "err", err)
		}
	}
}

// changeSet makes a commit's changes visible to the sensors, and has a new file
// built when there are many. Under mu.
func (s *Store) changeSet(changes []ipset.Change) {
	s.set.live.Change(changes)
	s.set.log = append(s.set.log, changes...)
	if len(s.set.log) < s.o.RebuildAt || s.set.building || s.set.stopping {
		return
	}
	s.set.building = true
	s.set.wg.Go(s.rebuildSet)
}

// rebuildSet builds a file of the present state beside whatever goes on, and
// swaps it in with the changes that came meanwhile.
func (s *Store) rebuildSet() {
	s.mu.Lock()
	seq, known, bindings := s.counters.seq, len(s.set.log), s.counters.bindings
	r, err := s.reader() // sees this state, however long it reads
	s.mu.Unlock()

	path := s.setPath(seq)
	var base *ipset.Set
	if err == nil {
		var entries []ipset.Entry
		entries, err = r.entries(bindings)
		if err = firstOf(err, r.close()); err == nil {
			base, err = s.buildSet(path, entries)
		}
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	s.set.building = false
	if err != nil {
		s.o.Logger.Warn("cannot build the endpoint-IP file; changes are kept in memory", "file", path, "err", err)
		return
	}
	rest := slices.Clone(s.set.log[known:])
	s.set.live.Swap(base, rest)
	s.set.log, s.set.seq = rest, seq
	s.tidySet()
}

// stopSet waits for a build and lets none begin any more. Not under mu.
func (s *Store) stopSet() {
	s.mu.Lock()
	s.set.stopping = true
	s.mu.Unlock()
	s.set.wg.Wait()
}

// finishSet writes the file that the next Open will look for. Under mu.
func (s *Store) finishSet() {
	if len(s.set.log) == 0 {
		return
	}
	path := s.setPath(s.counters.seq)
	r, err := s.reader()
	if err == nil {
		var entries []ipset.Entry
		entries, err = r.entries(s.counters.bindings)
		if err = firstOf(err, r.close()); err == nil {
			err = ipset.Write(path, entries)
		}
	}
	if err != nil {
		s.o.Logger.Warn("cannot write the endpoint-IP file; the next start builds it", "file", path, "err", err)
		return
	}
	s.set.seq = s.counters.seq
	s.tidySet()
}
