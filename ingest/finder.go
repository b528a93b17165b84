// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/portolan/portolan/store/ipset"
)

// finder has addresses that workers have found admitted as endpoints. One
// goroutine runs it; workers share its atomic fields.
type finder struct {
	admit    func([]netip.Addr) (added, refused int, err error)
	internal atomic.Pointer[prefixSet] // nil: nothing is looked for
	wake     chan struct{}
	added    atomic.Uint64
	dropped  [discoverDrops]atomic.Uint64

	set    *ipset.Live
	log    *slog.Logger
	rings  []*foundRing
	failed bool // the last batch was not taken
	full   bool // the limit has been told of
}

func newFinder(c *Config) (*finder, error) {
	f := &finder{admit: c.Admit, wake: make(chan struct{}, 1), set: c.Set, log: c.Log}
	if err := f.setInternal(c.Internal); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *finder) setInternal(list []netip.Prefix) error {
	s, err := newPrefixSet(list)
	if err != nil {
		return err
	}
	f.internal.Store(s)
	return nil
}

// run admits until stop is closed. What is in the rings then is not: it is found
// again by whoever comes next.
func (f *finder) run(stop <-chan struct{}) {
	reader := f.set.Reader()
	defer reader.Close()
	for {
		select {
		case <-stop:
			return
		case <-f.wake:
		}
		select {
		case <-stop:
			return
		case <-time.After(linger):
		}
		for more := true; more; {
			more = f.round(reader)
		}
	}
}

// round admits one batch and tells whether there may be more.
func (f *finder) round(reader *ipset.Reader) bool {
	internal := f.internal.Load()
	view := reader.Acquire()
	defer reader.Park()
	var batch []netip.Addr
	taken, known := 0, map[[16]byte]bool{}
	for _, r := range f.rings {
		head, tail := r.head.Load(), r.tail.Load()
		for ; head != tail && taken < admitBatch; head++ {
			taken++
			a := r.entries[head%foundSize]
			if _, ok := view.Lookup(&a); ok || known[a] || internal == nil {
				continue
			}
			known[a] = true
			if addr := netip.AddrFrom16(a).Unmap(); internal.device(addr) {
				batch = append(batch, addr)
			}
		}
		r.head.Store(head)
	}
	if len(batch) > 0 {
		f.add(batch)
	}
	return taken == admitBatch
}

func (f *finder) add(batch []netip.Addr) {
	added, refused, err := f.admit(batch)
	if err != nil {
		f.dropped[discoverFailed].Add(uint64(len(batch)))
		if !f.failed {
			f.log.Warn("addresses were discovered and could not be made endpoints; they are found again", "addresses", len(batch), "error", err)
		}
		f.failed = true
		return
	}
	f.failed = false
	f.added.Add(uint64(added))
	f.dropped[discoverLimit].Add(uint64(refused))
	if refused > 0 && !f.full {
		f.log.Warn("as many addresses were discovered as may be; further ones stay external", "refused", refused)
	}
	f.full = refused > 0
	if added > 0 {
		f.log.Debug("addresses discovered", "addresses", added)
	}
}

// drops are the counts of what became no endpoint, by reason.
func (f *finder) drops() map[string]uint64 {
	m := map[string]uint64{}
	for i := range f.dropped {
		m[discoverDrop(i).String()] = f.dropped[i].Load()
	}
	return m
}
