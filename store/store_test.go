// SPDX-License-Identifier: Apache-2.0

package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/portolan/portolan/profiler"
	"github.com/portolan/portolan/store/ipset"
)

// t0 is when the tests take place.
var t0 = time.Date(2026, 11, 23, 7, 0, 0, 0, time.UTC)

// opened is a store in memory, whose endpoint-IP file is in a directory of the
// test. It is checked and closed at the end.
func opened(t testing.TB, dir string, o Options) *Store {
	t.Helper()
	if o.FS == nil {
		o.FS = vfs.NewMem()
	}
	if o.Now == nil {
		o.Now = func() time.Time { return t0 }
	}
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, ErrFailed) {
			t.Error(err)
		}
	})
	return s
}

// imported applies an endpoints file.
func imported(t testing.TB, s *Store, csv string) ImportResult {
	t.Helper()
	rows, err := profiler.ParseCSV(strings.NewReader(csv))
	if err != nil {
		t.Fatal(err)
	}
	res, err := s.Import(rows, ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// lookup is what a sensor finds.
func lookup(s *Store, ip string) (ipset.Binding, bool) {
	r := s.Live().Reader()
	defer r.Close()
	a := netip.MustParseAddr(ip).As16()
	return r.Acquire().Lookup(&a)
}

// see is an observation of the present binding of an address.
func see(t testing.TB, s *Store, ip string, port uint16, at time.Time) profiler.Observation {
	t.Helper()
	b, ok := lookup(s, ip)
	if !ok {
		t.Fatalf("%s is external", ip)
	}
	return profiler.Observation{Binding: b.ID, Gen: b.Gen, Port: port, Proto: 6, Evidence: profiler.Seen,
		Exporter: netip.MustParseAddr("192.0.2.1").As16(), First: at.UnixNano(), Last: at.UnixNano()}
}

func posted(t testing.TB, s *Store, obs ...profiler.Observation) []profiler.Outcome {
	t.Helper()
	b := &profiler.Batch{Observations: obs}
	if err := s.Post(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	return b.Outcomes
}

func want(t testing.TB, got []profiler.Outcome, want ...profiler.Outcome) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("outcomes %v, want %v", got, want)
	}
}

// ports is "listening tcp ports", for comparing.
func ports(t testing.TB, s *Store, id string) string {
	t.Helper()
	e, err := s.Endpoint(id)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, p := range e.Listening {
		out = append(out, fmt.Sprint(p.Port))
	}
	return strings.Join(out, " ")
}

// verify holds every index and every counter against the records.
func verify(t testing.TB, s *Store) {
	t.Helper()
	// Without writers meanwhile; the readers' view and the memory must agree.
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.view(func(r *reader) error {
		in, err := r.fork()
		if err != nil {
			return err
		}
		defer func() { _ = in.close() }()
		var c counters
		for k, v := range r.prefix([]byte{keyBinding}) {
			id, b, err := decodeBinding(k, v)
			if err != nil {
				return err
			}
			if s.owners[id] != (owner{b.gen, b.endpoint}) {
				t.Errorf("binding %d is %+v in memory and %+v in the store", id, s.owners[id], b)
			}
			if b.endpoint == 0 {
				if !slices.Contains(s.free, id) {
					t.Errorf("binding %d is not on the free list", id)
				}
				continue
			}
			c.bindings++
			if n, _ := in.number(appendAddressKey(nil, &b.addr)); uint32(n) != id {
				t.Errorf("address of binding %d leads to %d", id, n)
			}
			if _, ok := in.get(appendOwnedKey(nil, b.endpoint, id)); !ok {
				t.Errorf("binding %d is not listed under endpoint %d", id, b.endpoint)
			}
			live := s.set.live.Reader()
			view := live.Acquire()
			if got, ok := view.Lookup(&b.addr); !ok || got != (ipset.Binding{ID: id, Gen: b.gen}) {
				t.Errorf("sensors see %v for binding %d of generation %d", got, id, b.gen)
			} else if since := view.Since(got); since != b.since {
				t.Errorf("sensors see binding %d hold since %d instead of %d", id, since, b.since)
			}
			live.Close()
		}
		if s.set.live.Len() != int(c.bindings) {
			t.Errorf("sensors see %d addresses of %d", s.set.live.Len(), c.bindings)
		}
		indexed := 0
		for range r.prefix([]byte{keyAddress}) {
			indexed++
		}
		listed := 0
		for range r.prefix([]byte{keyOwned}) {
			listed++
		}
		if indexed != int(c.bindings) || listed != int(c.bindings) {
			t.Errorf("%d bindings, %d addresses, %d listed", c.bindings, indexed, listed)
		}
		macs, discovered := 0, uint64(0)
		for k, v := range r.prefix([]byte{keyEndpoint}) {
			c.endpoints++
			id := binary.BigEndian.Uint64(k[1:])
			var e endpoint
			if err := e.decode(id, v); err != nil {
				return err
			}
			if e.discovered {
				discovered++
			}
			full, err := in.complete(&e)
			if err != nil {
				return err
			}
			if e.mac.IsZero() && len(full.Addresses) != 1 {
				t.Errorf("endpoint %d without MAC has addresses %v", id, full.Addresses)
			}
			if !e.mac.IsZero() {
				macs++
				if n, _ := in.number(appendMACKey(nil, e.mac)); n != id {
					t.Errorf("MAC of endpoint %d leads to %d", id, n)
				}
			}
			var n portCount
			if v, ok := in.get(appendPortsKey(nil, id)); ok {
				if err := n.decode(v); err != nil {
					return err
				}
			}
			got := 0
			for range in.prefix(appendPortPrefix(nil, id)) {
				got++
			}
			if shown := len(full.Listening) + len(full.Contacted) + len(full.Withdrawn); shown > got {
				t.Errorf("endpoint %d shows %d ports of %d", id, shown, got)
			}
			if got != int(n.ports) {
				t.Errorf("endpoint %d has %d ports and counts %d", id, got, n.ports)
			}
		}
		if kept, err := in.number(metaDiscovered); discovered != s.discovered || discovered != kept || err != nil {
			t.Errorf("%d discovered endpoints, %d counted, %d kept, %v", discovered, s.discovered, kept, err)
		}
		indexed = 0
		for range r.prefix([]byte{keyMAC}) {
			indexed++
		}
		for range r.prefix([]byte{keyPort}) {
			c.ports++ // a port of an endpoint that is gone makes the sum differ
		}
		if indexed != macs {
			t.Errorf("%d MACs, %d indexed", macs, indexed)
		}
		have := s.counters
		if c.endpoints != have.endpoints || c.bindings != have.bindings || c.ports != have.ports {
			t.Errorf("counted %+v, kept %+v", c, have)
		}
		return r.err()
	})
	if err != nil {
		t.Error(err)
	}
}
