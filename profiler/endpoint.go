// SPDX-License-Identifier: Apache-2.0

package profiler

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// Endpoint is a device in the repository, as every list and answer shows it.
// In JSON a field without a value is absent, except the lists of ports, which
// are always there. Times are UTC.
type Endpoint struct {
	// ID is the MAC, or the IP address where the MAC is not known. It changes
	// from the one to the other when the MAC becomes known.
	ID  string `json:"id"`
	MAC MAC    `json:"mac,omitzero"`
	// IP is the first of Addresses.
	IP netip.Addr `json:"ip,omitzero"`
	// Addresses are the current bindings: IPv4 before IPv6, each by value.
	Addresses []netip.Addr `json:"addresses,omitempty"`
	// Waiting: the endpoint has a MAC but no address yet, so no flow can be its.
	Waiting   bool     `json:"waiting_for_address,omitempty"`
	Hostname  string   `json:"hostname,omitempty"`
	StaticIP  bool     `json:"static_ip"`
	MACVendor string   `json:"mac_vendor,omitempty"`
	OSType    string   `json:"os_type,omitempty"`
	Tags      []string `json:"tags,omitempty"`
	// Device is what the endpoint is believed to be. Where the operator said so
	// (category, family or name in the endpoints file), that stands here as an
	// override without rel and score: nothing was matched.
	Device *Device `json:"device,omitempty"`
	// Other is the runner-up, Conflict tells that the two contradict each other.
	Other       *Device     `json:"other,omitempty"`
	Conflict    bool        `json:"conflict"`
	Fingerprint Fingerprint `json:"fingerprint"`
	Listening   []Port      `json:"listening"`
	Contacted   []Port      `json:"contacted"`
	AddedAt     time.Time   `json:"added_at,omitzero"`
	// UpdatedAt is when the endpoint or one of its ports last changed here.
	UpdatedAt time.Time `json:"updated_at,omitzero"`
}

// Device is what kind of thing an endpoint is. Rel (0–100) is how well the
// fingerprint identifies it, Score (0–100) how well it fits; both are absent in
// an operator's override.
type Device struct {
	Category string `json:"category,omitempty"`
	Family   string `json:"family,omitempty"`
	Name     string `json:"name,omitempty"`
	Rel      int    `json:"rel,omitempty"`
	Score    int    `json:"score,omitempty"`
}

// Fingerprint is what a device is matched on.
type Fingerprint struct {
	Host HostFingerprint `json:"host"`
}

// HostFingerprint is the part of it that is about the host: what it runs, who
// made its network card, and the TCP and UDP ports it listens on, as decimal
// strings in numeric order, each once.
type HostFingerprint struct {
	OSType    string   `json:"os_type,omitempty"`
	MACVendor []string `json:"mac_vendor,omitempty"`
	Ports     []string `json:"ports,omitempty"`
}

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
		Proto:     ProtoName(proto),
		Port:      port,
		Evidence:  s.Evidence.String(),
		FirstSeen: Time(s.First),
		LastSeen:  Time(s.Last),
	}
	if s.Exporter != [16]byte{} {
		p.Exporter = netip.AddrFrom16(s.Exporter).Unmap()
	}
	return p
}

// Time is Unix nanoseconds as a UTC time; 0 is the zero time, which JSON omits.
func Time(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

// Finish derives what follows from the rest of the endpoint, so that every
// source of endpoints shows the same: the order of addresses and ports, ID, IP,
// Waiting, the fingerprint, and lists that are empty rather than nil.
func (e *Endpoint) Finish() {
	slices.SortFunc(e.Addresses, CompareAddr)
	e.IP = netip.Addr{}
	if len(e.Addresses) > 0 {
		e.IP = e.Addresses[0]
	}
	e.Waiting = len(e.Addresses) == 0
	e.ID = e.MAC.String()
	if e.MAC.IsZero() && e.IP.IsValid() {
		e.ID = e.IP.String()
	}
	if e.Listening == nil {
		e.Listening = []Port{}
	}
	if e.Contacted == nil {
		e.Contacted = []Port{}
	}
	SortPorts(e.Listening)
	SortPorts(e.Contacted)
	e.Fingerprint.Host.OSType = e.OSType
	e.Fingerprint.Host.Ports = fingerprintPorts(e.Listening)
}

// CompareAddr orders addresses as an endpoint lists them: IPv4 before IPv6,
// then by value.
func CompareAddr(a, b netip.Addr) int { return a.Compare(b) }

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
