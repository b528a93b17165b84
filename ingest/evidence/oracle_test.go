// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/portolan/portolan/profiler"
)

// oracle is the same judgement written for reading: maps of all that was seen,
// no slots, no bits, and nothing decided before the last record. It knows short
// captures of exporters that do not sample.
type oracle map[oraclePort]*facts

type oraclePort struct {
	binding uint32
	proto   uint8
	port    uint16
}

// facts are what the records have shown of a port.
type facts struct {
	proven        profiler.Evidence
	client        bool
	out, in       bool
	better, worse bool
	met           map[uint16]bool     // ports at other ends
	fars          map[oraclePort]bool // the other ends
}

func (o oracle) of(p oraclePort) *facts {
	if o[p] == nil {
		o[p] = &facts{met: map[uint16]bool{}, fars: map[oraclePort]bool{}}
	}
	return o[p]
}

// see takes a record of unequal ports.
func (o oracle) see(r record) {
	src, dst := oraclePort{r.src, r.proto, r.sport}, oraclePort{r.dst, r.proto, r.dport}
	has := func(flags uint8) bool { return r.flags&flags != 0 }
	if r.proto == tcp && r.flags != 0 {
		switch {
		case has(flagSYN) && has(flagACK) && !has(flagFIN|flagRST|flagPSH) && r.packets == 1:
			o.of(src).proven = profiler.Handshake
			o.of(dst).client = true
			o.of(dst).fars[src] = true
			return
		case !has(flagACK):
			if has(flagSYN) {
				o.of(src).client = true
				o.of(src).fars[dst] = true
			}
			return
		case has(flagRST) && !has(flagSYN|flagPSH|flagFIN), r.packets == 1 && !has(flagPSH|flagSYN):
			return
		}
	} else if r.proto == tcp && r.packets <= 3 {
		return
	}
	o.side(src, dst, true, true)
	o.side(dst, src, false, has(flagSYN|flagPSH|flagFIN) || r.flags == 0)
}

// side enters one end. proves: the end took part.
func (o oracle) side(own, far oraclePort, out, proves bool) {
	a, b := rank(own.proto, own.port), rank(far.proto, far.port)
	if b <= listedHigh && a >= unlisted {
		return // a client of what is listed
	}
	f := o.of(own)
	f.fars[far] = true
	f.out = f.out || out
	f.in = f.in || !out && proves
	if a < b || a == b && own.port < far.port {
		f.better = true
	} else {
		f.worse = true
	}
	if reserved(own.proto, own.port, a, b) {
		f.better, f.worse = true, true
	}
	if proves && b > listedEphemeral && (own.proto == tcp || !out) {
		f.met[far.port] = true
	}
}

// far is the lowest of the ends that a port met, if that is an endpoint's.
func (o oracle) far(f *facts) (oraclePort, *facts) {
	low := slices.MinFunc(slices.Collect(maps.Keys(f.fars)), func(a, b oraclePort) int {
		if a.binding != b.binding {
			return int(a.binding) - int(b.binding)
		}
		return int(a.port) - int(b.port)
	})
	if low.binding == 0 || o[low] == nil {
		return low, &facts{}
	}
	return low, o[low]
}

// verdict is what all of it comes to for one port.
func (o oracle) verdict(p oraclePort) profiler.Evidence {
	f := o[p]
	if f.proven != profiler.NoEvidence {
		return f.proven
	}
	fan := len(f.met)
	took := f.out || p.proto == tcp && f.in
	if len(f.fars) == 0 || f.client && fan < 4 || !took {
		return profiler.NoEvidence
	}
	own := rank(p.proto, p.port)
	low, far := o.far(f)
	k := 2
	if p.proto == udp && own >= otherHigh {
		k = 4
	}
	farRank := rank(low.proto, low.port)
	ephemeral := farRank >= windowsRPC || farRank == otherLow
	better := f.better && !f.worse
	switch {
	case fan >= k && (fan >= overwhelming || fan >= len(far.met)):
		return profiler.FanIn
	case own >= unlisted && (far.proven != 0 || len(far.met) >= 2 && len(far.met) > fan):
		return profiler.NoEvidence
	case better && own <= assigned && (own != listedEphemeral || ephemeral):
		return profiler.Service
	case far.client:
		return profiler.Peer
	case !better || own == farRank || own >= otherHigh && farRank >= otherHigh:
		return profiler.NoEvidence
	case p.proto == udp && (p.port >= 10000 || own == otherLow && !ephemeral):
		return profiler.NoEvidence
	}
	return profiler.Class
}

// TestOracle compares the table's few words with the oracle's maps, over random
// traffic of a few endpoints with few ports each.
func TestOracle(t *testing.T) {
	found := map[profiler.Evidence]int{}
	for seed := range uint64(2000) {
		list := office(rand.New(rand.NewPCG(seed, 2)))
		w, o := newWorld(), oracle{}
		w.see(now0, list...)
		w.settle(now0+10, true)
		for _, r := range list {
			o.see(r)
		}
		want := map[string]profiler.Evidence{}
		for p := range o {
			if e := o.verdict(p); e != profiler.NoEvidence && p.binding != 0 {
				want[name(p.binding, p.proto, p.port)] = e
				found[e]++
			}
		}
		if fmt.Sprint(w.listening) != fmt.Sprint(want) {
			t.Fatalf("seed %d:\ntable  %v\noracle %v", seed, w.listening, want)
		}
	}
	for _, e := range []profiler.Evidence{profiler.Handshake, profiler.FanIn, profiler.Service, profiler.Peer, profiler.Class} {
		if found[e] == 0 {
			t.Errorf("no port by %s: the comparison says nothing of it", e)
		}
	}
	t.Log(found)
}
