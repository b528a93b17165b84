// SPDX-License-Identifier: Apache-2.0

package store

import (
	"net/netip"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/portolan/portolan/profiler"
)

func discovered(t *testing.T, s *Store, limit, wantAdded, wantRefused int, ips ...string) {
	t.Helper()
	var addrs []netip.Addr
	for _, ip := range ips {
		addrs = append(addrs, netip.MustParseAddr(ip))
	}
	added, refused, err := s.Discover(addrs, limit)
	if err != nil || added != wantAdded || refused != wantRefused {
		t.Errorf("%d added, %d refused, %v; want %d and %d", added, refused, err, wantAdded, wantRefused)
	}
	verify(t, s)
}

// TestDiscover: unknown addresses become endpoints up to the limit, which counts
// over a restart and gets room back from whoever is named, moved or deleted.
func TestDiscover(t *testing.T) {
	dir, fs := t.TempDir(), vfs.NewMem()
	s := opened(t, dir, Options{FS: fs})
	imported(t, s, "mac,ip\n00:00:00:00:00:0a,10.0.0.1\n")
	discovered(t, s, 3, 2, 0, "10.0.0.1", "10.0.0.2", "2001:db8::1", "10.0.0.2")
	discovered(t, s, 3, 1, 1, "10.0.0.3", "10.0.0.4")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = opened(t, dir, Options{FS: fs})
	verify(t, s)
	discovered(t, s, 3, 0, 1, "10.0.0.4")
	want(t, posted(t, s, see(t, s, "10.0.0.2", 80, t0)), profiler.Added)

	// A MAC that becomes known keeps the ports.
	imported(t, s, "mac,ip\n00:00:00:00:00:0b,10.0.0.2\n")
	if p := ports(t, s, "00:00:00:00:00:0b"); p != "80" {
		t.Errorf("ports %q", p)
	}
	discovered(t, s, 3, 1, 0, "10.0.0.4")
	// A MAC that has an endpoint takes the address over.
	imported(t, s, "mac,ip\n00:00:00:00:00:0b,10.0.0.3\n")
	discovered(t, s, 3, 1, 0, "10.0.0.5")
	// Named without a MAC.
	imported(t, s, "ip,hostname\n10.0.0.4,printer\n")
	if n := s.Counts().Discovered; n != 2 {
		t.Errorf("%d discovered", n)
	}
	if err := s.Delete("10.0.0.5"); err != nil {
		t.Fatal(err)
	}
	verify(t, s)
	discovered(t, s, 3, 2, 1, "10.0.0.5", "10.0.0.6", "10.0.0.7")
	discovered(t, s, 0, 0, 1, "10.0.0.7")
}
