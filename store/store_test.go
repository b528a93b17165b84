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
			if got, ok := live.Acquire().Lookup(&b.addr); !ok || got != (ipset.Binding{ID: id, Gen: b.gen}) {
				t.Errorf("sensors see %v for binding %d of generation %d", got, id, b.gen)
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
		macs := 0
		for k, v := range r.prefix([]byte{keyEndpoint}) {
			c.endpoints++
			id := binary.BigEndian.Uint64(k[1:])
			var e endpoint
			if err := e.decode(id, v); err != nil {
				return err
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
			if got := len(full.Listening) + len(full.Contacted); got != int(n.ports) {
				t.Errorf("endpoint %d has %d ports and counts %d", id, got, n.ports)
			}
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

const office = `mac,ip,hostname,static_ip,category,tags
00:11:22:33:44:55,10.1.0.5,printer-3,yes,Printer,floor 3;hp
00:11:22:33:44:55,fd00::5,,,,
00:11:22:33:44:66,10.1.0.6,,,,
,10.1.0.7,,,,
00:11:22:33:44:77,,waiting,,,
`

func TestImportAndRead(t *testing.T) {
	s := opened(t, t.TempDir(), Options{})
	if res := imported(t, s, office); res != (ImportResult{Added: 4, Updated: 1}) {
		t.Errorf("%+v", res)
	}
	verify(t, s)
	if c := s.Counts(); c != (Counts{Endpoints: 4, Bindings: 4}) {
		t.Errorf("%+v", c)
	}
	for _, id := range []string{"00:11:22:33:44:55", "0011.2233.4455", "10.1.0.5", "::ffff:10.1.0.5", "fd00:0::5"} {
		e, err := s.Endpoint(id)
		if err != nil {
			t.Fatal(err)
		}
		if e.ID != "00:11:22:33:44:55" || e.Hostname != "printer-3" || !e.StaticIP || e.IP.String() != "10.1.0.5" ||
			len(e.Addresses) != 2 || e.Device.Category != "Printer" || !slices.Equal(e.Tags, []string{"floor 3", "hp"}) || e.AddedAt != t0 {
			t.Errorf("%s: %+v", id, e)
		}
	}
	if e, err := s.Endpoint("10.1.0.7"); err != nil || e.ID != "10.1.0.7" || !e.MAC.IsZero() || e.Waiting {
		t.Errorf("%+v, %v", e, err)
	}
	if e, err := s.Endpoint("001122334477"); err != nil || !e.Waiting || e.IP.IsValid() {
		t.Errorf("%+v, %v", e, err)
	}
	for _, id := range []string{"00:11:22:33:44:88", "10.1.0.8", "printer-3", ""} {
		if _, err := s.Endpoint(id); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %v", id, err)
		}
	}
	if res := imported(t, s, office); res != (ImportResult{Unchanged: 5}) {
		t.Errorf("again: %+v", res)
	}
	// An empty cell keeps what is there, another one replaces it.
	imported(t, s, "ip,hostname,static_ip,tags\n10.1.0.5,,no,x\n")
	if e, _ := s.Endpoint("10.1.0.5"); e.Hostname != "printer-3" || e.StaticIP || !slices.Equal(e.Tags, []string{"x"}) {
		t.Errorf("%+v", e)
	}
}

func TestImportDryRun(t *testing.T) {
	s := opened(t, t.TempDir(), Options{})
	rows, _ := profiler.ParseCSV(strings.NewReader(office))
	res, err := s.Import(rows, ImportOptions{DryRun: true})
	if err != nil || res.Added != 4 || s.Counts().Endpoints != 0 {
		t.Errorf("%+v, %v, %+v", res, err, s.Counts())
	}
	bad := append(rows, profiler.Row{Row: 7})
	if res, err := s.Import(bad, ImportOptions{}); err == nil || res != (ImportResult{}) || !strings.Contains(err.Error(), "row 7") {
		t.Errorf("%+v, %v", res, err)
	}
	if s.Counts().Endpoints != 0 {
		t.Error("a failed import left something")
	}
	verify(t, s)
}

// TestMoves: what happens to bindings and ports when addresses and MACs meet.
func TestMoves(t *testing.T) {
	const a, b = "00:00:00:00:00:0a", "00:00:00:00:00:0b"
	cases := []struct {
		name, before, then string
		res                ImportResult
		sameBinding        bool   // of 10.0.0.1, id and generation
		owner, ports       string // of 10.0.0.1 afterwards
		others             string // endpoint and ports that must exist too
	}{
		{"an address moves to a known MAC", a + ",10.0.0.1\n" + b + ",10.0.0.2\n", b + ",10.0.0.1\n",
			ImportResult{Updated: 1, Moved: 1}, false, b, "", a + " 80"},
		{"an address moves to a new MAC", a + ",10.0.0.1\n", b + ",10.0.0.1\n",
			ImportResult{Added: 1, Moved: 1}, false, b, "", a + " 80"},
		{"the MAC of an address becomes known", ",10.0.0.1\n", b + ",10.0.0.1\n",
			ImportResult{Updated: 1}, true, b, "80", ""},
		{"an address without MAC goes to a known MAC", ",10.0.0.1\n" + b + ",10.0.0.2\n", b + ",10.0.0.1\n",
			ImportResult{Updated: 1, Moved: 1, Replaced: 1}, false, b, "", ""},
		{"an address alone speaks of its owner", a + ",10.0.0.1\n", ",10.0.0.1\n",
			ImportResult{Unchanged: 1}, true, a, "80", ""},
		{"a waiting MAC gets an address", ",10.0.0.1\n" + b + ",\n", b + ",10.0.0.3\n",
			ImportResult{Updated: 1}, true, "10.0.0.1", "80", b + " "},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := opened(t, t.TempDir(), Options{})
			imported(t, s, "mac,ip\n"+c.before)
			was, _ := lookup(s, "10.0.0.1")
			o := see(t, s, "10.0.0.1", 80, t0)
			want(t, posted(t, s, o), profiler.Added)
			if res := imported(t, s, "mac,ip\n"+c.then); res != c.res {
				t.Errorf("%+v, want %+v", res, c.res)
			}
			verify(t, s)
			is, ok := lookup(s, "10.0.0.1")
			if !ok || is.ID != was.ID || (is.Gen == was.Gen) != c.sameBinding {
				t.Errorf("binding was %v, is %v", was, is)
			}
			e, err := s.Endpoint("10.0.0.1")
			if err != nil || e.ID != c.owner || ports(t, s, c.owner) != c.ports {
				t.Errorf("%+v, %v; want %s with ports %q", e, err, c.owner, c.ports)
			}
			if id, p, ok := strings.Cut(c.others, " "); ok && ports(t, s, id) != p {
				t.Errorf("%s has ports %q, want %q", id, ports(t, s, id), p)
			}
			o.Port = 81
			if c.sameBinding {
				want(t, posted(t, s, o), profiler.Added)
			} else {
				want(t, posted(t, s, o), profiler.Stale)
			}
			verify(t, s)
		})
	}
}

func TestDelete(t *testing.T) {
	s := opened(t, t.TempDir(), Options{})
	imported(t, s, office)
	old := see(t, s, "10.1.0.5", 9100, t0)
	want(t, posted(t, s, old, see(t, s, "10.1.0.6", 80, t0)), profiler.Added, profiler.Added)
	if err := s.Delete("fd00::5"); err != nil {
		t.Fatal(err)
	}
	verify(t, s)
	if c := s.Counts(); c != (Counts{Endpoints: 3, Bindings: 2, Ports: 1}) {
		t.Errorf("%+v", c)
	}
	if _, ok := lookup(s, "10.1.0.5"); ok {
		t.Error("a sensor still sees the address")
	}
	want(t, posted(t, s, old), profiler.Stale)
	if err := s.Delete("10.1.0.5"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	// The number is used again and the post in flight is still refused.
	imported(t, s, "ip\n10.9.9.8\n10.9.9.9\n")
	reused := false
	for _, ip := range []string{"10.9.9.8", "10.9.9.9"} {
		b, _ := lookup(s, ip)
		if b.ID == old.Binding {
			reused = b.Gen == old.Gen+1
		}
	}
	if !reused {
		t.Error("the binding's number was not used again in a new generation")
	}
	want(t, posted(t, s, old), profiler.Stale)
	verify(t, s)
}

func TestEndpointsPages(t *testing.T) {
	s := opened(t, t.TempDir(), Options{})
	var b strings.Builder
	b.WriteString("ip\n")
	for i := range 25 {
		fmt.Fprintf(&b, "10.0.1.%d\n", 25-i)
	}
	imported(t, s, b.String())
	if err := s.Delete("10.0.1.20"); err != nil {
		t.Fatal(err)
	}
	var all []string
	cursor, pages := "", 0
	for {
		items, next, err := s.Endpoints(cursor, 7, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range items {
			all = append(all, e.ID)
		}
		pages++
		if cursor = next; cursor == "" {
			break
		}
	}
	if len(all) != 24 || pages != 4 || all[0] != "10.0.1.25" || all[23] != "10.0.1.1" {
		t.Errorf("%d endpoints in %d pages: %v", len(all), pages, all)
	}
	some, next, err := s.Endpoints("", 0, func(e *profiler.Endpoint) bool { return e.ID == "10.0.1.3" })
	if err != nil || next != "" || len(some) != 1 {
		t.Errorf("%v, %q, %v", some, next, err)
	}
	for _, bad := range []string{"x!", "+1", "-1", "zzzzzzzzzzzzzzzz"} {
		if _, _, err := s.Endpoints(bad, 1, nil); !errors.Is(err, ErrCursor) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	n := 0
	for bind, err := range s.Bindings() {
		if err != nil || !bind.Since.IsZero() || bind.Gen != 1 {
			t.Errorf("%+v, %v", bind, err)
		}
		n++
	}
	if n != 24 {
		t.Errorf("%d bindings", n)
	}
}
