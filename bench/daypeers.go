// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bench

import "time"

// meeting is a call through a server outside, or with a colleague directly.
// The sockets of a direct call are open to whoever sends to them.
func (d *Day) meeting(now int64, h *host) {
	life := time.Duration(d.lasting(20*time.Second, 70*time.Minute))
	voice := traffic{up: int(life.Seconds() * 30), down: int(life.Seconds() * 40), upSize: 180, downSize: 220, life: life}
	d.connect(now, "meeting", h, end{public(uint64(d.between(50, 60))), 443}, kept(life, 10*time.Second, 3, 3))
	switch {
	case d.chance(.12): // directly
		peer := d.some(h.cell, now, "office")
		if peer == nil || peer == h {
			return
		}
		a, b := d.randomPort(h, udp, 49152, 65535), d.randomPort(peer, udp, 49152, 65535)
		d.serve(h, udp, a, KindCall)
		d.serve(peer, udp, b, KindCall)
		d.from(now, "direct call", h, a, end{peer.addr, b}, voice)
	case d.chance(.5): // Teams has port ranges of its own
		for i := range d.between(1, 3) {
			d.from(now, "meeting", h, d.randomPort(h, udp, 50000+20*i, 50019+20*i), end{public(uint64(d.between(61, 80))), uint16(3478 + i)}, voice)
		}
	default: // Zoom
		d.ask(now, "meeting", h, end{public(uint64(d.between(81, 99))), uint16(d.between(8801, 8810))}, voice)
	}
}

// livePlayer is a private computer on the guests' network.
func livePlayer(d *Day, h *host) {
	d.surf(h, 5*time.Minute)
	d.atWork(h, 30*time.Minute, func(now int64) { d.play(now, h) })
	if d.chance(.7) {
		d.torrent(h)
	}
	if d.chance(.5) {
		d.mesh(h, 41641)
	}
	d.every(h, 20*time.Minute, func(now int64) { // voice chat
		life := time.Duration(d.lasting(time.Minute, time.Hour))
		packets := int(life.Seconds() * 25)
		d.ask(now, "voice chat", h, end{d.stranger(), uint16(d.between(50000, 65535))}, traffic{up: packets, down: packets, upSize: 150, downSize: 170, life: life})
	})
}

// play looks for a game on many servers from one socket, then plays on one.
func (d *Day) play(now int64, h *host) {
	s := d.serve(h, udp, 27005, KindGame)
	for range d.between(5, 40) {
		d.from(now+d.lasting(0, 2*time.Second), "game browser", h, s.port, end{d.stranger(), uint16(d.between(27015, 27050))}, d.query(53, 300))
	}
	life := time.Duration(d.lasting(2*time.Minute, 40*time.Minute))
	packets := int(life.Seconds() * 30)
	d.from(now+int64(3*time.Second), "game", h, s.port, end{d.stranger(), 27015}, traffic{up: packets, down: packets, upSize: 100, downSize: 300, life: life})
}

// torrent exchanges files with strangers: they come to its port over TCP and
// UDP; it goes to theirs, over UDP from that same port. Its TCP connections go
// from and to ports that mean nothing.
func (d *Day) torrent(h *host) {
	port := []uint16{6881, d.unlisted(), uint16(d.between(49152, 65535))}[d.random.IntN(3)]
	d.serve(h, udp, port, KindPeerToPeer)
	d.serve(h, tcp, port, KindPeerToPeer)
	theirs := func() uint16 {
		if d.chance(.4) {
			return []uint16{6881, 6882, 51413, 8999}[d.random.IntN(4)]
		}
		return uint16(d.between(1025, 65535))
	}
	d.every(h, time.Minute, func(now int64) {
		for range d.between(1, 12) { // the distributed table
			t := d.query(d.between(90, 130), d.between(90, 400))
			if d.chance(.45) {
				t.down = 0
			}
			d.from(now+d.lasting(0, time.Minute), "DHT", h, port, end{d.stranger(), theirs()}, t)
		}
		if d.chance(.5) {
			d.say(now, talk{what: "DHT", client: end{d.stranger(), theirs()}, server: end{h.addr, port}, proto: udp, traffic: d.query(100, 300)})
		}
	})
	d.atWork(h, 4*time.Minute, func(now int64) {
		life := time.Duration(d.lasting(time.Second, 20*time.Minute))
		t := d.usual(d.between(10, 3000), d.between(10, 3000), 1200, life)
		t.upSize = 1200
		switch d.random.IntN(4) {
		case 0:
			d.say(now, talk{what: "peer", client: end{d.stranger(), uint16(d.between(1025, 65535))}, server: end{h.addr, port}, proto: tcp, traffic: t})
		case 1:
			t.shape = datagrams
			d.from(now, "peer", h, port, end{d.stranger(), theirs()}, t)
		case 2:
			d.connect(now, "peer", h, end{d.stranger(), theirs()}, t)
		default:
			d.connect(now, "dead peer", h, end{d.stranger(), theirs()}, traffic{shape: ignored, up: d.between(1, 4), upSize: 52, life: 7 * time.Second})
		}
	})
}

// mesh is a private network of tunnels: one socket, some peers, for hours.
func (d *Day) mesh(h *host, port uint16) {
	d.serve(h, udp, port, KindMesh)
	d.every(h, 40*time.Minute, func(now int64) {
		life := time.Duration(d.lasting(5*time.Minute, 2*time.Hour))
		t := traffic{up: 3, down: 3, upSize: 150, downSize: 150, life: life, every: 25 * time.Second}
		d.from(now, "mesh", h, port, end{d.stranger(), []uint16{41641, 41641, uint16(d.between(1025, 65535))}[d.random.IntN(3)]}, t)
	})
	d.steadily(h, 28*time.Second, func(now int64) { // its address as others see it
		d.from(now, "STUN", h, port, end{public(uint64(d.between(100, 103))), 3478}, d.query(60, 80))
	})
}

// clock keeps the time as ntpd does, from port 123 to port 123, or as others do.
func (d *Day) clock(h *host) {
	outside := d.chance(.3)
	if d.chance(.5) {
		d.serve(h, udp, 123, KindPeer)
	}
	own := d.bound[boundPort{h, udp, 123}] != nil
	d.steadily(h, time.Duration(64<<d.between(0, 4))*time.Second, func(now int64) {
		to := end{public(uint64(d.between(30, 40))), 123}
		if e, ok := d.on(h.cell, now, "resolver", 123); !outside && ok {
			to = e
		}
		if to.addr == h.addr {
			return
		}
		if own {
			d.from(now, "NTP", h, 123, to, d.query(76, 76))
		} else {
			d.ask(now, "NTP", h, to, d.query(76, 76))
		}
	})
}

// liveLocally is what a device says to its own network.
func (d *Day) liveLocally(h *host) {
	dynamic := h.role.network != netServers
	if dynamic {
		d.lease(h)
	}
	has := func(port uint16) bool { return d.bound[boundPort{h, udp, port}] != nil }
	group := func(now int64, what string, from uint16, a uint32, port uint16) {
		d.from(now, what, h, from, end{a, port}, traffic{up: d.between(1, 4), upSize: d.between(70, 400), life: time.Second})
	}
	if has(5353) {
		d.every(h, 6*time.Minute, func(now int64) { group(now, "mDNS", 5353, 0xe00000fb, 5353) })
		d.every(h, 2*time.Hour, func(now int64) { // a legacy query is answered to its sender
			if peer := d.some(h.cell, now, "office"); peer != nil && peer != h && peer.addr>>8 == h.addr>>8 {
				d.ask(now, "mDNS", peer, end{h.addr, 5353}, d.query(80, 300))
			}
		})
	}
	if has(1900) || h.role.name == "mac" {
		d.every(h, 20*time.Minute, func(now int64) { group(now, "SSDP", d.ephemeral(h, udp), 0xeffffffa, 1900) })
	}
	if has(5355) {
		d.every(h, 25*time.Minute, func(now int64) { group(now, "LLMNR", d.ephemeral(h, udp), 0xe00000fc, 5355) })
	}
	if has(3702) {
		d.every(h, time.Hour, func(now int64) { group(now, "WS-Discovery", d.ephemeral(h, udp), 0xeffffffa, 3702) })
	}
	for _, port := range []uint16{137, 138} {
		if dynamic && has(port) {
			d.every(h, 20*time.Minute, func(now int64) { group(now, "NetBIOS", port, h.addr|0xff, port) })
		}
	}
	if has(137) && dynamic {
		d.every(h, 3*time.Hour, func(now int64) {
			if e, ok := d.on(h.cell, now, "dc", 137); ok {
				d.from(now, "NetBIOS", h, 137, e, d.query(78, 90))
			}
		})
	}
}

// lease renews the lease of an address, through a relay to the server.
func (d *Day) lease(h *host) {
	d.serve(h, udp, 68, KindPeer)
	d.begin(h, 4*time.Hour, func(now int64) int64 {
		if d.chance(.3) {
			d.from(now, "DHCP", h, 68, end{0xffffffff, 67}, traffic{up: 1, upSize: 328})
		}
		if e, ok := d.on(h.cell, now, "dc", 67); ok {
			d.from(now, "DHCP", h, 68, e, d.query(328, 340))
		}
		return int64(4*time.Hour) + d.exp(time.Minute)
	})
}
