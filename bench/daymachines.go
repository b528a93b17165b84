// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bench

import "time"

// liveMonitor asks every device by SNMP from one socket and every other by ping,
// and scrapes agents.
func liveMonitor(d *Day, h *host) {
	liveServer(d, h)
	poller := d.candidate(h, udp)
	for d.bound[boundPort{h, udp, poller}] != nil {
		poller = d.candidate(h, udp)
	}
	for _, target := range d.hosts {
		if target.cell != h.cell || target == h {
			continue
		}
		if d.bound[boundPort{target, udp, 161}] != nil {
			d.steadily(target, 5*time.Minute, func(now int64) {
				n := d.between(1, 12)
				t := traffic{up: n, down: n, upSize: 90, downSize: 300, life: time.Second}
				if mix(uint64(target.addr))%4 == 0 { // another program asks these
					d.ask(now, "SNMP", h, end{target.addr, 161}, t)
				} else {
					d.from(now, "SNMP", h, poller, end{target.addr, 161}, t)
				}
			})
			d.every(target, 5*time.Hour, func(now int64) {
				d.ask(now, "trap", target, end{h.addr, 162}, traffic{up: d.between(1, 3), upSize: 160, life: time.Second})
			})
			d.steadily(target, 4*time.Minute, func(now int64) {
				d.say(now, talk{what: "ping", client: end{h.addr, 0}, server: end{target.addr, 0x0800}, proto: 1, traffic: traffic{up: 3, upSize: 84, life: 2 * time.Second}})
				d.say(now, talk{what: "ping", client: end{target.addr, 0}, server: end{h.addr, 0}, proto: 1, traffic: traffic{up: 3, upSize: 84, life: 2 * time.Second}})
			})
		}
		for _, port := range []uint16{9100, 9104, 9187, 10050, 10256} {
			if s := d.bound[boundPort{target, tcp, port}]; s != nil && s.kind == KindAgent {
				d.scrape(h, target, port)
			}
		}
	}
	d.atWork(h, 20*time.Minute, func(now int64) {
		if c := d.some(h.cell, now, "developer"); c != nil {
			d.connect(now, "dashboard", c, end{h.addr, []uint16{443, 3000, 9090}[d.random.IntN(3)]}, d.short())
		}
	})
	d.every(h, 5*time.Minute, func(now int64) {
		if c := d.some(h.cell, now, "mail"); c != nil {
			d.connect(now, "agent", c, end{h.addr, 10051}, d.short())
		}
	})
}

// scrape reads the figures of an agent twice a minute over a connection that is
// kept, or over a new one each time.
func (d *Day) scrape(h, target *host, port uint16) {
	if d.chance(.6) {
		d.begin(target, time.Minute, func(now int64) int64 {
			life := time.Duration(d.lasting(time.Hour, 12*time.Hour))
			d.connect(now, "scrape", h, end{target.addr, port}, kept(life, 30*time.Second, 3, 12))
			return int64(life)
		})
		return
	}
	d.steadily(target, 2*time.Minute, func(now int64) { d.connect(now, "scrape", h, end{target.addr, port}, d.short()) })
}

// liveBackup fetches from every server at night, one after the other.
func liveBackup(d *Day, h *host) {
	liveServer(d, h)
	s := d.serve(h, tcp, 13782, KindListed)
	night := d.start + int64(time.Hour)
	if d.end-d.start < int64(12*time.Hour) {
		night = d.start + (d.end-d.start)/4
	}
	for i, target := range d.hosts {
		if target.cell != h.cell || target.role.network != netServers || target == h {
			continue
		}
		for day := night; day < d.end; day += int64(24 * time.Hour) {
			d.beginAt(target, day+int64(i%cellSize)*int64(90*time.Second), func(now int64) int64 {
				t := d.usual(d.between(20_000, 900_000), d.between(10_000, 300_000), 60, time.Duration(d.lasting(2*time.Minute, 100*time.Minute)))
				t.upSize, t.shape = 1400, finished
				d.connect(now, "backup", target, end{h.addr, s.port}, t)
				d.connect(now, "backup", target, end{h.addr, 13724}, d.short())
				return 0
			})
		}
	}
}

// liveNAS has clients whose ports are below 1024, as NFS demands.
func liveNAS(d *Day, h *host) {
	liveServer(d, h)
	lock := d.serve(h, tcp, uint16(d.between(33000, 60000)), KindRPC) // lockd, where the port mapper says
	for _, role := range []string{"app", "node", "developer"} {
		for _, c := range h.cell.roles[role] {
			if d.chance(.4) {
				continue
			}
			from := uint16(d.between(665, 1023))
			for d.bound[boundPort{c, tcp, from}] != nil || d.bound[boundPort{c, udp, from}] != nil {
				from = uint16(d.between(665, 1023))
			}
			d.begin(c, 10*time.Minute, func(now int64) int64 {
				life := time.Duration(d.lasting(2*time.Hour, 24*time.Hour))
				d.ask(now, "NFS", c, end{h.addr, 111}, d.query(80, 60))
				d.connect(now, "NFS", c, end{h.addr, 20048}, d.short())
				t := kept(life, time.Duration(d.between(2, 60))*time.Second, 12, 12)
				d.say(now+int64(time.Second), talk{what: "NFS", client: end{c.addr, from}, server: end{h.addr, 2049}, proto: tcp, traffic: t})
				if d.chance(.3) {
					d.connect(now, "NFS", c, end{h.addr, lock.port}, d.short())
				}
				return int64(life) + d.exp(time.Minute)
			})
		}
	}
	d.atWork(h, 10*time.Minute, func(now int64) {
		if c := d.some(h.cell, now, []string{"mac", "office"}[d.random.IntN(2)]); c != nil {
			d.connect(now, "NAS", c, end{h.addr, []uint16{80, 443, 445, 5000, 5001}[d.random.IntN(5)]}, d.short())
		}
	})
}

// livePBX registers telephones and connects calls; it carries the voice of some
// of them itself.
func livePBX(d *Day, h *host) { liveServer(d, h) }

// livePhone speaks SIP from 5060 to 5060. Each call has two pairs of sockets of
// its own at either end.
func livePhone(d *Day, h *host) {
	d.clock(h)
	d.steadily(h, time.Duration(d.between(1, 5))*time.Minute, func(now int64) {
		if e, ok := d.on(h.cell, now, "pbx", 5060); ok {
			d.from(now, "SIP", h, 5060, e, traffic{up: 2, down: 2, upSize: 500, downSize: 450, life: time.Second})
		}
	})
	d.every(h, 8*time.Hour, func(now int64) { // its settings
		if e, ok := d.on(h.cell, now, "pbx", 69); ok {
			d.ask(now, "TFTP", h, e, traffic{up: 1, upSize: 60})
		}
	})
	d.every(h, 12*time.Hour, func(now int64) {
		if c := d.some(h.cell, now, "jump"); c != nil {
			d.connect(now, "telephone's page", c, end{h.addr, 80}, d.short())
		}
	})
	d.atWork(h, time.Hour, func(now int64) {
		peer := d.some(h.cell, now, []string{"phone", "pbx"}[d.random.IntN(2)])
		if peer == nil || peer == h {
			return
		}
		life := time.Duration(d.lasting(5*time.Second, 25*time.Minute))
		a, b := uint16(2*d.between(8192, 16383)), uint16(2*d.between(8192, 16383))
		if peer.role.name == "pbx" {
			b = uint16(2 * d.between(5000, 9999))
		}
		for i := range uint16(2) { // RTP and RTCP
			d.serve(h, udp, a+i, KindCall)
			d.serve(peer, udp, b+i, KindCall)
		}
		voice := int(life.Seconds()*50) + 1
		d.from(now, "RTP", h, a, end{peer.addr, b}, traffic{up: voice, down: voice, upSize: 200, downSize: 200, life: life})
		d.from(now, "RTCP", h, a+1, end{peer.addr, b + 1}, traffic{up: voice/250 + 1, down: voice/250 + 1, upSize: 100, downSize: 100, life: life})
	})
}

func livePrintServer(d *Day, h *host) {
	liveServer(d, h)
	d.member(h)
	for _, p := range h.cell.roles["printer"] {
		d.atWork(p, 50*time.Minute, func(now int64) {
			job := d.usual(d.between(30, 4000), d.between(20, 900), 60, time.Duration(d.lasting(time.Second, 4*time.Minute)))
			job.upSize = 1300
			d.connect(now, "print", h, end{p.addr, 9100}, job)
		})
		d.steadily(p, 10*time.Minute, func(now int64) { d.ask(now, "SNMP", h, end{p.addr, 161}, d.query(90, 110)) })
	}
}

func livePrinter(d *Day, h *host) {
	d.clock(h)
	d.every(h, 5*time.Hour, func(now int64) { // somebody looks whether it is jammed
		if c := d.some(h.cell, now, "office"); c != nil {
			d.connect(now, "printer's page", c, end{h.addr, []uint16{80, 443}[d.random.IntN(2)]}, d.short())
		}
	})
	d.every(h, 3*time.Hour, func(now int64) { // a scanned page
		d.to(now, "scan to share", h, "files", 445, d.usual(d.between(50, 900), 60, 90, 6*time.Second))
	})
}

func liveRecorder(d *Day, h *host) {
	liveServer(d, h)
	for _, c := range h.cell.roles["camera"] {
		d.begin(c, time.Minute, func(now int64) int64 { // a stream for hours
			life := time.Duration(d.lasting(time.Hour, 20*time.Hour))
			d.connect(now, "camera", h, end{c.addr, 554}, kept(life, time.Second, 3, 40))
			return int64(life) + d.exp(10*time.Second)
		})
	}
	d.atWork(h, 30*time.Minute, func(now int64) {
		if c := d.some(h.cell, now, "office"); c != nil {
			d.connect(now, "recorder's page", c, end{h.addr, []uint16{80, 443, 554, 8000, 37777}[d.random.IntN(5)]}, d.short())
		}
	})
}

func liveCamera(d *Day, h *host) {
	d.clock(h)
	d.every(h, 10*time.Hour, func(now int64) {
		if c := d.some(h.cell, now, "recorder"); c != nil {
			d.connect(now, "camera's page", c, end{h.addr, 80}, d.short())
		}
	})
}

func livePACS(d *Day, h *host) {
	liveServer(d, h)
	d.every(h, 30*time.Minute, func(now int64) {
		d.to(now, "fetch study", h, "modality", 104, d.usual(20, 40, 300, 2*time.Second))
	})
}

func liveModality(d *Day, h *host) {
	d.clock(h)
	d.atWork(h, 30*time.Minute, func(now int64) {
		t := d.usual(d.between(200, 9000), d.between(100, 3000), 60, time.Duration(d.lasting(2*time.Second, 4*time.Minute)))
		t.upSize = 1400
		d.to(now, "study", h, "pacs", []uint16{104, 11112}[d.random.IntN(2)], t)
	})
	d.every(h, 3*time.Hour, func(now int64) { d.to(now, "order", h, "pacs", 2575, d.short()) })
}
