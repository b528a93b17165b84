// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"sync/atomic"
	"time"
)

// skew is how far an exporter's clock is ahead of ours, smoothed over its
// messages, and including the time that they take to arrive: a few milliseconds
// less than the truth. Workers that note at the same moment may lose one of
// the two samples, which changes nothing that matters.
type skew struct{ ns atomic.Int64 } // 0: not known

// note takes the time in a message's header.
func (s *skew) note(m *Message, arrival int64) {
	sample := m.ExportTime - arrival
	if m.Version == V9 || m.Version == IPFIX {
		sample += nsPerSecond / 2 // the header counts whole seconds, cut off
	}
	old := s.ns.Load()
	smooth := old + (sample-old)/8
	if old == 0 {
		smooth = sample
	}
	if smooth == 0 {
		smooth = 1
	}
	if smooth != old {
		s.ns.Store(smooth)
	}
}

// get returns the skew, and whether it is known.
func (s *skew) get() (ahead time.Duration, known bool) {
	ns := s.ns.Load()
	return time.Duration(ns), ns != 0
}
