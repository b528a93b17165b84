// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/portolan/portolan/ingest"
	"github.com/portolan/portolan/profiler"
	"github.com/portolan/portolan/profiler/rules"
	"github.com/portolan/portolan/store"
)

// Lists: how many items a page has where the client does not say, and at most.
const (
	defaultLimit = 100
	maxLimit     = 1000
)

// List is one page of a list.
type List[T any] struct {
	Items []T    `json:"items" doc:"The items of this page"`
	Next  string `json:"next,omitempty" doc:"Cursor of the next page, to be sent as after; absent on the last page"`
}

type output[T any] struct{ Body T }

// routes builds the handler of one listener.
func (s *Server) routes(page http.Handler, local bool) http.Handler {
	mux := http.NewServeMux()
	config := huma.DefaultConfig("Portolan", s.Version)
	config.Info.Description = "The ports and devices of a network, from its flow exports."
	// No $schema in answers, no documentation page that loads from elsewhere, and
	// the description is served below: huma makes it on the first request,
	// without a lock.
	config.CreateHooks, config.SchemasPath, config.DocsPath, config.OpenAPIPath = nil, "", "", ""
	// A later version may add fields to any object: clients are not to refuse them.
	config.AllowAdditionalPropertiesByDefault = true
	a := humago.New(mux, config)
	s.read(a)
	if local {
		s.edit(a)
		mux.HandleFunc("POST /-/reload", s.reload)
	}
	spec, err := json.Marshal(a.OpenAPI())
	if err != nil {
		panic(fmt.Sprintf("the API cannot be described: %v", err)) // a fault of the types above, seen by every test
	}
	mux.HandleFunc("GET /api/openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/openapi+json")
		_, _ = w.Write(spec)
	})
	mux.HandleFunc("GET /metrics", s.serveMetrics)
	mux.HandleFunc("GET /-/healthy", answer("healthy", s.Healthy))
	mux.HandleFunc("GET /-/ready", answer("ready", s.Ready))
	if page != nil {
		mux.Handle("/", page)
	}
	return problems(mux, page != nil)
}

// reload answers POST /-/reload.
func (s *Server) reload(w http.ResponseWriter, _ *http.Request) {
	if s.Reload == nil {
		writeProblem(w, http.StatusNotFound, "there is nothing to reload")
		return
	}
	if err := s.Reload(); err != nil {
		writeProblem(w, http.StatusUnprocessableEntity, "nothing was changed: "+err.Error())
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintln(w, "reloaded")
}

// answer says in one line whether ask finds anything wrong.
func answer(well string, ask func() error) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		if err := ask(); err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintf(w, "not %s: %s\n", well, oneLine(err.Error()))
			return
		}
		fmt.Fprintln(w, well)
	}
}

func oneLine(s string) string { return string(bytes.Join(bytes.Fields([]byte(s)), []byte(" "))) }

type listInput struct {
	After string `query:"after" maxLength:"256" doc:"Cursor: the next of the page before; absent for the first page"`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"Items a page at most"`

	Evidence string `query:"evidence" enum:"seen,class,peer,service,symmetric,fan-in,handshake,exporter" doc:"Only endpoints that listen on a port with at least this evidence, and of their listening ports only those"`
}

// keep is the filter that the query asks for, nil for none. The API has found
// the name to be one of those that there are.
func (in *listInput) keep() func(*profiler.Endpoint) bool {
	least, err := profiler.ParseEvidence(in.Evidence)
	if err != nil {
		return nil
	}
	return func(e *profiler.Endpoint) bool { return e.Least(least) }
}

type idInput struct {
	ID string `path:"id" maxLength:"64" doc:"A MAC in any usual notation, or one of the endpoint's IP addresses" example:"00:11:22:33:44:55"`
}

func (s *Server) read(a huma.API) {
	huma.Register(a, huma.Operation{
		OperationID: "list-endpoints", Method: http.MethodGet, Path: "/api/v1/endpoints",
		Summary: "Endpoints with their ports, page by page",
	}, func(_ context.Context, in *listInput) (*output[List[profiler.Endpoint]], error) {
		items, next, err := s.Repository.Endpoints(in.After, in.Limit, in.keep())
		if errors.Is(err, store.ErrCursor) {
			return nil, huma.Error422UnprocessableEntity("after is not a cursor that this list has returned; begin without it")
		} else if err != nil {
			return nil, huma.Error500InternalServerError("the store cannot list its endpoints: " + err.Error())
		}
		if items == nil {
			items = []profiler.Endpoint{}
		}
		return &output[List[profiler.Endpoint]]{List[profiler.Endpoint]{items, next}}, nil
	})
	huma.Register(a, huma.Operation{
		OperationID: "get-endpoint", Method: http.MethodGet, Path: "/api/v1/endpoints/{id}",
		Summary: "One endpoint, by MAC or address", Errors: []int{http.StatusNotFound},
	}, func(_ context.Context, in *idInput) (*output[profiler.Endpoint], error) {
		id, err := parseID(in.ID)
		if err != nil {
			return nil, huma.Error404NotFound(err.Error())
		}
		e, err := s.Repository.Endpoint(id)
		if err != nil {
			return nil, storeError(id, err)
		}
		return &output[profiler.Endpoint]{e}, nil
	})
	huma.Register(a, huma.Operation{
		OperationID: "list-exporters", Method: http.MethodGet, Path: "/api/v1/exporters",
		Summary: "Exporters and what of theirs was received and lost; all on one page",
	}, func(context.Context, *struct{}) (*output[List[ingest.Exporter]], error) {
		items := s.Sensor.Status().Exporters
		if items == nil {
			items = []ingest.Exporter{}
		}
		return &output[List[ingest.Exporter]]{List[ingest.Exporter]{Items: items}}, nil
	})
	huma.Register(a, huma.Operation{
		OperationID: "list-rules", Method: http.MethodGet, Path: "/api/v1/rules",
		Summary: "The fingerprint rules that devices are recognised by, the most reliable first; all on one page",
	}, func(context.Context, *struct{}) (*output[List[*rules.Rule]], error) {
		items := []*rules.Rule{}
		if s.Rules != nil {
			if set := s.Rules(); set != nil {
				items = set.Rules()
			}
		}
		return &output[List[*rules.Rule]]{List[*rules.Rule]{Items: items}}, nil
	})
	huma.Register(a, huma.Operation{
		OperationID: "get-status", Method: http.MethodGet, Path: "/api/v1/status",
		Summary: "How the daemon is: the books, the receive paths, and a sentence",
	}, func(context.Context, *struct{}) (*output[Status], error) {
		return &output[Status]{s.Status()}, nil
	})
}

// parseID brings what people write for an endpoint to the form that the
// repository knows it by.
func parseID(s string) (string, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return a.Unmap().String(), nil
	}
	if m, err := profiler.ParseMAC(s); err == nil {
		return m.String(), nil
	}
	return "", fmt.Errorf("%w: %.64q is neither a MAC nor an IP address", store.ErrNotFound, s)
}

// storeError is the answer to a request about endpoint id that failed.
func storeError(id string, err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return huma.Error404NotFound(fmt.Sprintf("no endpoint has the MAC or address %s", id))
	}
	return huma.Error500InternalServerError("the store failed: " + err.Error())
}
