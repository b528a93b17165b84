// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bench

import (
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"text/tabwriter"

	"github.com/portolan/portolan/profiler"
)

// DayFound is a port that is said to be listening.
type DayFound struct {
	Addr     netip.Addr
	MAC      profiler.MAC // decides, where it is known
	Proto    uint8
	Port     uint16
	Evidence string // optional
}

// Figures count ports. True ones are services and sockets that are bound as
// well; only services that answered somebody can be missed.
type Figures struct {
	Services, Bound, False, Missed int
}

// Precision is the share of what was found that is true, 1 of nothing.
func (f Figures) Precision() float64 {
	return ratio(f.Services+f.Bound, f.Services+f.Bound+f.False)
}

// Strict is the precision where bound sockets count for nothing.
func (f Figures) Strict() float64 { return ratio(f.Services, f.Services+f.False) }

// Recall is the share of services that were found, 1 of none.
func (f Figures) Recall() float64 { return ratio(f.Services, f.Services+f.Missed) }

// F1 is the harmonic mean of both.
func (f Figures) F1() float64 {
	p, r := f.Precision(), f.Recall()
	if p+r == 0 {
		return 0
	}
	return 2 * p * r / (p + r)
}

func ratio(part, whole int) float64 {
	if whole == 0 {
		return 1
	}
	return float64(part) / float64(whole)
}

// DayScore is how well ports were found.
type DayScore struct {
	Total Figures
	// By names a class of ports, as "evidence fan-in" or "kind nodeport". What is
	// false has no kind; what is missed has no evidence.
	By     map[string]Figures
	False  []DayFound
	Missed []DayTruth
}

// Score compares. A port that was found twice counts once, with its first
// evidence.
func Score(truth []DayTruth, found []DayFound) *DayScore {
	type key struct {
		mac   profiler.MAC
		addr  netip.Addr
		proto uint8
		port  uint16
	}
	byMAC, byAddr := map[key]int{}, map[key]int{}
	for i, t := range truth {
		byMAC[key{mac: t.MAC, proto: t.Proto, port: t.Port}] = i
		byAddr[key{addr: t.Addr, proto: t.Proto, port: t.Port}] = i
	}
	s := &DayScore{By: map[string]Figures{}}
	hit, seen := make([]bool, len(truth)), map[key]bool{}
	for _, f := range found {
		k := key{f.MAC, f.Addr.Unmap(), f.Proto, f.Port}
		index := byMAC
		if k.mac.IsZero() {
			index = byAddr
		} else {
			k.addr = netip.Addr{}
		}
		if seen[k] {
			continue
		}
		seen[k] = true
		names := []string{"evidence " + f.Evidence, "protocol " + profiler.ProtoName(f.Proto)}
		i, ok := index[k]
		switch {
		case !ok:
			s.False = append(s.False, f)
			s.count(names, Figures{False: 1})
		case truth[i].Kind.Bound():
			hit[i] = true
			s.count(append(names, truth[i].classes()...), Figures{Bound: 1})
		default:
			hit[i] = true
			s.count(append(names, truth[i].classes()...), Figures{Services: 1})
		}
	}
	for i := range truth {
		if !hit[i] && truth[i].Wanted() {
			s.Missed = append(s.Missed, truth[i])
			s.count(append(truth[i].classes(), "protocol "+profiler.ProtoName(truth[i].Proto)), Figures{Missed: 1})
		}
	}
	return s
}

// classes are what a true port is counted under.
func (t *DayTruth) classes() []string {
	list := []string{"kind " + string(t.Kind), "use " + t.Use(), "height " + t.Height()}
	if t.Oneway != "" {
		list = append(list, "one way "+t.Oneway)
	}
	return list
}

func (s *DayScore) count(names []string, f Figures) {
	s.Total.add(f)
	for _, n := range names {
		sum := s.By[n]
		sum.add(f)
		s.By[n] = sum
	}
}

func (f *Figures) add(g Figures) {
	f.Services += g.Services
	f.Bound += g.Bound
	f.False += g.False
	f.Missed += g.Missed
}

// WriteTo writes a table.
func (s *DayScore) WriteTo(w io.Writer) (int64, error) {
	c := &counted{w: w}
	t := tabwriter.NewWriter(c, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tservices\tbound\tfalse\tmissed\tprecision\tstrict\trecall\tF1\t")
	row := func(name string, f Figures) {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%.3f\t%.3f\t%.3f\t%.3f\t\n", name, f.Services, f.Bound, f.False, f.Missed, f.Precision(), f.Strict(), f.Recall(), f.F1())
	}
	row("all", s.Total)
	for _, name := range slices.Sorted(maps.Keys(s.By)) {
		row(name, s.By[name])
	}
	err := t.Flush()
	return c.n, err
}

type counted struct {
	w io.Writer
	n int64
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}
