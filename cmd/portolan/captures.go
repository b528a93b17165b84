// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/portolan/portolan/ingest/capture"
	"github.com/portolan/portolan/ingest/flow"
)

// exporterOf is the address that sent a datagram, as flow and ingest have it;
// zero where the file does not tell.
func exporterOf(d *capture.Datagram) (a [16]byte) {
	if d.Raw {
		return a
	}
	return d.Source.Addr().Unmap().As16()
}

// headerTime is the time at which a message says it was sent. sFlow's do not.
func headerTime(payload []byte) (time.Time, bool) {
	var m flow.Message
	if m.Parse(payload) != flow.NoDrop || m.Version == flow.SFlow5 {
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
