// SPDX-License-Identifier: Apache-2.0

package profiler

import (
	"encoding/csv"
	"fmt"
	"io"
	"iter"
	"strings"
)

// WriteCSV writes endpoints as a file that ParseCSV reads back to the same
// endpoints: a row per address, one row for an endpoint that has none. It
// writes the properties that an operator can set, not what was learned.
//
// A cell that a spreadsheet would take for a formula (one that begins with =,
// +, -, @, TAB or CR) gets an apostrophe in front, so that a hostname made by a
// device cannot run anything at the operator's desk; so does a cell that
// already looks like one protected in that way. ParseCSV takes it off again.
func WriteCSV(w io.Writer, endpoints iter.Seq2[Endpoint, error]) error {
	out := csv.NewWriter(w)
	if err := out.Write(columns); err != nil {
		return fmt.Errorf("cannot write the endpoints file: %w", err)
	}
	rec := make([]string, len(columns))
	for e, err := range endpoints {
		if err != nil {
			return err
		}
		fillRecord(rec, &e)
		if len(e.Addresses) == 0 {
			if err := out.Write(rec); err != nil {
				return fmt.Errorf("cannot write the endpoints file: %w", err)
			}
		}
		for _, a := range e.Addresses {
			rec[colIP] = a.String()
			if err := out.Write(rec); err != nil {
				return fmt.Errorf("cannot write the endpoints file: %w", err)
			}
		}
	}
	out.Flush()
	if err := out.Error(); err != nil {
		return fmt.Errorf("cannot write the endpoints file: %w", err)
	}
	return nil
}

func fillRecord(rec []string, e *Endpoint) {
	clear(rec)
	rec[colMAC] = e.MAC.String()
	rec[colHostname] = protect(e.Hostname)
	rec[colStaticIP] = "false"
	if e.StaticIP {
		rec[colStaticIP] = "true"
	}
	rec[colOSType] = protect(e.OSType)
	if d := e.Device; d != nil && d.Rel == 0 {
		rec[colCategory], rec[colFamily], rec[colName] = protect(d.Category), protect(d.Family), protect(d.Name)
	}
	rec[colTags] = protect(strings.Join(e.Tags, ";"))
}

// formula reports whether a spreadsheet would take a cell for a formula, or the
// cell is one that protect has made safe.
func formula(s string) bool {
	s = strings.TrimLeft(s, "'")
	return s != "" && strings.IndexByte("=+-@\t\r", s[0]) >= 0
}

func protect(s string) string {
	if formula(s) {
		return "'" + s
	}
	return s
}

func unprotect(s string) string {
	if strings.HasPrefix(s, "'") && formula(s) {
		return s[1:]
	}
	return s
}
