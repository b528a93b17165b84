// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bench

import (
	"fmt"
	"net/netip"

	"github.com/portolan/portolan/ingest/flow"
)

// Datagram appends datagram number n, counted from 0, to dst.
func (w Workload) Datagram(dst []byte, n uint64) ([]byte, error) {
	p, err := newPlan(w)
	if err != nil {
		return dst, err
	}
	return p.appendDatagram(dst, n), nil
}

// Addresses returns the internal addresses, in ascending order.
func (w Workload) Addresses() ([]netip.Addr, error) {
	p, err := newPlan(w)
	if err != nil {
		return nil, err
	}
	all := make([]netip.Addr, p.Endpoints)
	for i := range all {
		all[i] = addr(p.internal + uint32(i))
	}
	return all, nil
}

// Truth is what a number of datagrams contain, as a receiver should find it
// that knows all internal addresses and loses nothing.
type Truth struct {
	Datagrams, Records uint64
	// Internal and External count sides: together two for each record.
	Internal, External uint64
	// Pairs holds every internal side with its own port, and how many
	// records have it.
	Pairs map[Pair]uint64
	// Served is the part of Pairs whose port is the service port of the flow.
	// Contacted has, for an internal client, the service port that it uses
	// of somebody else.
	Served, Contacted map[Pair]uint64
}

// Truth returns the content of datagrams from to from+n-1. It takes some
// 100 ns per record, and memory for every pair.
func (w Workload) Truth(from, n uint64) (*Truth, error) {
	p, err := newPlan(w)
	if err != nil {
		return nil, err
	}
	if from+n < from {
		return nil, fmt.Errorf("datagrams %d and %d more are more than can be counted", from, n)
	}
	t := &Truth{
		Datagrams: n, Records: n * uint64(p.Records),
		Pairs: map[Pair]uint64{}, Served: map[Pair]uint64{}, Contacted: map[Pair]uint64{},
	}
	var r flow.Record
	begin := from * uint64(p.Records)
	for number := begin; number < begin+t.Records; number++ {
		p.record(&r, number)
		t.side(p, &r.Src, r.Proto, r.SrcPort, r.DstPort)
		t.side(p, &r.Dst, r.Proto, r.DstPort, r.SrcPort)
	}
	return t, nil
}

// side counts one end of a record.
func (t *Truth) side(p *plan, address *[16]byte, proto uint8, own, far uint16) {
	a := netip.AddrFrom16(*address).Unmap()
	if ipv4(a)-p.internal >= p.internalCount {
		t.External++
		return
	}
	t.Internal++
	t.Pairs[Pair{a, proto, own}]++
	if p.isService(own) {
		t.Served[Pair{a, proto, own}]++
	}
	if p.isService(far) {
		t.Contacted[Pair{a, proto, far}]++
	}
}

func (p *plan) isService(port uint16) bool {
	return int(port) >= p.ServicePort && int(port) < p.ServicePort+p.Services
}
