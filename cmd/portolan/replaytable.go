// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/portolan/portolan/profiler/api"
)

// shownPorts is how many ports of an endpoint a line lists.
const shownPorts = 20

// writeReplay is the result for people.
func writeReplay(w io.Writer, r *replayResult) error {
	fmt.Fprint(w, amount(uint64(r.files), "file"))
	if !r.first.IsZero() {
		fmt.Fprintf(w, ", flow exports from %s to %s", r.first.Format(time.RFC3339), r.last.Format(time.RFC3339))
	}
	if r.skipped > 0 {
		fmt.Fprintf(w, "; %s skipped", amount(r.skipped, "other UDP datagram"))
	}
	fmt.Fprint(w, "\n\n")
	writeBooks(w, &r.Ledger)
	if len(r.Exporters) > 0 {
		fmt.Fprintln(w)
		t := newTable(w)
		t.row("EXPORTER", "DOMAIN", "VERSION", "DATAGRAMS", "RECORDS", "LOST (ESTIMATE)", "TEMPLATES", "WAITING SETS")
		for i := range r.Exporters {
			e := &r.Exporters[i]
			t.row(orDash(e.Exporter), e.Domain, e.Version, e.Datagrams, e.Records, api.Loss(e), e.Templates, e.Waiting)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	if len(r.Endpoints) > 0 {
		fmt.Fprintln(w)
		t := newTable(w)
		t.row("ENDPOINT", "ADDRESSES", "HOSTNAME", "LISTENING", "CONTACTED")
		for i := range r.Endpoints {
			e := &r.Endpoints[i]
			var addresses []string
			for _, a := range e.Addresses {
				addresses = append(addresses, a.String())
			}
			t.row(e.ID, orDash(strings.Join(addresses, " ")), orDash(e.Hostname), orDash(portList(e.Listening, shownPorts)), orDash(portList(e.Contacted, shownPorts)))
		}
		return t.Flush()
	}
	return nil
}

// orDash keeps a column from being empty.
func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
