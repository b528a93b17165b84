// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// outputFlag adds --output. The value is read after parsing with its method.
type outputFlag struct{ value string }

func (o *outputFlag) add(c *cobra.Command) {
	c.Flags().StringVarP(&o.value, "output", "o", "table", "table or json")
}

// json tells whether JSON was asked for, or that the value makes no sense.
func (o *outputFlag) json() (bool, error) {
	switch o.value {
	case "json":
		return true, nil
	case "table":
		return false, nil
	}
	return false, usageErrorf("--output is table or json, not %q", o.value)
}

// writeJSON writes one indented object.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// table writes rows of tab-separated cells in columns.
type table struct{ *tabwriter.Writer }

func newTable(w io.Writer) table {
	return table{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
}

func (t table) row(cells ...any) {
	for i, c := range cells {
		if i > 0 {
			fmt.Fprint(t, "\t")
		}
		fmt.Fprint(t, c)
	}
	fmt.Fprintln(t)
}
