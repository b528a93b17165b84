// SPDX-License-Identifier: Apache-2.0

package ipset

import "slices"

// moved holds, by binding ID, the moment at which an address came to its present
// holder from another one. Most bindings have none: they are the first of their
// address and open to the past.
//
// It is an array in pages, because IDs are dense: a look costs two loads and no
// comparison, however many addresses have moved over the years. It belongs to
// the Live, not to the base, so that it survives every swap, and is immutable
// like the overlay: a change copies the directory (8 bytes for 512 bindings) and
// the pages that it touches. A page costs 8 bytes a binding and exists only
// where something has moved.
//
// Rejected: a sorted table (a search of twenty steps once a site's leases have
// all moved), a hash table (has to be rebuilt at each change), and a column
// beside the bindings (it would double what every lookup of every address
// loads, for a question that the generation answers for nearly all of them).
type moved struct {
	pages  []*movedPage // by ID / movedPageSize; nil: none of them has moved
	latest int64        // the last of all moves ever told of
}

type movedPage [movedPageSize]int64

const movedPageSize = 512

// Moved is a binding that is not open to the past.
type Moved struct {
	ID    uint32
	Since int64 // Unix nanoseconds
}

// since is 0 for a binding that is open to the past.
func (m *moved) since(id uint32) int64 {
	p := id / movedPageSize
	if m == nil || p >= uint32(len(m.pages)) || m.pages[p] == nil {
		return 0
	}
	return m.pages[p][id%movedPageSize]
}

// apply returns m after changes, m itself where they change nothing.
func (m *moved) apply(changes []Change) *moved {
	next := m
	var fresh map[uint32]bool // pages that are next's own already
	for i := range changes {
		c := &changes[i]
		if c.Remove || next.since(c.Binding.ID) == c.Since {
			continue
		}
		if next == m {
			next, fresh = &moved{}, map[uint32]bool{}
			if m != nil {
				next.pages, next.latest = slices.Clone(m.pages), m.latest
			}
		}
		p := c.Binding.ID / movedPageSize
		if n := int(p) + 1 - len(next.pages); n > 0 {
			next.pages = append(next.pages, make([]*movedPage, n)...)
		}
		if !fresh[p] {
			page := &movedPage{}
			if old := next.pages[p]; old != nil {
				*page = *old
			}
			next.pages[p], fresh[p] = page, true
		}
		next.pages[p][c.Binding.ID%movedPageSize] = c.Since
		next.latest = max(next.latest, c.Since)
	}
	return next
}

// Since is when the address of that binding came to its present holder from
// another, in Unix nanoseconds, and 0 where the binding is the first of its
// address and open to the past. b is what this View's lookups returned. A binding
// of generation 1 is always open to the past: callers need not ask.
func (v *View) Since(b Binding) int64 { return v.moved.since(b.ID) }

// LastMove is the time of the last move of any address, in Unix nanoseconds, 0
// where none has moved: what began later needs no Since.
func (v *View) LastMove() int64 {
	if v.moved == nil {
		return 0
	}
	return v.moved.latest
}

// SetMoved tells of the bindings of the base that are not open to the past. A
// file does not hold them: whoever opens one knows them from where the bindings
// are kept. Call it before the first reader looks anything up; later moves come
// with Change, and stay known over a Swap.
func (l *Live) SetMoved(list []Moved) {
	changes := make([]Change, len(list))
	for i, m := range list {
		changes[i] = Change{Binding: Binding{ID: m.ID}, Since: m.Since}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	v := *l.view.Load()
	v.moved = v.moved.apply(changes)
	l.view.Store(&v)
}
