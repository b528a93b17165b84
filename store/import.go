// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/portolan/portolan/profiler"
)

// ImportResult counts the rows of an import by what they did.
type ImportResult struct {
	Added     int `json:"added"`     // rows that made an endpoint
	Updated   int `json:"updated"`   // rows that changed one
	Unchanged int `json:"unchanged"` // rows that said what was known
	Moved     int `json:"moved"`     // addresses that changed hands, in rows counted above
	Replaced  int `json:"replaced"`  // endpoints known by an address only, which went to a MAC that was known
}

// ImportOptions is how an import is done.
type ImportOptions struct {
	// DryRun finds out what the import would do and does nothing.
	DryRun bool
}

// errDryRun gives up a txn that was only tried.
var errDryRun = errors.New("dry run")

// Import brings the rows of an endpoints file into the store, in their order:
// all of them in one synced commit, or none. An empty cell leaves what is there.
//
//   - A MAC that is new makes an endpoint; without an IP it waits for one.
//   - An IP without a MAC makes an endpoint known by that address, or speaks of
//     the endpoint that has the address.
//   - An IP with a MAC that is new, where the address belongs to an endpoint
//     without MAC: that endpoint has this MAC from now on, and keeps its ports.
//   - An IP with a MAC, where the address belongs to another endpoint: the
//     address moves, in a new generation of its binding. Ports stay with the
//     device that they were seen at. If that one was known by the address only
//     and the MAC by itself is an endpoint already, nothing names the former any
//     more; it is deleted with its ports.
//
// The sensors see new addresses before Import returns.
func (s *Store) Import(rows []profiler.Row, o ImportOptions) (ImportResult, error) {
	var res ImportResult
	err := s.write(func() error {
		err := s.change(func(t *txn) error {
			for i := range rows {
				if err := t.row(&rows[i], &res); err != nil {
					return fmt.Errorf("row %d: %w", rows[i].Row, err)
				}
			}
			if o.DryRun {
				return errDryRun
			}
			return nil
		})
		if o.DryRun && errors.Is(err, errDryRun) {
			return nil
		}
		return err
	})
	if err != nil {
		return ImportResult{}, fmt.Errorf("nothing was imported: %w", err)
	}
	if log := s.o.Logger; log.Enabled(context.Background(), debug) && !o.DryRun {
		log.Debug("updated endpoints", "rows", len(rows), "added", res.Added, "updated", res.Updated,
			"unchanged", res.Unchanged, "moved", res.Moved)
	}
	return res, nil
}

// row applies one row.
func (t *txn) row(row *profiler.Row, res *ImportResult) error {
	next, endpoints, changes := t.counters.nextEndpoint, t.counters.endpoints, len(t.changes)
	e, moved, err := t.place(row)
	if err != nil {
		return err
	}
	changed := t.merge(e, row)
	if t.claim(e) || changed {
		t.touch(e)
	}
	created := t.counters.nextEndpoint - next
	if moved {
		res.Moved++
	}
	if t.counters.endpoints != endpoints+created {
		res.Replaced++
	}
	switch {
	case created > 0:
		res.Added++
	case changed || len(t.changes) > changes:
		res.Updated++
	default:
		res.Unchanged++
	}
	return nil
}

// place finds or makes the endpoint of a row and sees to it that the address is
// its own.
func (t *txn) place(row *profiler.Row) (e *endpoint, moved bool, err error) {
	var id uint64
	if !row.MAC.IsZero() {
		if id, err = t.lookupMAC(row.MAC); err != nil {
			return nil, false, err
		}
	}
	if !row.IP.IsValid() {
		if row.MAC.IsZero() {
			return nil, false, errors.New("neither a mac nor an ip")
		}
		if id == 0 {
			return t.create(row.MAC), false, nil
		}
		e, err = t.endpoint(id)
		return e, false, err
	}
	a := row.IP.As16()
	bid, err := t.lookupAddr(a)
	if err != nil {
		return nil, false, err
	}
	if bid == 0 {
		if id == 0 {
			e = t.create(row.MAC)
		} else if e, err = t.endpoint(id); err != nil {
			return nil, false, err
		}
		return e, false, t.bind(a, e)
	}
	b, err := t.binding(bid)
	if err != nil {
		return nil, false, err
	}
	holder, err := t.endpoint(b.endpoint)
	if err != nil || row.MAC.IsZero() || b.endpoint == id {
		return holder, false, err
	}
	switch {
	case id != 0:
		if e, err = t.endpoint(id); err != nil {
			return nil, false, err
		}
	case holder.mac.IsZero():
		return holder, false, nil // merge gives it the MAC
	default:
		e = t.create(row.MAC)
	}
	return e, true, t.move(bid, b, e)
}

// merge takes over what a row says and reports whether that is new.
func (t *txn) merge(e *endpoint, row *profiler.Row) bool {
	changed := false
	if e.mac.IsZero() && !row.MAC.IsZero() {
		e.mac, changed = row.MAC, true
		t.macs[row.MAC] = e.id
	}
	text := func(have *string, now string) {
		if now != "" && now != *have {
			*have, changed = now, true
		}
	}
	text(&e.hostname, row.Hostname)
	text(&e.osType, row.OSType)
	text(&e.category, row.Category)
	text(&e.family, row.Family)
	text(&e.name, row.Name)
	if static := row.StaticIP == profiler.Yes; row.StaticIP != profiler.Unsaid && static != e.static {
		e.static, changed = static, true
	}
	if len(row.Tags) > 0 && !slices.Equal(row.Tags, e.tags) {
		e.tags, changed = slices.Clone(row.Tags), true
	}
	return changed
}

// Delete removes the endpoint with that MAC or one of whose addresses that is,
// with its ports and bindings. A post for it that is under way is refused.
func (s *Store) Delete(id string) error {
	return s.write(func() error {
		return s.change(func(t *txn) error {
			n, err := t.r.find(id)
			if err != nil {
				return err
			}
			e, err := t.endpoint(n)
			if err != nil {
				return err
			}
			return t.dismiss(e)
		})
	})
}

// dismiss removes an endpoint with its ports and bindings.
func (t *txn) dismiss(e *endpoint) error {
	var ids []uint32
	for k := range t.r.prefix(appendOwnedPrefix(nil, e.id)) {
		if len(k) != 13 {
			return corrupt("address of an endpoint", k)
		}
		ids = append(ids, binary.BigEndian.Uint32(k[9:]))
	}
	for _, bid := range ids {
		b, err := t.binding(bid)
		if err != nil {
			return err
		}
		t.release(bid, b)
	}
	return t.remove(e)
}
