// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bpf

import (
	"encoding/binary"
	"net/netip"
	"testing"
)

func prefixes(s ...string) (p []netip.Prefix) {
	for _, x := range s {
		p = append(p, netip.MustParsePrefix(x))
	}
	return p
}

// manyAddrs are n addresses of 10/8 from a number on.
func manyAddrs(from, n int) []netip.Addr {
	addrs := make([]netip.Addr, n)
	for i := range addrs {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(10<<24+from+i))
		addrs[i] = netip.AddrFrom4(b)
	}
	return addrs
}

// The program's answer is that of Prefix.Contains, whatever list came before.
func TestExporters(t *testing.T) {
	forms(t, func(t *testing.T, c Config, p *Program) {
		senders := []netip.Addr{
			peer4, peer6, netip.MustParseAddr("198.51.100.8"), netip.MustParseAddr("203.0.113.1"),
			netip.MustParseAddr("2001:db8:1::8"), netip.MustParseAddr("fe80::1"), netip.MustParseAddr("::1"),
		}
		denied := 0
		for _, list := range [][]netip.Prefix{
			nil,
			prefixes("198.51.100.7/32"),
			prefixes("2001:db8:1::7/128"),
			prefixes("198.51.100.7/29", "2001:db8:1::7/64"), // not masked
			prefixes("0.0.0.0/0"),
			prefixes("::/0"),
			{},
			prefixes("198.51.100.0/24", "198.51.100.8/32", "198.51.100.7/32"),
			prefixes("198.51.100.0/24"),
			prefixes("fe80::/10"),
			nil,
		} {
			if err := p.SetExporters(list); err != nil {
				t.Fatal(list, err)
			}
			c.Exporters = list
			o := oracle{config: c}
			for _, from := range senders {
				f := frame{from: from, to: pick(from.Is4(), local4, local6)}.bytes()
				want := pick(o.admits(from), PassNoSocket, Deny)
				if got := runFrame(t, p, f); got != want {
					t.Errorf("list %v, sender %v: %v, want %v", list, from, got, want)
				}
				if want == Deny {
					denied++
				}
			}
		}
		if denied == 0 {
			t.Error("no list denied anybody")
		}
		// A denied sender's other traffic is none of our business.
		if err := p.SetExporters(prefixes("203.0.113.0/24")); err != nil {
			t.Fatal(err)
		}
		for want, f := range map[Exit]frame{
			PassPort:      {from: peer4, to: local4, port: 53},
			PassNotLocal:  {from: peer4, to: peer4},
			PassFragment:  {from: peer4, to: local4, frag: moreFrags},
			PassMalformed: {from: peer4, to: local4, udpLen: 1},
			PassShort:     {from: peer4, to: local4, udpLen: 1, ipLen: 1},
			PassNotUDP:    {from: peer4, to: local4, proto: 6},
			Deny:          {from: peer4, to: local4, payload: 2500},
		} {
			if got := runFrame(t, p, f.bytes()); got != want {
				t.Errorf("denied sender, %+v: %v, want %v", f, got, want)
			}
		}
	})
}

func TestPortsAndLocals(t *testing.T) {
	p := loaded(t, Config{MaxFrame: 1792, Queues: 1})
	export := func(to netip.Addr, port uint16) Exit {
		t.Helper()
		return runFrame(t, p, frame{from: pick(to.Is4(), peer4, peer6), to: to, port: port}.bytes())
	}
	if got := export(local4, testPort); got != PassNotLocal {
		t.Errorf("nothing configured: %v", got)
	}
	linkLocal := netip.MustParseAddr("fe80::2%eth7")
	if err := p.SetLocals([]netip.Addr{netip.AddrFrom16(local4.As16()), linkLocal}); err != nil {
		t.Fatal(err)
	}
	if got := export(local4, testPort); got != PassPort {
		t.Errorf("no port configured: %v", got)
	}
	if err := p.SetPorts([]uint16{1, 63, 64, 4739, 9995, 65535, 1}); err != nil {
		t.Fatal(err)
	}
	for port, want := range map[uint16]Exit{
		1: PassNoSocket, 2: PassPort, 62: PassPort, 63: PassNoSocket, 64: PassNoSocket, 65: PassPort,
		testPort: PassPort, 4739: PassNoSocket, 9995: PassNoSocket, 65534: PassPort, 65535: PassNoSocket,
	} {
		for _, to := range []netip.Addr{local4, linkLocal.WithZone("")} {
			if got := export(to, port); got != want {
				t.Errorf("%v port %d: %v, want %v", to, port, got, want)
			}
		}
	}
	if err := p.SetLocals([]netip.Addr{local6}); err != nil {
		t.Fatal(err)
	}
	if a, b := export(local4, 4739), export(local6, 4739); a != PassNotLocal || b != PassNoSocket {
		t.Errorf("after the change: former address %v, new one %v", a, b)
	}
}

func TestRefusals(t *testing.T) {
	p := loaded(t, testConfig())
	for name, err := range map[string]error{
		"port 0":               p.SetPorts([]uint16{80, 0}),
		"no address":           p.SetLocals([]netip.Addr{{}}),
		"unspecified":          p.SetLocals([]netip.Addr{netip.IPv4Unspecified()}),
		"no prefix":            p.SetExporters([]netip.Prefix{{}}),
		"mapped prefix":        p.SetExporters(prefixes("::ffff:10.0.0.0/104")),
		"too many addresses":   p.SetLocals(manyAddrs(0, MaxLocals+1)),
		"attached to nothing":  p.Attach(0, Generic),
		"attached to negative": p.Attach(-1, Native),
	} {
		if err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if got := runFrame(t, p, frame{from: peer4, to: local4}.bytes()); got != PassNoSocket {
		t.Errorf("after refusals an export takes %v", got)
	}
	for name, change := range map[string]func(*Config){
		"short frames": func(c *Config) { c.MaxFrame = MinFrame - 1 },
		"long frames":  func(c *Config) { c.MaxFrame = 65536 },
		"no queues":    func(c *Config) { c.Queues = 0 },
		"port 0":       func(c *Config) { c.Ports = []uint16{0} },
		"no address":   func(c *Config) { c.Locals = []netip.Addr{{}} },
		"no prefix":    func(c *Config) { c.Exporters = []netip.Prefix{{}} },
	} {
		c := testConfig()
		change(&c)
		if p, err := Load(c); err == nil {
			p.Close()
			t.Errorf("Load with %s: taken", name)
		}
	}
}

// A full table can be replaced by a full table that shares nothing with it.
func TestReplaceAllLocals(t *testing.T) {
	p := loaded(t, testConfig())
	for round := range 3 {
		addrs := manyAddrs(round*MaxLocals, MaxLocals)
		if err := p.SetLocals(addrs); err != nil {
			t.Fatal(round, err)
		}
		for _, a := range []netip.Addr{addrs[0], addrs[MaxLocals-1]} {
			if got := runFrame(t, p, frame{from: peer4, to: a}.bytes()); got != PassNoSocket {
				t.Errorf("round %d, %v: %v", round, a, got)
			}
		}
		if got := runFrame(t, p, frame{from: peer4, to: addrs[0].Prev()}.bytes()); got != PassNotLocal {
			t.Errorf("round %d, an address of the round before: %v", round, got)
		}
	}
}

// While all the lists change around it, an export that both the old and the new lists
// take is taken every time.
func TestChangesMissNothing(t *testing.T) {
	p := loaded(t, testConfig())
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			exporters := []netip.Prefix{netip.PrefixFrom(peer4, 32)}
			for _, a := range manyAddrs(i*7, 30) {
				exporters = append(exporters, netip.PrefixFrom(a, 32-i%9))
			}
			switch i % 3 {
			case 1:
				exporters = nil
			case 2:
				exporters = append(exporters, prefixes("198.51.0.0/16", "198.51.100.6/31")...)
			}
			ports := []uint16{testPort - 1 + uint16(i%2)*2, testPort, uint16(1 + i%5000)}
			for _, err := range []error{
				p.SetExporters(exporters),
				p.SetPorts(ports),
				p.SetLocals(append(manyAddrs(i*11, 40), local4)),
			} {
				if err != nil {
					done <- err
					return
				}
			}
		}
	}()
	f := frame{from: peer4, to: local4}.bytes()
	for i := range 20000 {
		if action, _, err := p.Run(f); err != nil || action != xdpPass {
			t.Errorf("run %d: action %d, %v", i, action, err)
			break
		}
	}
	close(stop)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	c, err := p.Counters()
	if err != nil {
		t.Fatal(err)
	}
	if c[PassNoSocket] != 20000 {
		t.Errorf("of 20000 exports %v", c)
	}
}
