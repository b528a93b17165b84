// SPDX-License-Identifier: Apache-2.0

package store

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/portolan/portolan/profiler"
)

const dayLong = 24 * time.Hour

// TestForget: ports age out by when they were last seen, with the device that
// they were seen at, and count nowhere any more.
func TestForget(t *testing.T) {
	now := t0
	s := opened(t, t.TempDir(), Options{Forget: 30 * dayLong, Now: func() time.Time { return now }})
	forgotten := func(want int) {
		t.Helper()
		if n, err := s.Forget(); err != nil || n != want {
			t.Errorf("%d forgotten, %v; want %d", n, err, want)
		}
		verify(t, s)
	}
	imported(t, s, "mac,ip\n00:00:00:00:00:0a,10.0.0.1\n00:00:00:00:00:0b,10.0.0.2\n")
	want(t, posted(t, s, see(t, s, "10.0.0.1", 80, now), see(t, s, "10.0.0.1", 443, now), see(t, s, "10.0.0.2", 22, now)),
		profiler.Added, profiler.Added, profiler.Added)

	// The address moves; its ports stay with the device that had it.
	now = t0.Add(10 * dayLong)
	imported(t, s, "mac,ip\n00:00:00:00:00:0b,10.0.0.1\n")
	want(t, posted(t, s, see(t, s, "10.0.0.2", 22, now)), profiler.Updated)
	forgotten(0)

	// Nothing is received for years: nothing ages.
	now = t0.AddDate(3, 0, 0)
	forgotten(0)

	now = t0.Add(31 * dayLong)
	want(t, posted(t, s, see(t, s, "10.0.0.1", 81, now)), profiler.Added)
	forgotten(2)
	if a, b := ports(t, s, "00:00:00:00:00:0a"), ports(t, s, "00:00:00:00:00:0b"); a != "" || b != "22 81" {
		t.Errorf("ports %q and %q", a, b)
	}
	if c := s.Counts(); c.Ports != 2 || c.Forgotten != 2 {
		t.Errorf("%+v", c)
	}
	forgotten(0)
	// What was forgotten is new when it is seen again.
	want(t, posted(t, s, see(t, s, "10.0.0.2", 80, now)), profiler.Added)
}

// TestForgetSettings: never, too early, and a reprofile interval that is longer.
func TestForgetSettings(t *testing.T) {
	now := t0
	s := opened(t, t.TempDir(), Options{Interval: 20 * dayLong, Now: func() time.Time { return now }})
	imported(t, s, "ip\n10.0.0.1\n")
	posted(t, s, see(t, s, "10.0.0.1", 80, now))
	now = t0.Add(30 * dayLong)
	posted(t, s, see(t, s, "10.0.0.1", 81, now))
	for _, c := range []struct {
		after    time.Duration
		interval time.Duration
		want     int
	}{{0, 20 * dayLong, 0}, {MinForget, 20 * dayLong, 0}, {MinForget, time.Hour, 1}} {
		if err := errors.Join(s.SetForget(c.after), s.SetInterval(c.interval)); err != nil {
			t.Fatal(err)
		}
		if n, err := s.Forget(); n != c.want || err != nil {
			t.Errorf("after %s with an interval of %s: %d forgotten, %v", c.after, c.interval, n, err)
		}
	}
	if err := s.SetForget(MinForget - 1); !errors.Is(err, ErrForget) {
		t.Errorf("%v", err)
	}
	if _, err := Open(t.TempDir(), Options{Forget: time.Hour}); !errors.Is(err, ErrForget) {
		t.Errorf("%v", err)
	}
}

// TestForgetDiscovered: a discovered endpoint goes with its last port, one that
// somebody has named stays.
func TestForgetDiscovered(t *testing.T) {
	now := t0
	s := opened(t, t.TempDir(), Options{Forget: 30 * dayLong, Now: func() time.Time { return now }})
	discovered(t, s, 10, 4, 0, "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4")
	imported(t, s, "ip,hostname\n10.0.0.3,printer\n")
	old := see(t, s, "10.0.0.1", 80, now)
	posted(t, s, old)
	now = t0.Add(31 * dayLong)
	posted(t, s, see(t, s, "10.0.0.4", 80, now))
	if n, err := s.Forget(); n != 1 || err != nil {
		t.Errorf("%d forgotten, %v", n, err)
	}
	verify(t, s)
	for ip, want := range map[string]bool{"10.0.0.1": false, "10.0.0.2": false, "10.0.0.3": true, "10.0.0.4": true} {
		if _, ok := lookup(s, ip); ok != want {
			t.Errorf("%s is an endpoint: %t", ip, ok)
		}
	}
	want(t, posted(t, s, old), profiler.Stale)
	if n := s.Counts().Discovered; n != 1 {
		t.Errorf("%d discovered", n)
	}
}

// TestForgetByPages: more than a page, while posts go on (for the race detector).
func TestForgetByPages(t *testing.T) {
	s := opened(t, t.TempDir(), Options{Forget: 30 * dayLong, Now: func() time.Time { return t0.Add(31 * dayLong) }})
	const n = 2*sweepPage + 10
	csv := "ip\n"
	for i := range n {
		csv += netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}).String() + "\n"
	}
	imported(t, s, csv)
	var obs []profiler.Observation
	for i := range n {
		ip := fmt.Sprintf("10.0.%d.%d", i>>8, i&255)
		obs = append(obs, see(t, s, ip, 80, t0), see(t, s, ip, 81, t0))
	}
	posted(t, s, obs...)
	var wg sync.WaitGroup
	wg.Go(func() {
		// Seen again in the meantime, or just after: 80 is there in the end.
		for i := 0; i < len(obs); i += 200 {
			o := obs[i]
			o.First, o.Last = t0.Add(31*dayLong).UnixNano(), t0.Add(31*dayLong).UnixNano()
			if err := s.Post(t.Context(), &profiler.Batch{Observations: []profiler.Observation{o}}); err != nil {
				t.Error(err)
			}
		}
	})
	total := 0
	for range 1000 {
		k, err := s.Forget()
		if err != nil {
			t.Fatal(err)
		}
		if total += k; s.Counts().Ports == (n+99)/100 {
			break
		}
	}
	wg.Wait()
	verify(t, s)
	if p := s.Counts().Ports; p != (n+99)/100 || total < len(obs)-int(p) {
		t.Errorf("%d ports are left, %d were forgotten of %d", p, total, len(obs))
	}
}
