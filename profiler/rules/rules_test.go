// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"testing"
)

func builtIn(t testing.TB) *Set {
	t.Helper()
	s, err := BuiltIn()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Every built-in rule stands with a test of what it is the best match of and
// with one of what it must not match, and all of them hold.
func TestBuiltInRules(t *testing.T) {
	s := builtIn(t)
	if n := len(s.Rules()); n < 80 {
		t.Errorf("%d rules, at least 80 are wanted", n)
	}
	kinds := map[string]map[string]int{}
	for _, r := range s.Test() {
		if kinds[r.Rule] == nil {
			kinds[r.Rule] = map[string]int{}
		}
		kinds[r.Rule][r.Expect]++
		if !r.Passed {
			t.Errorf("%s: %s: expected %s, got %s", r.Origin, r.Rule, r.Expect, r.Got)
		}
	}
	for _, r := range s.Rules() {
		if kinds[r.ID][expectBest] == 0 || kinds[r.ID][expectMiss] == 0 {
			t.Errorf("%s: %s needs a test that expects best and one that expects miss", r.Origin, r.ID)
		}
	}
}
