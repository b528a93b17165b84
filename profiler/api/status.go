// SPDX-License-Identifier: Apache-2.0

package api

import (
	"sync"
	"time"

	"github.com/portolan/portolan/ingest"
)

// Status is how the daemon is, as `portolan status`, the API and the page show
// it.
type Status struct {
	// Sentence says it in one line. Attention is what somebody should look at:
	// first what is urgent, then remarks.
	Sentence  string    `json:"sentence" doc:"How the daemon is, in one line"`
	Attention []string  `json:"attention,omitempty" doc:"What needs somebody's attention, most urgent first"`
	Version   string    `json:"version"`
	StartedAt time.Time `json:"started_at"`
	// Uptime is in seconds.
	Uptime      float64              `json:"uptime" doc:"Seconds since the start"`
	Ledger      ingest.Ledger        `json:"ledger" doc:"The books: what came in and what became of it"`
	ReceivePath []ingest.ReceivePath `json:"receive_path"`
	Endpoints   int                  `json:"endpoints" doc:"Endpoints in the repository"`
	Addresses   int                  `json:"addresses" doc:"Addresses that belong to an endpoint"`
	Exporters   int                  `json:"exporters" doc:"Streams of messages: an exporter's address, domain and version"`
	// Rate is in records per second, absent until two snapshots at least a second
	// apart have been taken within the last minute.
	Rate     *float64 `json:"records_per_second,omitempty" doc:"Records per second since a request some seconds ago; absent when nobody has asked of late"`
	Interval string   `json:"interval" doc:"The reprofile interval, as Go prints durations"`
	Ports    string   `json:"ports" enum:"all,inferred"`

	// Urgent is how many of Attention are.
	Urgent int `json:"-"`
	// Streams are the exporters themselves, from the same snapshot.
	Streams []ingest.Exporter `json:"-"`
	// LostByGaps and RingDrops are the sensor's, from the same snapshot.
	LostByGaps uint64            `json:"-"`
	RingDrops  map[string]uint64 `json:"-"`
	// At is when the snapshot was taken.
	At time.Time `json:"-"`
}

// Status takes one snapshot of the sensor and says what it means.
func (s *Server) Status() Status {
	in := s.Sensor.Status()
	now := s.Now()
	st := Status{
		Version:     s.Version,
		StartedAt:   s.Started.UTC(),
		Uptime:      now.Sub(s.Started).Round(time.Millisecond).Seconds(),
		Ledger:      in.Ledger,
		ReceivePath: in.Paths,
		Endpoints:   int(s.Repository.Counts().Endpoints),
		Addresses:   in.Addresses,
		Exporters:   len(in.Exporters),
		Rate:        s.rate.at(now, in.Ledger.Records),
		Interval:    s.Interval().String(),
		Ports:       s.Ports,
		Streams:     in.Exporters,
		LostByGaps:  in.LostByGaps,
		RingDrops:   in.RingDrops,
		At:          now,
	}
	if st.ReceivePath == nil {
		st.ReceivePath = []ingest.ReceivePath{}
	}
	noNull(&st.Ledger)
	st.Sentence = st.sentence()
	st.Attention = st.urgent(s.Healthy(), s.Ready())
	st.Urgent = len(st.Attention)
	st.Attention = append(st.Attention, st.remarks()...)
	return st
}

// noNull gives an empty map to what has none: in JSON a field is absent or has
// a value, but is never null.
func noNull(l *ingest.Ledger) {
	for _, m := range []*map[string]uint64{&l.Datagrams.Dropped, &l.Problems, &l.Sides.Dropped, &l.Posts.Lost, &l.Posts.Answers} {
		if *m == nil {
			*m = map[string]uint64{}
		}
	}
}

// meter tells a rate from snapshots that come whenever somebody asks. It keeps
// two of them: the latest one, and one that is far enough behind to divide by.
// Any number of people may ask at once without making the spans too short, and
// a snapshot from before a long silence is not averaged over.
type meter struct {
	mu           sync.Mutex
	before, last mark
}

type mark struct {
	at    time.Time
	count uint64
}

const (
	shortSpan = time.Second      // under this a rate is mostly chance
	nextSpan  = 3 * time.Second  // after this a snapshot replaces the one before
	longSpan  = 60 * time.Second // over this it no longer tells how it is now
)

// at takes a snapshot and returns the rate per second up to it, nil where there
// is nothing to tell it from.
func (m *meter) at(now time.Time, count uint64) *float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if age := now.Sub(m.last.at); age > longSpan || age < 0 || count < m.last.count {
		m.before, m.last = mark{}, mark{now, count}
		return nil
	}
	if now.Sub(m.last.at) >= nextSpan {
		m.before, m.last = m.last, mark{now, count}
	}
	from := m.before
	if from.at.IsZero() {
		from = m.last
	}
	span := now.Sub(from.at)
	if span < shortSpan {
		return nil
	}
	r := float64(count-from.count) / span.Seconds()
	return &r
}
