// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"

	"github.com/portolan/portolan/profiler"
	"github.com/portolan/portolan/profiler/api"
	"github.com/portolan/portolan/store"
)

// editor changes the store for the API and for the verbs.
type editor struct{ *store.Store }

// Import imports the rows and finds out who of them waits for an address.
func (e editor) Import(rows []profiler.Row) (api.ImportResult, error) {
	done, err := e.Store.Import(rows, store.ImportOptions{})
	if err != nil {
		return api.ImportResult{}, err
	}
	res := api.ImportResult{Rows: len(rows), Added: done.Added, Updated: done.Updated, Unchanged: done.Unchanged}
	unplaced := map[profiler.MAC]bool{}
	for i := range rows {
		if !rows[i].IP.IsValid() {
			unplaced[rows[i].MAC] = true
		}
	}
	if len(unplaced) == 0 {
		return res, nil
	}
	waiting, _, err := e.Endpoints("", 0, func(p *profiler.Endpoint) bool { return p.Waiting && unplaced[p.MAC] })
	if err != nil {
		return res, fmt.Errorf("the file was imported, but who of it waits for an address cannot be told: %w", err)
	}
	res.Waiting = len(waiting)
	return res, nil
}
