// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"cmp"
	"slices"
	"strings"

	"github.com/portolan/portolan/profiler"
)

// Set is an immutable set of rules. Any number of goroutines may match with it.
type Set struct {
	rules   []*Rule // by rank of what they can reach: reliability, then id
	at      map[port]uint16
	version string
	known   map[string]bool // categories, in lower case
	// extended tells that rules of a folder or of files were added.
	extended bool
}

// newSet makes a set of rules whose ids differ. version tells sets apart.
func newSet(list []*Rule, version string) *Set {
	s := &Set{rules: slices.Clone(list), at: map[port]uint16{}, version: version, known: map[string]bool{}}
	slices.SortFunc(s.rules, func(a, b *Rule) int {
		return cmp.Or(cmp.Compare(b.Device.Rel, a.Device.Rel), strings.Compare(a.ID, b.ID))
	})
	for i, r := range s.rules {
		// A rule may be in several sets: the places of its ports differ.
		own := *r
		s.place(&own.when)
		own.more = slices.Clone(own.more)
		for j := range own.more {
			s.place(&own.more[j].condition)
		}
		own.alsoAt = s.places(own.also)
		s.rules[i] = &own
		s.known[strings.ToLower(r.Device.Category)] = true
	}
	return s
}

// place gives every port of a condition its place in the table.
func (s *Set) place(c *condition) {
	for _, p := range []*portCondition{&c.listening, &c.contacted} {
		p.allAt, p.anyAt, p.noneAt = s.places(p.all), s.places(p.any), s.places(p.none)
	}
}

func (s *Set) places(ports []port) []uint16 {
	var at []uint16
	for _, p := range ports {
		i, ok := s.at[p]
		if !ok {
			i = uint16(len(s.at))
			s.at[p] = i
		}
		at = append(at, i)
	}
	return at
}

// Rules are the rules of the set, the most reliable first. They are the set's
// own: read only.
func (s *Set) Rules() []*Rule { return s.rules }

// Version changes with the content of the files: 16 hex digits. Whoever keeps
// matches knows by it that they are of other rules.
func (s *Set) Version() string { return s.version }

// Knows reports whether some rule tells of a category, without regard to case.
func (s *Set) Knows(category string) bool { return s.known[strings.ToLower(category)] }

// Result is what the rules say of an endpoint at one moment.
type Result struct {
	// Device is the best match; its zero value says that no rule matches.
	Device profiler.Device `json:"device,omitzero"`
	// Other is the best match of another device: another category, family or name.
	Other profiler.Device `json:"other,omitzero"`
	// Rival is the best match of another category than Device that the rule of
	// Device does not explain, see [Accepted].
	Rival profiler.Device `json:"rival,omitzero"`
	// Rule, OtherRule and RivalRule are the ids of the rules that say so.
	Rule      string `json:"rule,omitempty"`
	OtherRule string `json:"other_rule,omitempty"`
	RivalRule string `json:"rival_rule,omitempty"`
}
