// SPDX-License-Identifier: Apache-2.0

package store

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/portolan/portolan/profiler"
)

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
