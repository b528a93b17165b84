// SPDX-License-Identifier: Apache-2.0

package flow

// Bounds for the work that making room may take for one template or set, in
// the units of sweep: some ten microseconds.
const (
	sweepWork    = 1024 // streams met
	sweepLooked  = 16   // of which looking into one counts as so many
	sweepBuckets = 1024
)

// reclaimTemplates makes room where the templates of all streams take too much
// memory: streams that are not established lose theirs, and if the hand meets
// none, one established that has more than its share or was seen least
// recently. It frees a bit more than needed, so that the next templates find
// room. Where that was not enough, the stream that wanted room gives up its
// own: the bound holds whatever happens. Then a stream that is not established
// need not look again for a second, however many templates it announces.
func (s *Streams) reclaimTemplates(by *Stream, now int64) {
	limit := s.limits.AllTemplateBytes
	if s.templateBytes.Load() <= limit {
		return
	}
	if within(now, s.templatesStuck.Load()) && !by.established() {
		s.evictTemplates(by)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	enough := func() bool { return s.templateBytes.Load() <= limit-limit/32 }
	var last *Stream // resort
	s.sweep(func(x *Stream) (looked, done bool) {
		switch {
		case x == by || x.held.Load() == 0:
			return false, enough()
		case !x.established():
			s.evictTemplates(x)
		case last == nil || s.before(x, last):
			last = x
		}
		return true, enough()
	})
	if last != nil && s.templateBytes.Load() > limit && (by.established() || s.fat(last)) {
		s.evictTemplates(last)
	}
	if s.templateBytes.Load() > limit {
		s.templatesStuck.Store(now)
		s.evictTemplates(by)
	}
}

// within tells whether it is less than a second since a time, 0 for never.
func within(now, then int64) bool { return then != 0 && now-then < nsPerSecond }

// fat tells whether a stream's templates take more than their share, some
// hundred templates where the limits are the default ones. It protects the many
// from a few established exporters that announce all the templates there can be.
func (s *Streams) fat(x *Stream) bool { return x.held.Load() > s.limits.AllTemplateBytes/256 }

// before tells whether the established stream x has to give up its templates
// before y.
func (s *Streams) before(x, y *Stream) bool {
	if s.fat(x) != s.fat(y) {
		return s.fat(x)
	}
	return x.touched() < y.touched()
}

// evictTemplates forgets all templates of a stream.
func (s *Streams) evictTemplates(x *Stream) {
	x.mu.Lock()
	defer x.mu.Unlock()
	s.evicted.templates.Add(uint64(x.dropTemplates()))
}

// reclaimWaiting makes room where the waiting sets of all streams take too much
// memory and one of an established stream wants to wait: streams that are not
// established lose theirs. It tells whether there is room now.
func (s *Streams) reclaimWaiting(size int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	limit := s.limits.AllWaitingBytes - size
	enough := func() bool { return s.waitingBytes.Load() <= limit-limit/32 }
	s.sweep(func(x *Stream) (looked, done bool) {
		if x.backlog.count.Load() == 0 {
			return false, enough()
		}
		if !x.established() {
			x.mu.Lock()
			x.backlog.drop(s, len(x.backlog.sets))
			x.mu.Unlock()
		}
		return true, enough()
	})
	return s.waitingBytes.Load() <= limit
}

// roomForOptions takes room for something new that the exporter tells in options,
// and tells whether there was any. It is given back when the stream leaves. An
// established stream gets the room of those that are not: without its sampling
// rate, what an exporter counts is wrong. The caller holds the lock of the
// stream's options.
func (s *Stream) roomForOptions(bytes int) bool {
	if s.takeOptionsRoom(int64(bytes)) {
		return true
	}
	o, now := s.owner, s.touched()
	if !s.established() || within(now, o.optionsStuck.Load()) {
		return false
	}
	if !o.reclaimOptions(s, int64(bytes)) {
		o.optionsStuck.Store(now)
		return false
	}
	return s.takeOptionsRoom(int64(bytes))
}

func (s *Stream) takeOptionsRoom(bytes int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.gone:
		return true // it goes with the stream, and soon
	case s.owner.optionsBytes.Add(bytes) > s.owner.limits.OptionsBytes:
		s.owner.optionsBytes.Add(-bytes)
		return false
	}
	s.optionBytes += bytes
	return true
}

// reclaimOptions makes room for what a stream tells, and tells whether there is
// some now.
func (s *Streams) reclaimOptions(by *Stream, bytes int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	limit := s.limits.OptionsBytes - bytes
	enough := func() bool { return s.optionsBytes.Load() <= limit-limit/32 }
	s.sweep(func(x *Stream) (looked, done bool) {
		return x != by && !x.established() && x.dropOptions(), enough()
	})
	return s.optionsBytes.Load() <= limit
}

// dropOptions forgets what the exporter told in options, if it is anything. It
// passes a stream whose options are locked: that worker may be on its way to
// the lock that the caller holds.
func (s *Stream) dropOptions() bool {
	o := &s.options
	if !o.mu.TryLock() {
		return false
	}
	defer o.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.optionBytes == 0 {
		return false
	}
	o.names = nil
	o.sampling.Store(nil)
	s.owner.optionsBytes.Add(-s.optionBytes)
	s.optionBytes = 0
	return true
}

// sweep moves the hand over the registry and shows visit the streams that it
// meets, until that is done or has done enough for once. s.mu is held.
func (s *Streams) sweep(visit func(*Stream) (looked, done bool)) {
	left := sweepWork
	for range min(sweepBuckets, len(s.buckets)) {
		b := &s.buckets[s.hand&s.mask]
		for i := range b.streams {
			x := b.streams[i].Load()
			if x == nil {
				continue
			}
			looked, done := visit(x)
			if done {
				return
			}
			if left--; looked {
				left -= sweepLooked - 1
			}
		}
		if s.hand++; left <= 0 {
			return
		}
	}
}
