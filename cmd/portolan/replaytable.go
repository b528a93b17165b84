// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"io"
	"time"

	"github.com/portolan/portolan/profiler"
	"github.com/portolan/portolan/profiler/api"
)

// shownPorts is how many ports of an endpoint and a role are listed.
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
	for i := range r.Endpoints {
		if err := writeReplayed(w, &r.Endpoints[i]); err != nil {
			return err
		}
	}
	return nil
}

// writeReplayed is one endpoint: what it is, and a line for each port that it
// listens on.
func writeReplayed(w io.Writer, e *profiler.Endpoint) error {
	fmt.Fprintf(w, "\n%s", endpointLabel(e))
	if e.MACVendor != "" {
		fmt.Fprintf(w, ", %s", e.MACVendor)
	}
	if e.Device != nil {
		fmt.Fprintf(w, ": %s", deviceMatch(e.Device))
	}
	fmt.Fprintln(w)
	if e.Other != nil {
		what := "or"
		if e.Conflict {
			what = "conflict"
		}
		fmt.Fprintf(w, "  %s: %s\n", what, deviceMatch(e.Other))
	}
	t := newTable(w)
	for i := range e.Listening[:min(len(e.Listening), shownPorts)] {
		p := &e.Listening[i]
		t.row(fmt.Sprintf("  listens %s/%d", p.Proto, p.Port), orDash(p.Service), orDash(p.Evidence))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if n := len(e.Listening) - shownPorts; n > 0 {
		fmt.Fprintf(w, "  and %s more\n", amount(uint64(n), "port"))
	}
	for _, role := range []struct {
		name  string
		ports []profiler.Port
	}{{"contacts", e.Contacted}, {"withdrawn", e.Withdrawn}} {
		if len(role.ports) > 0 {
			fmt.Fprintf(w, "  %s %s\n", role.name, portList(role.ports, shownPorts))
		}
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
