// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/portolan/portolan/profiler/rules"
)

func newRules() *cobra.Command {
	c := &cobra.Command{
		Use:   "rules",
		Short: "The fingerprints that tell what device an endpoint is",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newRulesTest())
	return c
}

// rulesReport is what `rules test` answers.
type rulesReport struct {
	Rules  int                `json:"rules"`
	Tests  int                `json:"tests"`
	Failed int                `json:"failed"`
	Items  []rules.TestResult `json:"items"`
}

func newRulesTest() *cobra.Command {
	var output outputFlag
	c := &cobra.Command{
		Use:   "test [FILE|DIR]...",
		Short: "Run the tests that stand with the fingerprints",
		Long: `Runs the tests of the built-in fingerprints, and those of the files and folders
that are given, together with the built-in ones as the daemon would use them.
Nothing is opened or changed.

It ends with 1 if a test fails and with 3 if a file cannot be used.`,
		RunE: action(func(c *cobra.Command, args []string) error {
			asJSON, err := output.json()
			if err != nil {
				return err
			}
			report, err := testRules(args)
			if err != nil {
				return err
			}
			if asJSON {
				err = writeJSON(c.OutOrStdout(), report)
			} else {
				err = report.print(newTable(c.OutOrStdout()))
			}
			if err == nil && report.Failed > 0 {
				err = fmt.Errorf("%d of %d tests of fingerprints fail", report.Failed, report.Tests)
			}
			return err
		}),
	}
	output.add(c)
	return c
}

// testRules tests the built-in rules by themselves, and then those of paths.
func testRules(paths []string) (rulesReport, error) {
	set, err := rules.BuiltIn()
	if err != nil {
		return rulesReport{}, err
	}
	report := rulesReport{Items: set.Test()}
	if len(paths) > 0 {
		if set, err = rules.LoadFiles(paths...); err != nil {
			return rulesReport{}, failWith(exitInput, err)
		}
		report.Items = append(report.Items, set.Test()...)
	}
	report.Rules, report.Tests = len(set.Rules()), len(report.Items)
	for _, r := range report.Items {
		if !r.Passed {
			report.Failed++
		}
	}
	return report, nil
}

// print shows the tests that fail, and the sum.
func (r rulesReport) print(t table) error {
	if r.Failed > 0 {
		t.row("RULE", "TEST", "EXPECTED", "GOT")
	}
	for _, i := range r.Items {
		if !i.Passed {
			t.row(i.Rule, i.Origin, i.Expect, i.Got)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(t, "%d rules, %d tests, %d failed.\n", r.Rules, r.Tests, r.Failed)
	if err != nil {
		return err
	}
	return t.Flush()
}
