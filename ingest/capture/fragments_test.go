// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// longPayload is too long for one packet and tells its bytes apart.
func longPayload(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7 >> 3)
	}
	return b
}

func TestFragmentsAreReassembled(t *testing.T) {
	for _, c := range []struct {
		name string
		six  bool
		size int
	}{{"IPv4", false, 1480}, {"IPv6", true, 1448}} {
		t.Run(c.name, func(t *testing.T) {
			payload := longPayload(9000)
			cut := func() [][]byte {
				if c.six {
					return fragment6(udpIn(t, router6, sensor6, payload), c.size, 99)
				}
				return fragment4(udpIn(t, router4, sensor4, payload), c.size)
			}
			reversed := cut()
			slices.Reverse(reversed)
			doubled := append(cut()[:3:3], cut()[2:]...) // one fragment twice
			for name, pieces := range map[string][][]byte{"in order": cut(), "reversed": reversed, "with a repeat": doubled} {
				frames := make([][]byte, len(pieces))
				for i := range pieces {
					frames[i] = ethernet(pieces[i])
				}
				got := whole(t, pcapOf(t, 1, frames...))
				if len(got) != 1 {
					t.Fatalf("%s: %d datagrams of %d fragments", name, len(got), len(pieces))
				}
				same(t, got[0], 1, at(len(frames)-1), payload, c.six)
			}
			for i := range cut() {
				if got := whole(t, pcapOf(t, 101, slices.Delete(cut(), i, i+1)...)); len(got) != 0 {
					t.Errorf("without fragment %d: %d datagrams", i, len(got))
				}
			}
			overlap := cut()
			overlap[1] = overlap[0]
			if got := whole(t, pcapOf(t, 101, overlap...)); len(got) != 0 {
				t.Errorf("a gap behind a repeat: %d datagrams", len(got))
			}
		})
	}
}

func TestFragmentsOfManyPacketsAtOnce(t *testing.T) {
	// The fragments of 50 datagrams in any order; the last bytes of the payload
	// are the identification, so that a mix-up shows.
	var pieces [][]byte
	payload := longPayload(3000)
	for id := range 50 {
		binary.BigEndian.PutUint16(payload[2998:], uint16(id))
		ip := udpIn(t, router4, sensor4, payload)
		binary.BigEndian.PutUint16(ip[4:], uint16(id))
		pieces = append(pieces, fragment4(ip, 1480)...)
		pieces = append(pieces, fragment6(udpIn(t, router6, sensor6, payload), 1448, uint32(id))...)
	}
	r := rand.New(rand.NewPCG(1, 2))
	r.Shuffle(len(pieces), func(i, j int) { pieces[i], pieces[j] = pieces[j], pieces[i] })
	var f defragmenter
	seen := map[bool]map[uint16]bool{true: {}, false: {}}
	for _, p := range pieces {
		d := Datagram{Time: startTime}
		if !f.datagram(p, &d) {
			continue
		}
		id := binary.BigEndian.Uint16(d.Payload[2998:])
		if !bytes.Equal(d.Payload[:2998], payload[:2998]) {
			t.Fatalf("packet %d is mixed up", id)
		}
		seen[d.Source.Addr().Is4()][id] = true
	}
	if len(seen[true]) != 50 || len(seen[false]) != 50 {
		t.Errorf("%d IPv4 and %d IPv6 packets, want 50 each", len(seen[true]), len(seen[false]))
	}
	if f.held != 0 || len(f.waiting) != 0 || f.order.Len() != 0 {
		t.Errorf("%d bytes of %d packets are still held", f.held, len(f.waiting))
	}
}

func TestFragmentsExpire(t *testing.T) {
	for _, pieces := range [][][]byte{
		fragment4(udpIn(t, router4, sensor4, longPayload(2000)), 1480),
		fragment6(udpIn(t, router6, sensor6, longPayload(2000)), 1448, 5),
	} {
		for _, c := range []struct {
			gap  time.Duration
			want bool
		}{{fragmentLife - time.Second, true}, {fragmentLife, false}} {
			var f defragmenter
			d := Datagram{Time: startTime}
			f.datagram(pieces[0], &d)
			d.Time = startTime.Add(c.gap)
			if got := f.datagram(pieces[1], &d); got != c.want {
				t.Errorf("second fragment %v after the first: complete %v, want %v", c.gap, got, c.want)
			}
		}
		var f defragmenter
		for i := range 100 {
			first := bytes.Clone(pieces[0])
			first[15] = byte(i) // an address, whichever the family
			f.datagram(first, &Datagram{Time: startTime.Add(time.Duration(i) * fragmentLife / 2)})
		}
		if len(f.waiting) > 2 || f.order.Len() != len(f.waiting) {
			t.Errorf("%d packets wait after 50 lives", len(f.waiting))
		}
	}
}

func TestFragmentFloodIsBounded(t *testing.T) {
	// First fragments of 100,000 packets, none of which is ever completed, and
	// beside them a good packet in two fragments every now and then.
	flood := fragment4(udpIn(t, router4, sensor4, longPayload(2000)), 8)[0]
	good := fragment4(udpIn(t, sensor4, router4, longPayload(2000)), 1480)
	var f defragmenter
	complete := 0
	for i := range 100_000 {
		d := Datagram{Time: startTime.Add(time.Duration(i))}
		binary.BigEndian.PutUint16(flood[4:], uint16(i))
		binary.BigEndian.PutUint16(flood[14:], uint16(i>>16)) // the sender
		f.datagram(flood, &d)
		switch i % 1000 {
		case 0:
			f.datagram(good[0], &d)
		case 500:
			if f.datagram(good[1], &d) {
				complete++
			}
		}
		if f.held > fragmentBudget {
			t.Fatalf("%d bytes are held", f.held)
		}
	}
	if complete != 100 {
		t.Errorf("%d of 100 good packets survived", complete)
	}
	sum := 0
	for _, p := range f.waiting {
		sum += p.bytes
	}
	if sum != f.held || len(f.waiting) == 0 {
		t.Errorf("%d bytes wait, %d are accounted for", sum, f.held)
	}
}
