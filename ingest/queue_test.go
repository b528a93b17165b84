// SPDX-License-Identifier: Apache-2.0

package ingest

import "testing"

func TestQueue(t *testing.T) {
	const size = 8
	q := newQueue(size)
	push := func(n int) (ok int) {
		for i := range n {
			if q.push(&pending{claim: slot{index: uint32(i)}}) {
				ok++
			}
		}
		return ok
	}
	if q.publish() {
		t.Error("published nothing as something")
	}
	if got := push(size + 3); got != size {
		t.Errorf("a queue of %d took %d", size, got)
	}
	dst := make([]pending, 0, size)
	if dst = q.drain(dst); len(dst) != 0 {
		t.Error("entries were seen before they were published")
	}
	if !q.publish() || q.len() != size {
		t.Errorf("%d entries wait", q.len())
	}
	if dst = q.drain(dst[:0:3]); len(dst) != 3 || dst[2].claim.index != 2 {
		t.Errorf("drained %v", dst)
	}
	if got := push(size); got != 3 {
		t.Errorf("%d places were free", got)
	}
}

func TestSampler(t *testing.T) {
	var s sampler
	const second = 1_000_000_000
	lines, stands := 0, uint64(0)
	for i := range 10 * linesPerSecond {
		if n, ok := s.allow(int64(i)); ok {
			lines++
			stands += n
		}
	}
	if lines != linesPerSecond {
		t.Errorf("%d lines in one second", lines)
	}
	n, ok := s.allow(2 * second)
	if !ok || stands+n != 10*linesPerSecond+1 {
		t.Errorf("the lines stand for %d of %d", stands+n, 10*linesPerSecond+1)
	}
}
