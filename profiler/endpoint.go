// SPDX-License-Identifier: Apache-2.0

package profiler

import (
	"net/netip"
	"slices"
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
	// Withdrawn are the ports that were shown as listening until their evidence
	// was vetoed.
	Withdrawn []Port    `json:"withdrawn,omitempty"`
	AddedAt   time.Time `json:"added_at,omitzero"`
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
	SortPorts(e.Withdrawn)
	e.Fingerprint.Host.OSType = e.OSType
	e.Fingerprint.Host.MACVendor = nil
	if e.MACVendor != "" {
		e.Fingerprint.Host.MACVendor = []string{e.MACVendor}
	}
	e.Fingerprint.Host.Ports = fingerprintPorts(e.Listening)
}

// CompareAddr orders addresses as an endpoint lists them: IPv4 before IPv6,
// then by value.
func CompareAddr(a, b netip.Addr) int { return a.Compare(b) }
