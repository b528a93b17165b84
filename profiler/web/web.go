// SPDX-License-Identifier: Apache-2.0

// Package web is the page that people look at: how the sensor is, what came in
// and what became of it, who exports, and which endpoint has which ports.
//
// It owns the page, its style and its headers. The page is made on the server
// and has no script, so that the policy it is sent with can forbid all of them;
// it asks package api for one status and one page of endpoints per request and
// keeps nothing. Every text in it that comes from the network, a file or the
// kernel is shown by [show], which makes visible what would otherwise act.
package web

import (
	"bytes"
	"embed"
	"errors"
	"html/template"
	"net/http"

	"github.com/portolan/portolan/profiler"
	"github.com/portolan/portolan/profiler/api"
	"github.com/portolan/portolan/store"
)

// Source is what the page is made of; [*api.Server] is one.
type Source interface {
	Status() api.Status
	Endpoints(after string, limit int) (items []profiler.Endpoint, next string, err error)
}

//go:embed page.html style.css icon.svg
var files embed.FS

var page = template.Must(template.New("page.html").Funcs(template.FuncMap{
	"show":  show,
	"whole": whole,
	"num":   func(n int) uint64 { return uint64(n) },
}).ParseFS(files, "page.html"))

// policy lets the page have its own style and icon and nothing else.
const policy = "default-src 'none'; style-src 'self'; img-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

// Handler serves the page at /, and what it needs beside it. Other paths are
// not found. Mount it behind [api.Server.Public], which checks who asks.
func Handler(src Source) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { serve(w, r, src) })
	mux.HandleFunc("GET /style.css", file("style.css", "text/css; charset=utf-8"))
	mux.HandleFunc("GET /icon.svg", file("icon.svg", "image/svg+xml"))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		mux.ServeHTTP(w, r)
	})
}

func file(name, media string) http.HandlerFunc {
	content, err := files.ReadFile(name)
	if err != nil {
		panic(err) // embedded at build: it cannot be missing
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", media)
		_, _ = w.Write(content)
	}
}

// shown is how many endpoints a page has, and how many exporters at most.
const shown = 100

func serve(w http.ResponseWriter, r *http.Request, src Source) {
	after := r.URL.Query().Get("after")
	items, next, err := src.Endpoints(after, shown)
	v := view(src.Status(), items)
	v.First, v.Next = after == "", next
	status := http.StatusOK
	switch {
	case errors.Is(err, store.ErrCursor):
		v.Failure, status = "This link does not lead to a page of the list.", http.StatusNotFound
	case err != nil:
		v.Failure, status = "The store cannot list its endpoints: "+err.Error(), http.StatusInternalServerError
	}
	// Made whole before anything is sent, so that an error is not half a page.
	var out bytes.Buffer
	if err := page.Execute(&out, v); err != nil {
		http.Error(w, "the page cannot be made: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(out.Bytes())
}
