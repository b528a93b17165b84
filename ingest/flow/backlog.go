// SPDX-License-Identifier: Apache-2.0

package flow

import "sync/atomic"

// waitingSet is a data set that waits for its template.
type waitingSet struct {
	stream  *Stream
	message Message // its header; the views of it are nil
	arrival int64
	id      uint16
	body    []byte // a copy of what follows the set's header
	// template is what it waited for, once that has come.
	template *template
}

// cost is how much memory it takes, in bytes.
func (w *waitingSet) cost() int64 { return waitingCost(len(w.body)) }

func waitingCost(body int) int64 { return int64(body) + 192 }

// backlog holds the sets of a stream that wait for their template. The sets are
// the mutex's of the stream; the three numbers are written under it and read by
// anybody, so that a flood of sets without a template is refused without it.
type backlog struct {
	count atomic.Int64
	bytes atomic.Int64
	since atomic.Int64 // arrival of the first of them
	sets  []waitingSet // in the order in which they came
}

// full tells whether one more set of a size does not fit into the backlog, or
// not into what all streams may keep.
func (q *backlog) full(o *Streams, size int64) (own, all bool) {
	l := &o.limits
	own = q.count.Load() >= int64(l.Waiting) || q.bytes.Load()+size > l.WaitingBytes
	return own, o.waitingBytes.Load()+size > l.AllWaitingBytes
}

// wait keeps a copy of a set until its template comes. It returns the template
// where that has come in the meantime, and false where the set was given up.
func (s *Stream) wait(b *Batch, id uint16, body []byte) (t *template, kept bool) {
	size := waitingCost(len(body))
	if !s.mayWait(size, b.Arrival) {
		t = s.template(id)
		return t, t != nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.template(id); t != nil {
		return t, true
	}
	q, o := &s.backlog, s.owner
	if own, all := q.full(o, size); own || all {
		q.dropOlder(o, b.Arrival-int64(o.limits.WaitingAge))
	}
	if own, _ := q.full(o, size); own || s.gone {
		return nil, false
	}
	if o.waitingBytes.Add(size) > o.limits.AllWaitingBytes {
		o.waitingBytes.Add(-size)
		return nil, false
	}
	o.waiting.Add(1)
	w := waitingSet{stream: s, message: b.Message, arrival: b.Arrival, id: id, body: append([]byte(nil), body...)}
	w.message.body, w.message.rest = nil, nil
	q.sets = append(q.sets, w)
	q.publish(size)
	return nil, true
}

// waits tells whether any set waits.
func (s *Stream) waits() bool { return s.backlog.count.Load() != 0 }

// mayWait tells whether it is worth the lock to ask for room.
func (s *Stream) mayWait(size, now int64) bool {
	o := s.owner
	own, all := s.backlog.full(o, size)
	switch {
	case !own && !all:
		return true
	case s.backlog.count.Load() > 0 && now-s.backlog.since.Load() > int64(o.limits.WaitingAge):
		return true
	case own || !s.established():
		return false
	}
	// Where a sweep finds nothing to give, the next is a second away.
	if within(now, o.waitingStuck.Load()) {
		return false
	}
	if o.reclaimWaiting(size) {
		return true
	}
	o.waitingStuck.Store(now)
	return false
}

// due appends to ready the sets that wait for a template that has come, in their
// order, and tells whether there were more than most of them. Those are given up.
// It makes no memory of its own: a datagram can bring the templates of 64 streams.
func (s *Stream) due(t *template, ready []waitingSet, most int) (all []waitingSet, more bool) {
	if !s.waits() {
		return ready, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	q, o := &s.backlog, s.owner
	left, size, begin := q.sets[:0], int64(0), len(ready)
	for i := range q.sets {
		w := &q.sets[i]
		switch {
		case w.id != t.id:
			left = append(left, *w)
			continue
		case len(ready)-begin < most:
			w.template = t
			ready = append(ready, *w)
		default:
			more = true
			o.evicted.waiting.Add(1)
		}
		size += w.cost()
	}
	q.keep(o, left, -size)
	return ready, more
}

// dropOlder gives up the sets that arrived before a time. The stream's mu is held.
func (q *backlog) dropOlder(o *Streams, before int64) {
	n := 0
	for n < len(q.sets) && q.sets[n].arrival < before {
		n++
	}
	q.drop(o, n)
}

// drop gives up the first n sets. The stream's mu is held.
func (q *backlog) drop(o *Streams, n int) {
	size := int64(0)
	for i := range q.sets[:n] {
		size += q.sets[i].cost()
	}
	q.keep(o, q.sets[:copy(q.sets, q.sets[n:])], -size)
	o.evicted.waiting.Add(uint64(n))
}

// keep makes left, the beginning of q.sets, all that waits.
func (q *backlog) keep(o *Streams, left []waitingSet, bytes int64) {
	o.waiting.Add(int64(len(left) - len(q.sets)))
	o.waitingBytes.Add(bytes)
	clear(q.sets[len(left):])
	q.sets = left
	if len(left) == 0 {
		q.sets = nil
	}
	q.publish(bytes)
}

// publish shows the numbers to those who do not hold the lock.
func (q *backlog) publish(bytes int64) {
	q.count.Store(int64(len(q.sets)))
	q.bytes.Add(bytes)
	since := int64(0)
	if len(q.sets) > 0 {
		since = q.sets[0].arrival
	}
	q.since.Store(since)
}
