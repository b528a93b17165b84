// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/portolan/portolan/ingest/flow"
)

// Workload says which flows a generator exports. It is a pure function of its
// fields: record number r is the same in every run, every process and both
// generators. The zero value of a field means its default.
//
// A flow has a server, with one of the service ports, and a client, with one of
// the client ports; a record tells of either direction. Three quarters are TCP.
// Every choice is uniform over a hash of the record's number.
type Workload struct {
	// Endpoints is how many internal addresses there are: the first ones of
	// Prefix, without the network address. Default 500.
	Endpoints int
	// Prefix is IPv4 and has room for them. Default 10.0.0.0/8.
	Prefix netip.Prefix
	// External is the IPv4 prefix of all other addresses. It does not overlap
	// Prefix. Default 198.18.0.0/15, the range for benchmarks of RFC 2544.
	External netip.Prefix
	// Records is how many records a datagram has, 1 to 30. Default 30.
	Records int
	// NonePercent and BothPercent are the shares of records of which no side
	// and both sides are internal; of the others one is. 0 to 100 together.
	// There is no default but 0, use Mix for the usual one.
	NonePercent, BothPercent int
	// ServicePort is the first of Services consecutive port numbers that are
	// served. Defaults 1 and 1000.
	ServicePort, Services int
	// ClientPort is the first of Clients consecutive port numbers that
	// clients use; no service port is among them. Defaults 32768 and 28232.
	ClientPort, Clients int
	// Seed makes another Workload of the same shape.
	Seed uint64
	// ExportTime is in the header of every datagram, in nanoseconds since
	// 1970 UTC up to 2106. Flows end at it and last a second. Default
	// 2026-01-01.
	ExportTime int64
}

// Mix is the usual workload: 10, 70 and 20 % of records have 0, 1 and 2
// internal sides.
func Mix() Workload { return Workload{NonePercent: 10, BothPercent: 20} }

// Pair is an address with a port of its own, as one side of a flow.
type Pair struct {
	Addr  netip.Addr
	Proto uint8
	Port  uint16
}

const (
	defaultExportTime = 1767225600 * int64(1e9)
	uptime            = 3_600_000 // ms; any will do that is longer than a flow
	golden            = 0x9e3779b97f4a7c15
	spread            = 0xd6e8feb86659fd93 // odd; makes more bits of a hash
	shareUnit         = 65536              // of which live.c knows shares
	tcp, udp          = 6, 17
	tcpFlags          = 0x1b // SYN, ACK, PSH and FIN were seen
)

// plan is a Workload with its defaults filled in and the numbers that live.c and
// record work with.
type plan struct {
	Workload
	internal, external           uint32 // first address of each range
	internalCount, externalCount uint32
	noneBelow, oneBelow          uint32 // of shareUnit
}

// Check tells what is wrong with a Workload, nil if nothing is.
func (w Workload) Check() error {
	_, err := newPlan(w)
	return err
}

func newPlan(w Workload) (*plan, error) {
	w = w.withDefaults()
	if err := w.check(); err != nil {
		return nil, fmt.Errorf("workload: %w", err)
	}
	p := &plan{
		Workload:      w,
		internal:      first(w.Prefix),
		internalCount: uint32(w.Endpoints),
		external:      first(w.External),
		externalCount: uint32(hosts(w.External)),
		noneBelow:     uint32(w.NonePercent * shareUnit / 100),
	}
	p.oneBelow = shareUnit - uint32(w.BothPercent*shareUnit/100)
	return p, nil
}

func (w Workload) withDefaults() Workload {
	set := func(field *int, value int) {
		if *field == 0 {
			*field = value
		}
	}
	set(&w.Endpoints, 500)
	set(&w.Records, flow.MaxV5Records)
	set(&w.ServicePort, 1)
	set(&w.Services, 1000)
	set(&w.ClientPort, 32768)
	set(&w.Clients, 28232)
	if !w.Prefix.IsValid() {
		w.Prefix = netip.MustParsePrefix("10.0.0.0/8")
	}
	if !w.External.IsValid() {
		w.External = netip.MustParsePrefix("198.18.0.0/15")
	}
	if w.ExportTime == 0 {
		w.ExportTime = defaultExportTime
	}
	w.Prefix, w.External = w.Prefix.Masked(), w.External.Masked()
	return w
}

// check tells what is wrong with a Workload that has its defaults.
func (w Workload) check() error {
	switch {
	case !w.Prefix.Addr().Is4() || !w.External.Addr().Is4():
		return fmt.Errorf("prefixes %v and %v: NetFlow v5 has IPv4 addresses only", w.Prefix, w.External)
	case w.Prefix.Overlaps(w.External):
		return fmt.Errorf("internal prefix %v overlaps external prefix %v", w.Prefix, w.External)
	case hosts(w.External) < 1:
		return fmt.Errorf("external prefix %v has no room for an address beside the network's", w.External)
	case w.Endpoints < 1 || w.Endpoints > hosts(w.Prefix):
		return fmt.Errorf("%d endpoints: %v has room for 1 to %d", w.Endpoints, w.Prefix, hosts(w.Prefix))
	case w.Records < 1 || w.Records > flow.MaxV5Records:
		return fmt.Errorf("%d records per datagram: not in 1 to %d", w.Records, flow.MaxV5Records)
	case w.NonePercent < 0 || w.BothPercent < 0 || w.NonePercent+w.BothPercent > 100:
		return fmt.Errorf("shares of %d and %d %%: not in 0 to 100 together", w.NonePercent, w.BothPercent)
	case w.BothPercent > 0 && w.Endpoints < 2:
		return errors.New("records with two internal sides need two endpoints")
	case !portRange(w.ServicePort, w.Services):
		return fmt.Errorf("%d service ports from %d: not within 1 to 65535", w.Services, w.ServicePort)
	case !portRange(w.ClientPort, w.Clients):
		return fmt.Errorf("%d client ports from %d: not within 1 to 65535", w.Clients, w.ClientPort)
	case w.ServicePort < w.ClientPort+w.Clients && w.ClientPort < w.ServicePort+w.Services:
		return fmt.Errorf("service ports from %d and client ports from %d overlap", w.ServicePort, w.ClientPort)
	case w.ExportTime < uptime*1e6 || w.ExportTime/1e9 >= 1<<32:
		return fmt.Errorf("export time %d: not between 1970 and 2106", w.ExportTime)
	}
	return nil
}

func portRange(from, n int) bool { return from >= 1 && n >= 1 && n <= 65535 && from+n-1 <= 65535 }

// first is the address after the network's.
func first(p netip.Prefix) uint32 { return ipv4(p.Addr()) + 1 }

// hosts is how many addresses of p are neither the network's nor the broadcast's.
func hosts(p netip.Prefix) int { return max(1<<(32-p.Bits())-2, 0) }

func ipv4(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

func addr(n uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}

// mix is the finaliser of splitmix64.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// scale32 and scale16 map random bits to 0 to n-1.
func scale32(bits uint64, n uint32) uint32 { return uint32(uint64(uint32(bits)) * uint64(n) >> 32) }
func scale16(bits uint64, n int) uint16    { return uint16(uint64(uint16(bits)) * uint64(n) >> 16) }

// record makes r the record of a number. live.c does the same in its fill.
func (p *plan) record(r *flow.Record, number uint64) {
	a := mix(p.Seed + number*golden)
	b := a * spread

	draw := uint32(a % shareUnit)
	i := scale32(a>>32, p.internalCount)
	server, client := p.internal+i, p.external+scale32(b>>32, p.externalCount)
	if draw < p.noneBelow {
		server = p.external + scale32(a>>32, p.externalCount)
	}
	if draw >= p.oneBelow {
		// Another endpoint than the first, so that no flow goes to itself.
		client = p.internal + (i+1+scale32(b>>32, p.internalCount-1))%p.internalCount
	}
	if a>>16&1 == 1 {
		server, client = client, server
	}
	service := uint16(p.ServicePort) + scale16(b, p.Services)
	port := uint16(p.ClientPort) + scale16(b>>16, p.Clients)

	*r = flow.Record{
		Packets: 10, Bytes: 4000, InIf: 1, OutIf: 2,
		Start: p.ExportTime - 1e9, End: p.ExportTime,
		Src: addr(client).As16(), SrcPort: port,
		Dst: addr(server).As16(), DstPort: service,
		Proto: tcp, TCPFlags: tcpFlags,
	}
	if a>>17&1 == 1 {
		r.Src, r.Dst = r.Dst, r.Src
		r.SrcPort, r.DstPort = r.DstPort, r.SrcPort
	}
	if a>>18&3 == 0 {
		r.Proto, r.TCPFlags = udp, 0
	}
}

// appendDatagram appends the datagram of a number to dst.
func (p *plan) appendDatagram(dst []byte, number uint64) []byte {
	var records [flow.MaxV5Records]flow.Record
	begin := number * uint64(p.Records)
	for i := range p.Records {
		p.record(&records[i], begin+uint64(i))
	}
	h := flow.V5Header{ExportTime: p.ExportTime, Uptime: uptime, Sequence: uint32(begin)}
	return flow.AppendV5(dst, h, records[:p.Records])
}
