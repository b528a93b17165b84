// SPDX-License-Identifier: Apache-2.0

//go:build linux

package ingest

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/portolan/portolan/ingest/flow"
)

const hostileAddr = "192.0.2.66"

// hostile makes the datagrams of an exporter that wants to do harm: half of them
// valid ones that were damaged, half random bytes behind a version that is known.
// Every one that has a domain has a new one, so that each asks for a stream.
type hostile struct {
	r     *rand.Rand
	valid [][]byte
}

func newHostile() *hostile {
	records := make([]flow.Record, 20)
	for i := range records {
		records[i] = tcp("10.0.0.1", uint16(i+1), "198.51.100.1", 443)
	}
	v9, ipfix := flow.V9Header{}, flow.IPFIXHeader{}
	return &hostile{
		r: rand.New(rand.NewPCG(1, 2)),
		valid: [][]byte{
			flow.AppendV5(nil, flow.V5Header{}, records),
			flow.AppendV9Templates(nil, v9), flow.AppendV9(nil, v9, records),
			flow.AppendIPFIXTemplates(nil, ipfix), flow.AppendIPFIX(nil, ipfix, records),
			flow.AppendSFlow(nil, flow.SFlowHeader{}, records[:7]),
			manyTemplates(), overdueSets(), oneByteRecords(),
		},
	}
}

// next is one datagram of at most 1,400 bytes.
func (h *hostile) next() []byte {
	if h.r.IntN(2) == 0 {
		b := make([]byte, 2+h.r.IntN(1399))
		for i := range b {
			b[i] = byte(h.r.Uint32())
		}
		binary.BigEndian.PutUint16(b, []uint16{0, 1, 5, 7, 9, 10}[h.r.IntN(6)])
		return b
	}
	b := slices.Clone(h.valid[h.r.IntN(len(h.valid))])
	for range h.r.IntN(6) {
		at := h.r.IntN(len(b) - 1)
		switch h.r.IntN(4) {
		case 0:
			b[at] = byte(h.r.Uint32())
		case 1: // a length or a count
			binary.BigEndian.PutUint16(b[at:], []uint16{0, 1, 3, 4, 255, 256, 65535}[h.r.IntN(7)])
		case 2:
			b = b[:at+2]
		case 3:
			b = append(b, b[at:]...)
		}
		b = b[:min(len(b), 1400)]
	}
	switch domain := h.r.Uint32(); binary.BigEndian.Uint16(b) {
	case 9:
		if len(b) >= 20 {
			binary.BigEndian.PutUint32(b[16:], domain)
		}
	case 10:
		if len(b) >= 16 {
			binary.BigEndian.PutUint32(b[12:], domain)
		}
	}
	return b
}

// message wraps sets into a v9 message.
func message(sets ...[]byte) []byte {
	b := make([]byte, 20)
	binary.BigEndian.PutUint16(b, 9)
	for _, s := range sets {
		b = append(b, s...)
	}
	return b
}

// setOfBytes is a set of an id.
func setOfBytes(id uint16, body []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, id)
	b = binary.BigEndian.AppendUint16(b, uint16(4+len(body)))
	return append(b, body...)
}

// manyTemplates announces 170 templates of one field each.
func manyTemplates() []byte {
	var body []byte
	for id := range uint16(170) {
		body = binary.BigEndian.AppendUint16(body, 256+id)
		body = append(body, 0, 1, 0, 8, 0, 4)
	}
	return message(setOfBytes(0, body))
}

// overdueSets sends 64 sets before the template that they wait for.
func overdueSets() []byte {
	var sets [][]byte
	for range 64 {
		sets = append(sets, setOfBytes(300, make([]byte, 16)))
	}
	return message(append(sets, setOfBytes(0, []byte{1, 44, 0, 1, 0, 4, 0, 1}))...)
}

// oneByteRecords has more than a thousand records of a byte each.
func oneByteRecords() []byte {
	return message(setOfBytes(0, []byte{1, 44, 0, 1, 0, 4, 0, 1}), setOfBytes(300, make([]byte, 1300)))
}

// dialFrom opens the hostile exporter's socket, at an address of its own.
func (l *lab) dialFrom(t *testing.T, from string) net.Conn {
	t.Helper()
	var conn net.Conn
	err := l.exporter.Do(func() error {
		link, err := netlink.LinkByName("vexp")
		if err != nil {
			return err
		}
		addr, err := netlink.ParseAddr(from + "/24")
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(link, addr); err != nil {
			return err
		}
		conn, err = net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0)), net.UDPAddrFromAddrPort(netip.MustParseAddrPort(receiverAddr+":2055")))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// TestHostileExporter: beside one that sends nothing but harm, at four fifths of
// what the receiver holds without loss, a good exporter loses nothing, and what
// the harm leaves behind in memory is bounded.
func TestHostileExporter(t *testing.T) {
	l := newLab(t, 1)
	sink := newMemorySink()
	s := l.start(t, Config{Set: setOf(t, "10.0.0.7"), Sink: sink, Interfaces: []string{device}, Require: RequireCopy})
	defer stop(t, s)
	evil, h := l.dialFrom(t, hostileAddr), newHostile()
	span := 3 * time.Second
	if testing.Short() {
		span = time.Second
	}
	sent := uint64(0)
	// flood sends for a while, at most so many datagrams a second and never so
	// far ahead of the receiver that a ring could overflow: what it then sends
	// is what the receiver holds without loss.
	flood := func(rate float64, span time.Duration, between func()) float64 {
		const burst, ahead = 64, 2048
		begin, first := time.Now(), sent
		for time.Since(begin) < span {
			for range burst {
				if _, err := evil.Write(h.next()); err != nil {
					t.Fatal(err)
				}
			}
			sent += burst
			between()
			for sent-arrived(s) > ahead {
				time.Sleep(100 * time.Microsecond)
			}
			if due := time.Duration(float64(sent-first) / rate * float64(time.Second)); rate > 0 {
				time.Sleep(due - time.Since(begin))
			}
		}
		return float64(sent-first) / time.Since(begin).Seconds()
	}
	// What a receiver has in use without any harm is in use before it comes.
	g := &goodExporter{conn: l.conn}
	for range 1000 {
		sent += g.round(t)
		for sent-arrived(s) > 1024 {
			time.Sleep(100 * time.Microsecond)
		}
	}
	eventually(t, s, "the good exporter alone", received(sent))
	before := resident(t)
	lossFree := flood(0, span/3, func() {})
	eventually(t, s, "the first flood", received(sent))

	rate := flood(.8*lossFree, span, func() { sent += g.round(t) })
	st := eventually(t, s, "all datagrams", received(sent))
	peak := memoryOf(t, "VmHWM")
	grown := int64(resident(t)) - int64(before)
	checkBooks(t, &st.Ledger)
	t.Logf("%.0f hostile datagrams/s without loss, then %.0f/s beside %d good ones; resident memory grew by %.1f MiB, at its peak by %.1f; forgotten: %+v; problems %v",
		lossFree, rate, g.messages(), float64(grown)/(1<<20), float64(int64(peak)-int64(before))/(1<<20), st.Evicted, st.Ledger.Problems)
	// The peak has garbage in it, half of which or so is the test's own, and is
	// shown only.
	if grown > 64<<20 && !raceDetector {
		t.Errorf("resident memory grew by %d bytes", grown)
	}
	if st.Ledger.ByPath["copy"] == 0 || st.Ledger.ByPath["udp"] != 0 {
		t.Errorf("by path %v", st.Ledger.ByPath)
	}
	g.check(t, st, sink)
	if st.Evicted.Streams == 0 {
		t.Error("nothing was forgotten: the flood was none")
	}
}

// goodExporter sends a record with a pair of its own in each message, by NetFlow
// v9 and by IPFIX, and announces its templates, the name of an interface and a
// sampling rate again and again.
type goodExporter struct {
	conn     net.Conn
	rounds   int
	seq      uint32 // messages of v9
	optioned int    // options records of v9
}

const (
	goodV9, goodIPFIX = 7, 8 // domains
	mostRounds        = 25_000
	goodSampling      = 64
)

// round sends a message of each and what is announced, and tells how many
// datagrams that were.
func (g *goodExporter) round(t *testing.T) (sent uint64) {
	t.Helper()
	if g.rounds == mostRounds {
		return 0
	}
	now := time.Now().UnixNano()
	send := func(b []byte) {
		if _, err := g.conn.Write(b); err != nil {
			t.Fatal(err)
		}
		sent++
		if binary.BigEndian.Uint16(b) == 9 {
			g.seq++
		}
	}
	v9 := func() flow.V9Header { return flow.V9Header{Domain: goodV9, Sequence: g.seq, ExportTime: now} }
	ipfix := flow.IPFIXHeader{Domain: goodIPFIX, Sequence: uint32(g.rounds), ExportTime: now}
	if g.rounds%20 == 0 {
		send(flow.AppendV9Templates(nil, v9()))
		send(flow.AppendIPFIXTemplates(nil, ipfix))
		send(g.options(v9()))
	}
	g.rounds++
	r := tcp("10.0.0.7", uint16(g.rounds), "198.51.100.1", 443)
	send(flow.AppendV9(nil, v9(), []flow.Record{r}))
	r.SrcPort += mostRounds
	send(flow.AppendIPFIX(nil, ipfix, []flow.Record{r}))
	return sent
}

// options is a message with an options template, of an interface with its name and
// of a sampling rate, and a record of it.
func (g *goodExporter) options(h flow.V9Header) []byte {
	const id = 260
	be := binary.BigEndian
	b := flow.AppendV9(nil, h, nil)
	be.PutUint16(b[2:], 2) // a template and a record
	b = append(b, setOfBytes(1, []byte{id >> 8, id & 255, 0, 4, 0, 8, 0, 2, 0, 4, 0, 82, 0, 8, 0, 34, 0, 4, 0, 0})...)
	record := append(be.AppendUint32(nil, 3), "ge-0/0/3"...)
	g.optioned++
	return append(b, setOfBytes(id, be.AppendUint32(record, goodSampling))...)
}

// messages is how many it sent.
func (g *goodExporter) messages() int { return int(g.seq) + g.rounds + g.optioned }

// check tells whether all arrived, and was understood.
func (g *goodExporter) check(t *testing.T, st Status, sink *memorySink) {
	t.Helper()
	found := 0
	for _, x := range st.Exporters {
		if x.Exporter != exporterAddr {
			continue
		}
		found++
		if x.Records != uint64(g.rounds) || x.Lost != 0 || x.Waiting != 0 || x.Gaps+x.Reordered+x.Restarts != 0 {
			t.Errorf("sent %d records: %+v", g.rounds, x)
		}
		switch x.Domain {
		case goodV9:
			if x.Datagrams != uint64(g.seq) || x.Templates != 3 || x.OptionsRecords != uint64(g.optioned) ||
				!slices.Equal(x.Sampling, []uint32{goodSampling}) || x.Interfaces[3] != "ge-0/0/3" {
				t.Errorf("sent %d messages, %d of them with options: %+v", g.seq, g.optioned, x)
			}
		case goodIPFIX:
			if x.Datagrams != uint64(g.rounds+g.optioned) || x.Templates != 2 {
				t.Errorf("sent %d messages: %+v", g.rounds+g.optioned, x)
			}
		}
	}
	if found != 2 {
		t.Errorf("%d streams of the good exporter are known, want 2", found)
	}
	sink.mu.Lock()
	defer sink.mu.Unlock()
	ports := map[uint16]bool{}
	for _, o := range sink.posts {
		if o.Exporter == addr(exporterAddr) && o.Binding == 1 && o.Proto == protoTCP {
			ports[o.Port] = true
		}
	}
	for i := 1; i <= g.rounds; i++ {
		if !ports[uint16(i)] || !ports[uint16(i+mostRounds)] {
			t.Fatalf("record %d of %d was not posted", i, g.rounds)
		}
	}
	if len(ports) != 2*g.rounds || len(sink.posts) != 2*g.rounds {
		t.Errorf("%d posts of %d ports for %d records", len(sink.posts), len(ports), 2*g.rounds)
	}
}

// arrived is how many datagrams the sensor has taken, without the rest of a
// Status, which lists all streams.
func arrived(s *Sensor) (n uint64) {
	var t tally
	for _, w := range s.receive.workers() {
		w.page.addTo(&t)
	}
	for _, byPath := range t.received {
		n += byPath
	}
	return n
}

// BenchmarkHostileDatagram is what harm costs: the thread's CPU time of one
// datagram, on average and at worst, with the tables as full as they get. It has
// the sizes of jumbo frames and of fragments put together besides those of an
// Ethernet frame.
func BenchmarkHostileDatagram(b *testing.B) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	o := newOffline(b, Config{Set: setOf(b, "10.0.0.7"), Sink: newMemorySink()})
	o.worker.decoder.Patient = false // as on a network
	h := newHostile()
	datagrams := make([][]byte, 0, 1<<14)
	for len(datagrams) < cap(datagrams) {
		d := h.next()
		for _, size := range []int{1400, 9216, 65507} {
			for grown := slices.Clone(d); len(d) > 100; grown = append(grown, d[20:]...) {
				if len(grown) >= size {
					datagrams = append(datagrams, grown[:size])
					break
				}
			}
			if h.r.IntN(20) != 0 {
				break // most are as long as an Ethernet frame
			}
		}
	}
	var worst, all time.Duration
	i := 0
	at := time.Unix(1_800_000_000, 0)
	for b.Loop() {
		d := datagrams[i%len(datagrams)]
		i++
		begin := threadTime(b)
		if err := o.Datagram(b.Context(), at.Add(time.Duration(i)*time.Millisecond), addr(hostileAddr), d); err != nil {
			b.Fatal(err)
		}
		cost := threadTime(b) - begin
		all += cost
		worst = max(worst, cost)
	}
	b.ReportMetric(float64(all.Microseconds())/float64(i), "cpu-us/datagram")
	b.ReportMetric(float64(worst.Microseconds()), "worst-us")
}

// threadTime is the CPU time of the calling thread.
func threadTime(t testing.TB) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		t.Fatal(err)
	}
	return time.Duration(ts.Nano())
}

// resident is the process's resident memory in bytes, after what is garbage was
// given back. The peak begins anew.
func resident(t *testing.T) uint64 {
	t.Helper()
	runtime.GC()
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		t.Fatal(err)
	}
	return memoryOf(t, "VmRSS")
}

// memoryOf is what the kernel says of the process: VmRSS, or VmHWM, which is the
// peak of it.
func memoryOf(t *testing.T, which string) (bytes uint64) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if n, _ := fmt.Sscanf(line, which+": %d kB", &bytes); n == 1 {
			return bytes << 10
		}
	}
	t.Fatalf("no %s", which)
	return 0
}
