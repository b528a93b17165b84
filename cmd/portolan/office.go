// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/portolan/portolan/ingest/flow"
	"github.com/portolan/portolan/profiler"
)

// demoOffice is a small office's network for the demo: who is there and what they
// say to one another, as its routers would export it. The seed is fixed, so
// that every demo tells the same story.
type demoOffice struct {
	rand  *rand.Rand
	rows  []profiler.Row
	hosts map[string][][16]byte // by kind
}

// kind is a kind of device: how many there are, and the ports that they serve.
type kind struct {
	name, category, os string
	count              int
	serves             []service
}

// service is a port, who uses it and how often in relation to the others.
type service struct {
	proto   uint8
	port    uint16
	clients string // kind of the clients
	weight  int
}

const (
	tcpProto = 6
	udpProto = 17

	// The flags of a whole TCP connection, as v5 sums them up.
	wholeConnection = 0x1b // FIN, SYN, PSH, ACK
)

var officeKinds = []kind{
	{"dc", "Server", "Windows", 2, []service{{udpProto, 53, "laptop", 30}, {tcpProto, 389, "laptop", 6}, {tcpProto, 88, "laptop", 6}, {udpProto, 123, "camera", 4}}},
	{"files", "Server", "Linux", 3, []service{{tcpProto, 445, "laptop", 12}, {tcpProto, 22, "laptop", 1}}},
	{"web", "Server", "Linux", 4, []service{{tcpProto, 443, "laptop", 20}, {tcpProto, 80, "laptop", 4}}},
	{"db", "Server", "Linux", 3, []service{{tcpProto, 5432, "web", 8}}},
	{"nvr", "Server", "Linux", 2, nil},
	{"pbx", "Server", "Linux", 1, []service{{udpProto, 5060, "phone", 12}}},
	{"printer", "Printer", "", 28, []service{{tcpProto, 9100, "laptop", 5}, {tcpProto, 631, "laptop", 2}, {udpProto, 161, "dc", 2}}},
	{"camera", "Camera", "", 60, []service{{tcpProto, 554, "nvr", 10}, {tcpProto, 80, "nvr", 1}}},
	{"phone", "VoIP Phone", "", 120, nil},
	{"plc", "Controller", "", 12, []service{{tcpProto, 502, "web", 2}, {udpProto, 47808, "web", 2}}},
	{"ap", "Access Point", "", 25, []service{{tcpProto, 22, "dc", 1}, {udpProto, 161, "dc", 3}}},
	{"laptop", "Computer", "Windows", 240, nil},
}

// newOffice sets the office up.
func newOffice() *demoOffice {
	o := &demoOffice{rand: rand.New(rand.NewPCG(2055, 5)), hosts: map[string][][16]byte{}}
	ip := netip.MustParseAddr("10.20.0.10")
	for _, k := range officeKinds {
		for i := range k.count {
			o.hosts[k.name] = append(o.hosts[k.name], ip.As16())
			o.rows = append(o.rows, profiler.Row{
				MAC:      profiler.MAC{0x02, 0x50, 0x4f, 0x52, byte(len(o.rows) >> 8), byte(len(o.rows))}, // locally administered
				IP:       ip,
				Hostname: fmt.Sprintf("%s-%d", k.name, i+1),
				OSType:   k.os,
				Category: k.category,
			})
			ip = ip.Next()
		}
	}
	return o
}

// flows appends n conversations that ended just before now, each in both
// directions, as routers export them.
func (o *demoOffice) flows(records []flow.Record, n int, now time.Time) []flow.Record {
	for range n {
		if o.rand.IntN(4) == 0 {
			// Browsing: somebody inside, a server outside.
			outside := netip.AddrFrom4([4]byte{198, 51, 100, byte(1 + o.rand.IntN(250))}).As16()
			records = o.talk(records, tcpProto, o.pick("laptop"), outside, 443, now)
			continue
		}
		server, s := o.service()
		records = o.talk(records, s.proto, o.pick(s.clients), server, s.port, now)
	}
	return records
}

// service picks a service by weight, and one device that offers it.
func (o *demoOffice) service() ([16]byte, service) {
	total := 0
	for _, k := range officeKinds {
		for _, s := range k.serves {
			total += s.weight
		}
	}
	n := o.rand.IntN(total)
	for _, k := range officeKinds {
		for _, s := range k.serves {
			if n -= s.weight; n < 0 {
				return o.pick(k.name), s
			}
		}
	}
	panic("office: weights do not add up")
}

func (o *demoOffice) pick(kind string) [16]byte {
	return o.hosts[kind][o.rand.IntN(len(o.hosts[kind]))]
}

// talk appends a conversation's two records.
func (o *demoOffice) talk(records []flow.Record, proto uint8, client, server [16]byte, port uint16, now time.Time) []flow.Record {
	ask := flow.Record{
		Src: client, Dst: server, SrcPort: uint16(49152 + o.rand.IntN(16384)), DstPort: port, Proto: proto,
		Packets: 2 + o.rand.Uint64N(30), Bytes: 120 + o.rand.Uint64N(4000), InIf: 1, OutIf: 2,
		Start: now.Add(-time.Second).UnixNano(), End: now.UnixNano(),
	}
	if proto == tcpProto {
		ask.TCPFlags = wholeConnection
	}
	answer := ask
	answer.Src, answer.Dst, answer.SrcPort, answer.DstPort = ask.Dst, ask.Src, ask.DstPort, ask.SrcPort
	answer.InIf, answer.OutIf = ask.OutIf, ask.InIf
	answer.Bytes = 200 + o.rand.Uint64N(60_000)
	return append(records, ask, answer)
}
