// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bench

import "time"

// liveOffice is somebody at a desk.
func liveOffice(d *Day, h *host) {
	d.surf(h, 300*time.Second)
	d.desk(h)
	d.atWork(h, 75*time.Minute, func(now int64) { d.meeting(now, h) })
	d.atWork(h, 2*time.Hour, func(now int64) { d.printPages(now, h) })
	d.steadily(h, 17*time.Minute, func(now int64) {
		d.connect(now, "telemetry", h, end{d.popular(), 443}, d.short())
	})
	if h.os.String() == "Windows" {
		d.member(h)
	}
	if d.chance(.3) {
		d.atWork(h, 3*time.Hour, func(now int64) {
			life := time.Duration(d.lasting(5*time.Minute, 4*time.Hour))
			d.to(now, "remote desktop", h, "terminal", 3389, kept(life, 2*time.Second, 6, 14))
		})
	}
	if d.chance(.15) {
		d.atWork(h, 90*time.Minute, func(now int64) { // a program for one database
			d.to(now, "database client", h, "mssql", 1433, kept(time.Duration(d.lasting(time.Minute, 2*time.Hour)), 40*time.Second, 4, 6))
		})
	}
	if d.chance(.06) {
		d.shareFiles(h)
	}
}

// desk is what programs do on any computer of an office.
func (d *Day) desk(h *host) {
	d.mailbox(h)
	d.atWork(h, 25*time.Minute, func(now int64) { d.intranet(now, h) })
	d.atWork(h, 3*time.Hour, func(now int64) { // a share that stays mounted
		life := time.Duration(d.lasting(10*time.Minute, 6*time.Hour))
		d.to(now, "share", h, "files", 445, kept(life, time.Duration(d.between(8, 100))*time.Second, 8, 9))
	})
	d.atWork(h, 30*time.Minute, func(now int64) { d.business(now, h) })
	if d.chance(.1) {
		d.atWork(h, 2*time.Hour, func(now int64) { d.visitAdmin(now, h) })
	}
	d.begin(h, time.Hour, func(now int64) int64 { // notifications
		life := time.Duration(d.lasting(30*time.Minute, 8*time.Hour))
		d.connect(now, "notifications", h, end{public(uint64(d.between(0, 20))), 443}, kept(life, time.Duration(d.between(30, 600))*time.Second, 2, 2))
		return int64(life) + d.exp(time.Minute)
	})
	d.atWork(h, 4*time.Hour, func(now int64) { // something is not there any more
		t := traffic{shape: ignored, up: d.between(3, 7), upSize: 52, life: 21 * time.Second}
		to := h.cell.base + uint32(d.between(200, 250))
		d.connect(now, "dead server", h, end{to, []uint16{445, 80, 9100, 8123}[d.random.IntN(4)]}, t)
	})
}

// surf loads pages of the web.
func (d *Day) surf(h *host, pause time.Duration) {
	proxied := d.chance(.12) && len(h.cell.roles["proxy"]) > 0
	d.atWork(h, pause, func(now int64) {
		if !proxied {
			d.page(now, h)
			return
		}
		for range d.between(1, 8) {
			if e, ok := d.on(h.cell, now, "proxy", 3128); ok {
				d.connect(now, "proxy", h, e, d.usual(d.between(4, 40), d.between(4, 90), 900, time.Duration(d.lasting(100*time.Millisecond, 90*time.Second))))
				proxy := d.at(e.addr, now)
				d.connect(now+int64(3*time.Millisecond), "proxy", proxy, end{d.popular(), 443}, d.usual(d.between(4, 40), d.between(4, 90), 1100, time.Duration(d.lasting(100*time.Millisecond, 120*time.Second))))
			}
		}
	})
}

// page is one page: several servers, each with some connections.
func (d *Day) page(now int64, h *host) {
	for range d.between(1, 7) {
		at := now + d.lasting(0, 4*time.Second)
		if d.chance(.6) {
			d.lookup(at, h)
		}
		server := d.popular()
		if d.chance(.3) {
			life := time.Duration(d.lasting(200*time.Millisecond, 60*time.Second))
			d.ask(at, "QUIC", h, end{server, 443}, traffic{up: d.between(4, 60), down: d.between(5, 200), upSize: 200, downSize: 1200, life: life})
			continue
		}
		port := uint16(443)
		if d.chance(.04) {
			port = []uint16{80, 80, 80, 8080, 8443, 2096}[d.random.IntN(6)]
		}
		for range 1 + d.between(0, 5)*d.between(0, 1) {
			life := time.Duration(d.lasting(100*time.Millisecond, 125*time.Second))
			d.connect(at, "web", h, end{server, port}, d.usual(d.between(3, 40), d.between(3, 120), 1150, life))
		}
	}
}

// lookup asks the resolver of the cell for two kinds of address.
func (d *Day) lookup(now int64, h *host) {
	role := "dc"
	if h.os.String() != "Windows" && d.chance(.7) {
		role = "resolver"
	}
	e, ok := d.on(h.cell, now, role, 53)
	if !ok || e.addr == h.addr {
		return
	}
	for range d.between(1, 2) {
		port := d.randomPort(h, udp, 49152, 65535)
		if h.os == sysLinux || h.os == sysAndroid {
			port = d.ephemeral(h, udp)
		}
		d.from(now, "DNS", h, port, e, d.query(d.between(60, 90), d.between(90, 400)))
	}
	if d.chance(.01) {
		d.connect(now, "DNS over TCP", h, e, d.short())
	}
	if server := d.at(e.addr, now); d.chance(.25) {
		d.resolve(now, server)
	}
}

// resolve is a resolver that asks name servers outside, each time from another
// port.
func (d *Day) resolve(now int64, h *host) {
	for range d.between(1, 3) {
		t := d.query(d.between(60, 90), d.between(90, 900))
		if d.chance(.04) {
			t.down = 0
		}
		low := 1024
		if h.os.String() == "Windows" {
			low = 49152
		}
		d.from(now, "resolver", h, d.randomPort(h, udp, low, 65535), end{d.popular(), 53}, t)
	}
}

// mailbox is a mail program: some keep a connection, some ask now and then.
func (d *Day) mailbox(h *host) {
	if d.chance(.5) {
		d.steadily(h, time.Duration(d.between(2, 15))*time.Minute, func(now int64) {
			d.to(now, "mail client", h, "mail", 993, d.short())
		})
	} else {
		d.begin(h, time.Hour, func(now int64) int64 {
			life := time.Duration(d.lasting(20*time.Minute, 5*time.Hour))
			d.to(now, "mail client", h, "mail", []uint16{143, 443, 993}[d.random.IntN(3)], kept(life, 110*time.Second, 3, 3))
			return int64(life) + d.exp(20*time.Minute)
		})
	}
	d.atWork(h, time.Hour, func(now int64) { d.to(now, "mail client", h, "mail", 587, d.short()) })
}

func (d *Day) intranet(now int64, h *host) {
	role := "web"
	if d.chance(.4) {
		role = "balancer"
	}
	for range d.between(1, 5) {
		d.to(now, "intranet", h, role, []uint16{80, 443, 443}[d.random.IntN(3)], d.short())
	}
}

// business uses a daemon of one's department. Everybody has the same few.
func (d *Day) business(now int64, h *host) {
	apps := h.cell.apps
	if len(apps) == 0 {
		return
	}
	s := apps[int(uint32(h.addr)*7+uint32(d.between(0, 2)))%len(apps)]
	if s.host == h || s.kind != KindUnlisted {
		return
	}
	to := end{s.host.addr, s.port}
	if s.proto == udp {
		d.ask(now, "unlisted UDP", h, to, traffic{up: d.between(1, 9), down: d.between(1, 9), upSize: 200, downSize: 300, life: time.Second})
		return
	}
	for range d.between(1, 4) {
		d.connect(now, "unlisted", h, to, d.short())
	}
}

func (d *Day) visitAdmin(now int64, h *host) {
	if n := len(h.cell.admin); n > 0 {
		s := h.cell.admin[d.random.IntN(n)]
		for range d.between(1, 6) {
			d.connect(now, "admin page", h, end{s.host.addr, s.port}, d.short())
		}
	}
}

func (d *Day) printPages(now int64, h *host) {
	job := d.usual(d.between(20, 2000), d.between(10, 400), 60, time.Duration(d.lasting(time.Second, 3*time.Minute)))
	job.upSize = 1300
	if d.chance(.5) {
		d.to(now, "print", h, "print", 445, job)
		return
	}
	d.to(now, "print", h, "printer", []uint16{9100, 631, 515}[d.random.IntN(3)], job)
}

// member is what a computer of a Windows domain does.
func (d *Day) member(h *host) {
	d.every(h, 100*time.Minute, func(now int64) {
		dc := d.some(h.cell, now, "dc")
		if dc == nil || dc == h {
			return
		}
		d.ask(now, "domain", h, end{dc.addr, 389}, d.query(180, 200))
		for _, port := range []uint16{88, 88, 88, 135, 389, 445} {
			d.connect(now+d.lasting(0, time.Second), "domain", h, end{dc.addr, port}, d.short())
		}
		if d.chance(.3) {
			d.connect(now, "domain", h, end{dc.addr, []uint16{3268, 464, 636}[d.random.IntN(3)]}, d.short())
		}
		rpc := []uint16{49664, 49665, 49667, 49667, 49668, 49668, 49671, 49677}
		d.connect(now+int64(20*time.Millisecond), "domain RPC", h, end{dc.addr, rpc[d.random.IntN(len(rpc))]}, d.short())
	})
	d.steadily(h, 68*time.Minute, func(now int64) { // w32time asks from 123
		d.serve(h, udp, 123, KindPeer)
		if e, ok := d.on(h.cell, now, "dc", 123); ok {
			d.from(now, "NTP", h, 123, e, d.query(76, 76))
		}
	})
	d.every(h, 6*time.Hour, func(now int64) {
		for range d.between(1, 5) {
			d.to(now, "updates", h, "updates", 8530, d.usual(40, 900, 1300, time.Duration(d.lasting(time.Second, 2*time.Minute))))
		}
	})
}

// shareFiles lets a computer give its updates to its neighbours.
func (d *Day) shareFiles(h *host) {
	s := d.serve(h, tcp, 7680, KindListed)
	d.every(h, 90*time.Minute, func(now int64) {
		if peer := d.some(h.cell, now, "office"); peer != nil && peer != h {
			d.connect(now, "update from a neighbour", peer, end{h.addr, s.port}, d.usual(30, 500, 1300, 20*time.Second))
		}
	})
}

// liveDeveloper also runs servers of his own now and then, which a colleague or
// his telephone looks at.
func liveDeveloper(d *Day, h *host) {
	d.surf(h, 6*time.Minute)
	d.desk(h)
	d.clock(h)
	port := []uint16{3000, 5173, 8000, 8081, d.unlisted(), d.unlisted(), uint16(d.between(33000, 60000))}[d.random.IntN(7)]
	if d.chance(.7) {
		s := d.serve(h, tcp, port, KindDev)
		d.every(h, 8*time.Hour, func(now int64) {
			role := []string{"mobile", "developer", "mac"}[d.random.IntN(3)]
			if peer := d.some(h.cell, now, role); peer != nil && peer != h {
				for range d.between(1, 3) {
					d.connect(now, "development server", peer, end{h.addr, s.port}, d.short())
				}
			}
		})
	}
	d.atWork(h, time.Hour, func(now int64) {
		life := time.Duration(d.lasting(time.Second, 5*time.Hour))
		d.to(now, "ssh", h, []string{"app", "node", "jump", "postgres"}[d.random.IntN(4)], 22, kept(life, 15*time.Second, 5, 6))
	})
	d.atWork(h, 40*time.Minute, func(now int64) { d.visitPods(now, h, d.between(1, 4)) })
	d.atWork(h, 2*time.Hour, func(now int64) { d.to(now, "kubectl", h, "node", 6443, d.short()) })
	d.atWork(h, 3*time.Hour, func(now int64) { d.to(now, "database client", h, "postgres", 5432, d.short()) })
}

// liveOld is a computer that nobody dares to replace.
func liveOld(d *Day, h *host) {
	d.surf(h, 15*time.Minute)
	d.desk(h)
	d.member(h)
}

// liveMobile is a telephone.
func liveMobile(d *Day, h *host) {
	d.surf(h, 9*time.Minute)
	push := uint16(5223)
	if h.os == sysAndroid {
		push = 5228
	}
	d.begin(h, time.Hour, func(now int64) int64 {
		life := time.Duration(d.lasting(time.Hour, 12*time.Hour))
		d.connect(now, "push", h, end{public(uint64(d.between(0, 9))), push}, kept(life, time.Duration(d.between(3, 15))*time.Minute, 2, 2))
		return int64(life) + d.exp(time.Minute)
	})
	d.every(h, 3*time.Hour, func(now int64) {
		d.ask(now, "NTP", h, end{public(uint64(d.between(30, 40))), 123}, d.query(76, 76))
	})
	d.atWork(h, 4*time.Hour, func(now int64) { d.meeting(now, h) })
}
