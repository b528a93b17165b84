// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bench

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/portolan/portolan/ingest/flow"
)

// DayExporter is a device that watches flows and tells of them.
type DayExporter struct {
	Addr netip.Addr   `json:"addr"`
	View DayView      `json:"view"`
	Ver  flow.Version `json:"version,omitempty"` // 0: that of the day
	// Active and Inactive end a record: it is this long, or no packet came for
	// so long.
	Active   time.Duration `json:"active"`
	Inactive time.Duration `json:"inactive"`
	// Granularity cuts the times of records, 0 for milliseconds.
	Granularity time.Duration `json:"granularity,omitempty"`
	// EndsByFIN: FIN and RST end a record at once.
	EndsByFIN bool `json:"ends_by_fin,omitempty"`
}

// DayView is which flows an exporter sees.
type DayView uint8

// The views. Each direction of a conversation is a flow of its own.
const (
	// ViewCore is the router of the main site: what crosses from one of its
	// networks to another or to outside, both directions.
	ViewCore DayView = iota
	// ViewEdge is a firewall before a third of the main site: what these
	// endpoints say to outside, both directions, which the core sees as well.
	ViewEdge
	// ViewAccess is the switches: what stays within one network, broadcasts
	// too, and all that comes in from every eighth port.
	ViewAccess
	// ViewBranchOut is the router of a branch that tells only of what comes in
	// from its endpoints.
	ViewBranchOut
	// ViewBranchIn is the router of another one, which tells only of what goes
	// to its endpoints.
	ViewBranchIn
)

// DefaultExporters is one exporter for each view.
func DefaultExporters() []DayExporter {
	at := netip.MustParseAddr
	return []DayExporter{
		{Addr: at("192.0.2.1"), View: ViewCore, Active: time.Minute, Inactive: 15 * time.Second, EndsByFIN: true},
		{Addr: at("192.0.2.2"), View: ViewEdge, Active: 30 * time.Minute, Inactive: 15 * time.Second},
		{Addr: at("192.0.2.3"), View: ViewAccess, Active: time.Minute, Inactive: 15 * time.Second, Granularity: time.Second},
		{Addr: at("192.0.2.4"), View: ViewBranchOut, Active: time.Minute, Inactive: 15 * time.Second, Granularity: 64 * time.Millisecond},
		{Addr: at("192.0.2.5"), View: ViewBranchIn, Active: 5 * time.Minute, Inactive: 30 * time.Second, EndsByFIN: true},
	}
}

func (e DayExporter) check(v flow.Version) error {
	switch {
	case !e.Addr.IsValid():
		return fmt.Errorf("an exporter has no address")
	case e.Active < time.Second || e.Active > 2*time.Hour || e.Inactive < time.Second || e.Inactive > e.Active:
		return fmt.Errorf("exporter %v: timeouts %v and %v: not in 1s to 2h, the inactive one first", e.Addr, e.Active, e.Inactive)
	case e.View > ViewBranchIn:
		return fmt.Errorf("exporter %v: no view %d", e.Addr, e.View)
	}
	if e.Ver != flow.NoVersion {
		v = e.Ver
	}
	if v != flow.V5 && v != flow.V9 && v != flow.IPFIX {
		return fmt.Errorf("exporter %v: version %v is none of v5, v9 and ipfix", e.Addr, v)
	}
	return nil
}

const (
	exportDelay      = int64(time.Second)      // how long a datagram waits to be full
	templateInterval = int64(10 * time.Minute) // v9 and IPFIX announce again
	maxDatagram      = 1400 / 55               // records of v9; fewer of IPFIX
)

// exporter packs the records of one DayExporter into datagrams.
type exporter struct {
	DayExporter
	sampling  int
	boot      int64
	records   []flow.Record
	due       int64 // when records are sent at the latest
	sequence  uint32
	announced int64
	capacity  int
}

func newExporter(c DayConfig, e DayExporter, start int64) *exporter {
	if e.Ver == flow.NoVersion {
		e.Ver = c.Version
	}
	x := &exporter{DayExporter: e, sampling: c.Sampling, boot: start - int64(time.Hour), capacity: flow.MaxV5Records}
	switch e.Ver {
	case flow.V9:
		x.capacity = maxDatagram
	case flow.IPFIX:
		x.capacity = maxDatagram * 3 / 4
	}
	return x
}

// add takes a record at a time and sends if that makes a datagram full.
func (d *Day) add(e *exporter, now int64, r *flow.Record) {
	if len(e.records) == 0 {
		e.due = now + exportDelay
	}
	e.records = append(e.records, *r)
	if len(e.records) == e.capacity {
		d.send(e, now)
	}
}

// flush sends what has waited long enough by a time, or all.
func (d *Day) flush(now int64, all bool) {
	for {
		var next *exporter
		for _, e := range d.exporters {
			if len(e.records) > 0 && (all || e.due <= now) && (next == nil || e.due < next.due) {
				next = e
			}
		}
		if next == nil {
			return
		}
		d.send(next, next.due)
	}
}

func (d *Day) send(e *exporter, now int64) {
	now -= now % int64(time.Millisecond)
	d.announce(e, now)
	d.deliver(e, now, e.encode(now))
	e.records = e.records[:0]
}

func (d *Day) deliver(e *exporter, now int64, payload []byte) {
	d.ready = append(d.ready, DayDatagram{At: time.Unix(0, now).UTC(), Exporter: e.Addr, Payload: payload})
}

func (e *exporter) uptime(now int64) uint32 { return uint32((now - e.boot) / int64(time.Millisecond)) }

func (e *exporter) encode(now int64) []byte {
	n := uint32(len(e.records))
	switch e.Ver {
	case flow.V9:
		h := flow.V9Header{ExportTime: now, Uptime: e.uptime(now / 1e9 * 1e9), Sequence: e.sequence}
		e.sequence++
		return flow.AppendV9(nil, h, e.records)
	case flow.IPFIX:
		h := flow.IPFIXHeader{ExportTime: now, Sequence: e.sequence}
		e.sequence += n
		return flow.AppendIPFIX(nil, h, e.records)
	}
	h := flow.V5Header{ExportTime: now, Uptime: e.uptime(now), Sequence: e.sequence}
	if e.sampling > 1 {
		h.Sampling, h.SamplingMode = uint16(e.sampling), 2
	}
	e.sequence += n
	return flow.AppendV5(make([]byte, 0, 24+48*n), h, e.records)
}

// announce sends templates, and the sampling rate, where the format needs them.
func (d *Day) announce(e *exporter, now int64) {
	if e.Ver == flow.V5 || e.announced != 0 && now < e.announced+templateInterval {
		return
	}
	e.announced = now
	if e.Ver == flow.V9 {
		h := flow.V9Header{ExportTime: now, Uptime: e.uptime(now / 1e9 * 1e9), Sequence: e.sequence}
		d.deliver(e, now, flow.AppendV9Templates(nil, h))
		e.sequence++
	} else {
		d.deliver(e, now, flow.AppendIPFIXTemplates(nil, flow.IPFIXHeader{ExportTime: now, Sequence: e.sequence}))
	}
	if e.sampling > 1 {
		d.deliver(e, now, e.options(now))
		e.sequence++ // one message of v9, one record of IPFIX
	}
}

// options is a message with a template of options and one record of it: the
// sampling interval (element 34) and algorithm (35, 2 is random) of the whole
// exporter. RFC 3954 section 6.1; RFC 7011 section 3.4.2.2.
func (e *exporter) options(now int64) []byte {
	const template = 258
	var set []byte
	if e.Ver == flow.V9 {
		// Set 1: scope fields and option fields in bytes; the scope is the system.
		set = words(set, 1, 24, template, 4, 8, 1, 4, 34, 4, 35, 1, 0)
	} else {
		// Set 3: all fields, of which one is the scope: observationDomainId (149).
		set = words(set, 3, 24, template, 3, 1, 149, 4, 34, 4, 35, 1, 0)
	}
	set = words(set, template, 16, 0, 0)
	set = binary.BigEndian.AppendUint32(set, uint32(e.sampling))
	set = append(set, 2, 0, 0, 0) // and padding
	if e.Ver == flow.V9 {
		h := flow.V9Header{ExportTime: now, Uptime: e.uptime(now / 1e9 * 1e9), Sequence: e.sequence}
		m := flow.AppendV9(nil, h, nil)
		binary.BigEndian.PutUint16(m[2:], 2) // a template and a record
		return append(m, set...)
	}
	m := append(flow.AppendIPFIX(nil, flow.IPFIXHeader{ExportTime: now, Sequence: e.sequence}, nil), set...)
	binary.BigEndian.PutUint16(m[2:], uint16(len(m)))
	return m
}

func words(b []byte, list ...uint16) []byte {
	for _, w := range list {
		b = binary.BigEndian.AppendUint16(b, w)
	}
	return slices.Clip(b)
}

// sees tells whether an exporter sees the flow from one place to another.
func (e *exporter) sees(from, to place) bool {
	local := from.inside && (to.group || to.inside && from.network == to.network)
	switch e.View {
	case ViewCore:
		return !local && (from.inside || to.inside) && from.site == siteMain && to.site == siteMain
	case ViewEdge:
		return !to.group && from.inside != to.inside && (from.edge || to.edge) && from.site == siteMain && to.site == siteMain
	case ViewAccess:
		return from.inside && from.site == siteMain && to.site == siteMain && (local || from.tapped)
	case ViewBranchOut:
		return from.site == siteOut && !local
	}
	return to.site == siteIn && !local
}
