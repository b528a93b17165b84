// SPDX-License-Identifier: Apache-2.0

package store

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/portolan/portolan/profiler"
	"github.com/portolan/portolan/store/ipset"
)

// txn collects a change of endpoints and bindings. It reads through to the
// store what it has not touched, holds what it has touched, and writes all of
// it in one batch; the store's own memory follows after the commit. It belongs
// to one writer, which holds mu.
type txn struct {
	s        *Store
	r        *reader
	now      int64
	counters counters
	found    uint64                  // discovered endpoints
	macs     map[profiler.MAC]uint64 // 0: none
	addrs    map[address]uint32      // 0: none
	eps      map[uint64]*endpoint    // nil: deleted
	dirty    map[uint64]bool         // endpoints to be written
	binds    map[uint32]binding
	owned    map[owned]bool // true: to be set, false: to be deleted
	changes  []ipset.Change
	freed    []uint32
	taken    int // how many of the store's free ids, from the end
	keys     []byte
}

type owned struct {
	endpoint uint64
	binding  uint32
}

// ErrFull: no binding id is left.
var ErrFull = errors.New("the store has as many addresses as it can number")

// change runs fn on a txn and commits it, if fn returns nil. Under mu.
func (s *Store) change(fn func(*txn) error) error {
	r, err := s.reader()
	if err != nil {
		return err
	}
	t := &txn{
		s: s, r: r, now: s.o.Now().UnixNano(), counters: s.counters, found: s.discovered,
		macs: map[profiler.MAC]uint64{}, addrs: map[address]uint32{}, eps: map[uint64]*endpoint{},
		dirty: map[uint64]bool{}, binds: map[uint32]binding{}, owned: map[owned]bool{},
	}
	b := s.db.NewBatch()
	t.keys = make([]byte, 0, 64)
	err = fn(t)
	if err == nil {
		err = t.fill(b)
	}
	if err = errors.Join(err, r.close()); err != nil || b.Empty() {
		return errors.Join(err, b.Close())
	}
	if err := s.commit(b); err != nil {
		return err
	}
	t.adopt()
	return nil
}

func (t *txn) lookupMAC(m profiler.MAC) (uint64, error) {
	if id, ok := t.macs[m]; ok {
		return id, nil
	}
	id, err := t.r.number(appendMACKey(t.keys, m))
	t.macs[m] = id
	return id, err
}

func (t *txn) lookupAddr(a address) (uint32, error) {
	if id, ok := t.addrs[a]; ok {
		return id, nil
	}
	id, err := t.r.number(appendAddressKey(t.keys, &a))
	if id >= uint64(len(t.s.owners)) {
		return 0, corrupt("address", a[:])
	}
	t.addrs[a] = uint32(id)
	return uint32(id), err
}

func (t *txn) binding(id uint32) (binding, error) {
	if b, ok := t.binds[id]; ok {
		return b, nil
	}
	v, ok := t.r.get(appendBindingKey(t.keys, id))
	if !ok {
		return binding{}, errors.Join(fmt.Errorf("%w: binding %d is missing", ErrCorrupt, id), t.r.err())
	}
	var b binding
	err := b.decode(v)
	return b, err
}

func (t *txn) endpoint(id uint64) (*endpoint, error) {
	if e, ok := t.eps[id]; ok {
		if e == nil {
			return nil, fmt.Errorf("%w: endpoint %d is used after its end", ErrCorrupt, id)
		}
		return e, nil
	}
	v, ok := t.r.get(appendEndpointKey(t.keys, id))
	if !ok {
		return nil, errors.Join(fmt.Errorf("%w: endpoint %d is missing", ErrCorrupt, id), t.r.err())
	}
	e := &endpoint{}
	if err := e.decode(id, v); err != nil {
		return nil, err
	}
	t.eps[id] = e
	return e, nil
}

// touch notes that an endpoint has changed.
func (t *txn) touch(e *endpoint) {
	e.updated = t.now
	t.dirty[e.id] = true
}

// create makes an endpoint without addresses.
func (t *txn) create(m profiler.MAC) *endpoint {
	e := &endpoint{id: t.counters.nextEndpoint, mac: m, added: t.now}
	t.counters.nextEndpoint++
	t.counters.endpoints++
	t.eps[e.id] = e
	if !m.IsZero() {
		t.macs[m] = e.id
	}
	t.touch(e)
	return e
}

// bind gives an address that nobody has to an endpoint.
func (t *txn) bind(a address, e *endpoint) error {
	id, gen := t.counters.nextBinding, uint32(1)
	if n := len(t.s.free) - t.taken; n > 0 {
		id = t.s.free[n-1]
		gen = t.s.owners[id].gen
		t.taken++
	} else if id == math.MaxUint32 {
		return ErrFull
	} else {
		t.counters.nextBinding++
	}
	t.counters.bindings++
	t.assign(id, binding{gen: gen, endpoint: e.id, addr: a})
	t.touch(e)
	return nil
}

// move takes an address from its owner and gives it to e, in a new generation.
// An owner that was known by this address only is gone with it.
func (t *txn) move(id uint32, b binding, e *endpoint) error {
	old, err := t.endpoint(b.endpoint)
	if err != nil {
		return err
	}
	t.owned[owned{old.id, id}] = false
	t.touch(old)
	b.gen, b.endpoint, b.since = nextGen(b.gen), e.id, t.now
	t.assign(id, b)
	t.touch(e)
	if old.mac.IsZero() {
		return t.remove(old)
	}
	return nil
}

func (t *txn) assign(id uint32, b binding) {
	t.binds[id] = b
	t.addrs[b.addr] = id
	t.owned[owned{b.endpoint, id}] = true
	t.changes = append(t.changes, ipset.Change{Addr: b.addr, Binding: ipset.Binding{ID: id, Gen: b.gen}, Since: b.since})
}

// release deletes a binding; its number is free again, one generation on.
func (t *txn) release(id uint32, b binding) {
	t.owned[owned{b.endpoint, id}] = false
	t.addrs[b.addr] = 0
	t.binds[id] = binding{gen: nextGen(b.gen)}
	t.freed = append(t.freed, id)
	t.counters.bindings--
	t.changes = append(t.changes, ipset.Change{Addr: b.addr, Remove: true})
}

// nextGen skips 0, which no binding has.
func nextGen(g uint32) uint32 {
	if g++; g == 0 {
		g = 1
	}
	return g
}

// remove deletes an endpoint that has no bindings any more, and its ports.
func (t *txn) remove(e *endpoint) error {
	var n portCount
	if v, ok := t.r.get(appendPortsKey(t.keys, e.id)); ok {
		if err := n.decode(v); err != nil {
			return err
		}
	}
	t.counters.ports -= uint64(n.ports)
	t.counters.endpoints--
	t.claim(e)
	t.eps[e.id] = nil
	t.dirty[e.id] = true
	if !e.mac.IsZero() {
		t.macs[e.mac] = 0
	}
	return t.r.err()
}

// fill writes everything that has changed.
func (t *txn) fill(b *pebble.Batch) error {
	if len(t.dirty) == 0 {
		return nil
	}
	if len(t.changes) > 0 {
		t.counters.seq++
	}
	var k, v []byte
	var errs []error
	set := func(key, value []byte) { k, v = key, value; errs = appendErr(errs, b.Set(k, v, nil)) }
	del := func(key []byte) { k = key; errs = appendErr(errs, b.Delete(k, nil)) }
	for id := range t.dirty {
		if e := t.eps[id]; e != nil {
			set(appendEndpointKey(k[:0], id), e.append(v[:0]))
			continue
		}
		del(appendEndpointKey(k[:0], id))
		del(appendPortsKey(k[:0], id))
		del(appendDeviceKey(k[:0], id))
		ports := appendPortPrefix(nil, id)
		errs = appendErr(errs, b.DeleteRange(ports, after(ports), nil))
	}
	for m, id := range t.macs {
		if id == 0 {
			del(appendMACKey(k[:0], m))
		} else if t.dirty[id] {
			set(appendMACKey(k[:0], m), appendNumber(v[:0], id))
		}
	}
	for id, x := range t.binds {
		set(appendBindingKey(k[:0], id), x.append(v[:0]))
	}
	for a, id := range t.addrs {
		if _, changed := t.binds[id]; changed {
			set(appendAddressKey(k[:0], &a), appendNumber(v[:0], uint64(id)))
		} else if id == 0 {
			del(appendAddressKey(k[:0], &a))
		}
	}
	for o, keep := range t.owned {
		if keep {
			x := t.binds[o.binding]
			set(appendOwnedKey(k[:0], o.endpoint, o.binding), append(append(v[:0], valueV1), x.addr[:]...))
		} else {
			del(appendOwnedKey(k[:0], o.endpoint, o.binding))
		}
	}
	set(metaCounters, t.counters.append(v[:0]))
	if t.found != t.s.discovered {
		set(metaDiscovered, appendNumber(v[:0], t.found))
	}
	return errors.Join(errs...)
}

func appendErr(errs []error, err error) []error {
	if err != nil {
		errs = append(errs, err)
	}
	return errs
}

// adopt brings the store's memory to what was committed.
func (t *txn) adopt() {
	s := t.s
	s.counters, s.discovered = t.counters, t.found
	for uint32(len(s.owners)) < s.counters.nextBinding {
		s.owners = append(s.owners, owner{})
	}
	for id, b := range t.binds {
		s.owners[id] = owner{b.gen, b.endpoint}
	}
	slices.Sort(t.freed)
	s.free = append(s.free[:len(s.free)-t.taken], t.freed...)
	s.publish()
	for id := range t.dirty {
		s.profile.note(id) // one that is gone is found to be
	}
	if len(t.changes) > 0 {
		s.changeSet(t.changes)
	}
}
