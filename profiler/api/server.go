// SPDX-License-Identifier: Apache-2.0

package api

import (
	"iter"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/portolan/portolan/ingest"
	"github.com/portolan/portolan/profiler"
	"github.com/portolan/portolan/profiler/rules"
	"github.com/portolan/portolan/store"
)

// Repository is the read side of [*store.Store]. All methods may be called from
// any number of goroutines.
type Repository interface {
	// Endpoint finds an endpoint by its MAC, as [profiler.MAC.String] prints it,
	// or by any of its current addresses, as netip prints it. The error wraps
	// [store.ErrNotFound] where there is none.
	Endpoint(id string) (profiler.Endpoint, error)
	// Endpoints returns up to limit endpoints in a stable order, beginning
	// behind the cursor after ("" is the beginning), and the cursor of the next
	// page, "" at the end. A nil keep keeps all; it may change the copy of the
	// endpoint that it is asked about. The error wraps
	// [store.ErrCursor] where the cursor is none.
	Endpoints(after string, limit int, keep func(*profiler.Endpoint) bool) (items []profiler.Endpoint, next string, err error)
	// Counts is how much there is.
	Counts() store.Counts
}

// Editor is the write side of the store, for administrators.
type Editor interface {
	// Import adds or updates the endpoints of all rows, or none of them.
	Import(rows []profiler.Row) (ImportResult, error)
	// Delete removes the endpoint that Repository.Endpoint finds for id, its
	// bindings and its ports. The error wraps [ErrNotFound] where there is none.
	Delete(id string) error
}

// Sensor is the receiving half of the daemon.
type Sensor interface {
	// Status is one snapshot of all that the sensor tells about itself.
	Status() ingest.Status
}

// ImportResult is what an import did.
type ImportResult struct {
	Rows      int `json:"rows" doc:"Rows of the file that say something"`
	Added     int `json:"added" doc:"Rows that made an endpoint"`
	Updated   int `json:"updated" doc:"Rows that changed an endpoint"`
	Unchanged int `json:"unchanged" doc:"Rows that said what was known"`
	Waiting   int `json:"waiting_for_address" doc:"Endpoints of the file that have a MAC but no address yet, where that is counted"`
}

// Config is what a Server serves. Repository, Sensor and Interval are required.
type Config struct {
	Repository Repository
	Sensor     Sensor
	// Rules returns the rules that devices are recognised by now; it may be nil.
	Rules func() *rules.Set
	// Reload reads again what the daemon has from files; on an error all stays
	// as it was. Nil: there is nothing to reload.
	Reload func() error
	// Editor may be nil: then the local socket cannot write either.
	Editor Editor
	// Ready returns why the daemon cannot do its work yet, Healthy why it never
	// will again without a restart; nil functions say that all is well.
	Ready, Healthy func() error
	// Version is the product's, as `portolan version` prints it.
	Version string
	// Started is when the daemon did.
	Started time.Time
	// Interval is the reprofile interval, which can change. Required.
	Interval func() time.Duration
	// Ports is the mode of port inference, "all" or "inferred".
	Ports string
	// Hosts are further names that a browser may call this daemon by, without a
	// port: the host of --http where it is a name, the machine's own name. IP
	// addresses and localhost are always good.
	Hosts []string
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Server answers requests. It is safe for concurrent use.
type Server struct {
	Config
	rate meter
}

// New returns a Server for c.
func New(c Config) *Server {
	good := func() error { return nil }
	if c.Ready == nil {
		c.Ready = good
	}
	if c.Healthy == nil {
		c.Healthy = good
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Server{Config: c}
}

// Public is the handler of the TCP listener: everything that can be read. It
// refuses what a page from elsewhere makes a browser ask. Requests for paths
// outside /api/, /metrics and /-/ go to page, which may be nil.
func (s *Server) Public(page http.Handler) http.Handler {
	return guardHosts(s.Hosts, guardOrigin(s.routes(page, false)))
}

// Local is the handler of the Unix socket: Public and the writing routes. Who
// may connect is for [ListenLocal] to decide.
func (s *Server) Local() http.Handler {
	return guardOrigin(s.routes(nil, true))
}

// Endpoints is a page of the repository's endpoints, for package web.
func (s *Server) Endpoints(after string, limit int) ([]profiler.Endpoint, string, error) {
	return s.Repository.Endpoints(after, limit, nil)
}

// all is every endpoint of the repository, page by page.
func (s *Server) all() iter.Seq2[profiler.Endpoint, error] {
	return func(yield func(profiler.Endpoint, error) bool) {
		for after := ""; ; {
			items, next, err := s.Repository.Endpoints(after, maxLimit, nil)
			for i := range items {
				if !yield(items[i], nil) {
					return
				}
			}
			if err != nil {
				yield(profiler.Endpoint{}, err)
				return
			}
			if next == "" {
				return
			}
			after = next
		}
	}
}

// The store is what is read.
var _ Repository = (*store.Store)(nil)

// huma describes a list that may be null unless told otherwise, and tells that
// by a package variable. Our lists are never null.
func init() { huma.DefaultArrayNullable = false }
