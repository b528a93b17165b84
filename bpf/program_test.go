// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bpf

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"os"
	"testing"
)

var (
	local4 = netip.MustParseAddr("192.0.2.10")
	local6 = netip.MustParseAddr("2001:db8::10")
	peer4  = netip.MustParseAddr("198.51.100.7")
	peer6  = netip.MustParseAddr("2001:db8:1::7")

	xdpDrop, xdpRedirect = uint32(1), uint32(4) // enum xdp_action
)

func testConfig() Config {
	return Config{
		Ports:    []uint16{testPort},
		Locals:   []netip.Addr{local4, local6},
		MaxFrame: 1792,
		Queues:   2,
	}
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: loads a program into the kernel")
	}
}

func loaded(t testing.TB, c Config) *Program {
	t.Helper()
	needRoot(t)
	p, err := Load(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// forms runs a test on both programs, and on what the plain one is before kernel 5.18.
func forms(t *testing.T, test func(t *testing.T, c Config, p *Program), changes ...func(*Config)) {
	needRoot(t)
	for _, form := range []struct {
		name          string
		frags, helper bool
	}{{"xdp", false, true}, {"xdp before 5.18", false, false}, {"frags", true, true}} {
		t.Run(form.name, func(t *testing.T) {
			c := testConfig()
			c.Frags = form.frags
			for _, change := range changes {
				change(&c)
			}
			p, err := load(c, form.helper && lengthHelper())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { p.Close() })
			test(t, c, p)
		})
	}
}

// runFrame runs one frame and returns its exit, having made sure that this was the
// only counter to move, by one, that the action fits, and that every byte of the
// frame is as it was.
func runFrame(t testing.TB, p *Program, f []byte) Exit {
	t.Helper()
	before, err := p.Counters()
	if err != nil {
		t.Fatal(err)
	}
	action, out, err := p.Run(f)
	if err != nil {
		t.Fatal(err)
	}
	after, err := p.Counters()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out, f) {
		t.Fatalf("the frame changed:\n%x\n%x", f, out)
	}
	exit, moved := Exits, uint64(0)
	for e := range Exits {
		if n := after[e] - before[e]; n != 0 {
			exit, moved = e, moved+n
		}
	}
	if moved != 1 {
		t.Fatalf("counters moved by %d in all:\n%v\n%v", moved, before, after)
	}
	want := uint32(xdpPass)
	switch exit {
	case Redirect:
		want = xdpRedirect
	case Deny:
		want = xdpDrop
	}
	if action != want {
		t.Fatalf("exit %v with action %d, want action %d", exit, action, want)
	}
	return exit
}

// Every prefix of a good frame passes, counted as short; only the whole is taken.
func TestCutFrames(t *testing.T) {
	forms(t, func(t *testing.T, c Config, p *Program) {
		for _, f := range []frame{
			{from: peer4, to: local4},
			{from: peer6, to: local6},
			{from: peer4, to: local4, tags: []uint16{vlanOuter, vlan}},
			{from: peer6, to: local6, tags: []uint16{vlan}},
		} {
			whole := f.bytes()
			for n := range whole {
				if n < 14 {
					// No driver delivers less than an Ethernet header either.
					if _, _, err := p.Run(whole[:n]); err == nil {
						t.Errorf("the kernel ran a frame of %d bytes; test it like the rest", n)
					}
					continue
				}
				if got := runFrame(t, p, whole[:n]); got != PassShort {
					t.Errorf("the first %d of %d bytes of %+v: %v", n, len(whole), f, got)
				}
			}
			if got := runFrame(t, p, whole); got != PassNoSocket {
				t.Errorf("the whole frame %+v: %v", f, got)
			}
		}
	})
}

// A frame of several buffers is as long as all of them together.
func TestFrameOfSeveralBuffers(t *testing.T) {
	c := testConfig()
	c.Frags, c.MaxFrame = true, 8000
	p := loaded(t, c)
	for size, want := range map[int]Exit{5000: PassNoSocket, 8000: PassNoSocket, 8001: PassLong, 9014: PassLong} {
		for _, f := range []frame{
			{from: peer4, to: local4, payload: size - 42},
			{from: peer6, to: local6, payload: size - 62},
		} {
			if got := runFrame(t, p, f.bytes()); got != want {
				t.Errorf("frame of %d bytes: %v, want %v", size, got, want)
			}
		}
		lying := frame{from: peer4, to: local4, payload: size - 42, ipLen: 1, udpLen: 1}
		if got := runFrame(t, p, lying.bytes()); got != PassShort {
			t.Errorf("frame of %d bytes that claims one more: %v", size, got)
		}
	}
}

func TestFramesAgainstOracle(t *testing.T) {
	forms(t, func(t *testing.T, c Config, p *Program) {
		o := oracle{config: c}
		rng := rand.New(rand.NewPCG(7, 2055))
		var seen Counters
		for i := range 5000 {
			f := mutate(rng, randomFrame(rng).bytes())
			got, want := runFrame(t, p, f), o.predict(f)
			if got != want {
				t.Fatalf("frame %d: %v, the oracle says %v\n%x", i, got, want, f)
			}
			seen[got]++
		}
		for e := range Exits {
			if seen[e] == 0 && e != Redirect {
				t.Errorf("no frame took exit %v; the frames are not varied enough", e)
			}
		}
	}, func(c *Config) { c.Exporters = prefixes("198.51.100.0/29", "2001:db8:1::/125") })
}

func randomFrame(rng *rand.Rand) frame {
	f := frame{from: peer4, to: local4}
	if rng.IntN(2) == 0 {
		f = frame{from: peer6, to: local6}
	}
	for range [...]int{0, 0, 0, 0, 1, 1, 2, 3}[rng.IntN(8)] {
		f.tags = append(f.tags, pick[uint16](rng.IntN(2) == 0, vlan, vlanOuter))
	}
	sometimes := func(change func()) {
		if rng.IntN(12) == 0 {
			change()
		}
	}
	sometimes(func() { f.from = pick(f.to.Is6(), peer6.Next(), peer4.Next()) })
	sometimes(func() { f.options = rng.IntN(11) })
	sometimes(func() { f.frag = uint16(rng.Uint32()) })
	sometimes(func() { f.proto, f.extension = uint8(rng.IntN(256)), make([]byte, 8*rng.IntN(3)) })
	sometimes(func() { f.port = uint16(testPort - 1 + rng.IntN(3)) })
	sometimes(func() { f.payload = 1 + rng.IntN(2000) })
	sometimes(func() { f.ipLen = rng.IntN(64) - 32 })
	sometimes(func() { f.udpLen = rng.IntN(64) - 32 })
	sometimes(func() { f.padding = rng.IntN(40) })
	return f
}

// mutate cuts some frames and flips bits of the headers of others.
func mutate(rng *rand.Rand, f []byte) []byte {
	switch rng.IntN(4) {
	case 0:
		f = f[:14+rng.IntN(len(f)-13)]
	case 1:
		for range 1 + rng.IntN(3) {
			f[rng.IntN(min(len(f), 70))] ^= 1 << rng.IntN(8)
		}
	}
	return f
}
