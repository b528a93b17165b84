// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"slices"
	"strings"

	"github.com/portolan/portolan/profiler"
)

// inlinePorts is how many different ports a set may name until Match allocates.
const inlinePorts = 1024

// room is space for the evidence of ports on the caller's stack.
type room [2][inlinePorts]profiler.Evidence

// sight is an endpoint as the conditions of a set see it: of each port that
// some rule names, the evidence in each role. What else there is to see stands
// apart in traits: a regular expression lets the texts escape, and what is in
// one struct with them would escape as well.
type sight struct {
	listening, contacted []profiler.Evidence
}

// traits are what an endpoint shows beside its ports.
type traits struct {
	vendor, os      string
	hostname, label string // label is the first of the host name
	mac             profiler.MAC
}

func traitsOf(e *profiler.Endpoint) traits {
	label, _, _ := strings.Cut(e.Hostname, ".")
	return traits{vendor: e.MACVendor, os: e.OSType, hostname: e.Hostname, label: label, mac: e.MAC}
}

// look makes the sight of an endpoint, in zeroed room if that is enough.
func (s *Set) look(e *profiler.Endpoint, in *room) sight {
	v := sight{in[0][:], in[1][:]}
	if len(s.at) > inlinePorts {
		v = sight{make([]profiler.Evidence, len(s.at)), make([]profiler.Evidence, len(s.at))}
	}
	s.fill(v.listening, e.Listening)
	s.fill(v.contacted, e.Contacted)
	return v
}

// fill notes the evidence of the ports. Where a port stands twice the stronger
// evidence counts, so that the order of the ports makes no difference.
func (s *Set) fill(evidence []profiler.Evidence, ports []profiler.Port) {
	for i := range ports {
		p, ok := portOf(ports[i].Proto, ports[i].Port)
		if !ok || ports[i].Evidence == "" {
			continue
		}
		at, ok := s.at[p]
		if !ok {
			continue
		}
		if got, err := profiler.ParseEvidence(ports[i].Evidence); err == nil {
			evidence[at] = max(evidence[at], got)
		}
	}
}

// holds reports whether every part of the condition holds. least is the weakest
// evidence that counts.
func (c *condition) holds(v *sight, t *traits, least profiler.Evidence) bool {
	return c.listening.holds(v.listening, least) &&
		c.contacted.holds(v.contacted, least) &&
		c.mac.holds(t.mac) &&
		fits(c.vendor, t.vendor) && fits(c.os, t.os) && fitsHost(c.hostname, t) // the cheapest first
}

func (c *portCondition) holds(evidence []profiler.Evidence, least profiler.Evidence) bool {
	for _, at := range c.allAt {
		if evidence[at] < least {
			return false
		}
	}
	if c.min > 0 {
		n := 0
		for _, at := range c.anyAt {
			if evidence[at] >= least {
				n++
			}
		}
		if n < c.min {
			return false
		}
	}
	for _, at := range c.noneAt {
		if evidence[at] >= least {
			return false
		}
	}
	return true
}

func fits(patterns []pattern, s string) bool {
	for i := range patterns {
		if patterns[i].match(s) {
			return true
		}
	}
	return len(patterns) == 0
}

func fitsHost(patterns []pattern, t *traits) bool {
	for i := range patterns {
		if patterns[i].matchHost(t.hostname, t.label) {
			return true
		}
	}
	return len(patterns) == 0
}

// score is what the rule is worth for an endpoint, 0 where it does not match.
func (r *Rule) score(v *sight, t *traits) int {
	if !r.when.holds(v, t, r.evidence) {
		return 0
	}
	n := r.Device.Score
	for i := range r.more {
		if r.more[i].holds(v, t, r.evidence) {
			n += r.more[i].points
		}
	}
	return n
}

// hit is a rule that matches; the zero value is none.
type hit struct {
	rule  *Rule
	score int
}

// before is the order of matches, the better one first.
func (h hit) before(o hit) bool {
	switch {
	case h.rule == nil || o.rule == nil:
		return h.rule != nil
	case h.rule.Device.Rel != o.rule.Device.Rel:
		return h.rule.Device.Rel > o.rule.Device.Rel
	case h.score != o.score:
		return h.score > o.score
	case h.rule.special != o.rule.special:
		return h.rule.special > o.rule.special
	}
	return h.rule.ID < o.rule.ID
}

func (h hit) device() profiler.Device {
	if h.rule == nil {
		return profiler.Device{}
	}
	d := h.rule.Device
	d.Score = h.score
	return d
}

func (h hit) id() string {
	if h.rule == nil {
		return ""
	}
	return h.rule.ID
}

// maxHits is how many matches are weighed. Rules are tried in the order of
// their reliability, so what is over would not have been shown.
const maxHits = 64

// Match finds the best match of an endpoint: the greatest reliability, then
// score, then number of demands, then the least id. It reads MAC, MACVendor,
// Hostname, OSType, Listening and Contacted (protocol, port, evidence), the
// ports in any order, and nothing else of the endpoint. It changes nothing.
func (s *Set) Match(e *profiler.Endpoint) Result {
	var in room
	v, t := s.look(e, &in), traitsOf(e)
	var hits [maxHits]hit
	n := 0
	for _, r := range s.rules {
		if score := r.score(&v, &t); score > 0 && n < maxHits {
			hits[n] = hit{r, score}
			n++
		}
	}
	if n == 0 {
		return Result{}
	}
	best := hits[0]
	for _, h := range hits[1:n] {
		if h.before(best) {
			best = h
		}
	}
	var other, rival hit
	best.rule.explain(&v, &t)
	for _, h := range hits[:n] {
		d, b := &h.rule.Device, &best.rule.Device
		if !same(*d, *b) && h.before(other) {
			other = h
		}
		if !kin(d.Category, b.Category) && h.before(rival) && h.rule.when.holds(&v, &t, h.rule.evidence) {
			rival = h
		}
	}
	return Result{
		Device: best.device(), Other: other.device(), Rival: rival.device(),
		Rule: best.id(), OtherRule: other.id(), RivalRule: rival.id(),
	}
}

// general are the categories of what runs an operating system for any purpose:
// one machine may be several of them, and change from one to another.
var general = [...]string{"Computer", "Hypervisor", "Server", "Storage"}

// kin reports whether two categories do not contradict each other.
func kin(a, b string) bool {
	return a == b || slices.Contains(general[:], a) && slices.Contains(general[:], b)
}

// explain takes away what the rule names, demanded or not: a recorder of a
// maker of cameras matches the rule for its cameras as well, with the same port
// and the same vendor, and that is no contradiction. What still matches without
// all that is another device.
func (r *Rule) explain(v *sight, t *traits) {
	r.when.explain(v, t)
	for i := range r.more {
		r.more[i].explain(v, t)
	}
	for _, at := range r.alsoAt {
		v.listening[at], v.contacted[at] = profiler.NoEvidence, profiler.NoEvidence
	}
}

func (c *condition) explain(v *sight, t *traits) {
	c.listening.explain(v.listening)
	c.contacted.explain(v.contacted)
	if len(c.vendor) > 0 {
		t.vendor = ""
	}
	if len(c.hostname) > 0 {
		t.hostname, t.label = "", ""
	}
	if len(c.os) > 0 {
		t.os = ""
	}
}

func (c *portCondition) explain(evidence []profiler.Evidence) {
	for _, list := range [2][]uint16{c.allAt, c.anyAt} {
		for _, at := range list {
			evidence[at] = profiler.NoEvidence
		}
	}
}
