// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"strconv"
	"strings"
)

// port is a transport protocol and a port number, as one comparable value.
type port uint32

// maxRange bounds how many ports a range may span. A rule that wants more than
// that asks for no particular port.
const maxRange = 64

// protocols are the names that may stand before the slash. Protocols without
// ports have none to be recognised by.
var protocols = [...]string{"tcp", "udp", "sctp"}

// portOf makes a port of what an endpoint shows; ok is false for protocols
// that no rule can name.
func portOf(proto string, number uint16) (p port, ok bool) {
	for i, name := range protocols {
		if proto == name {
			return port(i)<<16 | port(number), true
		}
	}
	return 0, false
}

// String returns the notation that parsePorts reads.
func (p port) String() string {
	return protocols[p>>16] + "/" + strconv.Itoa(int(p&0xffff))
}

// parsePorts reads "tcp/9100" or a range, "tcp/5900-5909".
func parsePorts(s string) ([]port, error) {
	proto, numbers, ok := strings.Cut(s, "/")
	if !ok {
		return nil, fmt.Errorf("%.40q is no port; write it as tcp/9100", s)
	}
	low, high, ranged := strings.Cut(numbers, "-")
	if !ranged {
		high = low
	}
	first, err := parseNumber(low)
	if err != nil {
		return nil, err
	}
	last, err := parseNumber(high)
	if err != nil {
		return nil, err
	}
	if last < first || last-first >= maxRange {
		return nil, fmt.Errorf("the range %.40q is empty or spans more than %d ports", s, maxRange)
	}
	base, ok := portOf(proto, 0)
	if !ok {
		return nil, fmt.Errorf("the protocol of %.40q is not one of %s", s, strings.Join(protocols[:], ", "))
	}
	var ports []port
	for n := first; n <= last; n++ {
		ports = append(ports, base|port(n))
	}
	return ports, nil
}

func parseNumber(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > 65535 || s[0] == '+' {
		return 0, fmt.Errorf("%.40q is no port number (1 to 65535)", s)
	}
	return n, nil
}
