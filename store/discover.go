// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"
	"net/netip"
)

// Discover makes endpoints of addresses that nobody has, known by nothing but the
// address, until there are limit discovered ones; all in one synced commit. It
// tells how many it made and how many found no room.
//
// An endpoint that was discovered is like one that was imported with an IP alone:
// a MAC that becomes known is given to it, or takes its address over. The first
// import that names it makes it an ordinary one, which does not count against the
// limit any more and is not forgotten.
func (s *Store) Discover(addrs []netip.Addr, limit int) (added, refused int, err error) {
	err = s.write(func() error {
		return s.change(func(t *txn) error {
			for _, addr := range addrs {
				a := addr.As16()
				bid, err := t.lookupAddr(a)
				switch {
				case err != nil:
					return err
				case bid != 0:
					continue
				case t.found >= uint64(max(limit, 0)):
					refused++
					continue
				}
				var none [6]byte
				e := t.create(none)
				e.discovered = true
				t.found++
				added++
				if err := t.bind(a, e); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		return 0, 0, fmt.Errorf("nothing was discovered: %w", err)
	}
	return added, refused, nil
}

// claim makes an ordinary endpoint of a discovered one, and reports whether it
// was one.
func (t *txn) claim(e *endpoint) bool {
	if !e.discovered {
		return false
	}
	e.discovered = false
	t.found--
	return true
}
