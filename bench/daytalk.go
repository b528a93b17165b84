// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bench

import (
	"fmt"
	"time"
)

// end is one end of a conversation.
type end struct {
	addr uint32
	port uint16
}

// talk is a conversation: client is the end that spoke first.
type talk struct {
	what           string // names the habit, to explain a port
	client, server end
	proto          uint8
	probe          bool // a scan's
	traffic
}

// traffic is how much is said, and how.
type traffic struct {
	shape            shape
	up, down         int // packets from and to the client
	upSize, downSize int // bytes of a packet
	life             time.Duration
	// every, where it is set, spreads the packets over life in bursts of up and
	// down packets at this distance.
	every time.Duration
}

// shape is how a conversation begins and ends.
type shape uint8

const (
	datagrams    shape = iota // no TCP
	finished                  // SYN to FIN
	clientReset               // the client ends it by RST
	serverReset               // the server does
	left                      // it opens, and the end comes after the day or never
	joined                    // it was open before the day and stays so
	refused                   // RST answers SYN
	ignored                   // nothing answers SYN
	halfOpen                  // the client never acknowledges
	probeOpen                 // SYN scan of an open port: SYN, SYN-ACK, RST
	probeACK                  // ACK scan: RST answers
	probeFIN                  // FIN scan of a closed port: RST-ACK answers
	probeNull                 // no flags
	probeXmas                 // FIN, PSH and URG
	unansweredIn              // of the probes: nothing answers; flags are those of FIN
	unansweredXm              // Xmas
	unansweredNl              // null
	unansweredAk              // ACK
)

// shapes has the first, middle and last flags of both directions.
var shapes = [...]struct{ up, down [3]uint8 }{
	datagrams:    {},
	finished:     {[3]uint8{syn, ack | psh, fin | ack}, [3]uint8{syn | ack, ack | psh, fin | ack}},
	clientReset:  {[3]uint8{syn, ack | psh, rst | ack}, [3]uint8{syn | ack, ack | psh, ack | psh}},
	serverReset:  {[3]uint8{syn, ack | psh, ack}, [3]uint8{syn | ack, ack | psh, rst | ack}},
	left:         {[3]uint8{syn, ack | psh, ack | psh}, [3]uint8{syn | ack, ack | psh, ack}},
	joined:       {[3]uint8{ack | psh, ack | psh, ack}, [3]uint8{ack, ack | psh, ack | psh}},
	refused:      {[3]uint8{syn, syn, syn}, [3]uint8{rst | ack, rst | ack, rst | ack}},
	ignored:      {[3]uint8{syn, syn, syn}, [3]uint8{}},
	halfOpen:     {[3]uint8{syn, syn, syn}, [3]uint8{syn | ack, syn | ack, syn | ack}},
	probeOpen:    {[3]uint8{syn, rst, rst}, [3]uint8{syn | ack, syn | ack, syn | ack}},
	probeACK:     {[3]uint8{ack, ack, ack}, [3]uint8{rst, rst, rst}},
	probeFIN:     {[3]uint8{fin, fin, fin}, [3]uint8{rst | ack, rst | ack, rst | ack}},
	probeNull:    {[3]uint8{}, [3]uint8{rst | ack, rst | ack, rst | ack}},
	probeXmas:    {[3]uint8{fin | psh | urg, fin | psh | urg, fin | psh | urg}, [3]uint8{rst | ack, rst | ack, rst | ack}},
	unansweredIn: {[3]uint8{fin, fin, fin}, [3]uint8{}},
	unansweredXm: {[3]uint8{fin | psh | urg, fin | psh | urg, fin | psh | urg}, [3]uint8{}},
	unansweredNl: {},
	unansweredAk: {[3]uint8{ack, ack, ack}, [3]uint8{}},
}

// opens tells that the server accepted what came, so that something listens.
func (t *talk) opens() bool {
	switch t.shape {
	case datagrams, finished, clientReset, serverReset, left, joined, halfOpen, probeOpen:
		return t.down > 0 && (t.proto == tcp || t.proto == udp)
	}
	return false
}

// say lets a conversation begin at a time. What its host leaves or the end of
// the day cuts short does not end properly; a server that is not there any more
// does not answer.
func (d *Day) say(now int64, t talk) {
	client, server := d.at(t.client.addr, now), d.at(t.server.addr, now)
	until := d.end
	if client != nil {
		until = min(until, client.until)
	} else if d.holder[t.client.addr] != nil {
		return // nobody speaks from there now
	}
	if now >= until {
		return
	}
	if client != nil && t.opens() {
		if s := d.bound[boundPort{client, t.proto, t.client.port}]; s != nil {
			s.answered(t.server) // it spoke first, but is there for others as well
		}
	}
	if t.opens() && d.holder[t.server.addr] != nil {
		if server == nil {
			t.unanswered()
		} else if s := d.bound[boundPort{server, t.proto, t.server.port}]; s != nil {
			s.answered(t.client)
			if t.probe {
				s.probes++
			}
			until = min(until, server.until)
		} else if server.from == 0 && server.until >= d.end {
			panic(fmt.Sprintf("bench: %s: nothing listens on port %d/%d of %s", t.what, t.server.port, t.proto, server.name))
		} else {
			t.refusedBy(server)
		}
	}
	if cut := until - now; int64(t.life) > cut {
		t.shorten(cut)
	}
	if d.watched != nil {
		d.explain(now, &t)
	}
	d.exchange(now, &t)
}

// unanswered makes it an attempt that nobody heard.
func (t *talk) unanswered() {
	t.down, t.up, t.every, t.life = 0, 3, 0, 3*time.Second
	if t.proto == tcp {
		t.shape, t.upSize = ignored, 52
	}
}

func (t *talk) refusedBy(h *host) {
	t.unanswered()
	if t.proto == tcp && !h.quiet {
		t.shape, t.up, t.down, t.downSize, t.life = refused, 1, 1, 40, 0
	}
}

// shorten ends it after ns without a proper end.
func (t *talk) shorten(ns int64) {
	if t.every == 0 {
		share := float64(ns) / float64(t.life)
		t.up, t.down = max(1, int(float64(t.up)*share)), min(t.down, max(1, int(float64(t.down)*share)))
	}
	t.life = time.Duration(ns)
	switch t.shape {
	case finished, clientReset, serverReset:
		t.shape = left
	}
}

// exchange gives both directions to the exporters that see them.
func (d *Day) exchange(now int64, t *talk) {
	from, to := d.place(t.client.addr), d.place(t.server.addr)
	trip := time.Duration(d.between(100, 900)) * time.Microsecond
	if !from.inside || !to.inside && !to.group {
		trip = time.Duration(d.between(4, 140)) * time.Millisecond
	}
	flags := &shapes[t.shape]
	up := t.stream(now, t.up, t.upSize, &flags.up)
	up.src, up.srcPort, up.dst, up.dstPort = t.client.addr, t.client.port, t.server.addr, t.server.port
	down := t.stream(now+int64(trip), t.down, t.downSize, &flags.down)
	down.src, down.srcPort, down.dst, down.dstPort = t.server.addr, t.server.port, t.client.addr, t.client.port
	for _, e := range d.exporters {
		if t.up > 0 && e.sees(from, to) {
			d.watch(e, up)
		}
		if t.down > 0 && e.sees(to, from) {
			d.watch(e, down)
		}
	}
}

// stream is one direction of a conversation.
func (t *talk) stream(now int64, packets, size int, flags *[3]uint8) stream {
	s := stream{proto: t.proto, first: flags[0], middle: flags[1], last: flags[2], size: uint16(max(size, 40)), next: now, bursts: uint32(packets), burst: 1}
	switch {
	case t.every > 0:
		s.step, s.burst = int64(t.every), uint32(packets)
		s.bursts = uint32(max(1, int64(t.life)/s.step))
	case packets > 1:
		s.step = int64(t.life) / int64(packets-1)
	}
	return s
}

// connect is a connection from a port that the client's system takes.
func (d *Day) connect(now int64, what string, h *host, to end, t traffic) {
	d.say(now, talk{what: what, client: end{h.addr, d.ephemeral(h, tcp)}, server: to, proto: tcp, traffic: t})
}

// ask is the same over UDP.
func (d *Day) ask(now int64, what string, h *host, to end, t traffic) {
	d.from(now, what, h, d.ephemeral(h, udp), to, t)
}

// from is a datagram conversation from a port of one's own.
func (d *Day) from(now int64, what string, h *host, port uint16, to end, t traffic) {
	d.say(now, talk{what: what, client: end{h.addr, port}, server: to, proto: udp, traffic: t})
}

// usual is a connection of some packets that ends in one of the usual ways.
func (d *Day) usual(up, down, downSize int, life time.Duration) traffic {
	t := traffic{up: up + 3, down: down + 2, upSize: d.between(60, 400), downSize: downSize, life: life}
	switch x := d.random.Float64(); {
	case x < .74:
		t.shape = finished
	case x < .88:
		t.shape = clientReset
	case x < .92:
		t.shape = serverReset
	default:
		t.shape = left
	}
	return t
}

// short is a request and its answer.
func (d *Day) short() traffic {
	return d.usual(d.between(1, 6), d.between(1, 10), d.between(100, 1200), time.Duration(d.lasting(2*time.Millisecond, 3*time.Second)))
}

// query is one datagram and its answer.
func (d *Day) query(up, down int) traffic {
	return traffic{up: 1, down: 1, upSize: up, downSize: down}
}

// kept is a connection over hours with a burst of packets at each distance.
func kept(life, every time.Duration, up, down int) traffic {
	return traffic{shape: left, up: up, down: down, upSize: 120, downSize: 180, life: life, every: every}
}
