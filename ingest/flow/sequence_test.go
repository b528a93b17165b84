// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"math/rand/v2"
	"sync"
	"testing"
)

func TestSequence(t *testing.T) {
	type message struct{ number, units uint32 }
	const wrap = 1<<32 - 15
	by64 := make([]message, 0, 129)
	for i := range uint32(128) {
		by64 = append(by64, message{(i + 64) % 128 * 30, 30})
	}
	by64 = append([]message{{1<<32 - 30, 30}}, by64...)
	for _, c := range []struct {
		name                       string
		got                        []message
		lost, gaps, late, restarts uint64
	}{
		{"nothing", nil, 0, 0, 0, 0},
		{"one message, whatever its number", []message{{12345, 30}}, 0, 0, 0, 0},
		{"in order", []message{{0, 30}, {30, 30}, {60, 5}}, 0, 0, 0, 0},
		{"a gap", []message{{0, 30}, {90, 30}}, 60, 1, 0, 0},
		{"a gap that is filled late", []message{{0, 30}, {60, 30}, {30, 30}}, 0, 1, 1, 0},
		{"bad 75: twice the same", []message{{0, 30}, {0, 30}, {30, 30}}, 0, 0, 1, 0},
		{"bad 75: over the end of 32 bits", []message{{wrap, 30}, {15, 30}}, 0, 0, 0, 0},
		{"bad 75: from the last number to 0", []message{{1<<32 - 1, 1}, {0, 1}}, 0, 0, 0, 0},
		{"a gap over the end of 32 bits", []message{{wrap, 30}, {45, 30}}, 30, 1, 0, 0},
		{"late over the end of 32 bits", []message{{wrap - 30, 30}, {15, 30}, {wrap, 30}}, 0, 1, 1, 0},
		{"bad 75: 64 messages overtake 64", by64, 0, 1, 64, 0},
		{"bad 75: number 0 after a restart", []message{{5_000_000, 30}, {5_000_030, 30}, {0, 30}, {30, 30}}, 0, 0, 0, 1},
		{"a gap, a restart, a gap", []message{{5_000_000, 30}, {5_000_060, 30}, {0, 30}, {90, 30}}, 90, 2, 0, 1},
		{"bad 75: a jump of half the range", []message{{0, 30}, {1 << 31, 30}, {1<<31 + 30, 30}}, 0, 0, 0, 1},
		{"a jump of half the range and back", []message{{0, 30}, {1 << 31, 30}, {30, 30}}, 0, 0, 0, 2},
		{"an empty message", []message{{100, 0}, {100, 30}}, 0, 0, 0, 0},
		{"numbers that include the message", []message{{19, 19}, {31, 12}, {61, 30}, {91, 30}, {105, 14}}, 0, 0, 0, 0},
		{"the same, and one less", []message{{13, 14}, {17, 4}, {21, 4}, {31, 10}, {32, 1}}, 0, 0, 0, 0},
		{"the same, and one of 30 is lost", []message{{19, 19}, {31, 12}, {61, 30}, {121, 30}, {135, 14}}, 30, 1, 0, 0},
		{"the same, and options records are not counted", []message{{19, 20}, {31, 12}, {61, 30}, {91, 31}, {105, 14}}, 0, 0, 0, 0},
		{"options records are not counted", []message{{0, 11}, {10, 10}, {20, 5}, {25, 10}, {35, 11}, {45, 10}}, 0, 0, 0, 0},
		{"options records are not counted, and one of 10 is lost", []message{{0, 11}, {10, 10}, {30, 10}, {40, 11}, {50, 10}}, 10, 1, 0, 0},
		{"sizes differ, and one of 30 is lost", []message{{0, 19}, {19, 12}, {61, 30}, {91, 14}, {105, 3}}, 30, 1, 0, 0},
	} {
		var s sequence
		for _, m := range c.got {
			s.note(m.number, Units{Advance: m.units, Carried: m.units}, 1)
		}
		if got := s.lost(); got != c.lost {
			t.Errorf("%s: %d lost, want %d", c.name, got, c.lost)
		}
		if gaps, late, restarts := s.gaps.Load(), s.late.Load(), s.restarts.Load(); gaps != c.gaps || late != c.late || restarts != c.restarts {
			t.Errorf("%s: %d gaps, %d late, %d restarts, want %d, %d, %d", c.name, gaps, late, restarts, c.gaps, c.late, c.restarts)
		}
	}
}

// A restart to a number that could be a late one is told by the time.
func TestSequenceRestartsSoonAfterTheFirst(t *testing.T) {
	const second = nsPerSecond
	var s sequence
	one := Units{Advance: 1, Carried: 1}
	now := int64(1000 * second)
	for n := range uint32(100) {
		s.note(n, one, now)
		now += second
	}
	for n := range uint32(100) { // again from 0, each a second after the other
		s.note(n, one, now)
		now += second
	}
	s.note(102, one, now)
	if s.restarts.Load() != 1 || s.late.Load() > 10 || s.gaps.Load() != 1 {
		t.Errorf("%d restarts, %d late, %d gaps", s.restarts.Load(), s.late.Load(), s.gaps.Load())
	}
	if got := s.lost(); got != 2 {
		t.Errorf("%d lost, want 2", got)
	}
}

// An exporter that sends once a minute, and whose numbers include the message,
// does not restart all the time.
func TestSequenceOfSeldomMessages(t *testing.T) {
	var s sequence
	number, now := uint32(0), int64(nsPerSecond)
	for i := range uint32(60) {
		n := 5 + i*7%13
		number += n
		now += 60 * nsPerSecond
		s.note(number, Units{Advance: n + i%16/15, Carried: n + i%16/15}, now) // some with an options record that does not count
	}
	if lost, gaps, late, restarts := s.lost(), s.gaps.Load(), s.late.Load(), s.restarts.Load(); lost+gaps+late+restarts != 0 {
		t.Errorf("%d lost, %d gaps, %d late, %d restarts", lost, gaps, late, restarts)
	}
}

// A message that was cut short counts with what it carried.
func TestSequenceOfShortMessages(t *testing.T) {
	var s sequence
	s.note(0, Units{Advance: 30, Carried: 30}, 1)
	s.note(30, Units{Advance: 30, Carried: 12}, 1)
	s.note(60, Units{Advance: 30, Carried: 30}, 1)
	if got := s.lost(); got != 18 {
		t.Errorf("%d lost, want 18", got)
	}
}

// What a message without its template carried is not taken for lost.
func TestSequenceOfUnknownRecords(t *testing.T) {
	some := func(n uint32) Units { return Units{Advance: n, Carried: n} }
	unknown := func(n uint32) Units { return Units{Advance: n, Carried: n, Unknown: true} }
	type message struct {
		number uint32
		units  Units
	}
	for _, c := range []struct {
		name string
		got  []message
		lost uint64
	}{
		{"from the beginning", []message{{0, unknown(0)}, {20, unknown(0)}, {45, some(10)}, {55, some(10)}}, 0},
		{"in the middle", []message{{0, some(10)}, {10, unknown(3)}, {40, some(10)}, {50, some(10)}}, 0},
		{"the next gap is one", []message{{0, some(10)}, {10, unknown(3)}, {40, some(10)}, {60, some(10)}}, 10},
		{"one that carried nothing unknown", []message{{0, some(10)}, {10, unknown(10)}, {20, some(10)}, {40, some(10)}}, 10},
		{"where numbers include the message", []message{
			{19, some(19)}, {31, some(12)}, {61, some(30)}, {91, unknown(10)}, {101, some(10)}, {131, some(10)},
		}, 20},
		{"after a restart", []message{{9_000_000, some(10)}, {0, unknown(0)}, {50, some(10)}}, 0},
	} {
		var s sequence
		for _, m := range c.got {
			s.note(m.number, m.units, 1)
		}
		if got := s.lost(); got != c.lost {
			t.Errorf("%s: %d lost, want %d", c.name, got, c.lost)
		}
	}
}

// Two receive paths share an exporter's messages in any order: no gap is faked,
// and a real one is found.
func TestSequenceOverTwoPaths(t *testing.T) {
	const messages, units, missing = 20_000, 30, 100
	rnd := rand.New(rand.NewPCG(3, 4))
	var s sequence
	s.note(0, Units{Advance: units, Carried: units}, 1)
	var wg sync.WaitGroup
	paths := [2]chan uint32{make(chan uint32, 64), make(chan uint32, 64)}
	for _, p := range paths {
		wg.Go(func() {
			for n := range p {
				s.note(n, Units{Advance: units, Carried: units}, 1)
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
