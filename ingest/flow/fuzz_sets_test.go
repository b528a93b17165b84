// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"maps"
	"reflect"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The fuzz targets of the formats with templates take a sequence of datagrams,
// because what one does is decided by those before it. Each is a byte that
// names one of two exporters, a length of two bytes and that many bytes; the
// last one may be cut.

type delivery struct {
	exporter byte
	datagram []byte
}

func deliveries(in []byte) (all []delivery) {
	for len(in) >= 3 {
		d := delivery{exporter: in[0] & 1}
		n := min(int(binary.BigEndian.Uint16(in[1:])), len(in)-3)
		d.datagram, in = in[3:3+n], in[3+n:]
		all = append(all, d)
	}
	return all
}

func appendDelivery(in []byte, exporter byte, datagram []byte) []byte {
	in = append(in, exporter)
	in = binary.BigEndian.AppendUint16(in, uint16(len(datagram)))
	return append(in, datagram...)
}

// FuzzV9 holds the decoder of v9 against the slow one. Its seeds are the rows of
// badInputs, which say what each is for, and datagrams as routers send them.
func FuzzV9(f *testing.F) { fuzzSets(f, V9) }

// FuzzIPFIX does the same for IPFIX.
func FuzzIPFIX(f *testing.F) { fuzzSets(f, IPFIX) }

func fuzzSets(f *testing.F, v Version) {
	for _, in := range setSeeds(v) {
		f.Add(in)
	}
	h := newHarness(f)
	f.Fuzz(func(t *testing.T, in []byte) { h.agree(t, v, deliveries(in)) })
}

// setSeeds are the seeds of one format.
func setSeeds(v Version) (all [][]byte) {
	for _, row := range badInputs() {
		var in []byte
		for _, s := range row.sent {
			if versionOf(s.in) != v {
				in = nil
				break
			}
			in = appendDelivery(in, 0, s.in)
		}
		if in != nil {
			all = append(all, in)
		}
	}
	for _, datagrams := range routerDatagrams(v) {
		var in []byte
		for i, d := range datagrams {
			in = appendDelivery(in, byte(i&1), d)
			in = appendDelivery(in, 0, d)
		}
		all = append(all, in)
	}
	return all
}

// versionOf is the format that a datagram says it has.
func versionOf(b []byte) Version {
	if len(b) < 2 {
		return NoVersion
	}
	switch binary.BigEndian.Uint16(b) {
	case 9:
		return V9
	case 10:
		return IPFIX
	}
	return NoVersion
}

// routerDatagrams are sequences of datagrams that have nothing wrong.
func routerDatagrams(v Version) [][][]byte {
	recs := []Record{encodedTCP(), encodedTCP(), encodedUDP6()}
	if v == V9 {
		h := V9Header{ExportTime: badExport, Uptime: badUptime, Sequence: 1, Domain: 7}
		return [][][]byte{
			{AppendV9Templates(nil, h), AppendV9(nil, h, recs)},
			{AppendV9(nil, h, recs), AppendV9Templates(nil, h)},
			// Options: a sampler of 1 in 1,000, and a record that names it.
			{nine(4, `0001 001a 0101 0004 000c  0001 0004  0030 0002  0031 0001  0032 0004
				0101 000f 00000001 0005 02 000003e8
				0000 0010 0100 0002  0008 0004  0030 0002
				0100 000a 0a000001 0005`)},
			// A firewall: an event, the initiator's and the responder's octets.
			{nine(2, `0000 0024 0100 0007  0008 0004  000c 0004  00e9 0001  00e7 0004  00e8 0004  0143 0008  0098 0008
				0100 0025 0a000001 0a000002 02 00000400 00000800 000001a5f0000000 000001a5e0000000`)},
			// Of each family a place, MAC addresses, a VLAN and a direction.
			{nine(2, `0000 0038 0100 000c  0008 0004  001b 0010  000c 0004  001c 0010  0038 0006  0050 0006  003a 0002
				003d 0001  000a 0002  000e 0002  0022 0004  9c45 0002
				0100 0049 00000000 20010db8000000000000000000000001 00000000 20010db8000000000000000000000002
				020000000001 020000000002 000a 01 0007 0008 00000064 0003`)},
		}
	}
	h := IPFIXHeader{ExportTime: badExport, Sequence: 1, Domain: 7}
	return [][][]byte{
		{AppendIPFIXTemplates(nil, h), AppendIPFIX(nil, h, recs)},
		{AppendIPFIX(nil, h, recs), AppendIPFIXTemplates(nil, h)},
		{append(AppendIPFIXTemplates(nil, h), AppendIPFIX(nil, h, recs)...)},
		// A biflow: counters, flags and a start of the second direction.
		{ten(`0002 003c 0100 0008  0008 0004  000c 0004  0098 0008  8098 0008 00007279  0002 0004
				8002 0004 00007279  8001 0004 00007279  8006 0001 00007279
			0100 0029 0a000001 0a000002 000001a5e0000000 000001a5e0000001 00000004 00000005 00000300 1b`)},
		// Uptimes, of which options tell the base; and selectors with a rate.
		{ten(`0003 0020 0101 0005 0001  012e 0004  0131 0004  0132 0004  00a0 0008  0137 0008
			0101 0020 00000007 00000001 00000063 000001a5e0000000 3fb999999999999a
			0002 0018 0100 0004  0008 0004  0016 0004  0015 0004  012e 0004
			0100 0014 0a000001 00000100 00000200 00000007`)},
		// A frame: an Ethernet header with a tag, IPv4 and UDP.
		{ten(`0002 0014 0100 0003  000a 0004  0138 0002  013b ffff
			0100 003c 00000007 0040 31
				020000000001 020000000002 8100 000a 0800
				45 00 0020 0001 0000 40 11 0000 0a000001 0a000002
				c000 0035 000c 0000 000000`)},
		// Of times each kind.
		{ten(`0002 0034 0100 000c  0096 0004  0097 0004  0098 0008  0099 0008  009a 0008  009d 0008
				009e 0004  009f 0004  00a0 0008  00a1 0004  0143 0008  0145 0008
			0100 0054 6a000000 6a000001 000001a5e0000000 000001a5e0000001 ee000000 80000000 ee000000 80000000
				00000010 00000020 000001a5e0000000 00000064 000001a5e0000000 ee00000080000000`)},
	}
}

// harness decodes with both decoders and compares.
type harness struct {
	d     *Decoder
	guard []byte // ends where the process may not read
}

func newHarness(tb testing.TB) *harness {
	const page, room = 4096, 17 * 4096
	m, err := syscall.Mmap(-1, 0, room+page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		tb.Fatal(err)
	}
	if err := syscall.Mprotect(m[room:], syscall.PROT_NONE); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := syscall.Munmap(m); err != nil {
			tb.Error(err)
		}
	})
	return &harness{d: NewDecoder(nil), guard: m[:room:room]}
}

// at puts a datagram where the byte behind it cannot be read.
func (h *harness) at(datagram []byte) []byte {
	b := h.guard[len(h.guard)-len(datagram):]
	copy(b, datagram)
	return b[:len(b):len(b)]
}

// budget is how much time of a processor a datagram may cost; a twentieth of it
// is the rule, but this is to find loops.
const budget = 300 * time.Millisecond

// agree decodes a sequence and checks what must hold for any.
func (h *harness) agree(t *testing.T, v Version, all []delivery) {
	streams := NewStreams(Limits{Streams: 256})
	h.d.streams, h.d.ready, h.d.turn = streams, nil, 0
	slow := newSlowCollector()
	for i, x := range all {
		if w := versionOf(x.datagram); w != v && len(x.datagram) >= 2 && slices.Contains([]uint16{0, 1, 5, 7, 9, 10}, binary.BigEndian.Uint16(x.datagram)) {
			continue // another format's
		}
		source := [16]byte{10: 0xff, 11: 0xff, 12: 192, 14: 2, 15: x.exporter}
		arrival := badExport + int64(i)*nsPerSecond
		got := h.decode(t, source, arrival, x.datagram)
		if e := streams.Evicted(); e != (Evictions{}) {
			return // the slow one has room for all
		}
		want := slow.datagram(source, x.datagram)
		compareAnswers(t, i, want, got)
		if t.Failed() {
			return
		}
	}
	for id, s := range slow.streams {
		if names := streams.of(id, 0).options.interfaces(); !maps.Equal(names, s.told.names) {
			t.Errorf("%v: names of interfaces %v, the slow decoder says %v", id, names, s.told.names)
		}
	}
	if len(all) > 0 && oneIn64(all) {
		h.steady(t, v, slow, all[len(all)-1], len(all))
	}
}

// decode runs the decoder over a datagram, and sees to it that it stays within
// the datagram, keeps nothing of it and comes to an end.
func (h *harness) decode(t *testing.T, source [16]byte, arrival int64, datagram []byte) (a slowAnswer) {
	in := h.at(datagram)
	loops := time.AfterFunc(20*time.Second, func() { panic(fmt.Sprintf("a datagram takes for ever: %x", datagram)) })
	defer loops.Stop()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	begin := threadTime()
	if a.Drop = h.d.Begin(source, arrival, in); a.Drop != NoDrop {
		return a
	}
	most := len(datagram)/ipfixHeaderSize + 1 + h.d.streams.Waiting() + len(datagram)/setHeaderSize
	for b := h.d.Next(); b != nil; b = h.d.Next() {
		batch := slowBatch{Header: b.Message, Delayed: b.Delayed, Records: slices.Clone(b.Records), Options: b.OptionsRecords}
		batch.Header.body, batch.Header.rest, batch.Header.cut = nil, nil, false
		a.Batches = append(a.Batches, batch)
		if !b.Delayed && len(b.Records)+b.OptionsRecords > len(datagram) {
			t.Fatalf("%d records in %d bytes", len(b.Records)+b.OptionsRecords, len(datagram))
		}
		if len(a.Batches) > most {
			t.Fatalf("more than %d batches of %d bytes", most, len(datagram))
		}
	}
	if used := threadTime() - begin; used > budget {
		t.Fatalf("a datagram costs %v", used)
	}
	a.Problems = h.d.Problems()
	if !bytes.Equal(in, datagram) {
		t.Fatal("the decoder wrote into the datagram")
	}
	for i := range in {
		in[i] = 0xee // whoever kept a view of it will notice
	}
	return a
}

// threadTime is the time that the thread has had of a processor.
func threadTime() time.Duration {
	const thread = 1
	var u syscall.Rusage
	if syscall.Getrusage(thread, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func compareAnswers(t *testing.T, i int, want, got slowAnswer) {
	t.Helper()
	if got.Drop != want.Drop {
		t.Fatalf("datagram %d: drop %q, the slow decoder says %q", i, got.Drop, want.Drop)
	}
	if got.Problems != want.Problems || got.Problems>>Problems != 0 {
		t.Errorf("datagram %d: problems %q, the slow decoder says %q", i, problemNamesOf(got.Problems), problemNamesOf(want.Problems))
	}
	if len(got.Batches) != len(want.Batches) {
		t.Fatalf("datagram %d: %d batches, the slow decoder says %d", i, len(got.Batches), len(want.Batches))
	}
	for j := range got.Batches {
		g, w := &got.Batches[j], &want.Batches[j]
		if g.Options != w.Options || g.Delayed != w.Delayed {
			t.Errorf("datagram %d, batch %d: %d options records, delayed %t; the slow decoder says %d, %t", i, j, g.Options, g.Delayed, w.Options, w.Delayed)
		}
		if !slices.Equal(g.Records, w.Records) {
			t.Errorf("datagram %d, batch %d: records (-slow +fast):\n%s", i, j, cmp.Diff(w.Records, g.Records))
		}
		if !reflect.DeepEqual(g.Header, w.Header) {
			t.Errorf("datagram %d, batch %d: header %+v, the slow decoder says %+v", i, j, g.Header, w.Header)
		}
	}
}

// oneIn64 picks one sequence in 64 for what is slow to check, the same ones
// each time.
func oneIn64(all []delivery) bool {
	h := fnv.New32a()
	for _, x := range all {
		h.Write(x.datagram)
	}
	return h.Sum32()%64 == 0
}

// steady repeats a datagram that changes nothing any more, and allows it no
// allocation.
func (h *harness) steady(t *testing.T, v Version, slow *slowCollector, last delivery, at int) {
	if versionOf(last.datagram) != v {
		return
	}
	source := [16]byte{10: 0xff, 11: 0xff, 12: 192, 14: 2, 15: last.exporter}
	slow.datagram(source, last.datagram)
	slow.changes = 0
	slow.datagram(source, last.datagram)
	if slow.changes > 0 {
		return
	}
	in := h.at(last.datagram)
	run := func() {
		if h.d.Begin(source, badExport+int64(at)*nsPerSecond, in) != NoDrop {
			return
		}
		for b := h.d.Next(); b != nil; b = h.d.Next() {
			runtime.KeepAlive(b)
		}
	}
	run()
	for range 3 { // other goroutines of the process allocate now and then
		if testing.AllocsPerRun(1, run) == 0 {
			return
		}
	}
	t.Errorf("a datagram that changes nothing allocates: %x", last.datagram)
}

// The seeds are regression tests as well, and steady in the end.
func TestSetSeeds(t *testing.T) {
	h := newHarness(t)
	for _, v := range []Version{V9, IPFIX} {
		for i, in := range setSeeds(v) {
			all := deliveries(in)
			t.Run(fmt.Sprintf("%v_%d", v, i), func(t *testing.T) {
				h.agree(t, v, all)
				if t.Failed() {
					t.Logf("input %x", in)
				}
			})
		}
	}
}
