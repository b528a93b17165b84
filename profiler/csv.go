// SPDX-License-Identifier: Apache-2.0

package profiler

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
)

// Row is one row of an endpoints file. A zero field is an empty cell, which
// says nothing about that property: an import leaves it as it is.
type Row struct {
	// Row is where it stood, as a spreadsheet counts: the header is row 1.
	Row      int
	MAC      MAC
	IP       netip.Addr // never an IPv4-mapped IPv6 address
	Hostname string
	StaticIP Tristate
	OSType   string
	Category string
	Family   string
	Name     string
	Tags     []string
}

// Tristate is a yes, a no, or nothing said.
type Tristate uint8

const (
	// Unsaid is an empty cell.
	Unsaid Tristate = iota
	// No is false, no or 0.
	No
	// Yes is true, yes or 1.
	Yes
)

// columns are the columns of an endpoints file, in the order of WriteCSV.
var columns = []string{"mac", "ip", "hostname", "static_ip", "os_type", "category", "family", "name", "tags"}

// ParseCSV reads an endpoints file: RFC 4180, in UTF-8, with or without a byte
// order mark, with either line ending. The header names any subset of
//
//	mac,ip,hostname,static_ip,os_type,category,family,name,tags
//
// in any order, once each; one of mac and ip is among them and has a value in
// every row. A row of empty cells is skipped. White space around a cell is
// not part of it. tags are separated by semicolons; static_ip is true, yes, 1,
// false, no or 0. Text is at most 255 bytes (253 for a hostname, RFC 1035
// §2.3.4) without control characters and without the characters that turn the
// direction of writing. A cell that WriteCSV has protected against being taken
// for a formula is read back as it was.
//
// A MAC may stand in several rows, with another IP in each (dual stack). The
// rows then describe one endpoint: where two of them give different hostnames
// or anything else that an endpoint has one of, that is an error, because there
// is no order of rows that a reader could rely on. An IP may stand in one row.
//
// The whole file is checked. The error, if any, is a *[CSVErrors] with all that
// is wrong, or what r returned; rows are returned only without an error.
func ParseCSV(r io.Reader) ([]Row, error) {
	guard := newRecordGuard(r)
	head, err := guard.peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("cannot read the endpoints file: %w", err)
	}
	p := parser{file: newFileChecks()}
	if bytes.HasPrefix(head, []byte{0xff, 0xfe}) || bytes.HasPrefix(head, []byte{0xfe, 0xff}) || bytes.IndexByte(head, 0) >= 0 {
		p.errs.add(1, "", "the file is UTF-16 or no text; save it as \"CSV UTF-8\"")
		return nil, p.errs.err()
	}
	if bytes.HasPrefix(head, []byte("\xef\xbb\xbf")) {
		guard.skip(3)
	}
	p.csv = csv.NewReader(guard)
	p.csv.FieldsPerRecord = -1
	p.csv.ReuseRecord = true
	if err := p.run(); err != nil {
		return nil, err
	}
	return p.rows, nil
}

// parser goes through one file.
type parser struct {
	csv  *csv.Reader
	cols []int // index into columns, by position in the header
	rows []Row
	errs CSVErrors
	file fileChecks
	row  int // of the record that was read last
	end  int // line that it ended on
}

// run reads every record; it ends early only where the reader cannot go on.
func (p *parser) run() error {
	for {
		rec, err := p.csv.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		var syntax *csv.ParseError
		switch {
		case errors.Is(err, errRecordTooLong):
			p.errs.add(p.row+1, "", fmt.Sprintf("longer than %d bytes; is a quote not closed?", maxRecord))
			return p.errs.err()
		case errors.As(err, &syntax):
			p.advance(syntax.StartLine, syntax.Line)
			p.errs.add(p.row, "", syntaxMessage(syntax))
			if p.cols == nil {
				return p.errs.err()
			}
			continue
		case err != nil:
			return fmt.Errorf("cannot read the endpoints file: %w", err)
		}
		first, _ := p.csv.FieldPos(0)
		last, _ := p.csv.FieldPos(len(rec) - 1)
		p.advance(first, last+strings.Count(rec[len(rec)-1], "\n"))
		if p.cols == nil {
			if !p.header(rec) {
				return p.errs.err()
			}
			continue
		}
		p.record(rec)
	}
	if p.cols == nil {
		p.errs.add(1, "", "the file is empty; its first row names the columns: "+strings.Join(columns, ","))
	}
	return p.errs.err()
}

// advance moves on to the record that stands on lines first to last. A record
// is one row of a spreadsheet however many lines it takes, and so is an empty
// line, which the csv package passes over.
func (p *parser) advance(first, last int) {
	p.row += 1 + first - p.end - 1
	p.end = last
}

func syntaxMessage(e *csv.ParseError) string {
	switch {
	case errors.Is(e.Err, csv.ErrQuote):
		return "a quoted cell is not closed, or goes on after its closing quote"
	case errors.Is(e.Err, csv.ErrBareQuote):
		return "a quote inside a cell that does not begin with one; put the cell in quotes and double the quote"
	}
	return e.Err.Error()
}

// header reads the names of the columns and reports whether they will do.
func (p *parser) header(rec []string) bool {
	p.cols = make([]int, len(rec))
	seen := make([]bool, len(columns))
	for i, cell := range rec {
		name := strings.ToLower(strings.TrimSpace(cell))
		k := slices.Index(columns, name)
		switch {
		case strings.ContainsRune(cell, 0):
			p.errs.add(p.row, fmt.Sprint(i+1), "a NUL character; the file is UTF-16 or no text; save it as \"CSV UTF-8\"")
		case k < 0:
			p.errs.add(p.row, fmt.Sprint(i+1), fmt.Sprintf("unknown column %.60q; known are %s", cell, strings.Join(columns, ",")))
		case seen[k]:
			p.errs.add(p.row, fmt.Sprint(i+1), fmt.Sprintf("column %q stands twice", name))
		default:
			seen[k], p.cols[i] = true, k
		}
	}
	if len(p.errs.Errors) == 0 && !seen[colMAC] && !seen[colIP] {
		p.errs.add(p.row, "", "neither a mac nor an ip column; one of the two is needed")
	}
	return len(p.errs.Errors) == 0
}

// record reads one row of values.
func (p *parser) record(rec []string) {
	if blank(rec) {
		return
	}
	if len(rec) != len(p.cols) {
		p.errs.add(p.row, "", fmt.Sprintf("%d cells where the header has %d", len(rec), len(p.cols)))
		return
	}
	row := Row{Row: p.row}
	before := p.errs.count()
	for i, cell := range rec {
		if msg := row.set(p.cols[i], cell); msg != "" {
			p.errs.add(p.row, columns[p.cols[i]], msg)
		}
	}
	if p.errs.count() > before {
		return // what did not parse must not be reported as missing as well
	}
	if row.MAC.IsZero() && !row.IP.IsValid() {
		p.errs.add(p.row, "", "neither a mac nor an ip; one of the two is needed")
		return
	}
	p.file.check(&row, &p.errs)
	p.rows = append(p.rows, row)
}

func blank(rec []string) bool {
	for _, c := range rec {
		if strings.TrimSpace(c) != "" {
			return false
		}
	}
	return true
}
