// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// pattern matches a whole text, without regard to case: a glob in which *
// stands for any characters and ? for one, or, between slashes, a regular
// expression in the syntax of RE2, which may match anywhere.
type pattern struct {
	text string
	glob string // in lower case
	re   *regexp.Regexp
	// label: of a host name it is about the first label.
	label bool
}

// maxPattern bounds a pattern in bytes.
const maxPattern = 200

func parsePattern(s string) (pattern, error) {
	switch {
	case s == "":
		return pattern{}, errors.New("an empty pattern matches nothing that is known")
	case len(s) > maxPattern:
		return pattern{}, fmt.Errorf("a pattern of more than %d bytes", maxPattern)
	case strings.Trim(s, "*?") == "":
		return pattern{}, fmt.Errorf("the pattern %q matches everything; leave the condition out", s)
	case len(s) > 2 && s[0] == '/' && s[len(s)-1] == '/':
		re, err := regexp.Compile("(?i)" + s[1:len(s)-1])
		if err != nil {
			return pattern{}, fmt.Errorf("the regular expression %s: %w", s, err)
		}
		return pattern{text: s, re: re}, nil
	}
	return pattern{text: s, glob: lowerASCII(s), label: !strings.Contains(s, ".")}, nil
}

// match reports whether the whole of s fits. An empty s, a thing that is not
// known, fits no pattern.
func (p *pattern) match(s string) bool {
	if s == "" {
		return false
	}
	if p.re != nil {
		return p.re.MatchString(s)
	}
	return globMatch(p.glob, s)
}

// matchHost is match for a host name, of which label is the first label: a
// pattern without a dot is about that, so that "printer-?" fits
// printer-3.example.org.
func (p *pattern) matchHost(s, label string) bool {
	if p.label {
		s = label
	}
	return p.match(s)
}

// globMatch matches bytes, going back to the latest star only: a later star can
// take whatever an earlier one could, so the time is len(glob)·len(s) at worst.
// Letters of ASCII match in both cases, others as they are written.
func globMatch(glob, s string) bool {
	g, i, star, from := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case g < len(glob) && glob[g] == '*':
			star, from = g, i
			g++
		case g < len(glob) && (glob[g] == '?' || glob[g] == lower(s[i])):
			g++
			i++
		case star >= 0:
			from++
			g, i = star+1, from
		default:
			return false
		}
	}
	for g < len(glob) && glob[g] == '*' {
		g++
	}
	return g == len(glob)
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

func lowerASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		b[i] = lower(c)
	}
	return string(b)
}
