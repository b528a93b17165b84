// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/portolan/portolan/profiler"
	"github.com/portolan/portolan/profiler/rules"
)

// # From ports to devices
//
// A commit that has changed an endpoint or its ports notes the endpoint's
// number, and does no more: matching it against all rules takes as long as many
// posts. One goroutine, the profiler, takes the numbers a page at a time, reads
// those endpoints as any reader does, without mu, matches them, and writes what
// is accepted from then on in one commit a page. What changes between the look
// and the write has noted its number again; an endpoint that is gone by then is
// left out, because the write looks once more, under mu.
//
// What is noted is bounded: beyond maxNoted numbers all endpoints are gone
// through instead, as they are at Open, when noted numbers may have been lost
// with the process, and after SetRules. A pass goes by pages too and takes turns
// with what is noted in the meantime.
//
// Rejected: matching within the post, which would put some 10 µs under mu for
// every port; and matching when an endpoint is read, because a device that has
// to hold for an hour needs a memory.

// Bounds of the profiler's work.
const (
	profilePage = 256     // endpoints to a read and a commit
	maxNoted    = 1 << 16 // endpoints noted; 8 bytes and a map's slot each
	// profileLinger lets the ports of one burst of posts come together.
	profileLinger = 100 * time.Millisecond
)

// knowledge is what endpoints are matched against; immutable.
type knowledge struct {
	rules   *rules.Set     // nil: none
	vendors *rules.Vendors // never nil
}

// profile is the store's profiler.
type profile struct {
	know atomic.Pointer[knowledge]

	run     sync.Mutex // held by whoever matches and writes
	mu      sync.Mutex // the rest
	noted   map[uint64]struct{}
	passing bool   // all endpoints are to be gone through
	passed  uint64 // up to this number they were
	turn    bool   // it is the pass's turn

	wake chan struct{} // one place
	stop chan struct{}
	wg   sync.WaitGroup
}

// openProfile starts the profiler, if there are rules.
func (s *Store) openProfile() {
	p := &s.profile
	p.noted = map[uint64]struct{}{}
	p.wake, p.stop = make(chan struct{}, 1), make(chan struct{})
	if s.o.ReadOnly || s.o.ProfileOnCall {
		return
	}
	p.wg.Add(1)
	go func() {
		defer p.wg.Done()
		for {
			select {
			case <-p.stop:
				return
			case <-p.wake:
			}
			select {
			case <-p.stop:
				return
			case <-time.After(profileLinger):
			}
			if err := s.Profile(); err != nil && !errors.Is(err, ErrClosed) && s.failure() == nil {
				s.o.Logger.Error("endpoints could not be profiled; they will be when one of their ports changes", "error", err)
			}
		}
	}()
	if s.profile.know.Load().rules != nil {
		s.profileAll()
	}
}

// stopProfile ends the profiler. Not under mu. What was noted is found by the
// pass of the next Open.
func (s *Store) stopProfile() {
	s.profile.end()
	s.profile.wg.Wait()
}

// end lets the profiler stop after the page that it is at.
func (p *profile) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.stop:
	default:
		close(p.stop)
	}
}

// SetRules changes what endpoints are matched against. All of them are matched
// anew in the background, a page at a time; until it is their turn they show
// what was accepted before. Nil rules match nothing and leave what is accepted;
// nil vendors are those of the library.
func (s *Store) SetRules(set *rules.Set, vendors *rules.Vendors) {
	if vendors == nil {
		vendors = &rules.Vendors{}
	}
	s.profile.know.Store(&knowledge{set, vendors})
	if set != nil {
		s.profileAll()
	}
}

// Rules are the rules that endpoints are matched against, nil for none.
func (s *Store) Rules() *rules.Set { return s.profile.know.Load().rules }

// profileAll has all endpoints gone through, from the beginning.
func (s *Store) profileAll() {
	p := &s.profile
	p.mu.Lock()
	p.passing, p.passed = true, 0
	clear(p.noted)
	p.mu.Unlock()
	p.signal()
}

// signal wakes the profiler.
func (p *profile) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// note has an endpoint matched that was changed by a commit. Where there are no
// rules it costs one load.
func (p *profile) note(id uint64) {
	if p.know.Load().rules == nil {
		return
	}
	p.mu.Lock()
	if p.noted[id] = struct{}{}; len(p.noted) > maxNoted {
		p.passing, p.passed = true, 0
		clear(p.noted)
	}
	p.mu.Unlock()
	p.signal()
}

// next takes the numbers of the next page, in order, and reports whether they
// are of the pass. The page of a pass is empty: read it behind the number.
func (p *profile) next() (ids []uint64, pass bool, after uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.turn = !p.turn; p.passing && p.turn || len(p.noted) == 0 {
		return nil, p.passing, p.passed
	}
	ids = slices.Sorted(maps.Keys(p.noted))
	ids = ids[:min(len(ids), profilePage)]
	for _, id := range ids {
		delete(p.noted, id)
	}
	return ids, false, 0
}

// reached notes how far a pass has come that was at after. A pass that has
// begun anew in the meantime goes on from its beginning.
func (p *profile) reached(after, last uint64, end bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.passing || p.passed != after {
		return
	}
	p.passed = last
	if end {
		p.passing, p.passed = false, 0
	}
}

// Profile matches all endpoints that are due, and returns when none is. The
// profiler does so by itself, unless Options.ProfileOnCall.
func (s *Store) Profile() error {
	p := &s.profile
	p.run.Lock()
	defer p.run.Unlock()
	for {
		select {
		case <-p.stop:
			return nil
		default:
		}
		ids, pass, after := p.next()
		if !pass && len(ids) == 0 {
			return nil
		}
		found, err := s.matchPage(ids, pass, after)
		if err == nil {
			err = s.accept(found)
		}
		if err != nil {
			return err
		}
		if pass {
			last := after
			if len(found) > 0 {
				last = found[len(found)-1].id
			}
			p.reached(after, last, len(found) < profilePage)
		}
	}
}

// matched is an endpoint after a match.
type matched struct {
	id     uint64
	record []byte // what is accepted, to be stored; nil: as it is
}

// matchPage matches the endpoints of a page; those of ids, or the next ones of
// a pass. An endpoint that is gone is left out.
func (s *Store) matchPage(ids []uint64, pass bool, after uint64) (found []matched, err error) {
	err = s.view(func(r *reader) error {
		if r.know.rules == nil {
			return nil
		}
		if pass {
			for key := range r.from([]byte{keyEndpoint}, appendEndpointKey(nil, after+1)) {
				if len(key) != 9 {
					return corrupt("endpoint key", key)
				}
				if ids = append(ids, binary.BigEndian.Uint64(key[1:])); len(ids) == profilePage {
					break
				}
			}
		}
		for _, id := range ids {
			v, ok := r.get(appendEndpointKey(nil, id))
			if !ok {
				continue
			}
			var rec endpoint
			if err := rec.decode(id, v); err != nil {
				return err
			}
			m, err := s.matchOne(r, &rec)
			if err != nil {
				return err
			}
			found = append(found, m)
		}
		return r.err()
	})
	return found, err
}

func (s *Store) matchOne(r *reader, rec *endpoint) (matched, error) {
	e, err := r.complete(rec)
	if err != nil {
		return matched{}, err
	}
	have, record, err := r.accepted(rec.id)
	if err != nil {
		return matched{}, err
	}
	k := r.know
	next, changed := have.Next(k.rules.Match(&e), r.now)
	m := matched{id: rec.id}
	if m.record, err = appendAccepted(nil, &next); err != nil {
		return matched{}, err
	}
	if bytes.Equal(m.record, record) || record == nil && next == (rules.Accepted{}) {
		m.record = nil
	}
	if s.o.Logger.Enabled(context.Background(), slog.LevelDebug) {
		k.rules.Story(s.o.Logger, &e)
		if changed {
			k.view(&next, rec, r.now).Story(s.o.Logger, e.ID)
		}
	}
	return m, nil
}

// accept writes what has changed.
func (s *Store) accept(found []matched) error {
	if !slices.ContainsFunc(found, func(m matched) bool { return m.record != nil }) {
		return nil
	}
	return s.write(func() error {
		b := s.db.NewBatch()
		for _, m := range found {
			if m.record == nil {
				continue
			}
			_, closer, err := s.db.Get(appendEndpointKey(nil, m.id))
			if errors.Is(err, pebble.ErrNotFound) {
				continue // it was deleted in the meantime
			}
			if err == nil {
				err = errors.Join(closer.Close(), b.Set(appendDeviceKey(nil, m.id), m.record, nil))
			}
			if err != nil {
				return errors.Join(err, b.Close())
			}
		}
		if b.Empty() {
			return b.Close()
		}
		return s.commit(b)
	})
}

// view is what an endpoint shows.
func (k *knowledge) view(a *rules.Accepted, rec *endpoint, now int64) rules.View {
	override := profiler.Device{Category: rec.category, Family: rec.family, Name: rec.name}
	return a.View(now, override, k.rules != nil && k.rules.Knows(override.Category))
}

// accepted is what is believed of an endpoint, and its record; nil for nothing.
func (r *reader) accepted(id uint64) (a rules.Accepted, record []byte, err error) {
	v, ok := r.get(appendDeviceKey(nil, id))
	if !ok {
		return a, nil, r.err()
	}
	return a, bytes.Clone(v), decodeAccepted(v, &a)
}

func appendAccepted(b []byte, a *rules.Accepted) ([]byte, error) {
	text, err := json.Marshal(a)
	if err != nil {
		return nil, fmt.Errorf("cannot keep a device: %w", err)
	}
	return append(append(b, valueV1), text...), nil
}

func decodeAccepted(b []byte, a *rules.Accepted) error {
	d := decoder{b: b}
	d.version(valueV1)
	if d.bad {
		return d.end("device")
	}
	if err := json.Unmarshal(d.b, a); err != nil {
		return fmt.Errorf("%w: device: %w", ErrCorrupt, err)
	}
	return nil
}
