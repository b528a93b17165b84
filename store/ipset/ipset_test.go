// SPDX-License-Identifier: Apache-2.0

package ipset

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func ip(s string) [16]byte { return netip.MustParseAddr(s).As16() }

// open writes entries to a new file and maps it.
func opened(t testing.TB, entries []Entry) *Set {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ip.set")
	if err := Write(path, entries); err != nil {
		t.Fatal(err)
	}
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// edges are addresses at which an index could be off by one.
var edges = []string{
	"0.0.0.0", "0.0.0.1", "0.0.0.63", "0.0.0.64", "0.0.255.255", "0.1.0.0", "10.0.15.255", "10.0.16.0",
	"10.63.255.255", "10.64.0.0", "127.255.255.255", "128.0.0.0", "255.254.255.255", "255.255.0.0",
	"255.255.255.254", "255.255.255.255", "::", "::1", "::fffe:10.0.0.1", "::10.0.0.1", "::ffff:0:0:0",
	"64:ff9b::10.0.0.1", "2001:db8::", "2001:db8::1", "fe80::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
}

func TestEdges(t *testing.T) {
	// Every other edge is in the set; its neighbours in the list are not.
	var entries []Entry
	for i := 0; i < len(edges); i += 2 {
		entries = append(entries, Entry{ip(edges[i]), Binding{uint32(i), uint32(i + 1)}})
	}
	s := opened(t, entries)
	defer s.Close()
	if s.Len() != len(entries) {
		t.Errorf("Len %d, want %d", s.Len(), len(entries))
	}
	for i, text := range edges {
		a := ip(text)
		b, ok := s.Lookup(&a)
		want := Binding{}
		if i%2 == 0 {
			want = Binding{uint32(i), uint32(i + 1)}
		}
		if b != want || ok != (i%2 == 0) {
			t.Errorf("%s: %v %v, want %v", text, b, ok, want)
		}
	}
}

func TestEmpty(t *testing.T) {
	s := opened(t, nil)
	defer s.Close()
	live := NewLive(nil)
	defer live.Close()
	r := live.Reader()
	defer r.Close()
	for _, text := range edges {
		a := ip(text)
		if b, ok := s.Lookup(&a); ok {
			t.Errorf("%s in an empty file: %v", text, b)
		}
		if b, ok := r.Acquire().Lookup(&a); ok {
			t.Errorf("%s without a file: %v", text, b)
		}
	}
	if s.Len() != 0 || live.Len() != 0 {
		t.Errorf("lengths %d and %d of nothing", s.Len(), live.Len())
	}
}

func TestWriteRefuses(t *testing.T) {
	one := Binding{1, 1}
	for _, c := range []struct {
		name    string
		entries []Entry
		says    string
	}{
		{"IPv4 twice", []Entry{{ip("10.0.0.9"), one}, {ip("10.0.0.8"), one}, {ip("10.0.0.9"), Binding{2, 1}}}, "10.0.0.9"},
		{"IPv6 twice", []Entry{{ip("fd00::9"), one}, {ip("fd00::8"), one}, {ip("fd00::9"), Binding{2, 1}}}, "fd00::9"},
		{"generation 0", []Entry{{ip("10.0.0.7"), Binding{1, 0}}}, "10.0.0.7"},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "ip.set")
		if err := Write(path, []Entry{{ip("10.1.1.1"), one}}); err != nil {
			t.Fatal(err)
		}
		before, _ := os.ReadFile(path)
		err := Write(path, c.entries)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v does not name %s", c.name, err, c.says)
		}
		after, _ := os.ReadFile(path)
		if string(before) != string(after) {
			t.Errorf("%s: the old file has changed", c.name)
		}
		if left, _ := os.ReadDir(dir); len(left) != 1 {
			t.Errorf("%s: %d files left", c.name, len(left))
		}
	}
	err := Write(filepath.Join(t.TempDir(), "no", "ip.set"), nil)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing directory: %v", err)
	}
}

func TestRemoveLeftovers(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "ip.set")
	if err := Write(path, nil); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ip.set.123.tmp", "other.tmp"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := RemoveLeftovers(path); err != nil {
		t.Fatal(err)
	}
	left, _ := os.ReadDir(dir)
	if len(left) != 2 || left[0].Name() != "ip.set" || left[1].Name() != "other.tmp" {
		t.Errorf("left: %v", left)
	}
}

// TestDiskFull: a Write that runs out of space leaves the old file and nothing
// else, and says why.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Skipf("needs root: mount a small tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(dir, "ip.set")
	if err := Write(path, small()); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, dense(100_000, 10)); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("Write on a full disk: %v", err)
	}
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if left, _ := os.ReadDir(dir); s.Len() != len(edges) || len(left) != 1 {
		t.Errorf("%d addresses in %d files left", s.Len(), len(left))
	}
}

// TestMatch: exactly the slot that holds the key, for keys that differ from it
// in any single bit.
func TestMatch(t *testing.T) {
	k := keyOf(new(ip("2001:db8:5a5a:a5a5:ffff:0:1234:5678")))
	for slot := range bucketSlots {
		q := bucket{emptyKey, emptyKey, emptyKey, emptyKey}
		q[slot] = k
		if got, found := q.match(k); got != uint64(slot) || found != 1 {
			t.Errorf("slot %d: %d %d", slot, got, found)
		}
		for bit := range 128 {
			near := k
			if bit < 64 {
				near.hi ^= 1 << bit
			} else {
				near.lo ^= 1 << (bit - 64)
			}
			if _, found := q.match(near); found != 0 {
				t.Fatalf("slot %d matches a key that differs in bit %d", slot, bit)
			}
		}
	}
}
