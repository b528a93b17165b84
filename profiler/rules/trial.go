// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/portolan/portolan/profiler"
)

// trial is a test that stands with its rule: an endpoint and what is expected.
type trial struct {
	origin   string
	expect   string
	score    int // 0: any
	endpoint profiler.Endpoint
}

// What a trial may expect of its rule.
const (
	expectBest  = "best"  // it is the best match
	expectMatch = "match" // it matches, another may be better
	expectMiss  = "miss"  // it does not match
)

func (d *decoder) trial(n ast.Node) trial {
	t := trial{origin: d.at(n), expect: expectBest}
	e := &t.endpoint
	has := d.mapping(n, fields{
		"expect":    d.into(&t.expect),
		"score":     d.number(&t.score, 1, 100),
		"listening": d.trialPorts(&e.Listening),
		"contacted": d.trialPorts(&e.Contacted),
		"vendor":    d.into(&e.MACVendor),
		"hostname":  d.into(&e.Hostname),
		"os_type":   d.into(&e.OSType),
		"mac": func(n ast.Node) {
			m, err := profiler.ParseMAC(d.text(n))
			if err != nil {
				d.errorf(n, "%w", err)
			}
			e.MAC = m
		},
	})
	switch t.expect {
	case expectBest, expectMatch:
	case expectMiss:
		if has["score"] {
			d.errorf(n, "a test that expects a miss has no score")
		}
	default:
		d.errorf(n, "expect is best, match or miss, not %.40q", t.expect)
	}
	return t
}

// trialPorts reads ports of a test: tcp/9100, or tcp/9100@class with the
// evidence, which is fan-in where it is not given.
func (d *decoder) trialPorts(to *[]profiler.Port) func(ast.Node) {
	return func(n ast.Node) {
		d.list(n, func(n ast.Node) {
			text, evidence, given := strings.Cut(d.text(n), "@")
			if !given {
				evidence = profiler.FanIn.String()
			} else if _, err := profiler.ParseEvidence(evidence); err != nil {
				d.errorf(n, "%w", err)
			}
			ports, err := parsePorts(text)
			if err != nil {
				d.errorf(n, "%w", err)
			}
			for _, p := range ports {
				*to = append(*to, profiler.Port{Proto: protocols[p>>16], Port: uint16(p), Evidence: evidence})
			}
		})
	}
}

// TestResult is the outcome of one test of one rule.
type TestResult struct {
	Rule   string `json:"rule"`
	Origin string `json:"origin"` // where the test stands
	Expect string `json:"expect"`
	Passed bool   `json:"passed"`
	// Got tells what happened instead, where the test did not pass.
	Got string `json:"got,omitempty"`
}

// Test runs the tests that stand with the rules of the set. A built-in rule is
// tested among the built-in ones by the set of [BuiltIn]; in a set with rules of
// a folder only those of the folder are tested, since theirs may be better.
func (s *Set) Test() []TestResult {
	results := []TestResult{}
	for _, r := range s.rules {
		if r.BuiltIn && s.extended {
			continue
		}
		for i := range r.tests {
			results = append(results, s.try(r, &r.tests[i]))
		}
	}
	return results
}

func (s *Set) try(r *Rule, t *trial) TestResult {
	var in room
	v, shown := s.look(&t.endpoint, &in), traitsOf(&t.endpoint)
	score, best := r.score(&v, &shown), s.Match(&t.endpoint)
	res := TestResult{Rule: r.ID, Origin: t.origin, Expect: t.expect}
	switch {
	case t.expect == expectMiss && score > 0:
		res.Got = fmt.Sprintf("a match with score %d", score)
	case t.expect != expectMiss && score == 0:
		res.Got = "no match; the best is " + name(best)
	case t.expect == expectBest && best.Rule != r.ID:
		res.Got = "a match, but the best is " + name(best)
	case t.score != 0 && score != t.score:
		res.Got = fmt.Sprintf("score %d, not %d", score, t.score)
	}
	res.Passed = res.Got == ""
	return res
}

func name(r Result) string {
	if r.Rule == "" {
		return "nothing"
	}
	return fmt.Sprintf("%s %s (rel %d, score %d)", r.Rule, Triple(r.Device), r.Device.Rel, r.Device.Score)
}
