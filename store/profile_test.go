// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/portolan/portolan/profiler"
	"github.com/portolan/portolan/profiler/rules"
)

// ruleSet makes rules of a text of the form "category port rel", one a line.
func ruleSet(t testing.TB, list ...string) *rules.Set {
	t.Helper()
	var b strings.Builder
	b.WriteString("rules:\n")
	for i, line := range list {
		var category string
		var port, rel int
		if _, err := fmt.Sscan(line, &category, &port, &rel); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "  - id: r%d\n    category: %s\n    family: F\n    name: N%d\n    rel: %d\n    score: 80\n"+
			"    when: {listening: {all: [tcp/%d]}}\n    tests: [{listening: [tcp/%d]}]\n", i, category, i, rel, port, port)
	}
	path := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	set, err := rules.LoadFiles(path)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// device is what an endpoint shows: device, other, conflict.
func device(t testing.TB, s *Store, id string) string {
	t.Helper()
	e, err := s.Endpoint(id)
	if err != nil {
		t.Fatal(err)
	}
	text := "-"
	if e.Device != nil {
		text = e.Device.Category
	}
	if e.Other != nil {
		text += " other " + e.Other.Category
	}
	if e.Conflict {
		text += " conflict"
	}
	return text
}

func profiled(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Profile(); err != nil {
		t.Fatal(err)
	}
}

// TestProfile: what an endpoint's ports tell is kept, shown and found again,
// another category has to hold for an hour, an operator's word stands above it,
// and a withdrawn port does not count.
func TestProfile(t *testing.T) {
	fs, dir := vfs.NewMem(), t.TempDir()
	now := t0
	o := Options{FS: fs, Rules: ruleSet(t, "Printer 40101 90", "Camera 40102 95"), ProfileOnCall: true, Now: func() time.Time { return now }}
	s := opened(t, dir, o)
	imported(t, s, office)
	show := func(want string) {
		t.Helper()
		profiled(t, s)
		if got := device(t, s, "10.1.0.6"); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	listen := func(port uint16, e profiler.Evidence, withdraw bool) {
		ob := see(t, s, "10.1.0.6", port, now)
		ob.Evidence, ob.Withdraw = e, withdraw
		posted(t, s, ob)
	}
	show("-")
	listen(40101, profiler.Class, false)
	show("-") // that evidence is not trusted
	listen(40101, profiler.FanIn, false)
	show("Printer")
	now = now.Add(2 * time.Hour)
	listen(40102, profiler.FanIn, false)
	show("Printer other Camera")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = opened(t, dir, o)
	show("Printer other Camera")
	listen(40102, profiler.FanIn, true)
	show("Printer")
	now = now.Add(time.Second)
	listen(40102, profiler.FanIn, false)
	show("Printer other Camera")
	now = now.Add(time.Hour)
	if got := device(t, s, "10.1.0.6"); got != "Camera other Printer conflict" {
		t.Errorf("after an hour: %s", got)
	}
	imported(t, s, "ip,category\n10.1.0.6,Scale\n")
	show("Scale other Camera")
	before := written(s)
	profiled(t, s)
	s.profileAll()
	profiled(t, s)
	if n := written(s) - before; n != 0 {
		t.Errorf("%d bytes were written where nothing has changed", n)
	}
	if err := s.Delete("10.1.0.6"); err != nil {
		t.Fatal(err)
	}
	profiled(t, s)
	verify(t, s)
	if err := s.view(func(r *reader) error {
		for k := range r.prefix([]byte{keyDevice}) {
			t.Errorf("the device of an endpoint that is gone: %x", k)
		}
		return r.err()
	}); err != nil {
		t.Error(err)
	}
}

// TestProfileInTheBackground: the profiler finds what was posted, and after
// SetRules all endpoints; more than a page of them.
func TestProfileInTheBackground(t *testing.T) {
	s := opened(t, t.TempDir(), Options{Rules: ruleSet(t, "Printer 40101 90")})
	var csv strings.Builder
	csv.WriteString("ip\n")
	const n = 2*profilePage + 10
	ip := func(i int) string { return fmt.Sprintf("10.9.%d.%d", i/250, i%250+1) }
	for i := range n {
		fmt.Fprintln(&csv, ip(i))
	}
	imported(t, s, csv.String())
	var obs []profiler.Observation
	for i := range n {
		o := see(t, s, ip(i), 40101, t0)
		o.Evidence = profiler.Handshake
		obs = append(obs, o)
	}
	posted(t, s, obs...)
	all := func(want string) {
		t.Helper()
		deadline := time.Now().Add(30 * time.Second)
		for {
			items, _, err := s.Endpoints("", 0, func(e *profiler.Endpoint) bool { return e.Device != nil && e.Device.Category == want })
			if err != nil {
				t.Fatal(err)
			}
			if len(items) == n {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d of %d endpoints are a %s", len(items), n, want)
			}
			time.Sleep(10 * time.Millisecond) // between two looks
		}
	}
	all("Printer")
	// They are young: another category is accepted at once.
	s.SetRules(ruleSet(t, "Scale 40101 90"), nil)
	all("Scale")
	verify(t, s)
}

// TestNotedIsBounded: too many endpoints to be noted lead to a pass over all.
func TestNotedIsBounded(t *testing.T) {
	s := opened(t, t.TempDir(), Options{ProfileOnCall: true, Rules: ruleSet(t, "Printer 40101 90")})
	p := &s.profile
	for id := range uint64(maxNoted + 1) {
		p.note(id + 1)
	}
	if len(p.noted) > maxNoted || !p.passing {
		t.Errorf("%d noted, passing: %v", len(p.noted), p.passing)
	}
	imported(t, s, office)
	profiled(t, s)
	if len(p.noted) != 0 || p.passing {
		t.Errorf("%d noted, passing: %v", len(p.noted), p.passing)
	}
	// A pass that begins anew while a page of it is under way starts over.
	s.profileAll()
	p.reached(7, 300, true)
	if !p.passing || p.passed != 0 {
		t.Errorf("the end of an earlier pass ended this one: %v, %d", p.passing, p.passed)
	}
}

func TestProfileStory(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s := opened(t, t.TempDir(), Options{Logger: log, ProfileOnCall: true, Rules: ruleSet(t, "Printer 40101 90")})
	imported(t, s, office)
	o := see(t, s, "10.1.0.6", 40101, t0)
	o.Evidence = profiler.FanIn
	posted(t, s, o)
	profiled(t, s)
	at := 0
	for _, line := range []string{`msg="endpoint loaded"`, `msg="port added"`, `msg="updated endpoints"`,
		`msg="match <Printer, F, N0>"`, `rel=90 score=80`, `msg="best match <Printer, F, N0>"`, `msg="profiled to <Printer, F, N0>"`} {
		i := strings.Index(out.String()[at:], line)
		if i < 0 {
			t.Fatalf("no %s after byte %d of\n%s", line, at, &out)
		}
		at += i
	}
}

// TestDeviceCorrupt: a device record that is none is an error, not a device.
func TestDeviceCorrupt(t *testing.T) {
	var a rules.Accepted
	for _, bad := range [][]byte{nil, {valueV2, '{', '}'}, {valueV1}, {valueV1, '{'}} {
		if err := decodeAccepted(bad, &a); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%x: %v", bad, err)
		}
	}
}
