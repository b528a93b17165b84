// SPDX-License-Identifier: Apache-2.0

package ingest

import "time"

// linesPerSecond is how many lines of one kind a worker writes to the debug log
// before it starts to skip.
const linesPerSecond = 50

// sampler lets through a bounded number of log lines a second and remembers how
// many it kept back, so that the next line can say how many it stands for. It
// belongs to one goroutine.
type sampler struct {
	until   int64 // when the current second ends, Unix nanoseconds
	left    int
	skipped uint64
}

// allow asks for a line at now, Unix nanoseconds.
func (s *sampler) allow(now int64) (standsFor uint64, ok bool) {
	if now >= s.until {
		s.until, s.left = now+int64(time.Second), linesPerSecond
	}
	if s.left == 0 {
		s.skipped++
		return 0, false
	}
	s.left--
	standsFor, s.skipped = s.skipped+1, 0
	return standsFor, true
}
