// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bench

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/portolan/portolan/profiler"
)

// Kind is what sort of socket something is.
type Kind string

// The kinds of services, which whoever looks for listening ports has to find,
// and of sockets that are bound as well: to say that they listen is true, but
// they are there for one conversation, or no client would look for them.
const (
	KindListed       Kind = "listed"       // on a port that everybody knows
	KindDevice       Kind = "device"       // what one kind of device is known for
	KindAgent        Kind = "agent"        // an agent that a monitoring system asks
	KindRPC          Kind = "rpc"          // in the range for clients, found through a port mapper
	KindUnlisted     Kind = "unlisted"     // a vendor's daemon on some port
	KindMicroservice Kind = "microservice" // the same, by and for programs
	KindNodePort     Kind = "nodeport"     // of a Kubernetes cluster
	KindAdmin        Kind = "admin"        // a web page for few, on an odd port
	KindDev          Kind = "dev"          // somebody tries something

	KindPeer       Kind = "bound peer"      // both ends have the port: NTP, SIP, BACnet, DHCP, mDNS
	KindPeerToPeer Kind = "bound p2p"       // of a program that exchanges files
	KindMesh       Kind = "bound mesh"      // of a private network of tunnels
	KindCall       Kind = "bound call"      // voice and pictures of one call
	KindGame       Kind = "bound game"      // one socket, many game servers
	KindTransient  Kind = "bound transient" // FTP data: one connection
)

// Bound tells that a port of the kind need not be found.
func (k Kind) Bound() bool {
	switch k {
	case KindPeer, KindPeerToPeer, KindMesh, KindCall, KindGame, KindTransient:
		return true
	}
	return false
}

// DayTruth is a port that something listens on.
type DayTruth struct {
	Addr  netip.Addr
	MAC   profiler.MAC
	Role  string // of the endpoint
	Proto uint8
	Port  uint16
	Kind  Kind
	// Answers is how many conversations it took part in; Clients how many hosts
	// they were with, about.
	Answers, Clients int
	// Probes is how many of Answers were to scans.
	Probes int
	// Oneway tells of an exporter that shows one direction only: "out" is the
	// one from the endpoint.
	Oneway string
}

// Use is how much a port is used: idle, scanned (only scans found it), rare (up to 10 conversations), popular
// (with 20 hosts or more) or regular.
func (t *DayTruth) Use() string {
	switch {
	case t.Answers == 0:
		return "idle"
	case t.Answers == t.Probes:
		return "scanned"
	case t.Clients >= 20:
		return "popular"
	case t.Answers <= 10:
		return "rare"
	}
	return "regular"
}

// Height is where in the range of ports it is: low (below 1024), middle (below
// 10000), high (below 32768), or ephemeral, where clients of most systems are.
func (t *DayTruth) Height() string {
	switch {
	case t.Port < 1024:
		return "low"
	case t.Port < 10000:
		return "middle"
	case t.Port < 32768:
		return "high"
	}
	return "ephemeral"
}

// Wanted tells that it has to be found: a service that answered.
func (t *DayTruth) Wanted() bool { return t.Answers > 0 && !t.Kind.Bound() }

// Truth is what listened so far, complete after the last datagram. It is sorted
// by address, protocol and port.
func (d *Day) Truth() []DayTruth {
	list := make([]DayTruth, 0, len(d.order))
	for _, s := range d.order {
		list = append(list, DayTruth{
			Addr: addr(s.host.addr), MAC: s.host.mac, Role: s.host.role.name, Proto: s.proto, Port: s.port,
			Kind: s.kind, Answers: int(s.answers), Probes: int(s.probes), Clients: s.clients(), Oneway: [...]string{"", "out", "in"}[s.host.site],
		})
	}
	slices.SortFunc(list, func(a, b DayTruth) int {
		return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.MAC.String(), b.MAC.String()), cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.Port, b.Port))
	})
	return list
}

// Explain makes a day again and tells for each port what it was used for: the
// names of the habits, each with the role that the port had, and how often. Ports
// that were not used have no entry.
func Explain(c DayConfig, ports []DayFound) (map[DayFound]map[string]int, error) {
	d, err := NewDay(c)
	if err != nil {
		return nil, err
	}
	d.watched = make(map[boundPort]map[string]int)
	byMAC := make(map[profiler.MAC]*host, len(d.hosts))
	for _, h := range d.hosts {
		byMAC[h.mac] = h
	}
	keys := make(map[DayFound]boundPort)
	for _, p := range ports {
		h := byMAC[p.MAC]
		if h == nil && p.Addr.Is4() {
			h = d.holder[ipv4(p.Addr)]
		}
		if h != nil {
			keys[p] = boundPort{h, p.Proto, p.Port}
			d.watched[keys[p]] = map[string]int{}
		}
	}
	for more := true; more; {
		_, more = d.Next()
	}
	found := make(map[DayFound]map[string]int)
	for p, key := range keys {
		if why := d.watched[key]; len(why) > 0 {
			found[p] = why
		}
	}
	return found, nil
}

// explain notes what a conversation used the watched ports for.
func (d *Day) explain(now int64, t *talk) {
	if h := d.at(t.client.addr, now); h != nil {
		if why := d.watched[boundPort{h, t.proto, t.client.port}]; why != nil {
			why["client: "+t.what]++
		}
	}
	h := d.at(t.server.addr, now)
	if h == nil {
		return
	}
	if why := d.watched[boundPort{h, t.proto, t.server.port}]; why != nil {
		role := "closed: "
		if d.bound[boundPort{h, t.proto, t.server.port}] != nil {
			role = "server: "
		}
		why[role+t.what]++
	}
}
