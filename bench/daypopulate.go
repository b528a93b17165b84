// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bench

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// cell is a part of the network with servers of its own. A day has one for each
// 400 endpoints.
type cell struct {
	number int
	base   uint32 // its first address
	roles  map[string][]*host
	apps   []*service // what microservices, vendors' daemons and pods listen on
	admin  []*service // web pages for administrators on odd ports
	used   [networks]uint32
}

const cellSize = 400

// populate makes the endpoints.
func (d *Day) populate() {
	for left := d.cfg.Endpoints; left > 0; left -= cellSize {
		c := &cell{number: len(d.cells), roles: map[string][]*host{}}
		c.base = 10<<24 + uint32(c.number)<<10
		d.cells = append(d.cells, c)
		d.fill(c, min(left, cellSize))
	}
	if d.cfg.Moves {
		d.plan()
	}
}

// fill makes the hosts of a cell of n. A cell of less than 400 has less of
// all, but no less than half of it in servers.
func (d *Day) fill(c *cell, n int) {
	scale := float64(n) / cellSize
	left := n
	for i := range roles {
		r := &roles[i]
		count := int(math.Round(r.share * scale))
		if r.network == netServers {
			count = min(max(count, 1), max(n*6/10-n+left, 0))
		}
		if r.share == 0 {
			count = left
		}
		for range min(count, left) {
			d.settler(c, r)
			left--
		}
	}
}

// settler makes a host.
func (d *Day) settler(c *cell, r *role) *host {
	number := c.used[r.network]
	c.used[r.network]++
	h := &host{
		role: r, cell: c, until: math.MaxInt64,
		name:  fmt.Sprintf("%s-%d-%d", r.name, c.number, len(c.roles[r.name])+1),
		addr:  c.base + uint32(r.network)<<8 + 4 + number,
		os:    r.systems[d.random.IntN(len(r.systems))],
		rises: d.random.Int64N(int64(3*time.Hour)) - int64(90*time.Minute),
	}
	h.quiet = h.os.String() == "Windows" && d.chance(.8) || r.network == netServers && d.chance(.3)
	if r.network != netServers && r.name != "switch" {
		switch x := d.random.Float64(); {
		case x < .04:
			h.site = siteOut
		case x < .055:
			h.site = siteIn
		}
	}
	d.manufacture(h)
	c.roles[r.name] = append(c.roles[r.name], h)
	d.hosts = append(d.hosts, h)
	if d.holder[h.addr] == nil {
		d.holder[h.addr] = h
	}
	d.listen(h, r.listed, KindListed)
	d.listen(h, r.device, KindDevice)
	d.listen(h, r.agent, KindAgent)
	d.listen(h, r.rpc, KindRPC)
	d.listen(h, r.peer, KindPeer)
	return h
}

// manufacture gives a host its hardware address.
func (d *Day) manufacture(h *host) {
	vendor := h.role.vendors[d.random.IntN(len(h.role.vendors))]
	serial := uint32(len(d.hosts)) // no two are the same
	if vendor == macRandom {
		vendor = d.random.Uint32()&0xfcffff | 0x020000 // locally administered
	}
	h.mac = [6]byte{byte(vendor >> 16), byte(vendor >> 8), byte(vendor), byte(serial >> 16), byte(serial >> 8), byte(serial)}
}

// listen binds the ports of a list.
func (d *Day) listen(h *host, list string, kind Kind) {
	for _, text := range strings.Fields(list) {
		proto := uint8(tcp)
		if text[0] == 'u' {
			proto = udp
		}
		port, err := strconv.ParseUint(text[1:], 10, 16)
		if err != nil {
			panic(err) // of a table in this package
		}
		d.serve(h, proto, uint16(port), kind)
	}
}

// settle starts what the endpoints do, once all of them are there.
func (d *Day) settle() {
	for _, h := range d.hosts {
		if h.role.network == netServers {
			d.administer(h)
		}
	}
	for _, h := range d.hosts {
		d.liveLocally(h)
		h.role.live(d, h)
	}
	for _, c := range d.cells {
		d.outsiders(c)
	}
}

// administer gives half of the servers a web page on an odd port, and some a
// daemon of a vendor that nobody has heard of.
func (d *Day) administer(h *host) {
	if d.chance(.5) {
		h.cell.admin = append(h.cell.admin, d.serve(h, tcp, d.unlisted(), KindAdmin))
	}
	if h.role.name == "licences" || d.chance(.2) {
		h.cell.apps = append(h.cell.apps, d.serve(h, tcp, d.unlisted(), KindUnlisted))
	}
	if h.role.name == "terminal" || d.chance(.06) {
		h.cell.apps = append(h.cell.apps, d.serve(h, udp, d.unlisted(), KindUnlisted))
	}
}

// unlisted is a port that somebody chose out of the blue.
func (d *Day) unlisted() uint16 {
	switch x := d.random.Float64(); {
	case x < .06:
		return uint16(d.between(600, 1023))
	case x < .5:
		return uint16(d.between(1100, 9999))
	case x < .85:
		return uint16(d.between(10000, 32767))
	}
	return uint16(d.between(32768, 65000))
}

// some is a host of a role that is there, of one's own cell most of the time, nil
// where there is none.
func (d *Day) some(c *cell, now int64, role string) *host {
	if len(d.cells) > 1 && d.chance(.05) {
		c = d.cells[d.random.IntN(len(d.cells))]
	}
	list := c.roles[role]
	if len(list) == 0 {
		list = d.cells[0].roles[role]
	}
	if len(list) == 0 {
		return nil
	}
	if h := list[d.random.IntN(len(list))]; h.here(now) {
		return h
	}
	return nil
}

// on is a port of a host of a role that serves it.
func (d *Day) on(c *cell, now int64, role string, port uint16) (end, bool) {
	h := d.some(c, now, role)
	if h == nil {
		return end{}, false
	}
	return end{h.addr, port}, true
}

// to connects to a port of some host of a role, if there is one.
func (d *Day) to(now int64, what string, h *host, role string, port uint16, t traffic) {
	if e, ok := d.on(h.cell, now, role, port); ok && e.addr != h.addr {
		d.connect(now, what, h, e, t)
	}
}

// queryTo is the same for one datagram and its answer.
func (d *Day) queryTo(now int64, what string, h *host, role string, port uint16, t traffic) {
	if e, ok := d.on(h.cell, now, role, port); ok && e.addr != h.addr {
		d.ask(now, what, h, e, t)
	}
}

// publicSites is how many different servers outside there are.
const publicSites = 6000

// public is the address of a number outside.
func public(n uint64) uint32 {
	first := [...]byte{13, 20, 23, 31, 34, 35, 40, 44, 52, 54, 64, 66, 69, 72, 74, 91, 93, 99, 104, 108, 128, 130, 142, 146, 151, 157, 162, 185, 195, 199, 204, 216}
	x := mix(n * golden)
	return uint32(first[x>>32%uint64(len(first))])<<24 | uint32(x)&0xffffff | 1
}

// popular is the address of a server outside, popular ones more often.
func (d *Day) popular() uint32 { return public(d.zipf.Uint64()) }

// stranger is an address outside that hardly anybody else meets.
func (d *Day) stranger() uint32 { return public(publicSites + d.random.Uint64N(1<<40)) }

// plan lets one address in fifty pass to another device. Both are there from the
// beginning of the plan, so that the number of endpoints stays what it is.
func (d *Day) plan() {
	for _, c := range d.cells {
		var able []*host
		for _, r := range []string{"office", "mobile", "mac", "printer", "camera", "developer"} {
			able = append(able, c.roles[r]...)
		}
		d.random.Shuffle(len(able), func(i, j int) { able[i], able[j] = able[j], able[i] })
		for i := range min(max(1, len(able)/30), len(able)/2) {
			d.pass(able[2*i], able[2*i+1])
		}
	}
	slices.SortFunc(d.moves, func(a, b DayMove) int { return a.At.Compare(b.At) })
}

// pass lets b have the address of a from some time in the middle of the day.
func (d *Day) pass(a, b *host) {
	length := d.end - d.start
	a.until = d.start + length/4 + d.random.Int64N(length/2)
	b.from = a.until + d.lasting(30*time.Second, 10*time.Minute)
	delete(d.holder, b.addr)
	b.addr, b.site, a.heir = a.addr, a.site, b
	d.moves = append(d.moves, DayMove{At: time.Unix(0, b.from).UTC(), Addr: addr(a.addr), From: a.mac, To: b.mac})
}
