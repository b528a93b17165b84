// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/portolan/portolan/profiler"
)

const debug = slog.LevelDebug

// ErrObservation: an observation that no sensor makes.
var ErrObservation = errors.New("not an observation")

// poster is the scratch of Post, used again by the next one. Under mu.
type poster struct {
	held     map[portKey]profiler.PortState // written by this batch
	state    profiler.PortState             // what heldPort has found
	counts   map[uint64]portCount           // of the endpoints that it writes to
	added    uint64
	key, val []byte
}

// Post applies a batch: all that it changes in one synced commit, or nothing.
// On nil every observation has its outcome, and Added, Updated and Withdrawn
// ones are durable; a batch in which nothing is new writes nothing. On an error every
// outcome is Unanswered and the batch may be posted again; nothing then shows
// that it had been applied before except that it comes out as Duplicate.
//
// The observations are applied in order, each by profiler.Decide against the
// port as it then is; one whose binding is gone or of another generation is
// Stale. ctx is looked at once, before anything is done: a commit cannot be
// called back.
func (s *Store) Post(ctx context.Context, b *profiler.Batch) error {
	n := len(b.Observations)
	if cap(b.Outcomes) < n {
		b.Outcomes = make([]profiler.Outcome, n)
	}
	b.Outcomes = b.Outcomes[:n]
	clear(b.Outcomes)
	if cap(b.Posted) < n {
		b.Posted = make([]int64, n)
	}
	b.Posted = b.Posted[:n]
	clear(b.Posted)
	if err := ctx.Err(); err != nil {
		return err
	}
	for i := range b.Observations {
		if err := check(&b.Observations[i]); err != nil {
			return fmt.Errorf("observation %d: %w", i, err)
		}
	}
	err := s.write(func() error { return s.apply(ctx, b) })
	if err != nil {
		clear(b.Outcomes)
		return fmt.Errorf("cannot post: %w", err)
	}
	return nil
}

func check(o *profiler.Observation) error {
	switch {
	case o.Role > profiler.Contacted:
		return fmt.Errorf("%w: role %d", ErrObservation, o.Role)
	case o.Evidence == profiler.NoEvidence || o.Evidence > profiler.Exporter:
		return fmt.Errorf("%w: evidence %d", ErrObservation, o.Evidence)
	}
	return nil
}

// apply decides, writes and commits. Under mu.
func (s *Store) apply(ctx context.Context, b *profiler.Batch) error {
	p := &s.post
	p.reset()
	batch := s.db.NewBatch()
	for i := range b.Observations {
		outcome, err := s.applyOne(batch, &b.Observations[i], &b.Posted[i])
		if err != nil {
			return errors.Join(err, batch.Close())
		}
		b.Outcomes[i] = outcome
		s.newest = max(s.newest, b.Observations[i].Last)
	}
	if batch.Empty() {
		s.logPost(ctx, b)
		return batch.Close()
	}
	now := s.o.Now().UnixNano()
	for id, c := range p.counts {
		c.updated = now
		if err := batch.Set(appendPortsKey(p.key[:0], id), c.append(p.val[:0]), nil); err != nil {
			return errors.Join(err, batch.Close())
		}
	}
	next := s.counters
	next.ports += p.added
	if p.added > 0 {
		if err := batch.Set(metaCounters, next.append(p.val[:0]), nil); err != nil {
			return errors.Join(err, batch.Close())
		}
	}
	if err := s.commit(batch); err != nil {
		return err
	}
	s.counters = next
	s.publish()
	for id := range p.counts {
		s.profile.note(id)
	}
	s.logPost(ctx, b)
	return nil
}

func (p *poster) reset() {
	// A map that one huge batch has grown is not cleared for ever after.
	if p.held == nil || len(p.held) > 1<<15 {
		p.held, p.counts = map[portKey]profiler.PortState{}, map[uint64]portCount{}
	}
	clear(p.held)
	clear(p.counts)
	p.added = 0
}

// applyOne decides one observation, and tells the time of the post that stands
// from then on; without a port there is none.
func (s *Store) applyOne(batch *pebble.Batch, o *profiler.Observation, posted *int64) (profiler.Outcome, error) {
	if uint64(o.Binding) >= uint64(len(s.owners)) {
		return profiler.Stale, nil
	}
	own := s.owners[o.Binding]
	if own.endpoint == 0 || own.gen != o.Gen {
		return profiler.Stale, nil
	}
	p := &s.post
	k := portKey{own.endpoint, o.Role, o.Proto, o.Port}
	p.key = k.append(p.key[:0])
	have, err := s.heldPort(k)
	if err != nil {
		return profiler.Unanswered, err
	}
	// The number of ports matters only where one may be added; a known port is
	// decided with one look into the store.
	var count portCount
	if have == nil {
		if count, err = s.portCount(own.endpoint); err != nil {
			return profiler.Unanswered, err
		}
	}
	next, outcome := profiler.Decide(have, int(count.ports), o, s.Interval())
	*posted = next.Posted
	switch outcome {
	case profiler.Added:
		count.ports++
		p.added++
	case profiler.Updated, profiler.Withdrawn:
		if count, err = s.portCount(own.endpoint); err != nil {
			return profiler.Unanswered, err
		}
	default:
		return outcome, nil
	}
	p.counts[own.endpoint] = count
	p.held[k] = next
	p.key = k.append(p.key[:0])
	p.val = appendPortState(p.val[:0], &next)
	return outcome, batch.Set(p.key, p.val, nil)
}

// heldPort is what is known of a port, nil for nothing. The key is in p.key;
// the answer is valid until the next call.
func (s *Store) heldPort(k portKey) (*profiler.PortState, error) {
	p, ok := &s.post, false
	if p.state, ok = p.held[k]; ok {
		return &p.state, nil
	}
	v, closer, err := s.db.Get(p.key)
	switch {
	case err == nil:
	case errors.Is(err, pebble.ErrNotFound):
		return nil, nil
	default:
		return nil, err
	}
	err = decodePortState(v, &p.state)
	return &p.state, firstOf(err, closer.Close())
}

// portCount is what is counted of an endpoint, this batch included.
func (s *Store) portCount(id uint64) (c portCount, err error) {
	if c, ok := s.post.counts[id]; ok {
		return c, nil
	}
	s.post.key = appendPortsKey(s.post.key[:0], id)
	v, closer, err := s.db.Get(s.post.key)
	if errors.Is(err, pebble.ErrNotFound) {
		return portCount{}, nil
	}
	if err != nil {
		return portCount{}, err
	}
	err = c.decode(v)
	return c, firstOf(err, closer.Close())
}

// logPost writes the lines of the profiler stream: per endpoint that was posted
// for, per port that was written, and one for the batch.
func (s *Store) logPost(ctx context.Context, b *profiler.Batch) {
	log := s.o.Logger
	if !log.Enabled(ctx, debug) {
		return
	}
	var of uint32
	var mac, ip string
	for i := range b.Observations {
		o := &b.Observations[i]
		if b.Outcomes[i] == profiler.Stale {
			continue
		}
		if o.Binding != of {
			of = o.Binding
			mac, ip = s.names(of)
			log.DebugContext(ctx, "endpoint loaded", "mac", mac, "ip", ip)
		}
		line := ""
		switch b.Outcomes[i] {
		case profiler.Added:
			line = "port added"
		case profiler.Updated:
			line = "port updated"
		case profiler.Withdrawn:
			line = "port withdrawn"
		default:
			continue
		}
		log.DebugContext(ctx, line, "mac", mac, "ip", ip, "proto", profiler.ProtoName(o.Proto), "port", o.Port,
			"role", o.Role.String(), "evidence", o.Evidence.String(), "last", time.Unix(0, o.Last).UTC())
	}
	log.DebugContext(ctx, "updated endpoints", "endpoints", len(s.post.counts), "observations", len(b.Observations), "added", s.post.added)
}

// names are the MAC and the address behind a binding, for a log line. Within a
// write the second hold on life is harmless: Close wants mu first.
func (s *Store) names(id uint32) (mac, ip string) {
	err := s.view(func(r *reader) error {
		v, _ := r.get(appendBindingKey(nil, id))
		var b binding
		if err := b.decode(v); err != nil {
			return err
		}
		v, _ = r.get(appendEndpointKey(nil, b.endpoint))
		var e endpoint
		if err := e.decode(b.endpoint, v); err != nil {
			return err
		}
		mac, ip = e.mac.String(), netip.AddrFrom16(b.addr).Unmap().String()
		return nil
	})
	if err != nil {
		return "", ""
	}
	return mac, ip
}
