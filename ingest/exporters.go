// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/portolan/portolan/ingest/flow"
)

// exporterID names a stream of messages that has a sequence of its own.
type exporterID struct {
	addr    [16]byte
	domain  uint32
	version flow.Version
}

// exporters knows every (exporter, domain, version) that has sent a message. All
// workers look up in it once per datagram, without a lock: the places of an
// open-addressing table are atomic pointers that go from nil to an exporter
// once and never change again. Only the first message of a new one takes the
// mutex, until the table is full. Exporters are never removed; beyond maxExporters all new ones share
// one entry without a name, so that forged addresses cost no memory.
type exporters struct {
	places [exporterPlaces]atomic.Pointer[exporter]
	others exporter
	full   atomic.Bool // maxExporters are known: no new one is entered

	mu struct {
		sync.Mutex
		known int
	}
}

const (
	exporterPlaces = 1 << 14
	maxExporters   = exporterPlaces / 4
)

// exporter is the health of one stream. Every worker that gets its datagrams
// counts here with atomic adds, once per datagram.
type exporter struct {
	id        exporterID
	datagrams atomic.Uint64
	records   atomic.Uint64
	lastSeen  atomic.Int64 // arrival, Unix nanoseconds
	sequence  sequence
}

// of finds or enters the exporter of a message.
func (e *exporters) of(id exporterID) *exporter {
	for i := id.hash(); ; i++ {
		x := e.places[i%exporterPlaces].Load()
		if x == nil && e.full.Load() {
			return &e.others
		}
		if x == nil {
			return e.enter(id)
		}
		if x.id == id {
			return x
		}
	}
}

// enter adds an exporter, or finds that another worker just did.
func (e *exporters) enter(id exporterID) *exporter {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := id.hash(); ; i++ {
		place := &e.places[i%exporterPlaces]
		x := place.Load()
		switch {
		case x == nil && e.mu.known == maxExporters:
			return &e.others
		case x == nil:
			x = &exporter{id: id}
			e.mu.known++
			place.Store(x)
			e.full.Store(e.mu.known == maxExporters)
			return x
		case x.id == id:
			return x
		}
	}
}

// hash is FNV-1a over the words of the id.
func (id *exporterID) hash() uint64 {
	h := uint64(14695981039346656037)
	for _, b := range id.addr {
		h = (h ^ uint64(b)) * 1099511628211
	}
	h = (h ^ uint64(id.domain)) * 1099511628211
	h = (h ^ uint64(id.version)) * 1099511628211
	return h ^ h>>29
}

// sequence estimates what was lost on the way from the exporter: the span of
// its sequence numbers less what all workers together received, so that two
// receive paths with reordered datagrams fake no gap.
type sequence struct {
	high     atomic.Uint64 // unwrapped number that is expected next, 0: nothing seen yet
	base     atomic.Uint64 // unwrapped number that the span began with
	received atomic.Uint64 // units received since base
	before   atomic.Uint64 // lost in spans that a restart of the exporter ended
	mu       sync.Mutex    // held while a span is begun
}

const (
	// firstUnwrapped keeps unwrapped numbers clear of zero, whatever is subtracted.
	firstUnwrapped = 1 << 40
	// A number up to lateWindow units behind is late, not a restart; one up to
	// gapWindow ahead is a gap. Beyond, the exporter has restarted.
	lateWindow = 1 << 16
	gapWindow  = 1 << 24
)

// note takes one message: its sequence number, by how many units it says that it
// advances it, and how many of them it really carried.
func (s *sequence) note(number, units, carried uint32) {
	end := number + units
	for {
		high := s.high.Load()
		ahead := int32(end - uint32(high))
		if high == 0 || ahead > gapWindow || ahead < -lateWindow {
			s.begin(high, number, units, carried)
			return
		}
		if ahead <= 0 || s.high.CompareAndSwap(high, high+uint64(ahead)) {
			s.received.Add(uint64(carried))
			return
		}
	}
}

// begin starts a span with this message, unless another worker has just done so.
func (s *sequence) begin(seen uint64, number, units, carried uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.high.Load() != seen {
		s.received.Add(uint64(carried))
		return
	}
	s.before.Add(s.gap())
	s.received.Store(uint64(carried))
	s.base.Store(firstUnwrapped + uint64(number))
	s.high.Store(firstUnwrapped + uint64(number) + uint64(units))
}

// gap is what the current span lacks.
func (s *sequence) gap() uint64 {
	high, base, received := s.high.Load(), s.base.Load(), s.received.Load()
	if high-base <= received {
		return 0 // duplicates can make it more than the span
	}
	return high - base - received
}

// lost is the estimate over all spans, in the units of the version's sequence
// number (v5: flows).
func (s *sequence) lost() uint64 { return s.before.Load() + s.gap() }

// Exporter is the health of one exporter's stream as shown to people.
type Exporter struct {
	// Address is empty where messages came from a file without addresses, and
	// for Others.
	Address string `json:"address,omitempty"`
	// Others: this entry sums all exporters beyond the number that is kept apart.
	Others    bool      `json:"others,omitempty"`
	Domain    uint32    `json:"domain"`
	Version   string    `json:"version,omitempty"`
	Datagrams uint64    `json:"datagrams"`
	Records   uint64    `json:"records"`
	Lost      uint64    `json:"lost"` // estimate, in units of the sequence number (v5: flows)
	Templates int       `json:"templates"`
	Waiting   int       `json:"waiting"`
	LastSeen  time.Time `json:"last_seen,omitzero"`
}

// list returns all exporters by address, domain and version.
func (e *exporters) list() []Exporter {
	var found []*exporter
	for i := range e.places {
		if x := e.places[i].Load(); x != nil {
			found = append(found, x)
		}
	}
	slices.SortFunc(found, func(a, b *exporter) int {
		return cmp.Or(slices.Compare(a.id.addr[:], b.id.addr[:]), cmp.Compare(a.id.domain, b.id.domain), cmp.Compare(a.id.version, b.id.version))
	})
	list := make([]Exporter, 0, len(found)+1)
	for _, x := range found {
		list = append(list, x.health())
	}
	if e.others.datagrams.Load() > 0 {
		o := e.others.health()
		o.Others, o.Lost = true, 0
		list = append(list, o)
	}
	return list
}

// lost sums the estimates of all exporters.
func (e *exporters) lost() (n uint64) {
	for i := range e.places {
		if x := e.places[i].Load(); x != nil {
			n += x.sequence.lost()
		}
	}
	return n
}

func (x *exporter) health() Exporter {
	h := Exporter{
		Domain:    x.id.domain,
		Version:   x.id.version.String(),
		Datagrams: x.datagrams.Load(),
		Records:   x.records.Load(),
		Lost:      x.sequence.lost(),
	}
	if a := netip.AddrFrom16(x.id.addr).Unmap(); !a.IsUnspecified() {
		h.Address = a.String()
	}
	if at := x.lastSeen.Load(); at != 0 {
		h.LastSeen = time.Unix(0, at).UTC()
	}
	return h
}
