// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/portolan/portolan/ingest/flow"
)

func TestSequence(t *testing.T) {
	type message struct{ number, units uint32 }
	const wrap = 1<<32 - 15
	for _, c := range []struct {
		name string
		got  []message
		lost uint64
	}{
		{"nothing", nil, 0},
		{"one message, whatever its number", []message{{12345, 30}}, 0},
		{"in order", []message{{0, 30}, {30, 30}, {60, 5}}, 0},
		{"a gap", []message{{0, 30}, {90, 30}}, 60},
		{"a gap that is filled late", []message{{0, 30}, {60, 30}, {30, 30}}, 0},
		{"twice the same", []message{{0, 30}, {0, 30}, {30, 30}}, 0},
		{"over the end of 32 bits", []message{{wrap, 30}, {15, 30}}, 0},
		{"a gap over the end of 32 bits", []message{{wrap, 30}, {45, 30}}, 30},
		{"number 0 after a restart", []message{{5_000_000, 30}, {5_000_030, 30}, {0, 30}, {30, 30}}, 0},
		{"a gap, a restart, a gap", []message{{5_000_000, 30}, {5_000_060, 30}, {0, 30}, {90, 30}}, 90},
		{"a jump of half the range", []message{{0, 30}, {1 << 31, 30}, {1<<31 + 30, 30}}, 0},
		{"an empty message", []message{{100, 0}, {100, 30}}, 0},
	} {
		var s sequence
		for _, m := range c.got {
			s.note(m.number, m.units, m.units)
		}
		if got := s.lost(); got != c.lost {
			t.Errorf("%s: %d lost, want %d", c.name, got, c.lost)
		}
	}
}

// A datagram that was cut short counts with what it carried.
func TestSequenceOfShortMessages(t *testing.T) {
	var s sequence
	s.note(0, 30, 30)
	s.note(30, 30, 12)
	s.note(60, 30, 30)
	if got := s.lost(); got != 18 {
		t.Errorf("%d lost, want 18", got)
	}
}

// Two receive paths share an exporter's messages in any order: no gap is faked,
// and a real one is found.
func TestSequenceOverTwoPaths(t *testing.T) {
	const messages, units, missing = 20_000, 30, 100
	rnd := rand.New(rand.NewPCG(3, 4))
	var s sequence
	s.note(0, units, units)
	var wg sync.WaitGroup
	paths := [2]chan uint32{make(chan uint32, 64), make(chan uint32, 64)}
	for _, p := range paths {
		wg.Go(func() {
			for n := range p {
				s.note(n, units, units)
			}
		})
	}
	for i := uint32(1); i < messages; i++ {
		if i%(messages/missing) != 7 {
			paths[rnd.IntN(2)] <- i * units
		}
	}
	for _, p := range paths {
		close(p)
	}
	wg.Wait()
	if got := s.lost(); got != missing*units {
		t.Errorf("%d lost, want %d", got, missing*units)
	}
}

func TestExportersAreKeptApartAndBounded(t *testing.T) {
	e := new(exporters)
	id := func(n uint32, domain uint32) (x exporterID) {
		x = exporterID{addr("192.0.0.0"), domain, flow.V5}
		binary.BigEndian.PutUint32(x.addr[12:], 192<<24+n)
		return x
	}
	a, b := e.of(id(1, 0)), e.of(id(1, 1))
	if a == b || e.of(id(1, 0)) != a {
		t.Fatal("domains are mixed")
	}
	// A flood of forged addresses costs one entry.
	for n := range uint32(3 * maxExporters) {
		e.of(id(n, 0)).datagrams.Add(1)
	}
	list := e.list()
	if len(list) != maxExporters+1 {
		t.Fatalf("%d exporters are kept", len(list))
	}
	var sum uint64
	for _, x := range list {
		sum += x.Datagrams
	}
	if last := list[len(list)-1]; !last.Others || sum != 3*maxExporters {
		t.Errorf("the others %+v, %d datagrams in all", last, sum)
	}
	if e.of(id(1, 0)) != a {
		t.Error("a known exporter was pushed out")
	}
}

func TestQueue(t *testing.T) {
	const size = 8
	q := newQueue(size)
	push := func(n int) (ok int) {
		for i := range n {
			if q.push(&pending{claim: slot{index: uint32(i)}}) {
				ok++
			}
		}
		return ok
	}
	if q.publish() {
		t.Error("published nothing as something")
	}
	if got := push(size + 3); got != size {
		t.Errorf("a queue of %d took %d", size, got)
	}
	dst := make([]pending, 0, size)
	if dst = q.drain(dst); len(dst) != 0 {
		t.Error("entries were seen before they were published")
	}
	if !q.publish() || q.len() != size {
		t.Errorf("%d entries wait", q.len())
	}
	if dst = q.drain(dst[:0:3]); len(dst) != 3 || dst[2].claim.index != 2 {
		t.Errorf("drained %v", dst)
	}
	if got := push(size); got != 3 {
		t.Errorf("%d places were free", got)
	}
}

func TestSampler(t *testing.T) {
	var s sampler
	const second = 1_000_000_000
	lines, stands := 0, uint64(0)
	for i := range 10 * linesPerSecond {
		if n, ok := s.allow(int64(i)); ok {
			lines++
			stands += n
		}
	}
	if lines != linesPerSecond {
		t.Errorf("%d lines in one second", lines)
	}
	n, ok := s.allow(2 * second)
	if !ok || stands+n != 10*linesPerSecond+1 {
		t.Errorf("the lines stand for %d of %d", stands+n, 10*linesPerSecond+1)
	}
}
