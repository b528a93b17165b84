// SPDX-License-Identifier: Apache-2.0

package profiler

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
)

// CSVError is one thing that is wrong with an endpoints file.
type CSVError struct {
	Row     int    // as a spreadsheet counts: the header is row 1
	Column  string // the name of the column, its number in the header, or "" for the whole row
	Message string
}

// Error is "row 5, column ip: …".
func (e CSVError) Error() string {
	if e.Column == "" {
		return fmt.Sprintf("row %d: %s", e.Row, e.Message)
	}
	return fmt.Sprintf("row %d, column %s: %s", e.Row, e.Column, e.Message)
}

// maxCSVErrors is how many errors of one file are kept. More than that is one
// cause repeated, or another kind of file.
const maxCSVErrors = 100

// CSVErrors is everything that is wrong with an endpoints file, in the order of
// rows: the first errors themselves and the number of those beyond them.
type CSVErrors struct {
	Errors []CSVError
	More   int
}

// Error is one line per error, and a last one that counts the rest.
func (e *CSVErrors) Error() string {
	var b strings.Builder
	for i, x := range e.Errors {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(x.Error())
	}
	if e.More > 0 {
		fmt.Fprintf(&b, "\nand %d more", e.More)
	}
	return b.String()
}

func (e *CSVErrors) add(row int, column, message string) {
	if len(e.Errors) == maxCSVErrors {
		e.More++
		return
	}
	e.Errors = append(e.Errors, CSVError{row, column, message})
}

func (e *CSVErrors) count() int { return len(e.Errors) + e.More }

// err is e as an error, nil where there is none.
func (e *CSVErrors) err() error {
	if e.count() == 0 {
		return nil
	}
	return e
}

// fileChecks holds what has to be compared across rows.
type fileChecks struct {
	ips  map[netip.Addr]int // row that has it
	macs map[MAC]*Row       // what the rows so far say together
}

func newFileChecks() fileChecks {
	return fileChecks{ips: map[netip.Addr]int{}, macs: map[MAC]*Row{}}
}

func (f *fileChecks) check(r *Row, errs *CSVErrors) {
	if r.IP.IsValid() {
		if first, ok := f.ips[r.IP]; ok {
			errs.add(r.Row, "ip", fmt.Sprintf("%s stands in row %d already", r.IP, first))
		} else {
			f.ips[r.IP] = r.Row
		}
	}
	if r.MAC.IsZero() {
		return
	}
	all, ok := f.macs[r.MAC]
	if !ok {
		c := *r
		f.macs[r.MAC] = &c
		return
	}
	differ := func(col int, have *string, now string) {
		if *have == "" {
			*have = now
		} else if now != "" && now != *have {
			errs.add(r.Row, columns[col], fmt.Sprintf("%q, but %q in an earlier row of the same mac", now, *have))
		}
	}
	differ(colHostname, &all.Hostname, r.Hostname)
	differ(colOSType, &all.OSType, r.OSType)
	differ(colCategory, &all.Category, r.Category)
	differ(colFamily, &all.Family, r.Family)
	differ(colName, &all.Name, r.Name)
	if all.StaticIP == Unsaid {
		all.StaticIP = r.StaticIP
	} else if r.StaticIP != Unsaid && r.StaticIP != all.StaticIP {
		errs.add(r.Row, columns[colStaticIP], "differs from an earlier row of the same mac")
	}
	if len(all.Tags) == 0 {
		all.Tags = r.Tags
	} else if len(r.Tags) > 0 && !slices.Equal(all.Tags, r.Tags) {
		errs.add(r.Row, columns[colTags], "differ from those in an earlier row of the same mac")
	}
}

// maxRecord is the longest record, in bytes. It bounds what a file without line
// ends, or with a quote that is never closed, can make us hold.
const maxRecord = 64 << 10

var errRecordTooLong = errors.New("record too long")

// recordGuard passes a file on to the csv reader for as long as no record is
// over maxRecord. A record ends at a line feed outside quotes; a doubled quote
// inside a quoted cell leaves and enters it again, so that parity will do.
type recordGuard struct {
	r      *bufio.Reader
	length int
	quoted bool
}

func newRecordGuard(r io.Reader) *recordGuard {
	return &recordGuard{r: bufio.NewReaderSize(r, 64<<10)}
}

func (g *recordGuard) peek(n int) ([]byte, error) { return g.r.Peek(n) }

// skip drops n bytes that peek has returned.
func (g *recordGuard) skip(n int) { _, _ = g.r.Discard(n) }

func (g *recordGuard) Read(p []byte) (int, error) {
	n, err := g.r.Read(p)
	for i, c := range p[:n] {
		switch {
		case c == '"':
			g.quoted = !g.quoted
		case c == '\n' && !g.quoted:
			g.length = 0
			continue
		}
		if g.length++; g.length > maxRecord {
			// What stands before is handed on first, so that its errors are told too.
			g.length = maxRecord
			return i, errRecordTooLong
		}
	}
	return n, err
}
