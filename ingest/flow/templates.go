// SPDX-License-Identifier: Apache-2.0

package flow

import "sync/atomic"

// templateTable holds a stream's templates, hashed by id into buckets of eight
// places. Its size never changes: a bigger one replaces it. Workers read it
// without a lock; places change under the stream's mu only. A nil table is an
// empty one.
type templateTable struct {
	buckets []templateBucket
	known   int // under mu
	hand    int // under mu: the bucket where the stream makes room next
}

type templateBucket [ways]atomic.Pointer[template]

// cost is how much memory the table takes, in bytes.
func (t *templateTable) cost() int64 {
	if t == nil {
		return 0
	}
	return int64(len(t.buckets))*ways*8 + 48
}

func (t *templateTable) bucket(id uint16) *templateBucket {
	return &t.buckets[int(uint32(id)*0x9e3779b1>>16)&(len(t.buckets)-1)]
}

// find returns a template and its place, nil and nil where there is none.
func (t *templateTable) find(id uint16) (*atomic.Pointer[template], *template) {
	if t == nil {
		return nil, nil
	}
	b := t.bucket(id)
	for i := range b {
		if x := b[i].Load(); x != nil && x.id == id {
			return &b[i], x
		}
	}
	return nil, nil
}

// all yields all templates and their places.
func (t *templateTable) all(yield func(*atomic.Pointer[template], *template) bool) {
	if t == nil {
		return
	}
	for i := range t.buckets {
		for j := range t.buckets[i] {
			p := &t.buckets[i][j]
			if x := p.Load(); x != nil && !yield(p, x) {
				return
			}
		}
	}
}

// oldest returns the template of a bucket that was used least recently, but for
// one, and its place.
func (b *templateBucket) oldest(but *template) (p *atomic.Pointer[template], found *template) {
	for i := range b {
		x := b[i].Load()
		if x != nil && x != but && (found == nil || x.used.Load() < found.used.Load()) {
			p, found = &b[i], x
		}
	}
	return p, found
}

// free returns an empty place of a bucket, nil where there is none.
func (b *templateBucket) free() *atomic.Pointer[template] {
	for i := range b {
		if b[i].Load() == nil {
			return &b[i]
		}
	}
	return nil
}

// template returns the template of an id, nil where none is known. Lock-free.
func (s *Stream) template(id uint16) *template {
	_, t := s.templates.Load().find(id)
	return t
}

// learn enters a template that arrived at now, Unix nanoseconds. It returns the
// different template of the same id that it replaces. It may find no room, see
// reclaimTemplates; the sets that are due can be decoded all the same.
func (s *Stream) learn(t *template, now int64) (replaced *template) {
	t.used.Store(now / nsPerSecond)
	s.mu.Lock()
	replaced = s.put(t)
	s.mu.Unlock()
	s.owner.reclaimTemplates(s, now)
	return replaced
}

// forget removes the template of an id.
func (s *Stream) forget(id uint16) {
	if s.template(id) == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if p, t := s.templates.Load().find(id); t != nil {
		s.drop(p, t)
		s.owner.changed.Add(1)
	}
}

// put enters a template and returns the different one that it replaces.
// s.mu is held.
func (s *Stream) put(t *template) *template {
	p, old := s.templates.Load().find(t.id)
	same := old != nil && old.is(t.options, t.definition)
	switch {
	case same && !old.restored:
		old.used.Store(t.used.Load())
		return nil
	case old != nil:
		p.Store(t)
		s.hold(int64(t.cost() - old.cost()))
	default:
		s.place(t.id).Store(t)
		s.templates.Load().known++
		s.hold(int64(t.cost()))
	}
	s.slim(t)
	if same {
		return nil
	}
	s.owner.changed.Add(1)
	return old
}

// place finds an empty place for an id that has none: in a bigger table where
// the bucket is full, and where the table is as big as it may be that of the
// template which was used least recently. s.mu is held.
func (s *Stream) place(id uint16) *atomic.Pointer[template] {
	if s.templates.Load() == nil {
		s.grow()
	}
	for {
		b := s.templates.Load().bucket(id)
		if p := b.free(); p != nil {
			return p
		}
		if len(s.templates.Load().buckets)*ways < s.owner.limits.Templates {
			s.grow()
			continue
		}
		s.evict(b, nil)
	}
}

// grow doubles the table. A bucket's templates are spread over two, so they
// always find a place. s.mu is held.
func (s *Stream) grow() {
	old := s.templates.Load()
	bigger := &templateTable{buckets: make([]templateBucket, 1)}
	if old != nil {
		bigger.buckets = make([]templateBucket, 2*len(old.buckets))
		bigger.known = old.known
	}
	for _, t := range old.all {
		bigger.bucket(t.id).free().Store(t)
	}
	s.hold(bigger.cost() - old.cost())
	s.templates.Store(bigger)
}

// slim brings the stream back within its bound of memory after t was entered,
// bucket by bucket, so that it never has to look at all templates for one.
// s.mu is held.
func (s *Stream) slim(t *template) {
	table := s.templates.Load()
	for s.held.Load() > s.owner.limits.TemplateBytes && table.known > 1 {
		s.evict(&table.buckets[table.hand&(len(table.buckets)-1)], t)
		table.hand++
	}
}

// evict makes room in a bucket, but not in the place of one template.
func (s *Stream) evict(b *templateBucket, but *template) {
	if p, t := b.oldest(but); t != nil {
		s.drop(p, t)
		s.owner.evicted.templates.Add(1)
	}
}

// drop removes a template from its place. s.mu is held.
func (s *Stream) drop(p *atomic.Pointer[template], t *template) {
	p.Store(nil)
	s.templates.Load().known--
	s.hold(-int64(t.cost()))
}

// dropTemplates removes all templates and tells how many they were. s.mu is held.
func (s *Stream) dropTemplates() (n int) {
	if table := s.templates.Load(); table != nil {
		n = table.known
	}
	s.templates.Store(nil)
	s.hold(-s.held.Load())
	return n
}

// hold adds to the memory that the stream's templates take. s.mu is held.
func (s *Stream) hold(bytes int64) {
	s.held.Add(bytes)
	if !s.gone {
		s.owner.templateBytes.Add(bytes)
	}
}
