// SPDX-License-Identifier: Apache-2.0

package ipset

// Change is one binding that came, moved or went since the base was built.
type Change struct {
	Addr    [16]byte
	Binding Binding // ignored if Remove
	Since   int64   // when it came from another holder, Unix ns; 0: open to the past
	Remove  bool
}

// overlay holds the addresses whose binding differs from the base's. It is
// immutable: a change copies the shards that it touches, 1/256 of the whole
// each, so that one change on top of a hundred thousand copies some kilobytes.
type overlay struct {
	hash   hasher
	shards [256]*shard
	n      int
}

// shard is an open-addressing table, at most half full.
type shard struct {
	slots []slot
	n     int
}

// slot is free, a tombstone or a binding. Real generations start at 1, so
// generation 0 is free for the first two, told apart by the ID.
type slot struct {
	key
	Binding
}

var tombstone = Binding{ID: 1}

// find reports what the overlay says about k: known is false if it says
// nothing; a removed address is known and has generation 0.
func (o *overlay) find(k key) (b Binding, known bool) {
	h := o.hash.sum(k)
	s := o.shards[h>>56]
	if s == nil {
		return Binding{}, false
	}
	mask := uint64(len(s.slots) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		e := &s.slots[i&mask]
		if e.Binding == (Binding{}) {
			return Binding{}, false
		}
		if e.key == k {
			return e.Binding, true
		}
	}
}

// apply returns the overlay after changes, of which the last one for an address
// counts, and by how many addresses base plus overlay has grown. Changes that
// say what the base says leave no entry. The result is nil if none is left.
func (o *overlay) apply(base *Set, changes []Change) (*overlay, int) {
	next := &overlay{}
	if o != nil {
		*next = *o
	} else {
		next.hash = newHasher(newSeed())
	}
	var touched [256]map[key]Binding
	grown := 0
	for i := range changes {
		c := &changes[i]
		k := keyOf(&c.Addr)
		n := next.hash.sum(k) >> 56
		if touched[n] == nil {
			touched[n] = next.shards[n].entries()
		}
		want := c.Binding
		if c.Remove {
			want = tombstone
		} else if want.Gen == 0 {
			panic("ipset: a binding of generation 0: generations start at 1")
		}
		below, inBase := base.find(k)
		was, known := touched[n][k]
		if !known {
			was = below
		}
		grown += present(want) - present(was)
		if c.Remove && !inBase || inBase && want == below {
			delete(touched[n], k)
		} else {
			touched[n][k] = want
		}
	}
	for n, m := range touched {
		if m != nil {
			next.n += len(m) - next.shards[n].len()
			next.shards[n] = newShard(next.hash, m)
		}
	}
	if next.n == 0 {
		return nil, grown
	}
	return next, grown
}

func present(b Binding) int {
	if b.Gen == 0 {
		return 0
	}
	return 1
}

func (s *shard) len() int {
	if s == nil {
		return 0
	}
	return s.n
}

func (s *shard) entries() map[key]Binding {
	m := make(map[key]Binding, s.len()+1)
	if s != nil {
		for i := range s.slots {
			if s.slots[i].Binding != (Binding{}) {
				m[s.slots[i].key] = s.slots[i].Binding
			}
		}
	}
	return m
}

func newShard(h hasher, m map[key]Binding) *shard {
	if len(m) == 0 {
		return nil
	}
	size := 4
	for size < 2*len(m) {
		size *= 2
	}
	s := &shard{slots: make([]slot, size), n: len(m)}
	mask := uint64(size - 1)
	for k, b := range m {
		i := h.sum(k) & mask
		for s.slots[i].Binding != (Binding{}) {
			i = (i + 1) & mask
		}
		s.slots[i] = slot{k, b}
	}
	return s
}
