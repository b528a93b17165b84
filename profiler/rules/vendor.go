// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/gopacket/gopacket/macs"

	"github.com/portolan/portolan/profiler"
)

// Vendors names the makers of network cards by the prefix of the MAC address:
// a local file first, the longest prefix first, then the registry of 24-bit
// prefixes (MA-L) that comes with a library. It is immutable.
//
// The library has no 28- and 36-bit prefixes (MA-M, MA-S) and is as old as the
// build; both can be had in the local file, which takes the registry's own CSV
// files as they are. The zero value has no local file.
type Vendors struct {
	local   map[prefix]string
	lengths []uint8 // of the local prefixes, in hex digits, the longest first
}

// prefix is the first digits of a MAC address.
type prefix struct {
	digits uint8 // hex digits, 6 to 12
	value  uint64
}

// Bounds of a local file.
const (
	maxVendorLine  = 4096
	maxVendorLines = 200000
)

// ErrVendors is wrapped by what is wrong with a local file.
var ErrVendors = errors.New("cannot use the file of vendors")

// LoadVendors reads a local file: CSV with the columns prefix and vendor, or
// with the columns of the registry's files (Assignment, Organization Name). A
// prefix is 6 to 12 hex digits, with or without separators: 00:1b:c5 has 24
// bits, 0055DA0 has 28, 001BC5000 has 36. An empty path is no local file.
func LoadVendors(path string) (*Vendors, error) {
	if path == "" {
		return &Vendors{}, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrVendors, err)
	}
	defer f.Close()
	v, err := readVendors(f)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrVendors, path, err)
	}
	return v, nil
}

func readVendors(r io.Reader) (*Vendors, error) {
	c := csv.NewReader(bufio.NewReader(r))
	c.Comment = '#'
	c.ReuseRecord = true
	head, err := c.Read()
	if err != nil {
		return nil, fmt.Errorf("it has no line with the names of the columns: %w", err)
	}
	at, name := column(head, "prefix", "assignment"), column(head, "vendor", "organization name")
	if at < 0 || name < 0 {
		return nil, errors.New("line 1: the columns prefix and vendor are needed (or Assignment and Organization Name)")
	}
	v := &Vendors{local: map[prefix]string{}}
	for {
		rec, err := c.Read()
		if err == io.EOF {
			return v, nil
		}
		if err != nil {
			return nil, err
		}
		line, _ := c.FieldPos(at)
		if len(v.local) == maxVendorLines || len(rec[at])+len(rec[name]) > maxVendorLine {
			return nil, fmt.Errorf("line %d: more than %d lines, or a line of more than %d bytes", line, maxVendorLines, maxVendorLine)
		}
		p, err := parsePrefix(rec[at])
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		v.local[p] = strings.Clone(tidy(rec[name]))
		if !slices.Contains(v.lengths, p.digits) {
			v.lengths = append(v.lengths, p.digits)
			slices.SortFunc(v.lengths, func(a, b uint8) int { return int(b) - int(a) })
		}
	}
}

func column(head []string, names ...string) int {
	return slices.IndexFunc(head, func(s string) bool {
		s = strings.TrimPrefix(strings.TrimSpace(s), "\ufeff")
		return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(s, n) })
	})
}

func parsePrefix(s string) (prefix, error) {
	digits := strings.NewReplacer(":", "", "-", "", ".", "").Replace(strings.TrimSpace(s))
	n, err := strconv.ParseUint(digits, 16, 64)
	if err != nil || len(digits) < 6 || len(digits) > 12 {
		return prefix{}, fmt.Errorf("%.40q is no prefix of a MAC address; write it as 00:1b:c5 (6 to 12 hex digits)", s)
	}
	return prefix{uint8(len(digits)), n}, nil
}

// Lookup names the vendor, "" where it is not known. A locally administered
// address has none, unless the local file names its prefix (as of a
// hypervisor's cards).
func (v *Vendors) Lookup(m profiler.MAC) string {
	if m.IsZero() {
		return ""
	}
	var value uint64
	for _, b := range m {
		value = value<<8 | uint64(b)
	}
	for _, digits := range v.lengths {
		if name, ok := v.local[prefix{digits, value >> (4 * (12 - digits))}]; ok {
			return name
		}
	}
	if LocallyAdministered(m) {
		return ""
	}
	name := tidy(macs.ValidMACPrefixMap[[3]byte{m[0], m[1], m[2]}])
	switch name {
	case "IEEE Registration Authority", "Private":
		// The first is divided further, the second does not want to be named.
		return ""
	}
	return name
}

// tidy takes out the spaces that the registry fills names up with.
func tidy(s string) string { return strings.Join(strings.Fields(s), " ") }
