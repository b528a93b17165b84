// SPDX-License-Identifier: Apache-2.0

//go:build linux

package ingest

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/portolan/portolan/ingest/flow"
	"github.com/portolan/portolan/store/ipset"
)

// jumbo is the greatest payload that a network delivers.
const jumbo = 9216

// ipfix makes an IPFIX message of sets.
func ipfix(domain uint32, sets ...[]byte) []byte {
	b := make([]byte, 16)
	for _, s := range sets {
		b = append(b, s...)
	}
	binary.BigEndian.PutUint16(b, 10)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	binary.BigEndian.PutUint32(b[12:], domain)
	return b
}

// definition is a template of pairs of element and width.
func definition(id uint16, pairs ...uint16) []byte {
	be := binary.BigEndian
	b := be.AppendUint16(be.AppendUint16(nil, id), uint16(len(pairs)/2))
	for _, v := range pairs {
		b = be.AppendUint16(b, v)
	}
	return b
}

// repeated is s as often as it fits into n bytes.
func repeated(s []byte, n int) (b []byte) {
	for len(b)+len(s) <= n {
		b = append(b, s...)
	}
	return b
}

// scene is datagrams of which the last one is meant to be dear, and where it is
// not the only one, all are. Each is sent by the exporter of its number.
type scene struct {
	name      string
	datagrams [][]byte
}

// everything is the elements of a template that asks for as much as a record can
// be asked for: addresses of either family, counters, times, ICMP, sampling and
// what is told of the way back. Their least widths are used.
var everything = []uint16{
	8, 4, 12, 4, 27, 16, 28, 16, 7, 2, 11, 2, 4, 1, 6, 1, 176, 1, 177, 1, 2, 1, 1, 1, 299, 1, 10, 1, 14, 1,
	56, 6, 80, 6, 58, 1, 61, 1, 233, 1, 239, 1, 22, 1, 21, 1, 161, 1, 48, 1, 34, 1,
}

// scenes are the datagrams that were found to cost the most, of up to size bytes.
func scenes(size int) []scene {
	const data = 300
	all := func(id uint16, pairs ...uint16) []byte { return setOfBytes(2, definition(id, pairs...)) }
	room := size - 16 - 4
	varied := make([]uint16, 0, 512) // 256 fields of variable length
	for i := range uint16(256) {
		varied = append(varied, everything[int(i)*2%len(everything)], 65535)
	}
	wide := 0
	for i := 1; i < len(everything); i += 2 {
		wide += int(everything[i])
	}
	options := setOfBytes(3, []byte{1, 45, 0, 1, 0, 1, 0, 10, 0, 1})
	many := func(n int, id uint16, body []byte) (sets [][]byte) {
		for range n {
			sets = append(sets, setOfBytes(id, body))
		}
		return sets
	}
	var out []scene
	add := func(name string, datagrams ...[]byte) { out = append(out, scene{name, datagrams}) }

	add("everything", ipfix(1, all(data, everything...)), ipfix(1, setOfBytes(data, make([]byte, room))))
	add("one byte", ipfix(1, all(data, 4, 1)), ipfix(1, setOfBytes(data, make([]byte, room))))
	add("one byte, varying", ipfix(1, all(data, 4, 65535)), ipfix(1, setOfBytes(data, make([]byte, room))))
	add("256 varying", ipfix(1, all(data, varied...)), ipfix(1, setOfBytes(data, make([]byte, room))))
	add("256 varying at the end", ipfix(1, all(data, varied...)), ipfix(1, many(room/260, data, make([]byte, 256))...))
	add("options of a byte", ipfix(1, options), ipfix(1, setOfBytes(301, make([]byte, room))))
	add("sets of a byte", ipfix(1, all(data, everything...)), ipfix(1, many(room/5, data, make([]byte, 1))...))
	add("sets of a byte, unknown", ipfix(1, many(room/5, data, make([]byte, 1))...))
	add("templates", ipfix(1, setOfBytes(2, slices.Concat(templatesOf(room, 8, 4)...))))
	add("templates of 256 fields", ipfix(1, setOfBytes(2, slices.Concat(templatesOf(room, varied...)...))))
	frame := append(make([]byte, 12), repeated([]byte{0x81, 0, 0, 1}, 32)...)
	add("frames", ipfix(1, all(data, 315, uint16(len(frame)))), ipfix(1, setOfBytes(data, repeated(frame, room))))
	hundred := make([]byte, 0, size)
	for i := 0; len(hundred)+16+8+8 <= size && i < flow.MaxMessages; i++ {
		hundred = append(hundred, ipfix(uint32(i), setOfBytes(2, definition(data, 8, 4)), setOfBytes(400, make([]byte, 2)))[:]...)
	}
	add("64 messages", hundred)
	known := make([]byte, 13) // an endpoint on both sides
	copy(known, []byte{10, 0, 0, 7, 10, 0, 0, 7})
	known[12] = 6
	ours := repeated(known, room)
	for i := 0; i+13 <= len(ours); i += 13 {
		binary.BigEndian.PutUint16(ours[i+8:], uint16(i*7+1))
		binary.BigEndian.PutUint16(ours[i+10:], uint16(i*11+2))
	}
	add("endpoints", ipfix(1, all(data, 8, 4, 12, 4, 7, 2, 11, 2, 4, 1)), ipfix(1, setOfBytes(data, ours)))
	if size > jumbo {
		return out // a backlog's sets come from the network
	}
	return append(out, backlogs(size, ours, options)...)
}

// templatesOf is as many templates of the same fields as fit.
func templatesOf(room int, pairs ...uint16) (all [][]byte) {
	for id := uint16(256); ; id++ {
		d := definition(id, pairs...)
		if room -= len(d); room < 0 || id == 256+flow.MaxTemplates {
			return all
		}
		all = append(all, d)
	}
}

// backlogs are full ones whose template comes.
func backlogs(size int, ours, options []byte) (out []scene) {
	fill := func(streams, n, bytes int, body func(n int) []byte, id uint16, last []byte) (d [][]byte) {
		var release []byte
		for s := range streams {
			for range n {
				d = append(d, ipfix(uint32(s), setOfBytes(id, body(bytes))))
			}
			release = append(release, ipfix(uint32(s), last)...)
		}
		return append(d, release)
	}
	zeros := func(n int) []byte { return make([]byte, n) }
	for _, c := range []struct {
		name          string
		streams, sets int
		body          func(int) []byte
		id            uint16
		last          []byte
	}{
		{"backlog of one-byte records", 1, 64, zeros, 300, setOfBytes(2, definition(300, 4, 1))},
		{"64 backlogs of one-byte records", 64, 20, zeros, 300, setOfBytes(2, definition(300, 4, 1))},
		{"backlog of one-byte options", 1, 64, zeros, 301, options},
		{"64 backlogs of one-byte options", 64, 20, zeros, 301, options},
		{"64 backlogs of no record", 64, 60, zeros, 300, setOfBytes(2, definition(300, 4, 65000, 8, 4))},
		{"64 backlogs of a record each", 64, 60, zeros, 300, setOfBytes(2, definition(300, everything...))},
		{"backlog of endpoints", 1, 64, func(n int) []byte { return ours[:n/13*13] }, 300, setOfBytes(2, definition(300, 8, 4, 12, 4, 7, 2, 11, 2, 4, 1))},
	} {
		c.streams = min(c.streams, size/(16+len(c.last)))
		bytes := min(size-20, (8<<20)/c.streams/c.sets-200, (256<<10)/c.sets-200)
		switch c.name {
		case "64 backlogs of no record":
			bytes = min(bytes, 100)
		case "64 backlogs of a record each":
			bytes = 90
		}
		out = append(out, scene{fmt.Sprintf("%s (%d)", c.name, bytes), fill(c.streams, c.sets, bytes, c.body, c.id, c.last)})
	}
	return out
}

// cost is what a datagram asked for.
type cost struct {
	cpu       time.Duration
	allocated uint64
	records   uint64
}

// play takes a datagram down the path of a worker on a network.
func play(t testing.TB, o *Offline, at time.Time, source [16]byte, payload []byte) (c cost) {
	t.Helper()
	w := o.worker
	w.burst.datagrams[0], w.burst.n = datagram{payload, source}, 1
	records := sumOf(w.counts.records[:]) + w.counts.options + w.counts.samples
	allocated := allocatedBytes()
	begin := threadTime(t)
	w.process(PathUDP, at.UnixNano())
	c.cpu = threadTime(t) - begin
	c.allocated = allocatedBytes() - allocated
	c.records = sumOf(w.counts.records[:]) + w.counts.options + w.counts.samples - records
	if err := o.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

func sumOf(counts []uint64) (n uint64) {
	for _, c := range counts {
		n += c
	}
	return n
}

// least is the lesser of each, of the same work done twice: what is more was
// somebody else's.
func (c cost) least(d cost) cost {
	return cost{min(c.cpu, d.cpu), min(c.allocated, d.allocated), min(c.records, d.records)}
}

// perform plays a scene three times, each on fresh state, and tells what its last
// datagram cost at least.
func perform(t testing.TB, set *ipset.Live, s scene) (last cost) {
	t.Helper()
	for try := range 3 {
		o, err := NewOffline(Config{Set: set, Sink: newMemorySink(), Pairs: 1 << 16})
		if err != nil {
			t.Fatal(err)
		}
		o.worker.decoder.Patient = false
		var c cost
		for _, d := range s.datagrams[:len(s.datagrams)-1] {
			if err := o.Datagram(t.Context(), day, addr(hostileAddr), d); err != nil {
				t.Fatal(err)
			}
		}
		if err := o.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		c = play(t, o, day, addr(hostileAddr), s.datagrams[len(s.datagrams)-1])
		if try > 0 {
			c = c.least(last)
		}
		last = c
		l := o.Status().Ledger
		checkBooks(t, &l)
		o.Close()
	}
	return last
}

// mostAllocated is how much memory a datagram may cost, in bytes: those of the
// greatest on a network; what a file can hold besides is in proportion.
func mostAllocated(size int) uint64 { return uint64(max(64<<10, 4*size)) }

// TestDearestDatagrams: the dearest datagrams known do a bounded amount of work
// and ask for a bounded amount of memory.
func TestDearestDatagrams(t *testing.T) {
	set := setOf(t, "10.0.0.7")
	sizes := []int{1472, jumbo, 65507}
	if testing.Short() {
		sizes = []int{jumbo}
	}
	for _, size := range sizes {
		for _, s := range scenes(size) {
			c := perform(t, set, s)
			// Its own records, and those that waited: the last of them may go
			// beyond the bound by as many as one set has.
			if most := uint64(3 * flow.MaxRecords); c.records > most {
				t.Errorf("%d bytes, %s: %d records", size, s.name, c.records)
			}
			if c.allocated > mostAllocated(size) {
				t.Errorf("%d bytes, %s: allocates %d bytes", size, s.name, c.allocated)
			}
		}
	}
}

// BenchmarkDearestDatagrams tells the thread's CPU time of each.
func BenchmarkDearestDatagrams(b *testing.B) {
	set := setOf(b, "10.0.0.7")
	for _, size := range []int{1472, jumbo, 65507} {
		for _, s := range scenes(size) {
			b.Run(fmt.Sprintf("%d/%s", size, s.name), func(b *testing.B) {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				for b.Loop() {
					c := perform(b, set, s)
					b.ReportMetric(float64(c.cpu.Microseconds()), "cpu-us")
					b.ReportMetric(float64(c.allocated), "B")
				}
			})
		}
	}
}

// crowd is an Offline whose streams and templates are as many as there may be. If
// established, they have been there for more than a minute, and so has addr(hostileAddr).
func crowd(t testing.TB, established bool) (*Offline, time.Time) {
	t.Helper()
	o, err := NewOffline(Config{Set: setOf(t, "10.0.0.7"), Sink: newMemorySink(), Pairs: 1 << 16})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Close)
	o.worker.decoder.Patient = false
	d := ipfix(1, setOfBytes(2, slices.Concat(definition(300, everything...), definition(301, everything...))), setOfBytes(300, make([]byte, 200)))
	at := day
	for range 2 {
		for i := range 12_001 {
			at = at.Add(time.Millisecond)
			from := addrOf(i)
			if i == 12_000 {
				from = addr(hostileAddr)
			}
			if err := o.Datagram(t.Context(), at, from, d); err != nil {
				t.Fatal(err)
			}
		}
		if !established {
			break
		}
		at = at.Add(time.Minute)
	}
	return o, at
}

// BenchmarkCrowded tells what one pays who announces new templates, or new
// streams, where all tables are full: of a hundred datagrams, the dearest.
func BenchmarkCrowded(b *testing.B) {
	for _, established := range []bool{false, true} {
		for _, size := range []int{1472, jumbo} {
			for kind, make := range storms(size) {
				b.Run(fmt.Sprintf("established=%t/%d/%s", established, size, kind), func(b *testing.B) {
					runtime.LockOSThread()
					defer runtime.UnlockOSThread()
					for b.Loop() {
						o, at := crowd(b, established)
						var most, sum cost
						for i := range 100 {
							at = at.Add(time.Millisecond)
							c := play(b, o, at, addr(hostileAddr), make(i))
							most = cost{max(most.cpu, c.cpu), max(most.allocated, c.allocated), 0}
							sum.cpu += c.cpu
						}
						b.ReportMetric(float64(most.cpu.Microseconds()), "max-us")
						b.ReportMetric(float64(sum.cpu.Microseconds())/100, "mean-us")
						b.ReportMetric(float64(most.allocated), "max-B")
						b.ReportMetric(float64(o.Status().Evicted.Templates), "evicted")
					}
				})
			}
		}
	}
}

// storms make datagram i of those that have everything evicted.
func storms(size int) map[string]func(i int) []byte {
	return map[string]func(i int) []byte{
		"templates": func(i int) []byte {
			return ipfix(1, setOfBytes(2, slices.Concat(templatesOf(size-20, 8, 4, uint16(400+i), 1)...)))
		},
		"great templates": func(i int) []byte {
			return ipfix(1, setOfBytes(2, slices.Concat(templatesOf(size-20, append([]uint16{uint16(400 + i), 1}, everything...)...)...)))
		},
		"streams": func(i int) (d []byte) {
			for n := 0; n < flow.MaxMessages && len(d)+40 <= size; n++ {
				d = append(d, ipfix(uint32(i*flow.MaxMessages+n+2), setOfBytes(2, definition(300, 8, 4)), setOfBytes(400, make([]byte, 2)))...)
			}
			return d
		},
	}
}

// allocatedBytes is what was allocated so far.
func allocatedBytes() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}
