// SPDX-License-Identifier: Apache-2.0

package profiler

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// Port is one port of an endpoint in one role.
type Port struct {
	Proto string `json:"proto"`
	Port  uint16 `json:"port"`
	// Service is the registered name of the port, where one is known.
	Service string `json:"service,omitempty"`
	// Evidence is why the port is believed, by its JSON name.
	Evidence string `json:"evidence,omitempty"`
	// Counterparts and Flows count what was seen, where that is counted.
	Counterparts uint32 `json:"counterparts,omitempty"`
	Flows        uint64 `json:"flows,omitempty"`
	// Exporter is who showed the port.
	Exporter  netip.Addr `json:"exporter,omitzero"`
	FirstSeen time.Time  `json:"first_seen,omitzero"`
	LastSeen  time.Time  `json:"last_seen,omitzero"`
	// WithdrawnAt is when the evidence was vetoed; such a port does not count.
	WithdrawnAt time.Time `json:"withdrawn_at,omitzero"`
}

// ProtoName is the name of an IANA protocol number as every output shows it:
// tcp, udp, icmp, icmp6 or sctp, else the number in decimal.
func ProtoName(proto uint8) string {
	switch proto {
	case 1:
		return "icmp"
	case 6:
		return "tcp"
	case 17:
		return "udp"
	case 58:
		return "icmp6"
	case 132:
		return "sctp"
	}
	return strconv.Itoa(int(proto))
}

// NewPort is a port as it is shown, made of the state that is held of it.
func NewPort(proto uint8, port uint16, s *PortState) Port {
	p := Port{
		Proto:        ProtoName(proto),
		Port:         port,
		Service:      ServiceName(proto, port),
		Evidence:     s.Evidence.String(),
		Counterparts: s.Counterparts,
		Flows:        s.Flows,
		FirstSeen:    Time(s.First),
		LastSeen:     Time(s.Last),
		WithdrawnAt:  Time(s.Withdrawn),
	}
	if s.Exporter != [16]byte{} {
		p.Exporter = netip.AddrFrom16(s.Exporter).Unmap()
	}
	return p
}

// Show adds a port to the list where it is shown. A withdrawn one is no port
// that the endpoint serves or uses: it is listed apart where it was listening,
// and not at all where it was contacted.
func (e *Endpoint) Show(role Role, p Port) {
	switch {
	case role == Listening && !p.WithdrawnAt.IsZero():
		e.Withdrawn = append(e.Withdrawn, p)
	case role == Listening:
		e.Listening = append(e.Listening, p)
	case p.WithdrawnAt.IsZero():
		e.Contacted = append(e.Contacted, p)
	}
}

// Least leaves out of Listening the ports that rest on weaker evidence than least,
// and reports whether any is left. The fingerprint stays as it is.
func (e *Endpoint) Least(least Evidence) bool {
	var kept []Port
	for i := range e.Listening {
		if ev, err := ParseEvidence(e.Listening[i].Evidence); err == nil && ev >= least {
			kept = append(kept, e.Listening[i])
		}
	}
	if e.Listening = kept; kept == nil {
		e.Listening = []Port{}
	}
	return len(kept) > 0
}

// SortPorts orders ports by protocol number, then by port.
func SortPorts(ports []Port) {
	slices.SortFunc(ports, func(a, b Port) int {
		if c := cmp.Compare(protoNumber(a.Proto), protoNumber(b.Proto)); c != 0 {
			return c
		}
		return cmp.Compare(a.Port, b.Port)
	})
}

// protoNumber is the inverse of ProtoName.
func protoNumber(s string) int {
	switch s {
	case "icmp":
		return 1
	case "tcp":
		return 6
	case "udp":
		return 17
	case "icmp6":
		return 58
	case "sctp":
		return 132
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return 256 // no protocol number; after all that are
	}
	return n
}

func fingerprintPorts(listening []Port) []string {
	var ports []uint16
	for i := range listening {
		if p := &listening[i]; p.Proto == "tcp" || p.Proto == "udp" {
			ports = append(ports, p.Port)
		}
	}
	slices.Sort(ports)
	ports = slices.Compact(ports)
	var out []string
	for _, p := range ports {
		out = append(out, strconv.Itoa(int(p)))
	}
	return out
}
