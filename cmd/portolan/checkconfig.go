// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func newCheckConfig() *cobra.Command {
	var output outputFlag
	c := &cobra.Command{
		Use:   "check-config",
		Short: "Check a configuration and show what it comes to",
		Long: `Checks the configuration that 'portolan run' would use with the same flags,
environment and file, and shows every setting with where its value comes from.
Nothing is opened or changed.`,
		Args: cobra.NoArgs,
		RunE: action(func(c *cobra.Command, _ []string) error {
			asJSON, err := output.json()
			if err != nil {
				return err
			}
			_, values, err := loadConfig(c)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(c.OutOrStdout(), effective(values))
			}
			t := newTable(c.OutOrStdout())
			t.row("SETTING", "VALUE", "FROM")
			for _, s := range settings {
				t.row(s.key, strings.Join(values[s.key].text, ", "), values[s.key].origin)
			}
			if err := t.Flush(); err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), "\nThe configuration is good.")
			return err
		}),
	}
	addSettingFlags(c)
	output.add(c)
	return c
}

// effective is the configuration as JSON shows it.
func effective(values map[string]value) map[string]any {
	m := map[string]any{}
	for _, s := range settings {
		v := map[string]any{"from": values[s.key].origin}
		if s.list {
			v["value"] = append([]string{}, values[s.key].text...)
		} else {
			v["value"] = one(values[s.key].text)
		}
		m[s.key] = v
	}
	return m
}
