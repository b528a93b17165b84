// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/portolan/portolan/profiler"
)

// portsInList is how many ports of an endpoint stand in its line of a list.
const portsInList = 6

// writeEndpointsJSON writes {"items":[…]} an endpoint at a time, each on a line
// of its own: a million of them need not be held at once.
func writeEndpointsJSON(w io.Writer, all iter.Seq2[profiler.Endpoint, error]) error {
	out := bufio.NewWriterSize(w, outputBuffer)
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	separator := "{\"items\":[\n"
	for endpoint, err := range all {
		if err == nil {
			_, err = out.WriteString(separator)
		}
		if err == nil {
			err = e.Encode(&endpoint)
		}
		if err != nil {
			return err
		}
		separator = ","
	}
	end := "]}\n"
	if separator != "," {
		end = "{\"items\":[]}\n"
	}
	if _, err := out.WriteString(end); err != nil {
		return err
	}
	return out.Flush()
}

func writeEndpointsTable(w io.Writer, all iter.Seq2[profiler.Endpoint, error], least profiler.Evidence) error {
	t := newTable(w)
	t.row("ID", "IP", "HOSTNAME", "DEVICE", "LISTENING", "LAST SEEN")
	n := 0
	for e, err := range all {
		if err != nil {
			return err
		}
		n++
		t.row(e.ID, endpointIP(&e), orDash(e.Hostname), orDash(deviceName(e.Device)), orDash(portList(e.Listening, portsInList)), lastSeen(&e))
	}
	if n == 0 && least != profiler.NoEvidence {
		_, err := fmt.Fprintf(w, "No endpoint listens on a port with the evidence %s or better.\n", least)
		return err
	}
	if n == 0 {
		_, err := fmt.Fprintln(w, "No endpoint is known. Add some with: portolan endpoints import FILE.csv")
		return err
	}
	return t.Flush()
}

// endpointIP is the first address and how many more there are.
func endpointIP(e *profiler.Endpoint) string {
	switch n := len(e.Addresses); n {
	case 0:
		return "waiting"
	case 1:
		return e.IP.String()
	default:
		return fmt.Sprintf("%s +%d", e.IP, n-1)
	}
}

// deviceName is "Category, Family, Name" without what is not known or repeats.
func deviceName(d *profiler.Device) string {
	if d == nil {
		return ""
	}
	var parts []string
	for _, p := range []string{d.Category, d.Family, d.Name} {
		if p != "" && (len(parts) == 0 || parts[len(parts)-1] != p) {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, ", ")
}

// lastSeen is when a port of the endpoint was last in a flow.
func lastSeen(e *profiler.Endpoint) string {
	var last time.Time
	for _, ports := range [][]profiler.Port{e.Listening, e.Contacted} {
		for i := range ports {
			if ports[i].LastSeen.After(last) {
				last = ports[i].LastSeen
			}
		}
	}
	return shortTime(last)
}

// shortTime is a time to the second, "-" for none.
func shortTime(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

// endpointLabel names an endpoint and what people know it by.
func endpointLabel(e *profiler.Endpoint) string {
	var about []string
	if e.Hostname != "" {
		about = append(about, e.Hostname)
	}
	for _, a := range e.Addresses {
		if s := a.String(); s != e.ID {
			about = append(about, s)
		}
	}
	if n := len(e.Listening) + len(e.Contacted); n > 0 {
		about = append(about, amount(uint64(n), "port"))
	}
	if len(about) == 0 {
		return e.ID
	}
	return fmt.Sprintf("%s (%s)", e.ID, strings.Join(about, ", "))
}

// writeEndpoint is the card of one endpoint.
func writeEndpoint(w io.Writer, e *profiler.Endpoint) error {
	t := newTable(w)
	t.row("ID", e.ID)
	t.row("MAC", orDash(e.MAC.String()))
	addresses := "none: no flow can be told to be its own until an import gives it an ip"
	if len(e.Addresses) > 0 {
		var all []string
		for _, a := range e.Addresses {
			all = append(all, a.String())
		}
		addresses = strings.Join(all, ", ")
	}
	t.row("Addresses", addresses)
	for _, line := range [][2]string{
		{"Hostname", e.Hostname}, {"Device", deviceMatch(e.Device)}, {"Other", deviceMatch(e.Other)}, {"Conflict", conflictText(e)},
		{"OS", e.OSType}, {"Vendor", e.MACVendor}, {"Tags", strings.Join(e.Tags, ", ")},
	} {
		if line[1] != "" {
			t.row(line[0], line[1])
		}
	}
	if e.StaticIP {
		t.row("Static IP", "yes")
	}
	t.row("Added", shortTime(e.AddedAt))
	t.row("Updated", shortTime(e.UpdatedAt))
	if err := t.Flush(); err != nil {
		return err
	}
	if len(e.Listening)+len(e.Contacted)+len(e.Withdrawn) == 0 {
		_, err := fmt.Fprintln(w, "\nNo port of it has been seen yet.")
		return err
	}
	return errors.Join(writePorts(w, "LISTENING", e.Listening), writePorts(w, "CONTACTED", e.Contacted), writePorts(w, "WITHDRAWN", e.Withdrawn))
}

// deviceMatch is the name of a device and how well the match fits; an operator's
// own word has no figures.
func deviceMatch(d *profiler.Device) string {
	if d == nil || d.Rel == 0 {
		return deviceName(d)
	}
	return fmt.Sprintf("%s (reliability %d, score %d)", deviceName(d), d.Rel, d.Score)
}

func conflictText(e *profiler.Endpoint) string {
	if !e.Conflict {
		return ""
	}
	return "yes: device and other contradict each other"
}

// countOrDash is a count, "-" where it was not counted.
func countOrDash(n uint64) string {
	if n == 0 {
		return "-"
	}
	return strconv.FormatUint(n, 10)
}

// writePorts lists every port of one role; of withdrawn ones also since when.
func writePorts(w io.Writer, role string, ports []profiler.Port) error {
	if len(ports) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	t := newTable(w)
	head := []any{role, "SERVICE", "EVIDENCE", "COUNTERPARTS", "FLOWS", "EXPORTER", "FIRST SEEN", "LAST SEEN"}
	withdrawn := !ports[0].WithdrawnAt.IsZero()
	if withdrawn {
		head = append(head, "WITHDRAWN")
	}
	t.row(head...)
	for i := range ports {
		p := &ports[i]
		exporter := "-"
		if p.Exporter.IsValid() {
			exporter = p.Exporter.String()
		}
		cells := []any{fmt.Sprintf("%s/%d", p.Proto, p.Port), orDash(p.Service), orDash(p.Evidence), countOrDash(uint64(p.Counterparts)), countOrDash(p.Flows),
			exporter, shortTime(p.FirstSeen), shortTime(p.LastSeen)}
		if withdrawn {
			cells = append(cells, shortTime(p.WithdrawnAt))
		}
		t.row(cells...)
	}
	return t.Flush()
}
