// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/portolan/portolan/profiler"
)

// maxImport bounds an endpoints file, in bytes: about a million rows.
const maxImport = 64 << 20

// importInput hands the body on unread: huma would hold all of it.
type importInput struct {
	body    io.Reader
	csv     bool
	respond *http.ResponseController
}

// Resolve is huma's hook for what its tags cannot say.
func (in *importInput) Resolve(ctx huma.Context) []error {
	r, w := humago.Unwrap(ctx)
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	in.csv = err == nil && media == "text/csv"
	in.body = http.MaxBytesReader(w, r.Body, maxImport)
	in.respond = http.NewResponseController(w)
	return nil
}

func (s *Server) edit(a huma.API) {
	if s.Editor == nil {
		return
	}
	text := map[string]*huma.MediaType{"text/csv": {Schema: &huma.Schema{Type: "string"}}}
	huma.Register(a, huma.Operation{
		OperationID: "import-endpoints", Method: http.MethodPost, Path: "/api/v1/endpoints/import",
		Summary:     "Add or update the endpoints of a file, all of them or none",
		RequestBody: &huma.RequestBody{Content: text, Required: true},
		Errors:      []int{http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity},
	}, s.importCSV)
	huma.Register(a, huma.Operation{
		OperationID: "delete-endpoint", Method: http.MethodDelete, Path: "/api/v1/endpoints/{id}",
		Summary: "Forget an endpoint, its addresses and its ports", DefaultStatus: http.StatusNoContent,
		Errors: []int{http.StatusNotFound},
	}, func(_ context.Context, in *idInput) (*struct{}, error) {
		id, err := parseID(in.ID)
		if err != nil {
			return nil, huma.Error404NotFound(err.Error())
		}
		if err := s.Editor.Delete(id); err != nil {
			return nil, storeError(id, err)
		}
		return nil, nil
	})
	huma.Register(a, huma.Operation{
		OperationID: "export-endpoints", Method: http.MethodGet, Path: "/api/v1/endpoints.csv",
		Summary:   "All endpoints as a file that an import reads back",
		Responses: map[string]*huma.Response{"200": {Description: "OK", Content: text}},
	}, func(context.Context, *struct{}) (*huma.StreamResponse, error) {
		return &huma.StreamResponse{Body: s.exportCSV}, nil
	})
}

func (s *Server) importCSV(_ context.Context, in *importInput) (*output[ImportResult], error) {
	if !in.csv {
		return nil, huma.Error415UnsupportedMediaType("send the endpoints file as Content-Type: text/csv")
	}
	rows, err := profiler.ParseCSV(in.body)
	if err != nil {
		// What is left of the body is read, so that the client gets to the answer.
		_, _ = io.Copy(io.Discard, in.body)
		return nil, importError(err)
	}
	// A million rows may take the store longer than an answer may otherwise take.
	if err := in.respond.SetWriteDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return nil, fmt.Errorf("cannot wait for the import: %w", err)
	}
	res, err := s.Editor.Import(rows)
	if err != nil {
		return nil, importError(err)
	}
	return &output[ImportResult]{res}, nil
}

// importError lists all that is wrong with a file. Row and column of each error
// stand in its value, so that a client need not take them out of a text.
func importError(err error) error {
	var tooLong *http.MaxBytesError
	var wrong *profiler.CSVErrors
	switch {
	case errors.As(err, &tooLong):
		return huma.NewError(http.StatusRequestEntityTooLarge, fmt.Sprintf("the endpoints file is over %d bytes; split it", tooLong.Limit))
	case !errors.As(err, &wrong):
		return huma.Error500InternalServerError(err.Error())
	}
	details := make([]*huma.ErrorDetail, 0, len(wrong.Errors))
	for _, e := range wrong.Errors {
		at := &cell{Row: e.Row, Column: e.Column}
		details = append(details, &huma.ErrorDetail{Message: e.Message, Location: at.String(), Value: at})
	}
	detail := fmt.Sprintf("nothing was imported: the file has %s", plural(uint64(len(wrong.Errors)+wrong.More), "error"))
	if wrong.More > 0 {
		detail += fmt.Sprintf(", of which the first %d are listed", len(wrong.Errors))
	}
	return &importProblem{More: wrong.More, ErrorModel: huma.ErrorModel{
		Status: http.StatusUnprocessableEntity, Title: http.StatusText(http.StatusUnprocessableEntity),
		Detail: detail, Errors: details,
	}}
}

// importProblem is a problem that says how many errors are not in it.
type importProblem struct {
	huma.ErrorModel
	More int `json:"more,omitempty" doc:"Errors beyond those listed"`
}

// cell is where in a file an error is.
type cell struct {
	Row    int    `json:"row"`
	Column string `json:"column,omitempty"`
}

// String is a path in the style of the other locations, "body.row[5].ip".
func (c *cell) String() string {
	if c.Column == "" {
		return fmt.Sprintf("body.row[%d]", c.Row)
	}
	return fmt.Sprintf("body.row[%d].%s", c.Row, c.Column)
}

// stall is how long a reader of an export may take for a part of it.
const stall = 30 * time.Second

// exportCSV streams the endpoints. An error before the first of them is told; one
// in the middle breaks the connection off: a file that only looks complete would
// be the worse answer.
func (s *Server) exportCSV(ctx huma.Context) {
	_, w := humago.Unwrap(ctx)
	w.Header().Set("Content-Type", "text/csv; charset=utf-8; header=present")
	w.Header().Set("Content-Disposition", `attachment; filename="endpoints.csv"`)
	out := patient{w: w, respond: http.NewResponseController(w)}
	err := profiler.WriteCSV(&out, s.all())
	switch {
	case err != nil && out.wrote:
		panic(http.ErrAbortHandler)
	case err != nil:
		w.Header().Del("Content-Disposition")
		writeProblem(w, http.StatusInternalServerError, "the store cannot list its endpoints: "+err.Error())
	}
}

// patient moves the deadline of an answer on with every part that is written.
type patient struct {
	w       io.Writer
	respond *http.ResponseController
	wrote   bool
}

func (p *patient) Write(b []byte) (int, error) {
	p.wrote = true
	if err := p.respond.SetWriteDeadline(time.Now().Add(stall)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	return p.w.Write(b)
}
