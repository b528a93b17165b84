// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bench

import "time"

// livePLC listens as its maker wants it.
func livePLC(d *Day, h *host) {
	port := map[byte]uint16{0x1b: 102, 0xbc: 44818, 0xf4: 502}[h.mac[2]]
	d.serve(h, tcp, port, KindDevice)
	if port != 102 {
		d.serve(h, tcp, 80, KindListed)
	}
	if port == 44818 { // implicit messages, 2222 to 2222
		d.serve(h, udp, 2222, KindPeer)
	}
}

// liveSCADA asks the controllers every second, over connections that stay open.
func liveSCADA(d *Day, h *host) {
	liveServer(d, h)
	for _, c := range h.cell.roles["plc"] {
		port := map[byte]uint16{0x1b: 102, 0xbc: 44818, 0xf4: 502}[c.mac[2]]
		from := d.ephemeral(h, tcp)
		t := kept(7*24*time.Hour, time.Second, 1, 1)
		if d.chance(.6) { // since long before the day
			t.shape = joined
		}
		d.beginAt(c, d.start+d.random.Int64N(int64(time.Minute)), func(now int64) int64 {
			d.say(now, talk{what: "controller", client: end{h.addr, from}, server: end{c.addr, port}, proto: tcp, traffic: t})
			return 0
		})
		if d.bound[boundPort{c, tcp, 80}] != nil {
			d.every(c, 9*time.Hour, func(now int64) { d.connect(now, "controller's page", h, end{c.addr, 80}, d.short()) })
		}
	}
}

// livePanel shows a controller to a worker, who is watched over VNC at times.
func livePanel(d *Day, h *host) {
	d.begin(h, time.Minute, func(now int64) int64 {
		life := time.Duration(d.lasting(time.Hour, 24*time.Hour))
		if c := d.some(h.cell, now, "plc"); c != nil {
			port := map[byte]uint16{0x1b: 102, 0xbc: 44818, 0xf4: 502}[c.mac[2]]
			d.connect(now, "panel", h, end{c.addr, port}, kept(life, 500*time.Millisecond, 1, 1))
		}
		return int64(life) + d.exp(time.Minute)
	})
	d.every(h, 5*time.Hour, func(now int64) {
		if c := d.some(h.cell, now, "scada"); c != nil {
			d.connect(now, "VNC", c, end{h.addr, 5900}, kept(time.Duration(d.lasting(time.Minute, time.Hour)), time.Second, 4, 20))
		}
	})
}

// liveBuilding speaks BACnet, from 47808 to 47808, with its neighbours, and all
// of them with the first.
func liveBuilding(d *Day, h *host) {
	first := h.cell.roles["building"][0]
	d.steadily(h, time.Minute, func(now int64) {
		if first != h {
			d.from(now, "BACnet", first, 47808, end{h.addr, 47808}, traffic{up: 8, down: 8, upSize: 60, downSize: 70, life: 2 * time.Second})
		}
	})
	d.every(h, 30*time.Minute, func(now int64) {
		d.from(now, "BACnet", h, 47808, end{h.addr | 0xff, 47808}, traffic{up: 1, upSize: 60})
	})
	if d.chance(.5) {
		d.serve(h, tcp, 80, KindListed)
		d.every(h, 5*time.Hour, func(now int64) {
			if c := d.some(h.cell, now, "office"); c != nil {
				d.connect(now, "building's page", c, end{h.addr, 80}, d.short())
			}
		})
	}
}

// liveSensor has a stack that counts its ports up and reports all day.
func liveSensor(d *Day, h *host) {
	d.clock(h)
	if d.chance(.5) {
		d.begin(h, time.Minute, func(now int64) int64 {
			life := time.Duration(d.lasting(time.Hour, 20*time.Hour))
			d.to(now, "MQTT", h, "broker", []uint16{1883, 8883}[d.random.IntN(2)], kept(life, 45*time.Second, 2, 2))
			return int64(life) + d.exp(time.Minute)
		})
		return
	}
	d.steadily(h, time.Minute, func(now int64) { d.connect(now, "report", h, end{public(uint64(d.between(200, 210))), 443}, d.short()) })
}

func liveBadge(d *Day, h *host) {
	d.clock(h)
	d.atWork(h, 15*time.Minute, func(now int64) { // the controller of the doors calls it
		if c := d.some(h.cell, now, "files"); c != nil {
			d.connect(now, "badge reader", c, end{h.addr, 4050}, d.short())
		}
	})
}

func liveTV(d *Day, h *host) {
	d.clock(h)
	d.atWork(h, 10*time.Minute, func(now int64) { d.page(now, h) })
	d.atWork(h, 40*time.Minute, func(now int64) { // somebody shows something
		if c := d.some(h.cell, now, "mobile"); c != nil {
			d.connect(now, "cast", c, end{h.addr, []uint16{8009, 9197}[d.random.IntN(2)]}, kept(time.Duration(d.lasting(time.Minute, time.Hour)), 5*time.Second, 2, 2))
		}
	})
}

func liveSwitch(d *Day, h *host) {
	d.clock(h)
	d.every(h, 20*time.Minute, func(now int64) { // from 514 to 514
		if e, ok := d.on(h.cell, now, "monitor", 514); ok {
			d.from(now, "syslog", h, 514, e, traffic{up: d.between(1, 5), upSize: 200, life: time.Second})
		}
	})
	d.every(h, 10*time.Hour, func(now int64) { d.to(now, "TACACS+", h, "radius", 49, d.short()) })
	d.every(h, 12*time.Hour, func(now int64) {
		if c := d.some(h.cell, now, "jump"); c != nil {
			d.connect(now, "maintenance", c, end{h.addr, 22}, d.usual(60, 60, 120, 4*time.Minute))
		}
	})
}

// liveAccessPoint speaks CAPWAP to its controller, from a port that stays.
func liveAccessPoint(d *Day, h *host) {
	liveSwitch(d, h)
	from := uint16(d.between(32768, 60999))
	d.steadily(h, 30*time.Second, func(now int64) {
		if e, ok := d.on(h.cell, now, "wireless", 5246); ok {
			d.from(now, "CAPWAP", h, from, e, traffic{up: 2, down: 2, upSize: 200, downSize: 200, life: time.Second})
			d.from(now, "CAPWAP", h, from, end{e.addr, 5247}, traffic{up: d.between(2, 300), down: d.between(2, 300), upSize: 600, downSize: 700, life: 20 * time.Second})
		}
	})
}

func liveSilent(d *Day, h *host) {
	d.every(h, 10*time.Hour, func(now int64) {
		if c := d.some(h.cell, now, "jump"); c != nil {
			d.connect(now, "device's page", c, end{h.addr, 80}, d.short())
		}
	})
}

// liveJump is where administrators come from.
func liveJump(d *Day, h *host) {
	liveServer(d, h)
	d.atWork(h, 8*time.Minute, func(now int64) { d.visitAdmin(now, h) })
	d.atWork(h, 20*time.Minute, func(now int64) {
		if c := d.some(h.cell, now, "developer"); c != nil {
			d.connect(now, "ssh", c, end{h.addr, 22}, kept(time.Duration(d.lasting(10*time.Second, 3*time.Hour)), 5*time.Second, 5, 6))
		}
	})
	d.every(h, 40*time.Minute, func(now int64) {
		d.to(now, "console", h, "hypervisor", []uint16{443, 902}[d.random.IntN(2)], d.short())
	})
	d.every(h, 2*time.Hour, func(now int64) {
		d.to(now, "console", h, "dc", []uint16{5985, 3389, 9389}[d.random.IntN(3)], d.short())
	})
	d.every(h, 2*time.Hour, func(now int64) {
		d.to(now, "console", h, "files", []uint16{5985, 135, 49664, 49667}[d.random.IntN(4)], d.short())
	})
	d.every(h, 3*time.Hour, func(now int64) { // an rlogin of old: from below 1024
		if c := d.some(h.cell, now, "bsd"); c != nil {
			d.serve(c, tcp, 514, KindListed)
			d.say(now, talk{what: "rsh", client: end{h.addr, uint16(d.between(1015, 1023))}, server: end{c.addr, 514}, proto: tcp, traffic: d.short()})
		}
	})
	d.every(h, 5*time.Minute, func(now int64) { // something that is switched off answers RST
		if c := d.some(h.cell, now, "app"); c != nil {
			t := traffic{shape: refused, up: 1, down: 1, upSize: 60, downSize: 40}
			if port := uint16(9443); d.bound[boundPort{c, tcp, port}] == nil {
				d.connect(now, "stopped service", h, end{c.addr, port}, t)
			}
		}
	})
}

// liveTerminal is a server on which many people surf.
func liveTerminal(d *Day, h *host) {
	liveServer(d, h)
	d.surf(h, 40*time.Second)
	d.member(h)
	d.atWork(h, 10*time.Minute, func(now int64) {
		if c := d.some(h.cell, now, "mac"); c != nil {
			d.connect(now, "terminal", c, end{h.addr, []uint16{1494, 2598}[d.random.IntN(2)]}, kept(time.Duration(d.lasting(time.Minute, 3*time.Hour)), 2*time.Second, 5, 9))
		}
	})
}

func liveUpdates(d *Day, h *host) {
	liveServer(d, h)
	d.every(h, 30*time.Minute, func(now int64) { // its console reaches for computers
		if c := d.some(h.cell, now, "office"); c != nil {
			d.connect(now, "inventory", h, end{c.addr, []uint16{135, 445}[d.random.IntN(2)]}, d.short())
		}
	})
}

func liveHypervisor(d *Day, h *host) {
	liveServer(d, h)
	vmotion := d.serve(h, tcp, 8000, KindUnlisted)
	d.every(h, 3*time.Hour, func(now int64) {
		if peer := d.some(h.cell, now, "hypervisor"); peer != nil && peer != h {
			t := d.usual(d.between(9000, 90_000), 9000, 60, time.Duration(d.lasting(10*time.Second, 5*time.Minute)))
			t.upSize = 1400
			d.connect(now, "migration", peer, end{h.addr, vmotion.port}, t)
		}
	})
}

func liveBSD(d *Day, h *host) {
	liveServer(d, h)
	d.every(h, time.Minute, func(now int64) { // a mirror, which fetches from others
		d.connect(now, "mirror", h, end{d.popular(), []uint16{80, 443, 873}[d.random.IntN(3)]}, d.short())
	})
	d.every(h, 10*time.Minute, func(now int64) { d.to(now, "mirror", h, "web", 80, d.short()) })
	d.every(h, 30*time.Minute, func(now int64) {
		if c := d.some(h.cell, now, "app"); c != nil {
			d.connect(now, "mirror", c, end{h.addr, []uint16{80, 873}[d.random.IntN(2)]}, d.short())
		}
	})
}

// liveCollector gathers figures from daemons on odd ports all day, with the 4,000
// client ports that its firmware has: each of them meets every daemon. It
// asks the sensors over UDP from one socket, on the port that their maker chose,
// and keeps some connections that were there long before the day.
func liveCollector(d *Day, h *host) {
	d.clock(h)
	d.every(h, 2*time.Second, func(now int64) {
		apps := h.cell.apps
		if len(apps) == 0 {
			return
		}
		if s := apps[d.random.IntN(len(apps))]; s.proto == tcp && s.host != h {
			d.connect(now, "collector", h, end{s.host.addr, s.port}, d.short())
		}
	})
	poller, port := d.ephemeral(h, udp), d.unlisted()
	for _, s := range h.cell.roles["sensor"] {
		d.serve(s, udp, port, KindUnlisted)
		d.steadily(s, time.Minute, func(now int64) { d.from(now, "poll", h, poller, end{s.addr, port}, d.query(60, 90)) })
	}
	for i, role := range []string{"hypervisor", "app", "ups"} {
		hosts := h.cell.roles[role]
		if len(hosts) == 0 {
			continue
		}
		s := d.serve(hosts[i%len(hosts)], tcp, d.unlisted(), KindUnlisted)
		from := d.ephemeral(h, tcp)
		t := kept(7*24*time.Hour, 5*time.Second, 1, 1)
		t.shape = joined
		d.beginAt(s.host, d.start+d.random.Int64N(int64(time.Minute)), func(now int64) int64 {
			d.say(now, talk{what: "old connection", client: end{h.addr, from}, server: end{s.host.addr, s.port}, proto: tcp, traffic: t})
			return 0
		})
	}
}
