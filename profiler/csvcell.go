// SPDX-License-Identifier: Apache-2.0

package profiler

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Indices into columns.
const (
	colMAC = iota
	colIP
	colHostname
	colStaticIP
	colOSType
	colCategory
	colFamily
	colName
	colTags
)

// Bounds of text cells, in bytes.
const (
	maxText     = 255
	maxHostname = 253 // RFC 1035 §2.3.4, without the final dot
	maxTags     = 64
)

// set reads one cell into the row and returns what is wrong with it, or "".
func (r *Row) set(col int, cell string) string {
	cell = unprotect(strings.TrimSpace(cell))
	if cell == "" {
		return ""
	}
	if msg := checkText(cell); msg != "" {
		return msg
	}
	switch col {
	case colMAC:
		m, err := ParseMAC(cell)
		if err != nil {
			return err.Error()
		}
		r.MAC = m
	case colIP:
		a, msg := parseAddr(cell)
		if msg != "" {
			return msg
		}
		r.IP = a
	case colStaticIP:
		return r.setStatic(cell)
	case colTags:
		return r.setTags(cell)
	default:
		return r.setText(col, cell)
	}
	return ""
}

func (r *Row) setText(col int, cell string) string {
	limit := maxText
	if col == colHostname {
		limit = maxHostname
	}
	if len(cell) > limit {
		return fmt.Sprintf("%d bytes long; the most is %d", len(cell), limit)
	}
	cell = strings.Clone(cell) // do not keep the reader's whole record alive
	switch col {
	case colHostname:
		r.Hostname = cell
	case colOSType:
		r.OSType = cell
	case colCategory:
		r.Category = cell
	case colFamily:
		r.Family = cell
	case colName:
		r.Name = cell
	}
	return ""
}

func (r *Row) setStatic(cell string) string {
	switch strings.ToLower(cell) {
	case "true", "yes", "1":
		r.StaticIP = Yes
	case "false", "no", "0":
		r.StaticIP = No
	default:
		return fmt.Sprintf("%.40q is neither true, yes, 1 nor false, no, 0", cell)
	}
	return ""
}

func (r *Row) setTags(cell string) string {
	for tag := range strings.SplitSeq(cell, ";") {
		tag = strings.TrimSpace(tag)
		switch {
		case tag == "" || slices.Contains(r.Tags, tag):
			continue
		case len(tag) > maxText:
			return fmt.Sprintf("a tag is %d bytes long; the most is %d", len(tag), maxText)
		case len(r.Tags) == maxTags:
			return fmt.Sprintf("more than %d tags", maxTags)
		}
		r.Tags = append(r.Tags, strings.Clone(tag))
	}
	return ""
}

// checkText refuses what must not reach a log line, a page or a terminal.
func checkText(s string) string {
	if !utf8.ValidString(s) {
		return "not UTF-8; save the file as \"CSV UTF-8\""
	}
	for _, c := range s {
		switch {
		case c == 0:
			return "a NUL character; the file is UTF-16 or no text; save it as \"CSV UTF-8\""
		case unicode.IsControl(c) || c == '\u2028' || c == '\u2029':
			return fmt.Sprintf("a control character (%U)", c)
		case c >= '\u202a' && c <= '\u202e' || c >= '\u2066' && c <= '\u2069' || c == '\u200e' || c == '\u200f':
			return fmt.Sprintf("a character that turns the direction of writing (%U)", c)
		}
	}
	return ""
}

// parseAddr reads the address of an endpoint, and says what is wrong with one
// that no single device can have.
func parseAddr(s string) (netip.Addr, string) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		if p, perr := netip.ParsePrefix(s); perr == nil {
			return netip.Addr{}, fmt.Sprintf("%s is a prefix, not an address", p)
		}
		return netip.Addr{}, addrMessage(s)
	}
	if a.Zone() != "" {
		return netip.Addr{}, fmt.Sprintf("%.60s has a zone; an address of one link cannot be told from that of another", s)
	}
	a = a.Unmap()
	switch {
	case a.IsUnspecified():
		return netip.Addr{}, fmt.Sprintf("%s is the unspecified address", a)
	case a.IsLoopback():
		return netip.Addr{}, fmt.Sprintf("%s is a loopback address", a)
	case a.IsMulticast():
		return netip.Addr{}, fmt.Sprintf("%s is a multicast address", a)
	case a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return netip.Addr{}, fmt.Sprintf("%s is the broadcast address", a)
	}
	return a, ""
}

// addrMessage explains the refusal that people run into: a leading zero, which
// some programs read as octal and some as decimal.
func addrMessage(s string) string {
	for part := range strings.SplitSeq(s, ".") {
		if len(part) > 1 && part[0] == '0' && strings.Count(s, ".") == 3 {
			return fmt.Sprintf("%.60q has a leading zero, which may mean octal or decimal; write it without", s)
		}
	}
	return fmt.Sprintf("%.60q is not an IP address", s)
}
