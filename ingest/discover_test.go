// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/portolan/portolan/ingest/flow"
	"github.com/portolan/portolan/store/ipset"
)

func prefixes(list ...string) (all []netip.Prefix) {
	for _, s := range list {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

// admission keeps the endpoints of a test: it binds what is admitted.
type admission struct {
	mu    sync.Mutex
	set   *ipset.Live
	limit int
	err   error
	all   []string
}

func (a *admission) admit(addrs []netip.Addr) (added, refused int, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil {
		return 0, 0, a.err
	}
	for _, x := range addrs {
		if len(a.all) == a.limit {
			refused++
			continue
		}
		added++
		a.all = append(a.all, x.String())
		a.set.Change([]ipset.Change{{Addr: x.As16(), Binding: ipset.Binding{ID: uint32(len(a.all)), Gen: 1}}})
	}
	return added, refused, nil
}

func (a *admission) admitted() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.all)
}

// discovering is an offline path with a finder that nobody runs.
func discovering(t *testing.T, limit int, internal ...string) (*Offline, *finder, *admission) {
	t.Helper()
	a := &admission{set: setOf(t), limit: limit}
	c := Config{Set: a.set, Sink: newMemorySink(), Internal: prefixes(internal...), Admit: a.admit}
	o := newOffline(t, c)
	if err := c.complete(); err != nil {
		t.Fatal(err)
	}
	f, err := newFinder(&c)
	if err != nil {
		t.Fatal(err)
	}
	o.worker.finder, o.worker.found = f, new(foundRing)
	f.rings = []*foundRing{o.worker.found}
	return o, f, a
}

func roundOf(t *testing.T, f *finder) {
	t.Helper()
	r := f.set.Reader()
	defer r.Close()
	for f.round(r) {
	}
}

// TestDiscover: addresses inside the prefixes are endpoints after the finder's
// round, each once; the record that showed them counted as external.
func TestDiscover(t *testing.T) {
	o, f, a := discovering(t, 100, "10.1.0.0/16", "2001:db8::/64")
	d := v5(0, day,
		tcp("10.1.0.1", 443, "198.51.100.1", 50000),
		tcp("198.51.100.1", 50000, "10.1.0.1", 443),
		tcp("10.2.0.1", 443, "10.1.0.2", 50000),
		tcp("10.1.255.255", 443, "10.1.0.0", 50000), // the prefix's own, no device's
	)
	feed(t, o, day, d)
	roundOf(t, f)
	if got, want := a.admitted(), []string{"10.1.0.1", "10.1.0.2"}; !slices.Equal(got, want) {
		t.Fatalf("%v, want %v", got, want)
	}
	feed(t, o, day, d)
	roundOf(t, f)
	l := o.Status().Ledger
	checkBooks(t, &l)
	if len(a.all) != 2 || l.Sides.Observed != 2 || l.Sides.Duplicate != 1 || f.added.Load() != 2 {
		t.Errorf("%v, %d added, %+v", a.all, f.added.Load(), l.Sides)
	}
}

// TestDiscoverRefuses: the limit and a failure are counted, and what was not
// admitted is found again when the filter has forgotten it.
func TestDiscoverRefuses(t *testing.T) {
	o, f, a := discovering(t, 1, "10.0.0.0/8")
	d := v5(0, day, tcp("10.1.0.1", 443, "10.1.0.2", 50000))
	a.err = errors.New("disk full")
	feed(t, o, day, d)
	roundOf(t, f)
	feed(t, o, day.Add(time.Second), d) // the filter remembers
	roundOf(t, f)
	if n := f.drops()["failed"]; n != 2 {
		t.Errorf("%d failed", n)
	}
	a.err = nil
	feed(t, o, day.Add(time.Minute), d)
	roundOf(t, f)
	if len(a.all) != 1 || f.drops()["limit"] != 1 || f.added.Load() != 1 {
		t.Errorf("%v, %v, %d added", a.all, f.drops(), f.added.Load())
	}
}

// TestDiscoverScan: a scan fills the ring, which drops and counts; nothing is
// allocated, and the finder takes what the ring has.
func TestDiscoverScan(t *testing.T) {
	o, f, a := discovering(t, 1<<20, "10.0.0.0/8")
	next := 0
	scan := func() {
		records := make([]flow.Record, flow.MaxV5Records)
		for i := range records {
			next++
			records[i] = tcp("198.51.100.1", 50000, netip.AddrFrom16(addrOf(next)).Unmap().String(), 22)
		}
		feed(t, o, day, v5(0, day, records...))
	}
	for range 50 {
		scan()
	}
	roundOf(t, f)
	if n := uint64(len(a.all)) + f.drops()["queue_full"]; len(a.all) != foundSize || n < 1450 || n > 1500 {
		t.Errorf("%d admitted, %v", len(a.all), f.drops())
	}
	d := v5(0, day, tcp("198.51.100.1", 50000, "10.200.0.1", 22), tcp("198.51.100.1", 50000, "10.200.0.2", 22))
	at := day
	if n := testing.AllocsPerRun(100, func() {
		at = at.Add(time.Minute)
		if err := o.Datagram(t.Context(), at, addr("192.0.2.1"), d); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a datagram", n)
	}
}

// TestDiscoverWhileRunning: workers find, the finder admits and the prefixes
// change, all at once (for the race detector), and all is admitted in the end.
func TestDiscoverWhileRunning(t *testing.T) {
	_, f, a := discovering(t, 1<<20, "10.0.0.0/8")
	f.rings = nil
	var workers []*worker
	for range 2 {
		w := newWorker(newSharedFor(t, f, a), make(chan struct{}, 1))
		t.Cleanup(w.reader.Close)
		f.rings = append(f.rings, w.found)
		workers = append(workers, w)
	}
	stop := make(chan struct{})
	var all, finding sync.WaitGroup
	finding.Go(func() { f.run(stop) })
	for i, w := range workers {
		all.Go(func() {
			for n := range 100 {
				a := netip.AddrFrom16(addrOf(n + 50*i + 1)).Unmap().String()
				w.burst.datagrams[0] = datagram{v5(0, day, tcp("198.51.100.1", 50000, a, 22)), addr("192.0.2.1")}
				w.burst.n = 1
				w.process(PathUDP, day.UnixNano())
			}
		})
	}
	if err := f.setInternal(prefixes("10.0.0.0/9", "10.0.0.0/8")); err != nil {
		t.Fatal(err)
	}
	all.Wait()
	for deadline := time.Now().Add(10 * time.Second); len(a.admitted()) < 150 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	close(stop)
	finding.Wait()
	got := a.admitted()
	slices.Sort(got)
	if n := len(slices.Compact(slices.Clone(got))); len(got) != 150 || n != 150 {
		t.Errorf("%d admitted, %d different, want 150", len(got), n)
	}
}

func newSharedFor(t *testing.T, f *finder, a *admission) *shared {
	t.Helper()
	c := Config{Set: a.set, Sink: newMemorySink(), Pairs: minPairs}
	if err := c.complete(); err != nil {
		t.Fatal(err)
	}
	s := newShared(&c, flow.Limits{})
	s.finder = f
	return s
}

// TestDiscoverable: which addresses can be a device's.
func TestDiscoverable(t *testing.T) {
	s, err := newPrefixSet(prefixes("0.0.0.0/0", "10.0.0.0/24", "192.0.2.8/31", "2001:db8::/32", "fe80::/10", "ff00::/8"))
	if err != nil {
		t.Fatal(err)
	}
	for a, want := range map[string]bool{
		"10.0.0.1": true, "8.8.8.8": true, "192.0.2.8": true, "192.0.2.9": true, "2001:db8::": true, "2001:db8::1": true,
		"0.0.0.0": false, "255.255.255.255": false, "10.0.0.0": false, "10.0.0.255": false, "224.0.0.1": false, "127.0.0.1": false,
		"169.254.1.1": false, "fe80::1": false, "ff02::1": false, "2001:db9::1": false, "::": false,
	} {
		if x := netip.MustParseAddr(a); s.device(x) != want {
			t.Errorf("%s: %t", a, !want)
		}
	}
	if s, err := newPrefixSet(nil); s != nil || err != nil {
		t.Errorf("no prefixes: %v, %v", s, err)
	}
	if _, err := newPrefixSet(make([]netip.Prefix, MaxInternal+1)); err == nil {
		t.Error("too many prefixes were taken")
	}
	if _, err := New(Config{Set: setOf(t), Sink: newMemorySink(), Internal: prefixes("10.0.0.0/8")}); err == nil {
		t.Error("prefixes without somebody who admits")
	}
}
