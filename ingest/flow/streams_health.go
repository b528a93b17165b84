// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// StreamHealth is the health of one stream as shown to people.
type StreamHealth struct {
	// Exporter is the address that sends it, empty where messages came from
	// a file without addresses.
	Exporter string `json:"address,omitempty"`
	// Domain is the observation domain; v5: engine type<<8 | engine id, v9:
	// source id, sFlow: sub-agent id.
	Domain uint32 `json:"domain"`
	// Version is the format's name.
	Version string `json:"version"`
	// Datagrams counts messages; one of IPFIX can share its datagram.
	Datagrams uint64 `json:"datagrams"`
	// Records counts flow records, OptionsRecords and CounterSamples the rest.
	Records        uint64 `json:"records"`
	OptionsRecords uint64 `json:"options_records,omitempty"`
	CounterSamples uint64 `json:"counter_samples,omitempty"`
	// Lost estimates what never arrived, in the units of the sequence number:
	// flows (v5, v7), messages (v9), data records (IPFIX), datagrams (sFlow).
	Lost uint64 `json:"lost"`
	// Gaps counts the steps over numbers that had not come, Reordered the
	// messages that came late or twice, Restarts the times that the numbers
	// began anew.
	Gaps      uint64 `json:"gaps,omitempty"`
	Reordered uint64 `json:"reordered,omitempty"`
	Restarts  uint64 `json:"restarts,omitempty"`
	// Templates is how many are known.
	Templates int `json:"templates"`
	// Waiting is how many sets wait for their template, WaitingSince when the
	// first of them arrived.
	Waiting      int       `json:"waiting"`
	WaitingSince time.Time `json:"waiting_since,omitzero"`
	// Sampling are the rates N of 1 in N that the exporter told in options,
	// ascending, Interfaces the names that it gave to its interface indexes.
	Sampling   []uint32          `json:"sampling,omitempty"`
	Interfaces map[uint32]string `json:"interfaces,omitempty"`
	// LastSeen is when the latest message arrived; zero where only templates
	// are known, from before a restart.
	LastSeen time.Time `json:"last_seen,omitzero"`
	// SkewMilliseconds is how far the exporter's clock is ahead of ours; nil
	// where it does not tell its time.
	SkewMilliseconds *int64 `json:"clock_skew_ms,omitempty"`
}

// List returns the health of all streams by address, domain and version.
func (s *Streams) List() []StreamHealth {
	found := slices.Collect(s.all)
	slices.SortFunc(found, func(a, b *Stream) int {
		return cmp.Or(slices.Compare(a.ID.Exporter[:], b.ID.Exporter[:]), cmp.Compare(a.ID.Domain, b.ID.Domain), cmp.Compare(a.ID.Version, b.ID.Version))
	})
	list := make([]StreamHealth, 0, len(found))
	for _, x := range found {
		list = append(list, x.health())
	}
	return list
}

func (s *Stream) health() StreamHealth {
	h := StreamHealth{
		Exporter:       s.ID.address(),
		Domain:         s.ID.Domain,
		Version:        s.ID.Version.String(),
		Datagrams:      s.datagrams.Load(),
		Records:        s.records.Load(),
		OptionsRecords: s.optionsRecords.Load(),
		CounterSamples: s.counterSamples.Load(),
		Lost:           s.sequence.lost(),
		Gaps:           s.sequence.gaps.Load(),
		Reordered:      s.sequence.late.Load(),
		Restarts:       s.sequence.restarts.Load(),
		Sampling:       s.options.rates().distinct(),
		Interfaces:     s.options.interfaces(),
	}
	if rate := s.rate.Load(); len(h.Sampling) == 0 && rate != 0 {
		h.Sampling = []uint32{rate}
	}
	for range s.templates.Load().all {
		h.Templates++
	}
	s.mu.Lock()
	h.Waiting = len(s.backlog.sets)
	if h.Waiting > 0 {
		h.WaitingSince = time.Unix(0, s.backlog.sets[0].arrival).UTC()
	}
	s.mu.Unlock()
	if at := s.lastSeen.Load(); at != 0 {
		h.LastSeen = time.Unix(0, at).UTC()
	}
	if ns, known := s.skew.get(); known {
		ms := ns.Milliseconds()
		h.SkewMilliseconds = &ms
	}
	return h
}

// address is the exporter's in text, empty if unknown.
func (id *StreamID) address() string {
	if a := netip.AddrFrom16(id.Exporter).Unmap(); !a.IsUnspecified() {
		return a.String()
	}
	return ""
}
