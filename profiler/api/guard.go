// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// guardHosts refuses requests that call this daemon by a name that is not its
// own. That is how a page elsewhere reads what only this network may read: its
// author lets his own name resolve to our address, and the browser then takes
// our answers for his (DNS rebinding). He cannot do so with an IP address, with
// localhost, or with a name that is not his.
//
// Health checks and metrics tell nothing about anybody's devices, and monitoring
// calls them by whatever name it likes.
func guardHosts(names []string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !ownHost(r.Host, names) && !strings.HasPrefix(r.URL.Path, "/-/") && r.URL.Path != "/metrics" {
			writeProblem(w, http.StatusMisdirectedRequest, fmt.Sprintf(
				"%.100q is not a name of this daemon; use its IP address, or name it in --http", r.Host))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// ownHost reports whether a Host header names this daemon.
func ownHost(hostport string, names []string) bool {
	host := hostport
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:i]
	}
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(strings.TrimSuffix(n, "."), host) })
}

// guardOrigin refuses requests that change something and that a browser says
// another site's page has made.
func guardOrigin(next http.Handler) http.Handler {
	p := http.NewCrossOriginProtection()
	p.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writeProblem(w, http.StatusForbidden, "the request was made by a page of another site")
	}))
	return p.Handler(next)
}

// problems adds the headers that every answer of the API has, and gives the
// mux's own refusals (no such path, no such method) the shape of all others.
// With a page, a path that the mux does not know is the page's to refuse.
func problems(mux *http.ServeMux, page bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler, pattern := mux.Handler(r)
		if pattern == "" || page && pattern == "/" && strings.HasPrefix(r.URL.Path, "/api/") {
			refuse(w, r, mux, handler, pattern)
			return
		}
		if pattern != "/" {
			secure(w.Header())
		}
		mux.ServeHTTP(w, r)
	})
}

// refuse answers a request that no route takes.
func refuse(w http.ResponseWriter, r *http.Request, mux *http.ServeMux, own http.Handler, pattern string) {
	said := refusal{header: http.Header{}, status: http.StatusNotFound}
	if pattern == "" {
		own.ServeHTTP(&said, r)
	} else if reads(r.Method) == "" && readable(mux, r) {
		said.status = http.StatusMethodNotAllowed
		said.header.Set("Allow", "GET, HEAD")
	}
	if allow := said.header.Get("Allow"); allow != "" {
		w.Header().Set("Allow", allow)
	}
	detail := fmt.Sprintf("there is nothing at %.200q; /api/openapi.json describes what there is", r.URL.Path)
	if said.status == http.StatusMethodNotAllowed {
		detail = fmt.Sprintf("%.20s is not possible here; changes are made through the local socket, by `portolan endpoints`", r.Method)
	}
	writeProblem(w, said.status, detail)
}

// reads returns m where it is a method that only reads.
func reads(m string) string {
	if m == http.MethodGet || m == http.MethodHead {
		return m
	}
	return ""
}

// readable reports whether the path of r has a route of its own for GET.
func readable(mux *http.ServeMux, r *http.Request) bool {
	get := r.Clone(r.Context())
	get.Method = http.MethodGet
	_, pattern := mux.Handler(get)
	return pattern != "" && pattern != "/"
}

// refusal takes the status and headers that a handler answers with.
type refusal struct {
	header http.Header
	status int
}

func (f *refusal) Header() http.Header         { return f.header }
func (f *refusal) Write(b []byte) (int, error) { return len(b), nil }
func (f *refusal) WriteHeader(status int)      { f.status = status }

// secure sets the headers that keep an answer from being taken for a page, from
// being framed and from being kept.
func secure(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
}

// writeProblem answers with an RFC 9457 problem, where huma is not asked.
func writeProblem(w http.ResponseWriter, status int, detail string) {
	secure(w.Header())
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(&huma.ErrorModel{Status: status, Title: http.StatusText(status), Detail: detail})
}
