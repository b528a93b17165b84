// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"strings"

	"github.com/portolan/portolan/profiler"
)

// Trusted is the weakest evidence of a port that counts, where a rule does not
// ask for another: that a registered or listed port stood against one that is
// not. Below it are `peer` and `class`, which say that some port is served and
// are wrong for about one port in twenty, and `seen`, where nobody asked which
// side served: one scan would make every endpoint match every rule.
const Trusted = profiler.Service

// Rule is one fingerprint: the device it tells of and what an endpoint has to
// show for it. It is immutable.
type Rule struct {
	// ID is unique in a set. A rule of a folder replaces the built-in one of the
	// same ID.
	ID string `json:"id"`
	// Origin is where the rule stands: file, line and column.
	Origin string `json:"origin"`
	// BuiltIn tells that it came with the product.
	BuiltIn bool `json:"built_in"`
	// Device has the reliability of the rule and, as its score, what the rule is
	// worth when no more than its demands are met.
	Device profiler.Device `json:"device"`
	// Evidence is the weakest evidence of a port that counts, by its JSON name.
	Evidence string `json:"evidence"`
	// When are the demands, all of which must be met, in words.
	When []string `json:"when"`
	// More are the conditions that add points where they hold, in words.
	More []string `json:"more,omitempty"`
	// Also are ports that such a device may well serve or contact. They add
	// nothing, but do not speak for another device either.
	Also []string `json:"also,omitempty"`

	when     condition
	more     []bonus
	evidence profiler.Evidence
	special  int // the number of demands, which breaks ties
	also     []port
	alsoAt   []uint16
	tests    []trial
}

// bonus is a condition that adds to the score.
type bonus struct {
	points int
	condition
}

// condition holds where each of its parts holds; a part that is not stated does.
type condition struct {
	listening, contacted portCondition
	vendor, hostname, os []pattern
	mac                  macKind
}

// portCondition is about the ports of one role.
type portCondition struct {
	all, any, none []port
	min            int // how many of any there must be, at least 1
	// The same as places in the table of a set.
	allAt, anyAt, noneAt []uint16
}

func (c *portCondition) stated() bool { return len(c.all)+len(c.any)+len(c.none) > 0 }

// macKind is a demand on who administers the MAC address.
type macKind uint8

const (
	anyMAC macKind = iota
	localMAC
	globalMAC
)

var macKinds = map[string]macKind{"local": localMAC, "global": globalMAC}

// LocallyAdministered reports whether a MAC address was given by software, not
// by the maker of the card (IEEE 802 §8.2.2): by a phone or laptop that hides
// behind a random one, or by a hypervisor. It has no vendor, and it may change.
// An address that is not known is not locally administered.
func LocallyAdministered(m profiler.MAC) bool { return m[0]&2 != 0 }

func (k macKind) holds(m profiler.MAC) bool {
	return k == anyMAC || !m.IsZero() && LocallyAdministered(m) == (k == localMAC)
}

// stated reports whether the condition demands anything at all that can be
// missing: without that a rule would match every endpoint.
func (c *condition) stated() bool {
	return len(c.listening.all)+len(c.listening.any)+len(c.contacted.all)+len(c.contacted.any)+
		len(c.vendor)+len(c.hostname)+len(c.os) > 0
}

// demands counts what the condition asks for.
func (c *condition) demands() int {
	n := len(c.listening.all) + c.listening.min + len(c.contacted.all) + c.contacted.min
	for _, p := range [][]pattern{c.vendor, c.hostname, c.os} {
		if len(p) > 0 {
			n++
		}
	}
	if c.mac != anyMAC {
		n++
	}
	return n
}

// words tells the condition to a reader, one part each.
func (c *condition) words() []string {
	w := append(c.listening.words("listens on"), c.contacted.words("contacts")...)
	for _, p := range []struct {
		what     string
		patterns []pattern
	}{{"vendor", c.vendor}, {"hostname", c.hostname}, {"os_type", c.os}} {
		if len(p.patterns) > 0 {
			texts := make([]string, len(p.patterns))
			for i := range p.patterns {
				texts[i] = p.patterns[i].text
			}
			w = append(w, p.what+" "+strings.Join(texts, " or "))
		}
	}
	switch c.mac {
	case localMAC:
		w = append(w, "MAC locally administered")
	case globalMAC:
		w = append(w, "MAC of a vendor")
	}
	return w
}

func (c *portCondition) words(verb string) []string {
	var w []string
	if len(c.all) > 0 {
		w = append(w, verb+" "+join(c.all, " and "))
	}
	if len(c.any) > 0 {
		least := ""
		if c.min > 1 {
			least = fmt.Sprintf("%d of ", c.min)
		}
		w = append(w, verb+" "+least+join(c.any, " or "))
	}
	if len(c.none) > 0 {
		w = append(w, verb+" none of "+join(c.none, ", "))
	}
	return w
}

func join(ports []port, sep string) string {
	texts := make([]string, len(ports))
	for i, p := range ports {
		texts[i] = p.String()
	}
	return strings.Join(texts, sep)
}

// finish derives what follows from the demands.
func (r *Rule) finish() {
	r.special = r.when.demands()
	r.Evidence = r.evidence.String()
	r.When = r.when.words()
	for _, p := range r.also {
		r.Also = append(r.Also, p.String())
	}
	for i := range r.more {
		r.More = append(r.More, fmt.Sprintf("+%d %s", r.more[i].points, strings.Join(r.more[i].words(), ", ")))
	}
}
