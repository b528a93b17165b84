// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/portolan/portolan/ingest/evidence"
	"github.com/portolan/portolan/ingest/flow"
	"github.com/portolan/portolan/store/ipset"
)

// shared is what all workers and the batcher use together. Its fields are set
// once; what they point to says itself how it is shared.
type shared struct {
	set      *ipset.Live
	evidence *evidence.Table // nil: `ports: all`
	flagged  flagged         // exporters
	pairs    *pairTable
	streams  *flow.Streams
	interval atomic.Int64 // the reprofile interval, nanoseconds
	log      *slog.Logger
	// discover gets the records of a message before they are looked up; nil: nobody.
	discover func([]flow.Record)
	// finder makes endpoints of internal addresses; nil: nobody does.
	finder *finder
	// describe tells the debug log whose binding it is.
	describe func(binding uint32) (mac, ip string)
}

// activeEndpoints is how many endpoints can have ports under observation, 256
// bytes each.
const activeEndpoints = 1 << 20

func newShared(c *Config, limits flow.Limits) *shared {
	s := &shared{
		set:      c.Set,
		pairs:    newPairTable(c.Pairs),
		streams:  flow.NewStreams(limits),
		log:      c.Log,
		discover: c.Discover,
		describe: c.Describe,
	}
	s.interval.Store(int64(c.Interval))
	if c.Infer {
		s.evidence = evidence.New(activeEndpoints, c.Pairs/4)
	}
	return s
}

// SetInterval changes the reprofile interval of a running sensor. It applies to
// pairs that are already remembered, too.
func (s *shared) SetInterval(d time.Duration) { s.interval.Store(int64(d)) }
