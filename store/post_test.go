// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/portolan/portolan/profiler"
)

// written is how many bytes have gone into the log.
func written(s *Store) uint64 { return s.db.Metrics().WAL.BytesIn }

func TestPostOutcomes(t *testing.T) {
	s := opened(t, t.TempDir(), Options{})
	imported(t, s, office)
	o := see(t, s, "10.1.0.5", 9100, t0)
	udp, contacted, stronger := o, o, o
	udp.Proto = 17
	contacted.Role = profiler.Contacted
	stronger.Evidence = profiler.FanIn
	want(t, posted(t, s, o, o, udp, contacted, stronger), profiler.Added, profiler.Duplicate, profiler.Added, profiler.Added, profiler.Updated)
	want(t, posted(t, s, o, udp, contacted, stronger), profiler.Duplicate, profiler.Duplicate, profiler.Duplicate, profiler.Duplicate)
	// The other address of the same endpoint shows the same port.
	v6 := see(t, s, "fd00::5", 9100, t0)
	want(t, posted(t, s, v6), profiler.Duplicate)
	verify(t, s)
	if c := s.Counts(); c.Ports != 3 {
		t.Errorf("%+v", c)
	}
	e, err := s.Endpoint("10.1.0.5")
	if err != nil || len(e.Listening) != 2 || len(e.Contacted) != 1 {
		t.Fatalf("%+v, %v", e, err)
	}
	p := e.Listening[0]
	if p.Proto != "tcp" || p.Port != 9100 || p.Evidence != "fan-in" || p.Exporter.String() != "192.0.2.1" || p.FirstSeen != t0 || p.LastSeen != t0 {
		t.Errorf("%+v", p)
	}
	unknown, gone := o, o
	unknown.Binding, gone.Gen = 1<<31, 9
	want(t, posted(t, s, unknown, gone), profiler.Stale, profiler.Stale)
	want(t, posted(t, s))
}

// The answer carries the time of the post that stands: the sensor's interval runs
// from there, also after it has forgotten the pair.
func TestPostTellsThePostThatStands(t *testing.T) {
	s := opened(t, t.TempDir(), Options{})
	imported(t, s, office)
	answer := func(at time.Time, outcome profiler.Outcome, stands time.Time) {
		t.Helper()
		b := &profiler.Batch{Observations: []profiler.Observation{see(t, s, "10.1.0.5", 9100, at)}}
		if err := s.Post(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		if want(t, b.Outcomes, outcome); len(b.Posted) != 1 || b.Posted[0] != stands.UnixNano() {
			t.Errorf("at %s: posted %v, want %d", at, b.Posted, stands.UnixNano())
		}
	}
	answer(t0, profiler.Added, t0)
	later := t0.Add(23 * time.Hour)
	answer(later, profiler.Duplicate, t0)
	due := t0.Add(31 * time.Hour)
	answer(due, profiler.Updated, due)
}

// TestPostWithdrawals: a withdrawn port is not listed any more, is told apart
// with what it had, still counts as a port that is held, and comes back when it
// is seen again; all of that also after a restart.
func TestPostWithdrawals(t *testing.T) {
	fs, dir := vfs.NewMem(), t.TempDir()
	s := opened(t, dir, Options{FS: fs})
	imported(t, s, office)
	o := see(t, s, "10.1.0.5", 40000, t0)
	o.Evidence, o.Counterparts, o.Flows = profiler.Class, 2, 7
	contacted, veto := o, o
	contacted.Role = profiler.Contacted
	veto.Withdraw, veto.Last = true, t0.Add(time.Minute).UnixNano()
	unknown, vetoContacted := veto, veto
	unknown.Port, vetoContacted.Role = 40001, profiler.Contacted
	want(t, posted(t, s, o, contacted), profiler.Added, profiler.Added)
	want(t, posted(t, s, unknown, veto, vetoContacted, veto), profiler.Duplicate, profiler.Withdrawn, profiler.Withdrawn, profiler.Duplicate)
	verify(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = opened(t, dir, Options{FS: fs})
	want(t, posted(t, s, o, veto), profiler.Duplicate, profiler.Duplicate)
	e, err := s.Endpoint("10.1.0.5")
	if err != nil || len(e.Listening)+len(e.Contacted)+len(e.Fingerprint.Host.Ports) != 0 || len(e.Withdrawn) != 1 {
		t.Fatalf("%+v, %v", e, err)
	}
	p := e.Withdrawn[0]
	if p.Port != 40000 || p.Evidence != "class" || p.Counterparts != 2 || p.Flows != 7 || p.LastSeen != t0 || p.WithdrawnAt != t0.Add(time.Minute) {
		t.Errorf("%+v", p)
	}
	if c := s.Counts(); c.Ports != 2 {
		t.Errorf("%+v", c)
	}
	again := o
	again.Last, again.Evidence, again.Counterparts = t0.Add(time.Hour).UnixNano(), profiler.Peer, 1
	want(t, posted(t, s, again, again), profiler.Updated, profiler.Duplicate)
	e, err = s.Endpoint("10.1.0.5")
	if err != nil || len(e.Listening) != 1 || len(e.Withdrawn) != 0 {
		t.Fatalf("%+v, %v", e, err)
	}
	if p := e.Listening[0]; p.Evidence != "peer" || p.Counterparts != 2 || p.Flows != 14 || !p.WithdrawnAt.IsZero() {
		t.Errorf("%+v", p)
	}
	verify(t, s)
}

func TestPostRefusals(t *testing.T) {
	s := opened(t, t.TempDir(), Options{})
	imported(t, s, office)
	good, role, evidence := see(t, s, "10.1.0.5", 1, t0), see(t, s, "10.1.0.5", 2, t0), see(t, s, "10.1.0.5", 3, t0)
	role.Role, evidence.Evidence = 2, 0
	for _, bad := range []profiler.Observation{role, evidence} {
		b := &profiler.Batch{Observations: []profiler.Observation{good, bad}}
		if err := s.Post(t.Context(), b); !errors.Is(err, ErrObservation) {
			t.Error(err)
		}
		want(t, b.Outcomes, profiler.Unanswered, profiler.Unanswered)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b := &profiler.Batch{Observations: []profiler.Observation{good}}
	if err := s.Post(ctx, b); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if s.Counts().Ports != 0 {
		t.Error("something was applied")
	}
}

// TestRestartWithinInterval: after a restart every repeated post is a
// duplicate and not a byte is written; when the clock has moved on by the
// interval, it is an update.
func TestRestartWithinInterval(t *testing.T) {
	fs, dir := vfs.NewMem(), t.TempDir()
	var obs []profiler.Observation
	s := opened(t, dir, Options{FS: fs, Interval: time.Hour})
	imported(t, s, office)
	for _, ip := range []string{"10.1.0.5", "10.1.0.6", "10.1.0.7", "fd00::5"} {
		obs = append(obs, see(t, s, ip, 443, t0), see(t, s, ip, 80, t0))
	}
	posted(t, s, obs...)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = opened(t, dir, Options{FS: fs, Interval: time.Hour})
	before := written(s)
	for i := range obs {
		obs[i].Last += int64(59 * time.Minute)
	}
	for i, out := range posted(t, s, obs...) {
		if out != profiler.Duplicate {
			t.Errorf("observation %d: %s", i, out)
		}
	}
	if n := written(s) - before; n != 0 {
		t.Errorf("%d bytes were written for duplicates", n)
	}
	for i := range obs {
		obs[i].Last = t0.Add(75 * time.Minute).UnixNano()
	}
	got := posted(t, s, obs...)
	want(t, got[:6], profiler.Updated, profiler.Updated, profiler.Updated, profiler.Updated, profiler.Updated, profiler.Updated)
	// The second address of a dual-stack endpoint shows what the first has shown.
	want(t, got[6:], profiler.Duplicate, profiler.Duplicate)
	if written(s) == before {
		t.Error("nothing was written for updates")
	}
	verify(t, s)
}

func TestInterval(t *testing.T) {
	fs, dir := vfs.NewMem(), t.TempDir()
	if _, err := Open(dir, Options{FS: fs, Interval: time.Hour - 1}); !errors.Is(err, profiler.ErrInterval) {
		t.Error(err)
	}
	s := opened(t, dir, Options{FS: fs})
	if s.Interval() != profiler.DefaultInterval {
		t.Error(s.Interval())
	}
	if err := s.SetInterval(59 * time.Minute); !errors.Is(err, profiler.ErrInterval) {
		t.Error(err)
	}
	if err := s.SetInterval(3 * time.Hour); err != nil || s.Interval() != 3*time.Hour {
		t.Error(err, s.Interval())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = opened(t, dir, Options{FS: fs})
	if s.Interval() != 3*time.Hour {
		t.Errorf("%s after a restart", s.Interval())
	}
}

func TestPortLimit(t *testing.T) {
	s := opened(t, t.TempDir(), Options{})
	imported(t, s, office)
	o := see(t, s, "10.1.0.5", 0, t0)
	var obs []profiler.Observation
	for port := range 5000 {
		o.Port = uint16(port + 1)
		obs = append(obs, o)
	}
	count := map[profiler.Outcome]int{}
	for lo := 0; lo < len(obs); lo += 1000 {
		for _, out := range posted(t, s, obs[lo:lo+1000]...) {
			count[out]++
		}
	}
	if count[profiler.Added] != profiler.MaxPorts || count[profiler.OverLimit] != 5000-profiler.MaxPorts {
		t.Errorf("%v", count)
	}
	// What is held goes on being known, and another endpoint has room.
	want(t, posted(t, s, obs[0], obs[4999], see(t, s, "10.1.0.6", 1, t0)), profiler.Duplicate, profiler.OverLimit, profiler.Added)
	verify(t, s)
}

func TestPostLogs(t *testing.T) {
	var out bytes.Buffer
	level := &slog.LevelVar{}
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level}))
	s := opened(t, t.TempDir(), Options{Logger: log})
	imported(t, s, office)
	o := see(t, s, "10.1.0.5", 9100, t0)
	posted(t, s, o)
	if out.Len() != 0 {
		t.Errorf("at info: %s", &out)
	}
	level.Set(slog.LevelDebug)
	next, later := o, o
	veto := next
	veto.Withdraw = true
	next.Port, veto.Port = 515, 515
	later.Last = t0.Add(48 * time.Hour).UnixNano()
	posted(t, s, next, later, veto)
	for _, line := range []string{
		`msg="endpoint loaded" mac=00:11:22:33:44:55 ip=10.1.0.5`,
		`msg="port added" mac=00:11:22:33:44:55 ip=10.1.0.5 proto=tcp port=515 role=listening evidence=seen`,
		`msg="port updated" mac=00:11:22:33:44:55 ip=10.1.0.5 proto=tcp port=9100`,
		`msg="port withdrawn" mac=00:11:22:33:44:55 ip=10.1.0.5 proto=tcp port=515 role=listening evidence=seen`,
		`msg="updated endpoints" endpoints=1 observations=3 added=1`,
	} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("no %q in\n%s", line, &out)
		}
	}
	if n := strings.Count(out.String(), "endpoint loaded"); n != 1 {
		t.Errorf("%d times loaded", n)
	}
}
