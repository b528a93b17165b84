// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/portolan/portolan/store/ipset"
)

// shared is what all workers and the batcher use together. Its fields are set
// once; what they point to says itself how it is shared.
type shared struct {
	set       *ipset.Live
	pairs     *pairTable
	exporters *exporters
	interval  atomic.Int64 // the reprofile interval, nanoseconds
	log       *slog.Logger
	// describe tells the debug log whose binding it is.
	describe func(binding uint32) (mac, ip string)
}

func newShared(c *Config) *shared {
	s := &shared{
		set:       c.Set,
		pairs:     newPairTable(c.Pairs),
		exporters: new(exporters),
		log:       c.Log,
		describe:  c.Describe,
	}
	s.interval.Store(int64(c.Interval))
	return s
}

// SetInterval changes the reprofile interval of a running sensor. It applies to
// pairs that are already remembered, too.
func (s *shared) SetInterval(d time.Duration) { s.interval.Store(int64(d)) }
