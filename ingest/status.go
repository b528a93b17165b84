// SPDX-License-Identifier: Apache-2.0

package ingest

import "github.com/portolan/portolan/ingest/flow"

// ReceivePath is the state of one source of datagrams, as shown at the start,
// in `status`, the API, the page and the metrics.
type ReceivePath struct {
	// Interface and Queue name an AF_XDP queue; Listen an UDP socket's address.
	Interface string `json:"interface,omitempty"`
	Queue     *int   `json:"queue,omitempty"`
	Listen    string `json:"listen,omitempty"`
	// Path is the rung: zc, copy, generic or udp.
	Path string `json:"path"`
	// State is "up", "link down", "gone" (the device was deleted), "failed" or
	// "off" (an interface that no AF_XDP socket could be had for).
	State string `json:"state"`
	// Reason tells why it is this rung and no better one, or what failed.
	Reason string `json:"reason"`
	// Thread is the operating-system thread that reads it, as top -H shows it,
	// and CPU the core that it is pinned to.
	Thread int  `json:"thread,omitempty"`
	CPU    *int `json:"cpu,omitempty"`
	// Packets is how many datagrams came by this source.
	Packets uint64 `json:"packets"`
	// Drops are the kernel's counts of what it could not deliver here, by kind.
	// In AF_XDP copy mode one lost frame shows as rx_dropped and as
	// rx_fill_ring_empty: kinds are not to be summed.
	Drops map[string]uint64 `json:"drops,omitempty"`
	// Program is the XDP program's count per exit, on the interface's first entry.
	Program map[string]uint64 `json:"program,omitempty"`
}

// Exporter is the health of one exporter's stream of messages.
type Exporter = flow.StreamHealth

// Evictions count what was forgotten of exporters to make room for others.
type Evictions = flow.Evictions

// Status is all that the sensor tells about itself.
type Status struct {
	Ledger      Ledger
	Exporters   []Exporter
	Evicted     Evictions
	Unobserved  uint64 // ports whose observation ended to make room for others of their endpoint
	Paths       []ReceivePath
	XDP         map[string]uint64 // packets by exit of the XDP program, over all interfaces
	RingDrops   map[string]uint64 // Drops by kind, over all paths
	LostByGaps  uint64            // sum of the exporters' estimates, whatever their units
	Addresses   int               // addresses in the endpoint set
	PairsBudget int               // pairs that the table of posted pairs can hold

	// Discovered are addresses that became endpoints when they were first seen, and
	// DiscoverDrops those that did not though they could, by reason; both zero
	// where Config.Admit is nil.
	Discovered    uint64
	DiscoverDrops map[string]uint64
}
