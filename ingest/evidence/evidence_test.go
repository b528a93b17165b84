// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/portolan/portolan/profiler"
)

// packet flags as records have them.
const (
	finished = flagSYN | flagACK | flagPSH | flagFIN
	now0     = 1_800_000_000
)

// record is one flow record between two endpoints.
type record struct {
	src, dst     uint32 // bindings; 0: external
	sport, dport uint16
	proto, flags uint8
	packets      int
	declared     Initiator // of the source
	group        bool
	bare         bool // without flags, of an exporter that has them
}

// sides are what a worker makes of a record.
func (r record) sides() (list []Side) {
	side := Side{Proto: r.proto, Flags: r.flags, Single: r.packets == 1, Few: r.packets <= 3, Bare: r.bare, Group: r.group}
	if r.src != 0 {
		s := side
		s.Binding, s.Gen, s.Port, s.FarPort, s.Out, s.FarHash, s.Initiator = r.src, 1, r.sport, r.dport, true, r.dst*77, r.declared
		s.Far, s.FarGen = r.dst, min(r.dst, 1)
		list = append(list, s)
	}
	if r.dst != 0 {
		s := side
		s.Binding, s.Gen, s.Port, s.FarPort, s.FarHash = r.dst, 1, r.dport, r.sport, r.src*77
		s.Far, s.FarGen = r.src, min(r.src, 1)
		if r.declared != Unknown {
			s.Initiator = Self + Other - r.declared
		}
		list = append(list, s)
	}
	return list
}

// conversation is both directions of one.
func conversation(client uint32, cport uint16, server uint32, sport uint16, proto uint8) []record {
	flags := uint8(0)
	if proto == tcp {
		flags = finished
	}
	return []record{
		{src: client, dst: server, sport: cport, dport: sport, proto: proto, flags: flags, packets: 5},
		{src: server, dst: client, sport: sport, dport: cport, proto: proto, flags: flags, packets: 5},
	}
}

// world is a table and what came of it.
type world struct {
	*Table
	listening map[string]profiler.Evidence
	contacted map[string]bool
}

func newWorld() *world {
	return &world{New(1<<16, 1<<12), map[string]profiler.Evidence{}, map[string]bool{}}
}

func name(binding uint32, proto uint8, port uint16) string {
	return fmt.Sprintf("%d %s/%d", binding, profiler.ProtoName(proto), port)
}

func (w *world) see(now uint32, records ...record) {
	for _, r := range records {
		for _, s := range r.sides() {
			w.take(&s, w.Judge(&s, now))
		}
	}
}

func (w *world) take(s *Side, v Verdict) {
	if v.Listening != profiler.NoEvidence {
		n := name(s.Binding, s.Proto, s.Port)
		w.listening[n] = max(w.listening[n], v.Listening)
	}
	if v.Contacted {
		w.contacted[name(s.Binding, s.Proto, s.FarPort)] = true
	}
}

func (w *world) settle(now uint32, end bool) {
	w.Settle(now, end, func(t Told) bool {
		n := name(t.Binding, t.Proto, t.Port)
		if t.Withdraw {
			if w.listening[n] <= t.Evidence {
				delete(w.listening, n)
			}
			return true
		}
		w.listening[n] = max(w.listening[n], t.Evidence)
		return true
	})
}

// expect compares what listens; a value of NoEvidence stands for any.
func (w *world) expect(t *testing.T, want map[string]profiler.Evidence) {
	t.Helper()
	for n, e := range want {
		if got, ok := w.listening[n]; !ok || e != profiler.NoEvidence && got != e {
			t.Errorf("%s: %q, want %q", n, got, e)
		}
	}
	for n, e := range w.listening {
		if _, ok := want[n]; !ok {
			t.Errorf("%s listens, by %s", n, e)
		}
	}
}

func TestGuards(t *testing.T) {
	const client, server, other = 1, 2, 3
	scan := func(flags uint8, ports int) (list []record) {
		for p := range ports {
			port := uint16(1 + p*65535/ports)
			list = append(list, record{src: client, dst: server, sport: uint16(40000 + p%20000), dport: port, proto: tcp, flags: flags, packets: 1})
			list = append(list, record{src: server, dst: client, sport: port, dport: uint16(40000 + p%20000), proto: tcp, flags: flagRST | flagACK, packets: 1})
		}
		return list
	}
	from := func(list []record, port uint16) []record {
		for i := range list {
			if list[i].src == client {
				list[i].sport = port
			} else {
				list[i].dport = port
			}
		}
		return list
	}
	declared := func(list []record) []record {
		for i := range list {
			list[i].declared = Self
			if list[i].src == server {
				list[i].declared = Other
			}
		}
		return list
	}
	bare := func(list []record) []record {
		for i := range list {
			list[i].bare = list[i].flags == 0
		}
		return list
	}
	plain := func(list []record) []record {
		for i := range list {
			list[i].flags = 0
		}
		return list
	}
	many := func(n int, f func(i int) []record) (list []record) {
		for i := range n {
			list = append(list, f(i)...)
		}
		return list
	}
	for _, c := range []struct {
		name    string
		records []record
		want    map[string]profiler.Evidence
	}{
		{"a web server, once", conversation(client, 51000, server, 443, tcp), map[string]profiler.Evidence{"2 tcp/443": profiler.Service}},
		{"an unlisted port, once", conversation(client, 51000, server, 9777, tcp), map[string]profiler.Evidence{"2 tcp/9777": profiler.Class}},
		{"an unlisted high port, from many", many(5, func(i int) []record { return conversation(client, uint16(51000+i), server, 20777, tcp) }), map[string]profiler.Evidence{"2 tcp/20777": profiler.FanIn}},
		{"two ephemeral ports say nothing", conversation(client, 51000, server, 52000, tcp), nil},
		{"a handshake", []record{{src: server, dst: client, sport: 52000, dport: 51000, proto: tcp, flags: flagSYN | flagACK, packets: 1}}, map[string]profiler.Evidence{"2 tcp/52000": profiler.Handshake}},
		{"SYN and ACK of more than one packet is none", []record{{src: server, dst: client, sport: 52000, dport: 51000, proto: tcp, flags: flagSYN | flagACK, packets: 2}}, nil},
		{"an exporter that declares it", []record{{src: client, dst: server, sport: 51000, dport: 52000, proto: tcp, flags: finished, packets: 3, declared: Self}}, map[string]profiler.Evidence{"2 tcp/52000": profiler.Exporter}},
		{"a declared scan, all refused", declared(scan(flagSYN, 4096)), nil},
		{"a declared connection without flags", declared(plain(conversation(client, 51000, server, 52000, tcp))), map[string]profiler.Evidence{"2 tcp/52000": profiler.Exporter}},
		{"a declared attempt without flags", declared(plain(conversation(client, 51000, server, 52000, tcp)[:1])), nil},
		{"a SYN scan, all refused", scan(flagSYN, 4096), nil},
		{"a FIN scan", scan(flagFIN, 4096), nil},
		{"a XMAS scan", scan(flagFIN|flagPSH|32, 4096), nil},
		{"an ACK scan", scan(flagACK, 4096), nil},
		{"a scan of FIN and ACK", scan(flagFIN|flagACK, 4096), nil},
		{"an ACK scan from one port", from(scan(flagACK, 4096), 61000), nil},
		{"a null scan, by an exporter that has flags", bare(from(scan(0, 4096), 61000)), nil},
		{"a connection without flags, by an exporter that has none", plain(conversation(client, 51000, server, 443, tcp)), map[string]profiler.Evidence{"2 tcp/443": profiler.Service}},
		{"attempts without flags", []record{{src: client, dst: server, sport: 51000, dport: 443, proto: tcp, packets: 3}}, nil},
		{"NFS from a reserved port", conversation(client, 892, server, 2049, tcp), nil},
		{"RADIUS from a listed port", conversation(client, 20000, server, 1812, udp), nil},
		{"a file by TFTP", append(conversation(client, 3445, server, 69, udp), conversation(client, 3445, server, 50618, udp)...), map[string]profiler.Evidence{"2 udp/69": profiler.Service}},
		{"an unanswered UDP scan", many(4096, func(i int) []record {
			return []record{{src: client, dst: server, sport: 40001, dport: uint16(1 + i*16), proto: udp, packets: 1}}
		}), nil},
		{"NTP between two clients' ports", append(conversation(client, 123, server, 123, udp), conversation(other, 123, server, 123, udp)...), map[string]profiler.Evidence{"1 udp/123": 0, "2 udp/123": 0, "3 udp/123": 0}},
		{"a call's media", conversation(client, 18000, server, 24000, udp), nil},
		{"a browser", many(300, func(i int) []record { return conversation(client, uint16(49200+i*50), 0, 443, tcp) }), nil},
		{"a client of an unlisted service", many(300, func(i int) []record { return conversation(client, uint16(49200+i*50), server, 23456, tcp) }), map[string]profiler.Evidence{"2 tcp/23456": profiler.FanIn}},
		{"active FTP", many(6, func(i int) []record { return conversation(server, 20, client, uint16(51000+i), tcp) }), nil},
		{"multicast", []record{{src: client, sport: 5353, dport: 5353, proto: udp, packets: 3, group: true}}, nil},
		{"port 0", []record{{src: client, dst: server, sport: 0, dport: 443, proto: tcp, flags: finished, packets: 3}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld()
			w.see(now0, c.records...)
			w.settle(now0+10, true)
			if c.name == "NTP between two clients' ports" { // listed ports, symmetric: whichever, none is a client's
				for n := range w.listening {
					if _, ok := c.want[n]; !ok {
						t.Errorf("%s listens", n)
					}
				}
				return
			}
			w.expect(t, c.want)
		})
	}
}

// TestNATGateway: who opens thousands of connections from ports that look like
// services' has none of them.
func TestNATGateway(t *testing.T) {
	w := newWorld()
	for i := range 3000 {
		now := uint32(now0 + i*20)
		w.see(now, conversation(1, uint16(1024+i*21%64000), 0, uint16(30000+i%3000), tcp)...)
		if i%30 == 0 {
			w.settle(now, false)
		}
	}
	w.settle(now0+70_000, true)
	if len(w.listening) > 2 {
		t.Errorf("%d ports: %v", len(w.listening), w.listening)
	}
}

// TestDayOfAClient: a client that works all day against unlisted ports shows no
// weak port at its end, though every single one would have counted in a capture
// of a minute.
func TestDayOfAClient(t *testing.T) {
	w := newWorld()
	r := rand.New(rand.NewPCG(7, 7))
	for i := range 2000 {
		now := uint32(now0 + i*40)
		w.see(now, conversation(1, uint16(32768+r.IntN(28000)), 0, uint16(52000+r.IntN(8000)), tcp)...)
		if i%2 == 0 {
			w.settle(now, false)
		}
	}
	w.settle(now0+86_400, true)
	w.expect(t, nil)
}

// TestContactedByAScanIsBounded: what a scan asks for is not what it uses.
func TestContactedByAScanIsBounded(t *testing.T) {
	w := newWorld()
	for p := 1; p < 65536; p++ {
		w.see(now0, record{src: 1, dst: 2, sport: 40000, dport: uint16(p), proto: tcp, flags: flagSYN, packets: 1})
		w.see(now0, record{src: 1, dst: 2, sport: 40000, dport: uint16(p), proto: udp, packets: 1})
	}
	for p := 1; p < 65536; p++ {
		w.see(now0, record{src: 1, dst: 2, sport: 40000, dport: uint16(p), proto: tcp, flags: flagSYN, packets: 1, declared: Self})
	}
	if len(w.contacted) != 0 {
		t.Errorf("%d contacted ports", len(w.contacted))
	}
}

// TestMovedAddress: the new holder of an address starts afresh.
func TestMovedAddress(t *testing.T) {
	w := newWorld()
	s := Side{Binding: 5, Gen: 1, Port: 20777, FarPort: 51000, Proto: tcp, Flags: finished, Out: true, FarHash: 1}
	w.take(&s, w.Judge(&s, now0))
	s.Gen, s.FarPort = 2, 51001
	w.take(&s, w.Judge(&s, now0+1))
	if len(w.listening) != 0 {
		t.Errorf("what the former holder met counts: %v", w.listening)
	}
	s.FarPort = 51002
	w.take(&s, w.Judge(&s, now0+2))
	w.expect(t, map[string]profiler.Evidence{"5 tcp/20777": profiler.FanIn})
}

// office is random traffic of a few endpoints with few ports each, so that no
// slot has to make room.
func office(r *rand.Rand) (list []record) {
	services, clients := []uint16{22, 80, 443, 5060, 9777}, []uint16{20777, 33000, 40000, 51000, 52000}
	r.Shuffle(5, func(i, j int) { services[i], services[j] = services[j], services[i] })
	r.Shuffle(5, func(i, j int) { clients[i], clients[j] = clients[j], clients[i] })
	for range 60 {
		a, b := uint32(1+r.IntN(5)), uint32(r.IntN(6))
		proto, flags := uint8(tcp), []uint8{finished, finished, flagSYN, flagACK, flagSYN | flagACK, flagRST | flagACK, 0}[r.IntN(7)]
		if r.IntN(3) == 0 {
			proto, flags = udp, 0
		}
		pa, pb := services[r.IntN(3)], clients[r.IntN(2)] // of two protocols: ten slots
		if r.IntN(2) == 0 {
			pa, pb = pb, pa
		}
		list = append(list, record{src: a, dst: b, sport: pa, dport: pb, proto: proto, flags: flags, packets: 1 + r.IntN(2)})
		if b != 0 && (flags == finished || proto == udp && r.IntN(2) == 0) {
			list = append(list, record{src: b, dst: a, sport: pb, dport: pa, proto: proto, flags: flags, packets: 2})
		}
	}
	return list
}

// end is what a world comes to.
func (w *world) end() string {
	w.settle(now0+10, true)
	var list []string
	for n, e := range w.listening {
		list = append(list, fmt.Sprint(n, " ", e))
	}
	for n := range w.contacted {
		list = append(list, n+" contacted")
	}
	slices.SortFunc(list, cmp.Compare[string])
	return fmt.Sprint(list)
}

// TestOrderDoesNotMatter: records in any order, and divided between two workers
// in any way, come to the same.
func TestOrderDoesNotMatter(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		list := office(r)
		first := newWorld()
		first.see(now0, list...)
		want := first.end()
		shuffled := slices.Clone(list)
		r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		second := newWorld()
		second.see(now0, shuffled...)
		if got := second.end(); got != want {
			t.Fatalf("seed %d:\n%s\nanother order:\n%s", seed, want, got)
		}
		third := newWorld()
		var mu sync.Mutex
		var both sync.WaitGroup
		for half := range 2 {
			both.Go(func() {
				for i := half; i < len(shuffled); i += 2 {
					for _, s := range shuffled[i].sides() {
						v := third.Judge(&s, now0)
						mu.Lock()
						third.take(&s, v)
						mu.Unlock()
					}
				}
			})
		}
		both.Wait()
		if got := third.end(); got != want {
			t.Fatalf("seed %d:\n%s\ntwo workers:\n%s", seed, want, got)
		}
	}
}

// TestWithdrawalIsNotForgotten: one that nobody takes is told again.
func TestWithdrawalIsNotForgotten(t *testing.T) {
	for _, many := range []int{1, weakPorts + 1} { // contradicted, and too many
		w := newWorld()
		listed := []uint16{5432, 8080, 9100, 8443, 5900, 8000, 8008, 9200, 9090}
		for i := range many {
			w.see(now0, conversation(0, 51000, 1, listed[i], tcp)...)
			if i < weakPorts {
				w.settle(now0+settleAfter+1, false)
			}
		}
		told := len(w.listening)
		if told == 0 {
			t.Fatal("nothing was told that could be withdrawn")
		}
		if many == 1 {
			w.see(now0+400, record{src: 1, sport: listed[0], dport: 9777, proto: tcp, flags: flagSYN, packets: 1})
		}
		for range 3 { // nobody takes it
			refused := 0
			w.Settle(now0+700, false, func(t Told) bool {
				if t.Withdraw {
					refused++
				}
				return !t.Withdraw
			})
			if refused == 0 {
				t.Fatalf("%d ports: a withdrawal that was not taken is forgotten", many)
			}
		}
		w.settle(now0+700, false)
		if len(w.listening) != 0 {
			t.Errorf("%d ports: still listening: %v", many, w.listening)
		}
	}
}

// TestFullTableSaysSo: an endpoint that finds no place is told from one of which
// nothing is known yet.
func TestFullTableSaysSo(t *testing.T) {
	w := New(1, 1<<10) // one chunk of endpoints
	s := Side{Binding: 1, Gen: 1, Port: 9777, FarPort: 51000, Proto: tcp, Flags: finished, Out: true}
	if v := w.Judge(&s, now0); v.Full {
		t.Error("the first endpoint finds no place")
	}
	for _, binding := range []uint32{chunkSize, maxChunks * chunkSize} {
		s.Binding = binding
		if v := w.Judge(&s, now0); !v.Full {
			t.Errorf("binding %d: %+v", binding, v)
		}
	}
}

func TestJudgeAllocatesNothing(t *testing.T) {
	w := New(1<<16, 1<<12)
	s := Side{Binding: 5, Gen: 1, Port: 20777, Proto: tcp, Flags: finished, Out: true}
	w.Judge(&s, now0)
	if n := testing.AllocsPerRun(1000, func() {
		s.FarPort++
		w.Judge(&s, now0)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkJudge(b *testing.B) {
	w := New(1<<20, 1<<16)
	r := rand.New(rand.NewPCG(1, 1))
	var sides []Side
	for range 1 << 14 {
		list := conversation(uint32(1+r.IntN(10_000)), uint16(49152+r.IntN(16000)), uint32(1+r.IntN(10_000)), []uint16{443, 53, 9777, 20777}[r.IntN(4)], tcp)
		for _, x := range list {
			sides = append(sides, x.sides()...)
		}
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		w.Judge(&sides[i%len(sides)], now0)
		i++
	}
}
