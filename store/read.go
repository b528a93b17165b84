// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/portolan/portolan/profiler"
)

// ErrNotFound: no endpoint has that MAC or address.
var ErrNotFound = errors.New("there is no such endpoint")

// reader sees one moment of the store. What it returns is valid until its next
// call, as it is Pebble's memory.
type reader struct {
	it   *pebble.Iterator
	bad  error
	know *knowledge
	now  int64 // Unix ns: what has held until then counts
}

func (s *Store) reader() (*reader, error) {
	it, err := s.db.NewIter(nil)
	if err != nil {
		return nil, err
	}
	return &reader{it: it, know: s.profile.know.Load(), now: s.o.Now().UnixNano()}, nil
}

// view runs fn on the store as it is now.
func (s *Store) view(fn func(*reader) error) error {
	if err := s.failure(); err != nil {
		return err
	}
	s.life.RLock()
	defer s.life.RUnlock()
	if s.closed {
		return ErrClosed
	}
	r, err := s.reader()
	if err != nil {
		return err
	}
	err = fn(r)
	return errors.Join(err, r.close())
}

// fork is another reader of the same moment.
func (r *reader) fork() (*reader, error) {
	it, err := r.it.Clone(pebble.CloneOptions{})
	if err != nil {
		return nil, err
	}
	return &reader{it: it, know: r.know, now: r.now}, nil
}

func (r *reader) err() error { return errors.Join(r.bad, r.it.Error()) }

func (r *reader) close() error { return r.it.Close() }

func (r *reader) get(key []byte) ([]byte, bool) {
	if !r.it.SeekGE(key) || !bytes.Equal(r.it.Key(), key) {
		return nil, false
	}
	v, err := r.it.ValueAndErr()
	if err != nil {
		r.bad = err
		return nil, false
	}
	return v, true
}

// prefix goes through all keys that begin with p, in order. An error ends it
// and is then in err.
func (r *reader) prefix(p []byte) iter.Seq2[[]byte, []byte] { return r.from(p, p) }

// from is prefix, beginning at the key start.
func (r *reader) from(p, start []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		for ok := r.it.SeekGE(start); ok && bytes.HasPrefix(r.it.Key(), p); ok = r.it.Next() {
			v, err := r.it.ValueAndErr()
			if err != nil {
				r.bad = err
				return
			}
			if !yield(r.it.Key(), v) {
				return
			}
		}
	}
}

// number follows an index key; 0 where it is not there.
func (r *reader) number(key []byte) (uint64, error) {
	v, ok := r.get(key)
	if !ok {
		return 0, r.err()
	}
	return decodeNumber(v)
}

// find is the internal number of an endpoint, by its MAC in any notation or by
// one of its addresses.
func (r *reader) find(id string) (uint64, error) {
	if m, err := profiler.ParseMAC(id); err == nil {
		n, err := r.number(appendMACKey(nil, m))
		if err == nil && n == 0 {
			err = fmt.Errorf("%w: no MAC %s", ErrNotFound, m)
		}
		return n, err
	}
	a, err := netip.ParseAddr(id)
	if err != nil {
		return 0, fmt.Errorf("%w: %.60q is neither a MAC nor an IP address", ErrNotFound, id)
	}
	key := a.As16()
	bid, err := r.number(appendAddressKey(nil, &key))
	if err != nil {
		return 0, err
	}
	v, ok := r.get(appendBindingKey(nil, uint32(bid)))
	if bid == 0 || !ok {
		return 0, errors.Join(fmt.Errorf("%w: no address %s", ErrNotFound, a.Unmap()), r.err())
	}
	var b binding
	err = b.decode(v)
	return b.endpoint, err
}

// Endpoint returns the endpoint with that MAC, in any notation that
// profiler.ParseMAC reads, or with that IP address. ErrNotFound is wrapped
// where there is none.
func (s *Store) Endpoint(id string) (e profiler.Endpoint, err error) {
	err = s.view(func(r *reader) error {
		n, err := r.find(id)
		if err != nil {
			return err
		}
		e, err = r.endpoint(n)
		return err
	})
	return e, err
}

// endpoint puts together what is held of one endpoint.
func (r *reader) endpoint(id uint64) (profiler.Endpoint, error) {
	v, ok := r.get(appendEndpointKey(nil, id))
	if !ok {
		return profiler.Endpoint{}, errors.Join(fmt.Errorf("%w: endpoint %d is missing", ErrCorrupt, id), r.err())
	}
	var rec endpoint
	if err := rec.decode(id, v); err != nil {
		return profiler.Endpoint{}, err
	}
	return r.complete(&rec)
}

// complete adds addresses, ports and the device to a record.
func (r *reader) complete(rec *endpoint) (profiler.Endpoint, error) {
	e := profiler.Endpoint{MAC: rec.mac, Hostname: rec.hostname, StaticIP: rec.static, OSType: rec.osType, Tags: rec.tags}
	e.MACVendor = r.know.vendors.Lookup(rec.mac)
	accepted, _, err := r.accepted(rec.id)
	if err != nil {
		return e, err
	}
	device := r.know.view(&accepted, rec, r.now)
	e.Device, e.Other, e.Conflict = device.Device, device.Other, device.Conflict
	for _, v := range r.prefix(appendOwnedPrefix(nil, rec.id)) {
		d := decoder{b: v}
		d.version(valueV1)
		a := d.addr()
		if err := d.end("address"); err != nil {
			return e, err
		}
		e.Addresses = append(e.Addresses, netip.AddrFrom16(a).Unmap())
	}
	for k, v := range r.prefix(appendPortPrefix(nil, rec.id)) {
		key, err := parsePortKey(k)
		if err != nil {
			return e, err
		}
		var state profiler.PortState
		if err := decodePortState(v, &state); err != nil {
			return e, err
		}
		e.Show(key.role, profiler.NewPort(key.proto, key.port, &state))
	}
	var n portCount
	if v, ok := r.get(appendPortsKey(nil, rec.id)); ok {
		if err := n.decode(v); err != nil {
			return e, err
		}
	}
	e.AddedAt, e.UpdatedAt = profiler.Time(rec.added), profiler.Time(max(rec.updated, n.updated))
	e.Finish()
	return e, r.err()
}

// ErrCursor: a cursor that Endpoints did not return.
var ErrCursor = errors.New("not a cursor of this list")

// Endpoints lists endpoints in the order in which they were added, from behind
// the cursor after ("" is the beginning), at most limit of them (0 is no limit)
// and only those that keep says yes to (nil is all), which may change what it is
// asked about. next is the cursor for the
// following page, "" at the end. The order never changes, so that pages neither
// repeat nor miss an endpoint that was there all the time. keep must not call
// the store.
func (s *Store) Endpoints(after string, limit int, keep func(*profiler.Endpoint) bool) (items []profiler.Endpoint, next string, err error) {
	var last uint64
	if after != "" {
		if last, err = strconv.ParseUint(after, 36, 64); err != nil || strings.HasPrefix(after, "+") {
			return nil, "", fmt.Errorf("%w: %.30q", ErrCursor, after)
		}
	}
	items = []profiler.Endpoint{}
	err = s.view(func(r *reader) error {
		detail, err := r.fork()
		if err != nil {
			return err
		}
		defer func() { _ = detail.close() }()
		for k, v := range r.from([]byte{keyEndpoint}, appendEndpointKey(nil, last+1)) {
			if limit > 0 && len(items) == limit {
				next = strconv.FormatUint(last, 36)
				break
			}
			var rec endpoint
			if len(k) != 9 {
				return corrupt("endpoint key", k)
			}
			if err := rec.decode(binary.BigEndian.Uint64(k[1:]), v); err != nil {
				return err
			}
			e, err := detail.complete(&rec)
			if err != nil {
				return err
			}
			last = rec.id
			if keep == nil || keep(&e) {
				items = append(items, e)
			}
		}
		return r.err()
	})
	if err != nil {
		return nil, "", err
	}
	return items, next, nil
}

// Binding is an address and whose it is.
type Binding struct {
	ID, Gen uint32
	Addr    netip.Addr
	// Endpoint is the internal number of the owner.
	Endpoint uint64
	// Since is when the owner took the address over from another; the zero time
	// for the first owner, whose binding is open to the past.
	Since time.Time
}

// Bindings goes through all current bindings by id, as of the moment that the
// loop begins. An error comes last. The body of the loop must not call the
// store.
func (s *Store) Bindings() iter.Seq2[Binding, error] {
	return func(yield func(Binding, error) bool) {
		more := true
		err := s.view(func(r *reader) error {
			for k, v := range r.prefix([]byte{keyBinding}) {
				id, b, err := decodeBinding(k, v)
				if err != nil {
					return err
				}
				if b.endpoint == 0 {
					continue
				}
				out := Binding{ID: id, Gen: b.gen, Endpoint: b.endpoint,
					Addr: netip.AddrFrom16(b.addr).Unmap(), Since: profiler.Time(b.since)}
				if more = yield(out, nil); !more {
					return nil
				}
			}
			return r.err()
		})
		if err != nil && more {
			yield(Binding{}, err)
		}
	}
}
