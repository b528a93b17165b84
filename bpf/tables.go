// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
)

// The most local addresses, and the most exporter prefixes of each family.
const (
	MaxLocals    = 2048
	MaxExporters = 32768
)

// SetPorts replaces the UDP destination ports (1 to 65535) that are redirected.
// A port that stays is never missed in between.
func (p *Program) SetPorts(ports []uint16) error {
	var want [1024]uint64
	for _, port := range ports {
		if port == 0 {
			return errors.New("set ports: 0 is no UDP port to listen on")
		}
		want[port>>6] |= 1 << (port & 63)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.ports.replace(&want); err != nil {
		return fmt.Errorf("set ports: %w", err)
	}
	return nil
}

// SetLocals replaces the destination addresses that are ours. An address that
// stays is never missed in between. On an error the former ones stay.
func (p *Program) SetLocals(addrs []netip.Addr) error {
	want := make(map[steerAddress]struct{}, len(addrs))
	for _, a := range addrs {
		if !a.IsValid() || a.IsUnspecified() {
			return fmt.Errorf("set local addresses: %v is not an address packets are sent to", a)
		}
		want[steerAddress{Word: words(a.As16())}] = struct{}{}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.locals.replace(want); err != nil {
		return fmt.Errorf("set local addresses: %w", err)
	}
	return nil
}

// SetExporters replaces the prefixes that exports are taken from; those of
// anybody else are dropped. An empty list takes everybody's. The answer is that
// of netip.Prefix.Contains for an unmapped address: an IPv6 prefix admits
// no IPv4 exporter. A sender on both the old and the new list is never denied in
// between. On an error, one of the two families may have changed.
func (p *Program) SetExporters(prefixes []netip.Prefix) error {
	want4 := make(map[steerPrefix4]struct{})
	want6 := make(map[steerPrefix6]struct{})
	if len(prefixes) == 0 {
		want4[steerPrefix4{}] = struct{}{}
		want6[steerPrefix6{}] = struct{}{}
	}
	for _, x := range prefixes {
		x = x.Masked()
		switch {
		case !x.IsValid():
			return fmt.Errorf("set exporters: %v is no prefix", x)
		case x.Addr().Is4In6():
			return fmt.Errorf("set exporters: write %v as an IPv4 prefix", x)
		case x.Addr().Is4():
			b := x.Addr().As4()
			want4[steerPrefix4{Bits: uint32(x.Bits()), Word: binary.NativeEndian.Uint32(b[:])}] = struct{}{}
		default:
			want6[steerPrefix6{Bits: uint32(x.Bits()), Word: words(x.Addr().As16())}] = struct{}{}
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.exporters4.replace(want4); err != nil {
		return fmt.Errorf("set IPv4 exporters: %w", err)
	}
	if err := p.exporters6.replace(want6); err != nil {
		return fmt.Errorf("set IPv6 exporters: %w", err)
	}
	return nil
}

// words gives the bytes of an address as the program loads them.
func words(b [16]byte) (w [4]uint32) {
	for i := range w {
		w[i] = binary.NativeEndian.Uint32(b[4*i:])
	}
	return w
}

// portSet is the port map: a bit per port, in words that the kernel reads whole.
// A bit that is the same before and after is the same in every mixture of the two
// words, so overwriting a word misses no port that stays.
type portSet struct {
	m    *ebpf.Map
	have [1024]uint64
}

func (s *portSet) replace(want *[1024]uint64) error {
	for i, w := range want {
		if w == s.have[i] {
			continue
		}
		if err := s.m.Update(uint32(i), w, ebpf.UpdateExist); err != nil {
			return err
		}
		s.have[i] = w
	}
	return nil
}

// table is a map whose keys alone matter, with what it holds. It is changed by
// adding before removing and touches no entry that stays, so that no packet sees
// one missing; the kernel's map is sized for twice the limit to have room for that.
type table[K comparable] struct {
	m     *ebpf.Map
	limit int
	have  map[K]struct{}
}

func newTable[K comparable](m *ebpf.Map, limit int) table[K] {
	return table[K]{m: m, limit: limit, have: make(map[K]struct{})}
}

func (t *table[K]) replace(want map[K]struct{}) error {
	if len(want) > t.limit {
		return fmt.Errorf("%d entries; at most %d are possible", len(want), t.limit)
	}
	added := make([]K, 0, len(want))
	for k := range want {
		if _, ok := t.have[k]; ok {
			continue
		}
		if err := t.m.Update(k, uint8(1), ebpf.UpdateAny); err != nil {
			return errors.Join(err, t.remove(added))
		}
		t.have[k] = struct{}{}
		added = append(added, k)
	}
	var gone []K
	for k := range t.have {
		if _, ok := want[k]; !ok {
			gone = append(gone, k)
		}
	}
	return t.remove(gone)
}

// remove deletes all it can. What it cannot stays in have, to be tried again.
func (t *table[K]) remove(keys []K) error {
	var errs []error
	for _, k := range keys {
		if err := t.m.Delete(k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			errs = append(errs, err)
			continue
		}
		delete(t.have, k)
	}
	return errors.Join(errs...)
}
