// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"encoding/binary"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/vishvananda/netlink/nl"
)

// udpTable and udpTable6 are /proc/net/udp and udp6 of a little-endian machine.
const (
	udpTable = `   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  216: 3500007F:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000   101        0 17313 2 0000000000000000 0
 1162: 010200C0:0807 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 48213 2 0000000000000000 17
 1163: garbage 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1 2 0000000000000000 0
 cut short
`
	udpTable6 = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
 1162: 00000000000000000000000000000000:0807 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 48214 2 0000000000000000 0
 1163: B80D0120000000000000000001000000:1081 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 48215 2 0000000000000000 0
`
)

func littleEndian() bool { return binary.NativeEndian.Uint16([]byte{1, 0}) == 1 }

func TestParseUDPTable(t *testing.T) {
	if !littleEndian() {
		t.Skip("the tables are of a little-endian machine")
	}
	got := append(parseUDPTable(udpTable), parseUDPTable(udpTable6)...)
	want := []udpSocket{
		{netip.MustParseAddrPort("127.0.0.53:53"), "17313"},
		{netip.MustParseAddrPort("192.0.2.1:2055"), "48213"},
		{netip.MustParseAddrPort("[::]:2055"), "48214"},
		{netip.MustParseAddrPort("[2001:db8::1]:4225"), "48215"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestInTheWay(t *testing.T) {
	for _, c := range []struct {
		have, want string
		yes        bool
	}{
		{"192.0.2.1:2055", "192.0.2.1:2055", true},
		{"192.0.2.1:2055", "[::]:2055", true},
		{"[::]:2055", "192.0.2.1:2055", true},
		{"192.0.2.1:2055", "192.0.2.2:2055", false},
		{"192.0.2.1:2055", "192.0.2.1:2056", false},
		{"192.0.2.1:2055", "[::ffff:192.0.2.1]:2055", true},
	} {
		if got := inTheWay(netip.MustParseAddrPort(c.have), netip.MustParseAddrPort(c.want)); got != c.yes {
			t.Errorf("%s in the way of %s: %t", c.have, c.want, got)
		}
	}
}

func TestPortOwnersReadsAnyProc(t *testing.T) {
	if !littleEndian() {
		t.Skip("the tables are of a little-endian machine")
	}
	proc := t.TempDir()
	file := func(path, text string) {
		t.Helper()
		path = filepath.Join(proc, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fd := func(path, target string) {
		t.Helper()
		path = filepath.Join(proc, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, path); err != nil {
			t.Fatal(err)
		}
	}
	file("thread-self/net/udp", udpTable)
	file("12/comm", "nfcapd\n")
	fd("12/fd/0", "/dev/null")
	fd("12/fd/3", "socket:[48213]")
	file("13/comm", "resolved\n")
	fd("13/fd/3", "socket:[17313]")
	file("14/comm", "ended\n") // and its fd is gone
	got := portOwners(proc, netip.MustParseAddrPort("[::]:2055"))
	if want := []owner{{12, "nfcapd"}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := portOwners(proc, netip.MustParseAddrPort("[::]:9")); got != nil {
		t.Errorf("a port that nobody has: %v", got)
	}
}

func TestKernelVersion(t *testing.T) {
	for release, want := range map[string][2]int{"6.18.44-fc-v782": {6, 18}, "5.15.0-1062-aws": {5, 15}, "6.1": {6, 1}, "5.4+": {5, 4}} {
		if major, minor, ok := kernelVersion(release); !ok || major != want[0] || minor != want[1] {
			t.Errorf("%s: %d.%d %t", release, major, minor, ok)
		}
	}
	for _, release := range []string{"", "unknown", "6"} {
		if _, _, ok := kernelVersion(release); ok {
			t.Errorf("%q is taken for a version", release)
		}
	}
}

// answer is a netdev answer with the attributes, each a type and a value.
func answer(attrs ...any) []byte {
	m := []byte{netdevDeviceGet, netdevVersion, 0, 0}
	for i := 0; i < len(attrs); i += 2 {
		m = append(m, nl.NewRtAttr(attrs[i].(int), attrs[i+1].([]byte)).Serialize()...)
	}
	return m
}

func TestParseDeclared(t *testing.T) {
	u32 := func(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }
	u64 := func(n uint64) []byte { return binary.NativeEndian.AppendUint64(nil, n) }
	d, ok := parseDeclared(answer(netdevIfindex, u32(3), 2, []byte{}, netdevFeatures, u64(0x2b), netdevZeroCopyMS, u32(4)))
	if !ok || d != (declared{0x2b, 4}) {
		t.Errorf("got %+v %t", d, ok)
	}
	if got, want := d.features.names(), []string{"basic", "redirect", "xsk-zerocopy", "rx-sg"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for _, m := range [][]byte{nil, {1, 1}, answer(), answer(netdevIfindex, u32(3)), answer(netdevFeatures, u32(1))} {
		if d, ok := parseDeclared(m); ok {
			t.Errorf("% x is taken for %+v", m, d)
		}
	}
	whole := answer(netdevIfindex, u32(3), netdevFeatures, u64(3))
	for n := range len(whole) {
		if _, ok := parseDeclared(whole[:n]); ok {
			t.Errorf("an answer cut after %d bytes is taken", n)
		}
	}
}

func TestExpect(t *testing.T) {
	for _, c := range []struct {
		features driverFeatures
		mtu      int
		rung     string
	}{
		{0, 1500, rungGeneric},
		{featureBasic, 1500, rungGeneric},
		{featureBasic | featureRedirect, 1500, rungCopy},
		{featureBasic | featureRedirect | featureZeroCopy, 1500, rungZeroCopy},
		{featureBasic | featureRedirect | featureZeroCopy, 9000, rungGeneric},
		{featureBasic | featureRedirect | featureMultiBuf, 9000, rungCopy},
		{featureBasic | featureRedirect | featureMultiBuf | featureZeroCopy, 9000, rungCopy},
		{featureBasic | featureRedirect | featureMultiBuf | featureZeroCopy, 3500, rungZeroCopy},
	} {
		if rung, why := (declared{features: c.features}).expect(c.mtu); rung != c.rung || why == "" {
			t.Errorf("%v at MTU %d: %s (%s), want %s", c.features.names(), c.mtu, rung, why, c.rung)
		}
	}
}

func TestHarmless(t *testing.T) {
	for _, c := range []struct {
		r   interfaceReport
		yes bool
	}{
		{interfaceReport{Kind: "device", Driver: "virtio_net", Up: true}, false},
		{interfaceReport{Kind: "device", Driver: "virtio_net"}, true},
		{interfaceReport{Kind: "bond", Up: true}, false},
		{interfaceReport{Kind: "bridge", Up: true}, false},
		{interfaceReport{Kind: "veth", Up: true}, true},
		{interfaceReport{Kind: "dummy", Up: true}, true},
		{interfaceReport{Kind: "tuntap", Up: true}, true},
	} {
		if got := harmless(&c.r); got != c.yes {
			t.Errorf("%+v: %t", c.r, got)
		}
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[uint64]string{64 << 20: "64 MiB", 212992: "208 KiB", 4 << 20: "4 MiB", 100: "100 bytes", 25<<20 + 1<<19: "25.5 MiB"} {
		if got := size(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
