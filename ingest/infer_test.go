// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"testing"

	"github.com/portolan/portolan/ingest/flow"
	"github.com/portolan/portolan/profiler"
	"github.com/portolan/portolan/store/ipset"
)

// inferring is a worker whose records are all between the endpoints 1, the
// source, and 2.
func inferring(t *testing.T) func(r flow.Record) []finding {
	t.Helper()
	c := Config{Set: setOf(t), Sink: newMemorySink(), Infer: true}
	if err := c.complete(); err != nil {
		t.Fatal(err)
	}
	w := newWorker(newShared(&c, flow.Limits{Seed: 1}), make(chan struct{}, 1))
	t.Cleanup(w.reader.Close)
	one, two := ipset.Binding{ID: 1, Gen: 1}, ipset.Binding{ID: 2, Gen: 1}
	return func(r flow.Record) []finding {
		r.Src, r.Dst = addr("10.0.0.1"), addr("10.0.0.2")
		w.candidates = append(w.candidates[:0],
			candidate{binding: one, far: two, port: r.SrcPort, farPort: r.DstPort, proto: r.Proto, out: true},
			candidate{binding: two, far: one, port: r.DstPort, farPort: r.SrcPort, proto: r.Proto})
		w.infer(&flow.Batch{Stream: &flow.Stream{}, Records: []flow.Record{r}}, day.UnixNano())
		return w.findings
	}
}

// listens tells whether endpoint 2 was found to serve a port.
func listens(found []finding, port uint16) bool {
	for _, f := range found {
		if f.role == profiler.Listening && f.binding.ID == 2 && f.port == port {
			return true
		}
	}
	return false
}

// A record of both directions shows what two would: UDP that was answered.
func TestInferBothDirectionsOfARecord(t *testing.T) {
	r := flow.Record{SrcPort: 40000, DstPort: 161, Proto: protoUDP, Packets: 1}
	if infer := inferring(t); listens(infer(r), 161) {
		t.Error("a question shows that somebody answers")
	}
	r.ReversePackets = 1
	if infer := inferring(t); !listens(infer(r), 161) {
		t.Error("question and answer in one record show nothing")
	}
	// The flags of each direction are its own: SYN and ACK alone came back.
	r = flow.Record{SrcPort: 40000, DstPort: 40001, Proto: protoTCP, Packets: 2, TCPFlags: 0x12, ReversePackets: 1, ReverseTCPFlags: 0x12}
	if infer := inferring(t); !listens(infer(r), 40001) {
		t.Error("a handshake on the way back was not seen")
	}
}

// What a firewall has denied shows nothing, however it looks.
func TestInferDenied(t *testing.T) {
	r := flow.Record{SrcPort: 40000, DstPort: 443, Proto: protoTCP, TCPFlags: 0x1b, Packets: 9, Initiator: flow.SourceEnd, Event: deniedEvent}
	infer := inferring(t)
	if found := infer(r); len(found) != 0 {
		t.Errorf("%+v", found)
	}
	r.Event = 0
	if !listens(infer(r), 443) {
		t.Error("the same, let through, shows nothing")
	}
}

// A record of TCP without flags is a conversation's, until its exporter has shown
// that it knows flags: then it is a null scan's.
func TestInferWithoutFlags(t *testing.T) {
	infer := inferring(t)
	without := flow.Record{SrcPort: 40000, DstPort: 443, Proto: protoTCP, Packets: 9}
	if !listens(infer(without), 443) {
		t.Error("an exporter without flags shows nothing")
	}
	infer(flow.Record{SrcPort: 40001, DstPort: 80, Proto: protoTCP, Packets: 9, TCPFlags: 0x1b})
	without.DstPort = 22
	if found := infer(without); len(found) != 0 {
		t.Errorf("a null scan shows %+v", found)
	}
}

// Multicast and broadcast are nobody's; the addresses between them are somebody's
// in captures whose addresses were made unrecognisable.
func TestGroup(t *testing.T) {
	for a, want := range map[string]bool{
		"223.255.255.255": false, "224.0.0.251": true, "239.255.255.250": true, "240.0.0.1": false, "254.125.135.128": false,
		"255.255.255.254": false, "255.255.255.255": true, "ff02::fb": true, "fe80::1": false, "::": false,
	} {
		x := addr(a)
		if got := group(&x); got != want {
			t.Errorf("%s: %v", a, got)
		}
	}
}

// TestAllThatSettlesAtTheEndIsPosted: more ports than the queue holds settle at
// once where a capture ends, and none is lost.
func TestAllThatSettlesAtTheEndIsPosted(t *testing.T) {
	const endpoints = queueSize + 5000
	set := setOf(t)
	changes := make([]ipset.Change, endpoints)
	for i := range changes {
		changes[i] = ipset.Change{Addr: addrOf(i), Binding: ipset.Binding{ID: uint32(i + 1), Gen: 1}}
	}
	set.Change(changes)
	sink := newMemorySink()
	o := newOffline(t, Config{Set: set, Sink: sink, Infer: true})
	for i := 0; i < endpoints; i += flow.MaxV5Records {
		var records []flow.Record
		for j := i; j < min(i+flow.MaxV5Records, endpoints); j++ {
			records = append(records, flow.Record{Src: addrOf(j), Dst: addr("198.51.100.1"), SrcPort: 9100, DstPort: 51000, Proto: protoTCP, TCPFlags: 0x1b, Packets: 9})
		}
		feed(t, o, day, flow.AppendV5(nil, flow.V5Header{ExportTime: day.UnixNano()}, records))
	}
	if n := sink.offered(); n != 0 {
		t.Fatalf("%d posts before anything has settled", n)
	}
	if err := o.End(t.Context(), day); err != nil {
		t.Fatal(err)
	}
	l := o.Status().Ledger
	checkBooks(t, &l)
	if l.Posts.Acknowledged != endpoints || len(l.Posts.Lost) != 0 {
		t.Errorf("%+v", l.Posts)
	}
}
