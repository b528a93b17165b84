// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bench

import (
	"math"
	"time"

	"github.com/portolan/portolan/ingest/flow"
)

// Bits of the TCP flags.
const (
	fin, syn, rst, psh, ack, urg = 1, 2, 4, 8, 16, 32
)

// stream is what is left of the packets of one direction of a conversation. They
// come in bursts at equal distances.
type stream struct {
	src, dst         uint32
	srcPort, dstPort uint16
	proto            uint8
	// Flags of the very first and the very last packet, and of those between.
	// With fewer than three packets the first one counts before the last.
	first, middle, last uint8
	size                uint16 // bytes of a packet between
	begun               bool
	next                int64 // time of the next burst
	step                int64 // from one burst to the next
	bursts, burst       uint32
}

// cached is an entry of an exporter's flow cache: a record that is complete, and
// what is still to come.
type cached struct {
	exporter *exporter
	record   tally
	rest     stream
	goesOn   bool // rest has bursts
}

// tally is what a record counts. Without packets there is no record.
type tally struct {
	start, end     int64
	packets, bytes uint32
	flags          uint8
}

// watch puts a stream into the cache of an exporter.
func (d *Day) watch(e *exporter, s stream) {
	d.segment(s.next, &cached{exporter: e, rest: s})
}

// expire exports the record of an entry and goes on with what is to come.
func (d *Day) expire(now int64, c cached) {
	if c.record.packets > 0 {
		d.export(now, &c)
	}
	if c.goesOn {
		d.segment(now, &c)
	}
}

// segment takes from a stream what becomes one record of an unsampled cache, that is
// up to a pause longer than the inactive timeout or to the active timeout, and
// caches what the exporter sees of it.
func (d *Day) segment(now int64, c *cached) {
	s, e := &c.rest, c.exporter
	active, inactive := int64(e.Active), int64(e.Inactive)
	n := s.bursts
	cut := false
	switch {
	case s.bursts > 1 && s.step > inactive:
		n, cut = 1, false
	case s.step > 0 && int64(s.bursts-1) > active/s.step:
		n, cut = uint32(active/s.step)+1, true
	}
	part := *s
	part.bursts = n
	s.bursts -= n
	s.begun = true
	s.next += int64(n) * s.step
	ends := s.bursts == 0
	c.goesOn = !ends

	last := part.next + int64(n-1)*s.step
	at := last + inactive + d.seen.Int64N(int64(2*time.Second))
	switch {
	case cut:
		at = max(last, part.next+active)
	case ends && e.EndsByFIN && (s.last|s.first)&(fin|rst) != 0:
		at = last + d.seen.Int64N(int64(time.Second))
	}
	at = max(at, now) // the pause before may have been hardly longer than the timeout
	if e.sampling == 1 {
		c.record = part.all(ends)
		d.cache.push(at, *c)
		return
	}
	d.sample(now, c, &part, ends, at)
}

// all counts every packet of a part.
func (s *stream) all(ends bool) tally {
	n := s.bursts * s.burst
	t := tally{start: s.next, end: s.next + int64(s.bursts-1)*s.step, packets: n, bytes: n * uint32(s.size)}
	for _, i := range []uint32{0, 1, n - 1} { // those that can differ
		if i < n {
			t.flags |= s.flags(i, n, ends)
		}
	}
	if n > 2 {
		t.flags |= s.middle
	}
	return t
}

// flags are those of packet i of n.
func (s *stream) flags(i, n uint32, ends bool) uint8 {
	switch {
	case i == 0 && !s.begun:
		return s.first
	case i == n-1 && ends:
		return s.last
	}
	return s.middle
}

// many is from how many sampled packets on they are not drawn one by one.
const many = 64

// sample caches what an exporter sees of a part that samples packets. Where the
// packets it sees are further apart than the inactive timeout, each
// group of them is a record.
func (d *Day) sample(now int64, c *cached, s *stream, ends bool, at int64) {
	n, rate := s.bursts*s.burst, uint32(c.exporter.sampling)
	goesOn := c.goesOn
	c.record = tally{}
	if n/rate >= many {
		c.record = d.sampleMany(s, n, rate, ends)
		d.cache.push(at, *c)
		return
	}
	inactive := int64(c.exporter.Inactive)
	for i := d.skip(rate); i < n; i += 1 + d.skip(rate) {
		t := s.next + int64(i/s.burst)*s.step
		if c.record.packets > 0 && t-c.record.end > inactive {
			c.goesOn = false
			d.cache.push(max(now, c.record.end+inactive), *c)
			c.record = tally{}
		}
		if c.record.packets == 0 {
			c.record.start = t
		}
		flags := s.flags(i, n, ends)
		if flags == ack|psh && d.seen.Float64() < .6 {
			flags = ack
		}
		c.record.end = t
		c.record.packets++
		c.record.bytes += uint32(s.size)
		c.record.flags |= flags
	}
	c.goesOn = goesOn
	if c.record.packets > 0 || goesOn {
		d.cache.push(at, *c)
	}
}

// sampleMany is one record of a part of which many packets are sampled.
func (d *Day) sampleMany(s *stream, n, rate uint32, ends bool) tally {
	t := s.all(ends)
	mean := float64(n) / float64(rate)
	t.packets = uint32(max(1, mean+d.seen.NormFloat64()*math.Sqrt(mean)))
	t.bytes = t.packets * uint32(s.size)
	t.flags = s.middle
	if d.seen.Float64()*float64(rate) < 1 {
		t.flags |= s.flags(0, n, ends)
	}
	if d.seen.Float64()*float64(rate) < 1 {
		t.flags |= s.flags(n-1, n, ends)
	}
	return t
}

// skip is how many packets pass before one is sampled.
func (d *Day) skip(rate uint32) uint32 {
	u := 1 - d.seen.Float64()
	return uint32(min(math.Log(u)/math.Log1p(-1/float64(rate)), math.MaxInt32))
}

func (d *Day) export(now int64, c *cached) {
	e, t, s := c.exporter, &c.record, &c.rest
	cut := max(int64(e.Granularity), int64(time.Millisecond))
	r := flow.Record{
		Src: addr(s.src).As16(), Dst: addr(s.dst).As16(), SrcPort: s.srcPort, DstPort: s.dstPort, Proto: s.proto,
		TCPFlags: t.flags, Packets: uint64(t.packets), Bytes: uint64(t.bytes),
		Start: t.start - t.start%cut, End: t.end - t.end%cut,
		InIf: 1 + s.src>>8&7, OutIf: 1 + s.dst>>8&7,
	}
	d.add(e, now, &r)
}
