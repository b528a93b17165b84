// SPDX-License-Identifier: Apache-2.0

package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/portolan/portolan/profiler"
)

// # How ports age out
//
// A port that is seen is posted again once per reprofile interval, which moves
// its last_seen on. One whose last_seen is older than Options.Forget is removed,
// be it that the device does not serve it any more or that its address has gone
// to another: ports stay with the device that they were seen at, and age there.
// A discovered endpoint that has no port left and was discovered as long ago is
// removed with its address, so that a scan of empty addresses does not use the
// limit up for ever.
//
// Age counts to the latest observation since Open, or to now where that is
// earlier. So nothing ages while nothing is received, as with exporters that are
// cut off, and a clock that jumps ahead takes no port away by itself.
//
// One goroutine goes through all endpoints once in sweepEvery, a page at a time:
// it reads a page as any reader does, without mu, and removes what is old in one
// commit, after it has looked once more under mu. Work and memory of a page are
// bounded by sweepPage endpoints and sweepPorts ports, and between two pages it
// waits, so that posts go first.
//
// Rejected: an index by last_seen, which would cost every post a second write
// and a delete; and leaving old ports out when they are read, which keeps them on
// the disk and in the limit of an endpoint's ports.

// MinForget is the shortest time after which ports age out. One that is served is
// posted again after at most 1.25 reprofile intervals; where twice the interval is
// longer than Options.Forget, it counts instead.
const MinForget = 48 * time.Hour

// DefaultForget is what an operator gets who says nothing.
const DefaultForget = 30 * 24 * time.Hour

// ErrForget is wrapped by CheckForget.
var ErrForget = fmt.Errorf("ports must be kept for at least %s", MinForget)

// CheckForget refuses a time under MinForget; 0 is never and good.
func CheckForget(d time.Duration) error {
	if d != 0 && d < MinForget {
		return fmt.Errorf("%w, not %s", ErrForget, d)
	}
	return nil
}

const (
	sweepPage  = 1024
	sweepPorts = 8 << 10
	sweepFirst = 10 * time.Minute // after Open: what is still served is posted first
	sweepEvery = time.Hour
	sweepPause = 100 * time.Millisecond
)

// forgetter is the goroutine that sweeps, and what it counts.
type forgetter struct {
	after atomic.Int64 // Options.Forget, ns
	ports uint64       // forgotten since Open; under Store.mu
	stop  chan struct{}
	once  sync.Once
	wg    sync.WaitGroup
}

// SetForget changes after what time ports age out; 0 is never.
func (s *Store) SetForget(d time.Duration) error {
	if err := CheckForget(d); err != nil {
		return err
	}
	s.forget.after.Store(int64(d))
	return nil
}

// openForget starts the sweeper.
func (s *Store) openForget() {
	f := &s.forget
	f.after.Store(int64(s.o.Forget))
	f.stop = make(chan struct{})
	if s.o.ReadOnly {
		return
	}
	f.wg.Go(func() {
		for wait := sweepFirst; f.sleep(wait); wait = sweepEvery {
			n, err := s.sweep(func() bool { return f.sleep(sweepPause) })
			switch {
			case errors.Is(err, ErrClosed) || s.failure() != nil:
				return
			case err != nil:
				s.o.Logger.Error("old ports could not be removed; it is tried again", "error", err)
			case n > 0:
				s.o.Logger.Info("ports that were not seen for long have been forgotten", "ports", n, "after", time.Duration(f.after.Load()))
			}
		}
	})
}

// sleep returns false where the sweeper is to end.
func (f *forgetter) sleep(d time.Duration) bool {
	select {
	case <-f.stop:
		return false
	case <-time.After(d):
		return true
	}
}

// stopForget ends the sweeper and waits for it. Not under mu.
func (s *Store) stopForget() {
	s.forget.end()
	s.forget.wg.Wait()
}

func (f *forgetter) end() { f.once.Do(func() { close(f.stop) }) }

// Forget removes now what is old, and returns how many ports that were. The
// sweeper does so by itself.
func (s *Store) Forget() (int, error) { return s.sweep(func() bool { return true }) }

// sweep goes through all endpoints once; between two pages it asks whether to go
// on.
func (s *Store) sweep(goOn func() bool) (n int, err error) {
	for last := uint64(0); ; {
		horizon, ok := s.horizon()
		if !ok {
			return n, nil
		}
		p, err := s.oldPage(last, horizon)
		if err != nil {
			return n, err
		}
		if len(p.ports)+len(p.idle) > 0 {
			removed := 0
			err := s.write(func() (err error) {
				if removed, err = s.forgetPorts(p.ports, horizon); err != nil {
					return err
				}
				return s.forgetIdle(p.idle)
			})
			n += removed
			if err != nil {
				return n, err
			}
		}
		if last = p.last; p.end || !goOn() {
			return n, nil
		}
	}
}

// horizon is the time before which a port is old; false: none is.
func (s *Store) horizon() (int64, bool) {
	after := s.forget.after.Load()
	if after == 0 {
		return 0, false
	}
	s.mu.Lock()
	newest := s.newest
	s.mu.Unlock()
	if newest == 0 {
		return 0, false
	}
	after = max(after, 2*int64(s.Interval()))
	return min(newest, s.o.Now().UnixNano()) - after, true
}

// oldPage is what a page of endpoints has to forget.
type oldPage struct {
	ports []portKey
	idle  []uint64 // discovered endpoints without a port that is not old
	last  uint64   // the last endpoint that was looked at
	end   bool     // it is the last of all
}

// oldPage looks at the endpoints behind the number after.
func (s *Store) oldPage(after uint64, horizon int64) (p oldPage, err error) {
	p.last = after
	err = s.view(func(r *reader) error {
		in, err := r.fork()
		if err != nil {
			return err
		}
		defer func() { _ = in.close() }()
		seen, ports := 0, 0
		for k, v := range r.from([]byte{keyEndpoint}, appendEndpointKey(nil, after+1)) {
			if seen == sweepPage || ports >= sweepPorts {
				return nil
			}
			if len(k) != 9 {
				return corrupt("endpoint key", k)
			}
			var e endpoint
			if err := e.decode(binary.BigEndian.Uint64(k[1:]), v); err != nil {
				return err
			}
			young, old, err := in.oldPorts(e.id, horizon, &p.ports)
			if err != nil {
				return err
			}
			if e.discovered && young == 0 && e.added < horizon {
				p.idle = append(p.idle, e.id)
			}
			seen, ports, p.last = seen+1, ports+young+old, e.id
		}
		p.end = true
		return r.err()
	})
	return p, err
}

// oldPorts adds the old ports of an endpoint to list.
func (r *reader) oldPorts(id uint64, horizon int64, list *[]portKey) (young, old int, err error) {
	for k, v := range r.prefix(appendPortPrefix(nil, id)) {
		key, err := parsePortKey(k)
		if err != nil {
			return 0, 0, err
		}
		var state profiler.PortState
		if err := decodePortState(v, &state); err != nil {
			return 0, 0, err
		}
		if state.Last >= horizon {
			young++
			continue
		}
		old++
		*list = append(*list, key)
	}
	return young, old, r.err()
}

// forgetPorts removes those that are still old, in one commit. Under mu.
func (s *Store) forgetPorts(keys []portKey, horizon int64) (n int, err error) {
	if len(keys) == 0 {
		return 0, nil
	}
	p := &s.post
	p.reset()
	batch := s.db.NewBatch()
	undone := func(err error) (int, error) { return 0, errors.Join(err, batch.Close()) }
	for _, k := range keys {
		p.key = k.append(p.key[:0])
		have, err := s.heldPort(k)
		if err != nil {
			return undone(err)
		}
		if have == nil || have.Last >= horizon {
			continue
		}
		if err := batch.Delete(p.key, nil); err != nil {
			return undone(err)
		}
		c, err := s.portCount(k.endpoint)
		if err != nil {
			return undone(err)
		}
		c.ports--
		p.counts[k.endpoint] = c
		n++
	}
	if n == 0 {
		return undone(nil)
	}
	now := s.o.Now().UnixNano()
	for id, c := range p.counts {
		c.updated = now
		if err := batch.Set(appendPortsKey(p.key[:0], id), c.append(p.val[:0]), nil); err != nil {
			return undone(err)
		}
	}
	next := s.counters
	next.ports -= uint64(n)
	if err := batch.Set(metaCounters, next.append(p.val[:0]), nil); err != nil {
		return undone(err)
	}
	if err := s.commit(batch); err != nil {
		return 0, err
	}
	s.counters = next
	s.forget.ports += uint64(n)
	s.publish()
	for id := range p.counts {
		s.profile.note(id)
	}
	return n, nil
}

// forgetIdle removes discovered endpoints that still have no port. Under mu.
func (s *Store) forgetIdle(ids []uint64) error {
	if len(ids) == 0 {
		return nil
	}
	s.post.reset()
	return s.change(func(t *txn) error {
		for _, id := range ids {
			if _, ok := t.r.get(appendEndpointKey(t.keys, id)); !ok {
				continue // it was deleted in the meantime
			}
			e, err := t.endpoint(id)
			if err != nil {
				return err
			}
			c, err := s.portCount(id)
			if err != nil {
				return err
			}
			if !e.discovered || c.ports > 0 {
				continue
			}
			if err := t.dismiss(e); err != nil {
				return err
			}
		}
		return nil
	})
}
