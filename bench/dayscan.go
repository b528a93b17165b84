// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bench

import "time"

// method is a way of nmap to try a port.
type method uint8

const (
	scanSYN method = iota
	scanConnect
	scanACK
	scanFIN
	scanNull
	scanXmas
	scanUDP
)

var methodNames = [...]string{"SYN scan", "connect scan", "ACK scan", "FIN scan", "null scan", "Xmas scan", "UDP scan"}

// scan tries all ports of all targets, or as many as count says at random.
type scan struct {
	method  method
	from    end // port 0: another one for each probe
	targets []uint32
	ports   []uint16
	rate    int // in a second
	count   int // 0: all, ports of one target after the other
}

// scanFrom runs a scan from a host at a share of the day.
func (d *Day) scanFrom(h *host, share float64, s scan) {
	const ticks = 10 // in a second
	if s.from.addr == 0 {
		s.from.addr = h.addr
	}
	if s.method == scanSYN || s.method > scanConnect {
		s.from.port = d.randomPort(h, tcp, 33000, 64000) // nmap sends all of its own probes from one
	}
	next, all := 0, len(s.targets)*len(s.ports)
	if s.count > 0 {
		all = s.count
	}
	d.beginAt(h, d.start+int64(share*float64(d.end-d.start)), func(now int64) int64 {
		for range max(1, s.rate/ticks) {
			if next == all || all == 0 {
				return 0
			}
			i := next
			if s.count > 0 {
				i = d.random.IntN(len(s.targets) * len(s.ports))
			}
			next++
			d.probe(now+d.random.Int64N(int64(time.Second/ticks)), h, &s, s.targets[i/len(s.ports)], s.ports[i%len(s.ports)])
		}
		return int64(time.Second / ticks)
	})
}

// probe tries one port.
func (d *Day) probe(now int64, h *host, s *scan, target uint32, port uint16) {
	if target == s.from.addr {
		return
	}
	t := talk{what: methodNames[s.method], client: s.from, server: end{target, port}, proto: tcp, probe: true}
	if t.client.port == 0 {
		t.client.port = d.ephemeral(h, tcp)
	}
	victim := d.at(target, now)
	open, silent := false, victim == nil
	if victim != nil {
		proto := uint8(tcp)
		if s.method == scanUDP {
			proto = udp
		}
		service := d.bound[boundPort{victim, proto, port}]
		open = service != nil && service.kind != KindTransient && service.kind != KindCall
		silent = victim.quiet && !open
	}
	if s.method == scanUDP {
		d.probeUDP(now, t, victim, open, silent)
		return
	}
	t.traffic = s.method.answer(open, silent, victim != nil && victim.os.String() == "Windows")
	d.say(now, t)
}

// answer is what becomes of a probe over TCP.
func (m method) answer(open, silent, windows bool) traffic {
	t := traffic{up: 1, down: 1, upSize: 44, downSize: 40}
	switch m {
	case scanSYN, scanConnect:
		switch {
		case open && m == scanConnect:
			t.shape, t.up, t.life = clientReset, 3, time.Millisecond
		case open:
			t.shape, t.up, t.life, t.downSize = probeOpen, 2, time.Millisecond, 44
		case silent:
			t.shape, t.up, t.down, t.life = ignored, 2, 0, time.Second
		default:
			t.shape = refused
		}
	case scanACK:
		t.shape = probeACK
		if silent {
			t.shape, t.down = unansweredAk, 0
		}
	default:
		t.shape = [...]shape{scanFIN: probeFIN, scanNull: probeNull, scanXmas: probeXmas}[m]
		if silent || open && !windows { // which resets in either case
			t.shape, t.down = [...]shape{scanFIN: unansweredIn, scanNull: unansweredNl, scanXmas: unansweredXm}[m], 0
		}
	}
	return t
}

// probeUDP gets an answer of few services, and of a closed port an ICMP message
// that is rationed.
func (d *Day) probeUDP(now int64, t talk, victim *host, open, silent bool) {
	t.proto = udp
	t.traffic = traffic{up: 2, upSize: 40, life: time.Second}
	if open && d.chance(.5) {
		t.traffic = d.query(40, 120)
	}
	d.say(now, t)
	if !open && !silent && d.chance(.2) {
		const unreachable = 0x0303
		d.say(now, talk{what: "port unreachable", client: end{victim.addr, 0}, server: end{t.client.addr, unreachable}, proto: 1, traffic: traffic{up: 1, upSize: 68}})
	}
}

// liveScanner looks for weak spots in its cell, in all ways.
func liveScanner(d *Day, h *host) {
	liveServer(d, h)
	if d.cfg.Calm {
		return
	}
	c := h.cell
	common := []uint16{21, 22, 23, 25, 53, 80, 110, 111, 135, 139, 143, 161, 389, 443, 445, 515, 554, 631, 993, 1433, 1521, 3306, 3389, 5432, 5900, 5985, 6379, 8000, 8080, 8443, 9100, 9200, 10000, 27017, 49152, 49664}
	top := append(portRun(1, 1000), 1433, 3306, 3389, 5432, 5900, 8080, 8443)
	all := portRun(1, 65535)
	d.scanFrom(h, .10, scan{method: scanSYN, targets: c.addresses(netServers), ports: common, rate: 300})
	d.scanFrom(h, .20, scan{method: scanConnect, targets: append(c.addresses(netUsers), c.addresses(netDevices)...), ports: common[:12], rate: 200})
	d.scanFrom(h, .30, scan{method: scanUDP, targets: append(c.addresses(netServers), c.addresses(netDevices)...), ports: []uint16{53, 67, 123, 137, 161, 500, 1900, 5060, 5353, 47808}, rate: 100})
	d.scanFrom(h, .50, scan{method: scanACK, targets: d.victims(c, "web", "app"), ports: top, rate: 400})
	d.scanFrom(h, .55, scan{method: scanFIN, targets: d.victims(c, "dc", "nas"), ports: top, rate: 400})
	d.scanFrom(h, .60, scan{method: scanNull, targets: d.victims(c, "printer", "node"), ports: top, rate: 400})
	d.scanFrom(h, .65, scan{method: scanXmas, targets: d.victims(c, "files", "postgres"), ports: top, rate: 400})
	d.scanFrom(h, .70, scan{method: scanUDP, targets: d.victims(c, "nas", "printer"), ports: top, rate: 100})
	if c.number%10 == 0 {
		d.scanFrom(h, .40, scan{method: scanSYN, targets: d.victims(c, "app"), ports: all, rate: 1000})
		d.scanFrom(h, .80, scan{method: scanConnect, targets: d.victims(c, "stores"), ports: all, rate: 500})
		d.scanFrom(h, .85, scan{method: scanACK, targets: d.victims(c, "dc"), ports: all, rate: 1000})
	}
}

// portRun is the ports from a to b.
func portRun(a, b int) (list []uint16) {
	for p := a; p <= b; p++ {
		list = append(list, uint16(p))
	}
	return list
}

// addresses are those of a network that are in use, and some that are not.
func (c *cell) addresses(n network) (list []uint32) {
	for i := range min(c.used[n]+8, 250) {
		list = append(list, c.base+uint32(n)<<8+4+i)
	}
	return list
}

// victims is one host of each role.
func (d *Day) victims(c *cell, roles ...string) (list []uint32) {
	for _, r := range roles {
		if hosts := c.roles[r]; len(hosts) > 0 {
			list = append(list, hosts[d.random.IntN(len(hosts))].addr)
		}
	}
	return list
}

// outsiders knock all day, and a computer inside spreads a worm.
func (d *Day) outsiders(c *cell) {
	if d.cfg.Calm {
		return
	}
	anchor := c.roles["dc"][0]
	doors := []uint16{22, 23, 80, 443, 445, 3389, 8080, 5060, 8443, 2323}
	servers := c.addresses(netServers)
	d.every(anchor, time.Minute, func(now int64) { // one tries a few doors of everybody
		s := &scan{method: scanSYN, from: end{d.stranger(), uint16(d.between(1024, 65535))}}
		for range d.between(1, 40) {
			d.probe(now+d.lasting(0, time.Minute), anchor, s, servers[d.random.IntN(len(servers))], doors[d.random.IntN(len(doors))])
		}
	})
	d.every(anchor, 3*time.Minute, func(now int64) { // and does not wait for the answer
		if e, ok := d.on(c, now, "balancer", 443); ok {
			d.say(now, talk{what: "half open", client: end{d.stranger(), uint16(d.between(1024, 65535))}, server: e, proto: tcp, traffic: traffic{shape: halfOpen, up: 1, down: 5, upSize: 44, downSize: 44, life: 31 * time.Second}})
		}
	})
	stranger := end{d.stranger(), 0}
	stranger.port = uint16(d.between(1024, 65535))
	outside := scan{method: scanSYN, from: stranger, targets: d.victims(c, "balancer"), ports: portRun(1, 10000), rate: 100}
	d.scanFrom(anchor, .33, outside)
	if sick := c.roles["office"]; len(sick) > 0 {
		h := sick[len(sick)-1]
		var prey []uint32
		for range 2000 {
			prey = append(prey, c.base+uint32(d.between(1, 1022)), d.stranger())
		}
		d.scanFrom(h, .45, scan{method: scanConnect, targets: prey, ports: []uint16{445, 23, 2323}, rate: 20, count: 15_000})
	}
}
