// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bench

import "time"

// liveServer is what any server does by itself.
func liveServer(d *Day, h *host) {
	d.clock(h)
	d.steadily(h, 11*time.Minute, func(now int64) {
		role := "resolver"
		if h.os.String() == "Windows" {
			role = "dc"
		}
		for range d.between(1, 3) {
			d.queryTo(now, "DNS", h, role, 53, d.query(70, 150))
		}
	})
	d.every(h, 30*time.Minute, func(now int64) { // its log: some daemons send from 514 too
		if e, ok := d.on(h.cell, now, "monitor", 514); ok && e.addr != h.addr {
			d.ask(now, "syslog", h, e, traffic{up: d.between(1, 20), upSize: 240, life: 5 * time.Second})
		}
	})
	d.begin(h, 12*time.Hour, func(now int64) int64 {
		d.connect(now, "package updates", h, end{d.popular(), 443}, d.usual(30, 400, 1300, 20*time.Second))
		return int64(12 * time.Hour)
	})
	d.every(h, 8*time.Hour, func(now int64) { // somebody looks after it
		port := uint16(22)
		if h.os.String() == "Windows" {
			port = 3389
		}
		if jump := d.some(h.cell, now, "jump"); jump != nil && jump != h && d.bound[boundPort{h, tcp, port}] != nil {
			d.connect(now, "maintenance", jump, end{h.addr, port}, kept(time.Duration(d.lasting(10*time.Second, time.Hour)), 10*time.Second, 6, 8))
		}
	})
	switch h.role.name {
	case "ftp":
		d.transfers(h)
	case "broker", "radius", "wireless", "oracle", "stores", "mysql":
		d.clientsOf(h)
	}
}

// clientsOf are other servers that use a daemon of h.
func (d *Day) clientsOf(h *host) {
	from := map[string]string{"broker": "app", "radius": "switch", "wireless": "accesspoint", "oracle": "app", "stores": "app", "mysql": "web"}[h.role.name]
	d.every(h, 4*time.Minute, func(now int64) {
		c := d.some(h.cell, now, from)
		if c == nil {
			return
		}
		switch h.role.name {
		case "broker":
			d.connect(now, "broker", c, end{h.addr, []uint16{5672, 1883}[d.random.IntN(2)]}, kept(time.Duration(d.lasting(time.Minute, 3*time.Hour)), 60*time.Second, 2, 2))
		case "radius":
			// The client keeps one socket for each of its eight identifiers.
			d.from(now, "RADIUS", c, uint16(20000+d.between(0, 7)), end{h.addr, uint16(1812 + d.between(0, 1))}, traffic{up: 6, down: 6, upSize: 300, downSize: 200, life: time.Second})
		case "oracle":
			d.connect(now, "database", c, end{h.addr, 1521}, kept(time.Duration(d.lasting(time.Minute, 2*time.Hour)), 20*time.Second, 6, 8))
		case "stores":
			d.connect(now, "store", c, end{h.addr, []uint16{6379, 9200, 9092, 27017, 11211}[d.random.IntN(5)]}, d.short())
		case "mysql":
			d.connect(now, "database", c, end{h.addr, 3306}, d.short())
		}
	})
}

func liveDC(d *Day, h *host) {
	liveServer(d, h)
	d.every(h, 10*time.Minute, func(now int64) { // replication
		if other := d.some(h.cell, now, "dc"); other != nil && other != h {
			d.connect(now, "replication", h, end{other.addr, 135}, d.short())
			d.connect(now+int64(5*time.Millisecond), "replication", h, end{other.addr, 49667}, d.usual(30, 60, 900, 8*time.Second))
		}
	})
}

func liveResolver(d *Day, h *host) {
	liveServer(d, h)
	d.every(h, 40*time.Second, func(now int64) { d.resolve(now, h) })
}

// liveMail is a mail server, which is a server and a client of port 25.
func liveMail(d *Day, h *host) {
	liveServer(d, h)
	d.every(h, 2*time.Minute, func(now int64) {
		d.say(now, talk{what: "mail", client: end{d.stranger(), uint16(d.between(1024, 65535))}, server: end{h.addr, 25}, proto: tcp, traffic: d.short()})
	})
	d.every(h, 3*time.Minute, func(now int64) {
		t := d.short()
		if d.chance(.1) {
			t = traffic{shape: ignored, up: 5, upSize: 60, life: 31 * time.Second}
		}
		d.connect(now, "mail", h, end{d.stranger(), 25}, t)
	})
	d.every(h, time.Minute, func(now int64) { d.resolve(now, h) })
}

// liveApp runs some microservices on ports of their own, and calls those of
// others. It keeps connections to databases.
func liveApp(d *Day, h *host) {
	liveServer(d, h)
	for range d.between(2, 4) {
		h.cell.apps = append(h.cell.apps, d.serve(h, tcp, []uint16{8080, 8443, 9000, uint16(d.between(7001, 9999)), uint16(d.between(10000, 19999)), d.unlisted()}[d.random.IntN(6)], KindMicroservice))
	}
	d.every(h, 20*time.Second, func(now int64) {
		s := h.cell.apps[d.random.IntN(len(h.cell.apps))]
		if s.host == h || s.proto != tcp || d.chance(.5*(1-busy(now))) {
			return
		}
		if d.chance(.06) {
			d.connect(now, "microservice", h, end{s.host.addr, s.port}, kept(time.Duration(d.lasting(time.Minute, time.Hour)), 3*time.Second, 2, 2))
			return
		}
		d.connect(now, "microservice", h, end{s.host.addr, s.port}, d.short())
	})
	for _, db := range []struct {
		role string
		port uint16
	}{{"postgres", 5432}, {"mssql", 1433}} {
		for range d.between(1, 3) {
			d.begin(h, time.Minute, func(now int64) int64 { // a pool, renewed now and then
				life := time.Duration(d.lasting(20*time.Minute, 10*time.Hour))
				d.to(now, "database pool", h, db.role, db.port, kept(life, time.Duration(d.between(1, 40))*time.Second, 4, 5))
				return int64(life)
			})
		}
	}
}

// liveBalancer forwards to the microservices, and asks all the time whether they
// are well, from a range of ports of its own.
func liveBalancer(d *Day, h *host) {
	liveServer(d, h)
	next := 20000
	var behind []*service
	d.steadily(h, 15*time.Second, func(now int64) {
		if behind == nil {
			for _, s := range h.cell.apps {
				if s.kind == KindMicroservice && len(behind) < 6 {
					behind = append(behind, s)
				}
			}
		}
		for _, s := range behind {
			if next++; next > 24999 {
				next = 20000
			}
			t := traffic{shape: finished, up: 5, down: 4, upSize: 90, downSize: 120, life: 3 * time.Millisecond}
			d.say(now, talk{what: "health check", client: end{h.addr, uint16(next)}, server: end{s.host.addr, s.port}, proto: tcp, traffic: t})
		}
	})
	d.every(h, 10*time.Second, func(now int64) {
		if len(behind) > 0 && d.chance(.1+busy(now)) {
			s := behind[d.random.IntN(len(behind))]
			d.connect(now, "forwarded", h, end{s.host.addr, s.port}, d.short())
		}
	})
	d.atWork(h, time.Minute, func(now int64) {
		d.say(now, talk{what: "visitor", client: end{d.stranger(), uint16(d.between(1024, 65535))}, server: end{h.addr, 443}, proto: tcp, traffic: d.short()})
	})
}

// liveNode is a node of a Kubernetes cluster. Its pods are reached through ports
// of every node; what they say to others leaves with the node's address.
func liveNode(d *Day, h *host) {
	liveServer(d, h)
	first := h.cell.roles["node"][0]
	for i := range 4 {
		port := uint16(30000 + mix(uint64(h.cell.number)<<8+uint64(i)+d.cfg.Seed)%2768)
		h.cell.apps = append(h.cell.apps, d.serve(h, tcp, port, KindNodePort))
		d.every(h, time.Duration(15<<i)*time.Minute, func(now int64) {
			if c := d.some(h.cell, now, []string{"developer", "app", "balancer", "office"}[d.random.IntN(4)]); c != nil {
				d.connect(now, "NodePort", c, end{h.addr, port}, d.short())
			}
		})
	}
	d.steadily(h, 10*time.Second, func(now int64) { // the kubelet and the API server
		if h != first {
			t := traffic{shape: joined, up: 4, down: 4, upSize: 300, downSize: 500, life: 2 * time.Second}
			d.say(now, talk{what: "API server", client: end{h.addr, uint16(40000 + h.addr&7)}, server: end{first.addr, 6443}, proto: tcp, traffic: t})
		}
	})
	d.every(h, 2*time.Minute, func(now int64) {
		peer := d.some(h.cell, now, "node")
		if peer == nil || peer == h {
			return
		}
		// VXLAN takes a source port from a hash of the inner flow.
		d.from(now, "VXLAN", h, uint16(d.between(32768, 60999)), end{peer.addr, 8472}, traffic{up: d.between(5, 500), upSize: 600, life: time.Duration(d.lasting(time.Second, 50*time.Second))})
		d.connect(now, "cluster", h, end{peer.addr, []uint16{2379, 2380, 10250, 179}[d.random.IntN(4)]}, d.short())
	})
	d.every(h, 90*time.Second, func(now int64) {
		d.say(now, talk{what: "pod", client: end{h.addr, d.randomPort(h, tcp, 1024, 65535)}, server: end{d.popular(), 443}, proto: tcp, traffic: d.short()})
	})
}

// visitPods uses NodePorts.
func (d *Day) visitPods(now int64, h *host, n int) {
	var pods []*service
	for _, s := range h.cell.apps {
		if s.kind == KindNodePort {
			pods = append(pods, s)
		}
	}
	for range min(n, len(pods)) {
		s := pods[d.random.IntN(len(pods))]
		d.connect(now, "NodePort", h, end{s.host.addr, s.port}, d.short())
	}
}

// liveGateway has many users behind its one address.
func liveGateway(d *Day, h *host) {
	d.clock(h)
	busyness := func(now int64) float64 { return .05 + busy(now) }
	d.every(h, 2500*time.Millisecond, func(now int64) {
		if !d.chance(busyness(now) / 1.05) {
			return
		}
		switch x := d.random.Float64(); {
		case x < .6:
			d.connect(now, "NAT", h, end{d.popular(), 443}, d.usual(d.between(3, 40), d.between(3, 120), 1100, time.Duration(d.lasting(100*time.Millisecond, 3*time.Minute))))
		case x < .75:
			d.ask(now, "NAT", h, end{d.popular(), 443}, traffic{up: 20, down: 60, upSize: 200, downSize: 1200, life: time.Duration(d.lasting(time.Second, time.Minute))})
		case x < .9:
			d.ask(now, "NAT", h, end{public(uint64(d.between(10, 14))), 53}, d.query(70, 180))
		default:
			d.ask(now, "NAT", h, end{d.stranger(), uint16(d.between(1024, 65535))}, d.query(120, 120))
		}
	})
	d.steadily(h, 20*time.Second, func(now int64) { // a tunnel between sites
		d.serve(h, udp, 500, KindPeer)
		d.serve(h, udp, 4500, KindPeer)
		far := end{public(uint64(h.addr)), 4500}
		d.from(now, "IPsec", h, 4500, far, traffic{up: 4, down: 4, upSize: 400, downSize: 400, life: time.Second})
	})
}

func liveVPN(d *Day, h *host) {
	liveServer(d, h)
	d.every(h, 6*time.Minute, func(now int64) {
		if !d.chance(.1 + busy(now)) {
			return
		}
		port := []uint16{443, 1194, 51820, 4500, 500}[d.random.IntN(5)]
		life := time.Duration(d.lasting(time.Minute, 5*time.Hour))
		t := traffic{up: 20, down: 25, upSize: 300, downSize: 600, life: life, every: 10 * time.Second}
		from := uint16(d.between(1024, 65535))
		switch port {
		case 500, 51820:
			if d.chance(.6) {
				from = port
			}
		}
		d.say(now, talk{what: "VPN", client: end{d.stranger(), from}, server: end{h.addr, port}, proto: udp, traffic: t})
	})
	d.every(h, 30*time.Minute, func(now int64) { // ESP has no ports
		t := traffic{up: 200, down: 200, upSize: 600, downSize: 600, life: 40 * time.Second}
		d.say(now, talk{what: "ESP", client: end{d.stranger(), 0}, server: end{h.addr, 0}, proto: 50, traffic: t})
	})
}

// transfers are of FTP in both its ways. The sockets for data are open for one
// connection each.
func (d *Day) transfers(h *host) {
	d.every(h, 12*time.Minute, func(now int64) {
		c := d.some(h.cell, now, []string{"office", "developer", "app"}[d.random.IntN(3)])
		if c == nil {
			return
		}
		life := time.Duration(d.lasting(2*time.Second, 5*time.Minute))
		d.connect(now, "FTP", c, end{h.addr, 21}, d.usual(20, 20, 90, life))
		data := d.usual(d.between(10, 2000), d.between(10, 900), 80, life/2)
		data.shape, data.upSize = finished, 1300
		if d.chance(.3) {
			port := d.candidate(c, tcp)
			d.serve(c, tcp, port, KindTransient)
			d.say(now+int64(time.Second), talk{what: "active FTP", client: end{h.addr, 20}, server: end{c.addr, port}, proto: tcp, traffic: data})
			return
		}
		port := uint16(d.between(50000, 50200))
		d.serve(h, tcp, port, KindTransient)
		d.connect(now+int64(time.Second), "passive FTP", c, end{h.addr, port}, data)
	})
}
