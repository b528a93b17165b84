// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/portolan/portolan/ingest/capture"
	"github.com/portolan/portolan/ingest/flow"
)

// exportPorts are the UDP ports that exporters send to as a rule: NetFlow 2055,
// 9555, 9995 and 9996, IPFIX 4739, sFlow 6343.
var exportPorts = []uint16{2055, 4739, 6343, 9555, 9995, 9996}

// isExport tells whether a datagram of a file is a flow export or was meant to
// be one; m and drop are what Parse made of it. A capture holds whatever the
// network carried, and in all of it some datagram begins like a flow export by
// chance (a DNS query with the right number, for one). So where the port does
// not say that it is one, the header has to be right and to announce records.
func isExport(d *capture.Datagram, m *flow.Message, drop flow.Drop) bool {
	if d.Raw || slices.Contains(exportPorts, d.Destination.Port()) || slices.Contains(exportPorts, d.Source.Port()) {
		return true
	}
	return drop == flow.NoDrop && m.Count > 0 && (m.Version != flow.V5 || m.Count <= flow.MaxV5Records)
}

// exporterOf is the address that sent a datagram, as flow and ingest have it;
// zero where the file does not tell.
func exporterOf(d *capture.Datagram) (a [16]byte) {
	if d.Raw {
		return a
	}
	return d.Source.Addr().Unmap().As16()
}

// headerTime is the time at which a message says it was sent.
func headerTime(payload []byte) (time.Time, bool) {
	var m flow.Message
	if m.Parse(payload) != flow.NoDrop {
		return time.Time{}, false
	}
	return time.Unix(0, m.ExportTime).UTC(), true
}

// unreadable is the error of files that could not be read, or not to their end.
func unreadable(errs []error) error { return failWith(exitInput, errors.Join(errs...)) }

// openCaptures opens all files, or none; then the error names every one that
// cannot be opened.
func openCaptures(paths []string) ([]*capture.Reader, error) {
	var readers []*capture.Reader
	var errs []error
	for _, path := range paths {
		r, err := capture.Open(path)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		readers = append(readers, r)
	}
	if len(errs) > 0 {
		closeCaptures(readers)
		return nil, unreadable(errs)
	}
	return readers, nil
}

// closeCaptures closes files that were only read, so that an error of it means
// nothing.
func closeCaptures(readers []*capture.Reader) {
	for _, r := range readers {
		_ = r.Close()
	}
}

// amount is a number with its noun, which takes an s in the plural.
func amount(n uint64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
