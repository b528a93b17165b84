// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bench

import (
	"math"
	"math/bits"

	"github.com/portolan/portolan/profiler"
)

// host is an endpoint.
type host struct {
	name  string
	role  *role
	cell  *cell
	addr  uint32
	mac   profiler.MAC
	os    system
	site  site
	quiet bool  // its firewall drops what is not for a service
	from  int64 // has its address from then, 0: from the beginning
	until int64 // and until then
	heir  *host // who gets the address afterwards
	rises int64 // how much earlier than others its user works
	port  [2]uint16
}

// site is where a host stands, which decides who sees its flows.
type site uint8

const (
	siteMain site = iota
	siteOut       // a branch of which the outbound direction is exported
	siteIn        // a branch of which the inbound direction is exported
)

// place is what an exporter's view depends on.
type place struct {
	inside, group, edge, tapped bool
	site                        site
	network                     uint32
}

func (d *Day) place(a uint32) place {
	if a>>28 == 0xe || a == math.MaxUint32 || a>>24 == 10 && a&0xff == 0xff {
		return place{group: true, network: a &^ 0xff}
	}
	h := d.holder[a]
	if h == nil {
		// Nobody has it, but it may be one of the network's.
		return place{inside: a>>24 == 10, network: a &^ 0xff}
	}
	pick := mix(uint64(a))
	return place{inside: true, site: h.site, network: a&^0xff | uint32(h.site), edge: pick%3 == 0, tapped: pick>>8%8 == 0}
}

// at is who holds an address at a time, nil for nobody.
func (d *Day) at(a uint32, t int64) *host {
	for h := d.holder[a]; h != nil; h = h.heir {
		if h.here(t) {
			return h
		}
	}
	return nil
}

func (h *host) here(t int64) bool { return h.from <= t && t < h.until }

// boundPort is a port of a host that something listens on.
type boundPort struct {
	host  *host
	proto uint8
	port  uint16
}

// service is what listens there.
type service struct {
	boundPort
	kind    Kind
	answers uint32
	probes  uint32 // of these, to scans
	pairs   uint64 // a bit for each hash of a counterpart's address
}

// serve binds a socket. A host has one service on a port: where it serves the
// port already, that one stays.
func (d *Day) serve(h *host, proto uint8, port uint16, kind Kind) *service {
	key := boundPort{h, proto, port}
	if s := d.bound[key]; s != nil {
		return s
	}
	s := &service{boundPort: key, kind: kind}
	d.bound[key] = s
	d.order = append(d.order, s)
	return s
}

func (s *service) answered(client end) {
	s.answers++
	s.pairs |= 1 << (mix(uint64(client.addr)) & 63)
}

// clients estimates how many different hosts it answered, from how full 64 bits
// are. It cannot tell more than some 270.
func (s *service) clients() int {
	empty := 64 - bits.OnesCount64(s.pairs)
	return int(math.Round(-64 * math.Log(max(float64(empty), .9)/64)))
}

// system is an operating system, as far as its choice of client ports goes.
type system uint8

const (
	sysNone       system = iota // firmware that takes 1024 to 5000 in order
	sysLinux                    // 32768 to 60999 at random
	sysAndroid                  // as Linux
	sysWindows                  // 49152 to 65535 in order
	sysWindows11                // 49152 to 65535 at random
	sysWindowsXP                // 1025 to 5000 in order
	sysMacOS                    // 49152 to 65535, TCP in order
	sysIOS                      // as macOS
	sysFreeBSD                  // 10000 to 65535 at random
	sysLwIP                     // 49153 to 65535 in order
	sysTranslator               // a gateway that translates addresses: 1024 to 65535 at random
)

var systemNames = [...]string{"", "Linux", "Android", "Windows", "Windows", "Windows XP", "macOS", "iOS", "FreeBSD", "", "Linux"}

// String is the name as an operator writes it, empty for firmware.
func (s system) String() string { return systemNames[s] }

// ephemeral is the port that the system of a host takes for a new client socket:
// none that something listens on.
func (d *Day) ephemeral(h *host, proto uint8) uint16 {
	for {
		p := d.candidate(h, proto)
		if d.bound[boundPort{h, proto, p}] == nil {
			return p
		}
	}
}

func (d *Day) candidate(h *host, proto uint8) uint16 {
	switch h.os {
	case sysLinux, sysAndroid:
		p := 32768 + d.random.IntN(28232)
		if proto == tcp && d.chance(.9) { // connect(2) prefers even ones
			p &^= 1
		}
		return uint16(p)
	case sysWindows11:
		return uint16(49152 + d.random.IntN(16384))
	case sysFreeBSD:
		return uint16(10000 + d.random.IntN(55536))
	case sysTranslator:
		return uint16(1024 + d.random.IntN(64512))
	case sysMacOS, sysIOS:
		if proto == udp {
			return uint16(49152 + d.random.IntN(16384))
		}
		return d.following(h, proto, 49152, 65535)
	case sysWindows:
		return d.following(h, proto, 49152, 65535)
	case sysLwIP:
		return d.following(h, proto, 49153, 65535)
	}
	return d.following(h, proto, 1025, 5000)
}

// following is the next port of a host, or one soon after: other programs take
// some too.
func (d *Day) following(h *host, proto uint8, low, high uint16) uint16 {
	p := &h.port[proto>>4&1]
	if *p == 0 {
		*p = low + uint16(d.random.IntN(int(high-low)))
	}
	step := uint16(1)
	if d.chance(.1) {
		step += uint16(d.random.IntN(4))
	}
	if *p > high-step {
		*p = low
	} else {
		*p += step
	}
	return *p
}

// randomPort is a client port that a program chose by itself, as resolvers do.
func (d *Day) randomPort(h *host, proto uint8, low, high int) uint16 {
	for {
		p := uint16(d.between(low, high))
		if d.bound[boundPort{h, proto, p}] == nil {
			return p
		}
	}
}
