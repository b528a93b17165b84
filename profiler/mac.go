// SPDX-License-Identifier: Apache-2.0

package profiler

import (
	"errors"
	"fmt"
	"strings"
)

// MAC is an EUI-48 hardware address (IEEE 802). The zero value means that the
// address is not known; it is no address of a device.
type MAC [6]byte

// ErrMAC is wrapped by every refusal of ParseMAC.
var ErrMAC = errors.New("not a MAC address of a device")

// IsZero reports whether the address is not known.
func (m MAC) IsZero() bool { return m == MAC{} }

// String returns the address in lower case with colons, and the empty string
// where it is not known.
func (m MAC) String() string {
	if m.IsZero() {
		return ""
	}
	const hex = "0123456789abcdef"
	var b [17]byte
	for i, x := range m {
		if i > 0 {
			b[3*i-1] = ':'
		}
		b[3*i], b[3*i+1] = hex[x>>4], hex[x&15]
	}
	return string(b[:])
}

// MarshalText returns String.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads what ParseMAC accepts, and the empty string.
func (m *MAC) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*m = MAC{}
		return nil
	}
	p, err := ParseMAC(string(b))
	if err == nil {
		*m = p
	}
	return err
}

// ParseMAC reads the notations that switches, phones and spreadsheets use:
// aa:bb:cc:dd:ee:ff, AA-BB-CC-DD-EE-FF, aabb.ccdd.eeff and twelve hex digits, in
// either case. It refuses what cannot be the address of one device: all zero,
// and every address with the group bit set, broadcast among them (IEEE 802
// §8.2.2). An exporter or a station that fills one of those in would otherwise
// merge many devices into one endpoint.
func ParseMAC(s string) (MAC, error) {
	var m MAC
	digits, ok := macDigits(s)
	if !ok {
		return m, fmt.Errorf("%w: %.40q; write it as aa:bb:cc:dd:ee:ff", ErrMAC, s)
	}
	for i := range m {
		hi, lo := nibble(digits[2*i]), nibble(digits[2*i+1])
		if hi > 15 || lo > 15 {
			return MAC{}, fmt.Errorf("%w: %.40q; write it as aa:bb:cc:dd:ee:ff", ErrMAC, s)
		}
		m[i] = hi<<4 | lo
	}
	switch {
	case m.IsZero():
		return MAC{}, fmt.Errorf("%w: %s is all zero", ErrMAC, s)
	case m[0]&1 != 0:
		return MAC{}, fmt.Errorf("%w: %s is a group (multicast or broadcast) address", ErrMAC, s)
	}
	return m, nil
}

// macDigits strips the separators of a notation, which must be the same
// throughout and in their places, and returns the twelve characters between.
func macDigits(s string) (string, bool) {
	switch len(s) {
	case 12:
		return s, true
	case 14:
		return s[:4] + s[5:9] + s[10:], s[4] == '.' && s[9] == '.'
	case 17:
		sep := s[2]
		if sep != ':' && sep != '-' {
			return "", false
		}
		var b strings.Builder
		for i := 0; i < 17; i += 3 {
			if i > 0 && s[i-1] != sep {
				return "", false
			}
			b.WriteString(s[i : i+2])
		}
		return b.String(), true
	}
	return "", false
}

// nibble is the value of a hex digit, over 15 if it is none.
func nibble(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}
