// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/portolan/portolan/ingest"
	"github.com/portolan/portolan/profiler"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden holds an answer against a file. Whatever stands in the file must be in
// the answer, with its value; an answer may have more fields, as the contract
// lets every answer have.
func golden(t *testing.T, name string, w *httptest.ResponseRecorder, contentType string) {
	t.Helper()
	if got := w.Header().Get("Content-Type"); got != contentType {
		t.Errorf("Content-Type %q, want %q", got, contentType)
	}
	path := filepath.Join("testdata", name)
	if *update {
		var indented bytes.Buffer
		if err := json.Indent(&indented, w.Body.Bytes(), "", "  "); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, indented.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var want, got any
	if err := json.Unmarshal(file, &want); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatalf("no JSON: %v\n%s", err, w.Body)
	}
	for _, wrong := range lacks(name, want, got, true) {
		t.Error(wrong)
	}
}

func TestReadRoutes(t *testing.T) {
	s, _ := newServer(t)
	for _, h := range []struct {
		name    string
		handler http.Handler
	}{{"public", s.Public(nil)}, {"local", s.Local()}} {
		for _, tt := range []struct{ target, file string }{
			{"/api/v1/endpoints", "endpoints.json"},
			{"/api/v1/endpoints/00:11:22:33:44:55", "endpoint.json"},
			{"/api/v1/endpoints/0011.2233.4455", "endpoint.json"},
			{"/api/v1/endpoints/00-11-22-33-44-55", "endpoint.json"},
			{"/api/v1/endpoints/10.1.0.5", "endpoint.json"},
			{"/api/v1/endpoints/::ffff:10.1.0.5", "endpoint.json"},
			{"/api/v1/endpoints/fd00:0::5", "endpoint.json"},
			{"/api/v1/exporters", "exporters.json"},
			{"/api/v1/status", "status.json"},
		} {
			t.Run(h.name+tt.target, func(t *testing.T) {
				w := ask(h.handler, "GET", tt.target, "")
				if w.Code != http.StatusOK {
					t.Fatalf("status %d: %s", w.Code, w.Body)
				}
				golden(t, tt.file, w, "application/json")
				for k, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Link": ""} {
					if got := w.Header().Get(k); got != want {
						t.Errorf("%s: %q, want %q", k, got, want)
					}
				}
			})
		}
	}
}

// TestContractShapes holds the answers against the contract's own text: every
// field that it shows, by its path, is there.
func TestContractShapes(t *testing.T) {
	s, _ := newServer(t)
	contract, err := os.ReadFile("testdata/contract.json")
	if err != nil {
		t.Fatal(err)
	}
	var want struct{ Ledger, Exporter, Endpoint any }
	if err := json.Unmarshal(contract, &want); err != nil {
		t.Fatal(err)
	}
	var status struct{ Ledger any }
	var exporters, endpoints struct{ Items []any }
	for target, v := range map[string]any{"status": &status, "exporters": &exporters, "endpoints": &endpoints} {
		if err := json.Unmarshal(ask(s.Public(nil), "GET", "/api/v1/"+target, "").Body.Bytes(), v); err != nil {
			t.Fatal(err)
		}
	}
	for _, x := range []struct {
		name      string
		want, got any
	}{{"ledger", want.Ledger, status.Ledger}, {"exporter", want.Exporter, exporters.Items[0]}, {"endpoint", want.Endpoint, endpoints.Items[0]}} {
		for _, missing := range lacks(x.name, x.want, x.got, false) {
			t.Error(missing)
		}
	}
}

// lacks lists the fields of want that got has not, or has of another kind, or,
// with values, with another value.
func lacks(path string, want, got any, values bool) (wrong []string) {
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			return []string{path + " is no object"}
		}
		for k, v := range w {
			if _, ok := g[k]; !ok {
				wrong = append(wrong, path+"."+k+" is missing")
				continue
			}
			wrong = append(wrong, lacks(path+"."+k, v, g[k], values)...)
		}
		return wrong
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) == 0 && len(w) > 0 || values && len(g) != len(w) {
			return []string{fmt.Sprintf("%s is %v, want %v", path, got, want)}
		}
		for i := range min(len(w), len(g)) {
			wrong = append(wrong, lacks(fmt.Sprintf("%s[%d]", path, i), w[i], g[i], values)...)
		}
		return wrong
	}
	if reflect.TypeOf(want) != reflect.TypeOf(got) || values && want != got {
		return []string{fmt.Sprintf("%s is %v, want %v", path, got, want)}
	}
	return nil
}

func TestPages(t *testing.T) {
	s, m := newServer(t)
	m.items = nil
	for i := range 25 {
		e := profiler.Endpoint{MAC: profiler.MAC{2, 0, 0, 0, 0, byte(i + 1)}}
		e.Finish()
		m.items = append(m.items, e)
	}
	var seen []string
	after := ""
	for pages := 1; ; pages++ {
		w := ask(s.Public(nil), "GET", "/api/v1/endpoints?limit=10&after="+after, "")
		var l List[profiler.Endpoint]
		if err := json.Unmarshal(w.Body.Bytes(), &l); err != nil {
			t.Fatal(err)
		}
		for _, e := range l.Items {
			seen = append(seen, e.ID)
		}
		if last := !strings.Contains(w.Body.String(), `"next"`); last != (pages == 3) {
			t.Fatalf("page %d: %s", pages, w.Body)
		} else if last {
			break
		}
		after = l.Next
	}
	if len(seen) != 25 || seen[0] != "02:00:00:00:00:01" || seen[24] != "02:00:00:00:00:19" {
		t.Errorf("seen %v", seen)
	}
}

func TestEmptyListsAreLists(t *testing.T) {
	s, m := newServer(t)
	m.items, s.Sensor = nil, &sensor{}
	for _, target := range []string{"/api/v1/endpoints", "/api/v1/exporters"} {
		if got := ask(s.Public(nil), "GET", target, "").Body.String(); got != "{\"items\":[]}\n" {
			t.Errorf("%s: %s", target, got)
		}
	}
	s.Sensor = &sensor{ingest.Status{}}
	if got := ask(s.Public(nil), "GET", "/api/v1/status", "").Body.String(); strings.Contains(got, "null") {
		t.Errorf("null in %s", got)
	}
}

func TestProblems(t *testing.T) {
	s, m := newServer(t)
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) })
	for _, tt := range []struct {
		name, method, target string
		status               int
		detail               string
	}{
		{"unknown MAC", "GET", "/api/v1/endpoints/02:00:00:00:00:77", 404, "02:00:00:00:00:77"},
		{"no id", "GET", "/api/v1/endpoints/fridge", 404, "neither a MAC nor an IP"},
		{"zone", "GET", "/api/v1/endpoints/fe80::1%25eth0", 404, "neither a MAC nor an IP"},
		{"limit 0", "GET", "/api/v1/endpoints?limit=0", 422, "validation failed"},
		{"limit 1001", "GET", "/api/v1/endpoints?limit=1001", 422, "validation failed"},
		{"limit word", "GET", "/api/v1/endpoints?limit=many", 422, "validation failed"},
		{"no cursor", "GET", "/api/v1/endpoints?after=zz", 422, "cursor"},
		{"no route", "GET", "/api/v1/teapots", 404, "openapi.json"},
		{"no version", "GET", "/api/v9/endpoints", 404, "openapi.json"},
		{"writing in public", "DELETE", "/api/v1/endpoints/10.1.0.5", 405, "local socket"},
		{"importing in public", "POST", "/api/v1/endpoints/import", 405, "local socket"},
		{"posting metrics", "POST", "/metrics", 405, "local socket"},
	} {
		for kind, h := range map[string]http.Handler{"with page": s.Public(page), "without": s.Public(nil)} {
			if tt.name == "posting metrics" && kind == "with page" {
				continue // the page's own 404: not a path of the API
			}
			t.Run(tt.name+" "+kind, func(t *testing.T) { wantProblem(t, ask(h, tt.method, tt.target, ""), tt.status, tt.detail) })
		}
	}
	m.fail = errors.New("the disk is gone")
	wantProblem(t, ask(s.Public(nil), "GET", "/api/v1/endpoints", ""), 500, "the disk is gone")
	if got, _ := m.Endpoint("10.1.0.5"); got.ID == "" {
		t.Error("the public listener deleted an endpoint")
	}
}

func wantProblem(t *testing.T, w *httptest.ResponseRecorder, status int, detail string) {
	t.Helper()
	var p struct {
		Title, Detail string
		Status        int
	}
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		t.Fatalf("no JSON: %v\n%s", err, w.Body)
	}
	if w.Code != status || p.Status != status || p.Title != http.StatusText(status) || !strings.Contains(p.Detail, detail) {
		t.Errorf("status %d, %+v; want %d and %q", w.Code, p, status, detail)
	}
	if got := w.Header().Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type %q", got)
	}
}

func TestHealth(t *testing.T) {
	s, _ := newServer(t)
	for target, want := range map[string]string{"/-/healthy": "healthy\n", "/-/ready": "ready\n"} {
		if w := ask(s.Public(nil), "GET", target, "", "Host", "any.name.at.all"); w.Code != 200 || w.Body.String() != want {
			t.Errorf("%s: %d %q", target, w.Code, w.Body)
		}
	}
	s.Ready = func() error { return errors.New("the endpoint set\nis not loaded yet") }
	s.Healthy = func() error { return errors.New("worker 0 stands still") }
	for target, want := range map[string]string{
		"/-/healthy": "not healthy: worker 0 stands still\n", "/-/ready": "not ready: the endpoint set is not loaded yet\n",
	} {
		if w := ask(s.Public(nil), "GET", target, ""); w.Code != 503 || w.Body.String() != want {
			t.Errorf("%s: %d %q", target, w.Code, w.Body)
		}
	}
}

func TestOpenAPI(t *testing.T) {
	s, _ := newServer(t)
	paths := func(h http.Handler) map[string]map[string]any {
		var spec struct {
			OpenAPI string
			Paths   map[string]map[string]any
		}
		w := ask(h, "GET", "/api/openapi.json", "")
		if err := json.Unmarshal(w.Body.Bytes(), &spec); err != nil || !strings.HasPrefix(spec.OpenAPI, "3.1") {
			t.Fatalf("OpenAPI %q: %v", spec.OpenAPI, err)
		}
		if strings.Contains(w.Body.String(), "$schema") {
			t.Error("$schema links are on")
		}
		return spec.Paths
	}
	public, local := paths(s.Public(nil)), paths(s.Local())
	for _, p := range []string{"/api/v1/endpoints", "/api/v1/endpoints/{id}", "/api/v1/exporters", "/api/v1/status"} {
		if public[p]["get"] == nil || local[p]["get"] == nil {
			t.Errorf("%s is not described", p)
		}
	}
	if public["/api/v1/endpoints/import"] != nil || public["/api/v1/endpoints/{id}"]["delete"] != nil {
		t.Error("the public description has writing routes")
	}
	if local["/api/v1/endpoints/import"]["post"] == nil || local["/api/v1/endpoints/{id}"]["delete"] == nil || local["/api/v1/endpoints.csv"]["get"] == nil {
		t.Error("the local description lacks writing routes")
	}
	for _, p := range []string{"/docs", "/schemas/Status.json", "/openapi.json"} {
		if w := ask(s.Public(nil), "GET", p, ""); w.Code != 404 {
			t.Errorf("%s: %d", p, w.Code)
		}
	}
}

func TestHosts(t *testing.T) {
	s, _ := newServer(t)
	for host, want := range map[string]int{
		"localhost:8055": 200, "127.0.0.1:8055": 200, "[::1]:8055": 200, "[::1]": 200, "192.0.2.7": 200, "LOCALHOST.": 200,
		"portolan.example:8055": 200, "Portolan.Example": 200,
		"attacker.example": 421, "localhost.attacker.example:8055": 421, "127.0.0.1.attacker.example": 421, "": 421, "x@127.0.0.1:1:2": 421,
	} {
		if w := ask(s.Public(nil), "GET", "/api/v1/status", "", "Host", host); w.Code != want {
			t.Errorf("Host %q: %d, want %d", host, w.Code, want)
		}
	}
	wantProblem(t, ask(s.Public(nil), "GET", "/", "", "Host", "attacker.example"), 421, "attacker.example")
}

func TestCrossOrigin(t *testing.T) {
	s, m := newServer(t)
	w := ask(s.Local(), "DELETE", "/api/v1/endpoints/10.1.0.5", "", "Sec-Fetch-Site", "cross-site")
	wantProblem(t, w, 403, "another site")
	if len(m.items) != 1 {
		t.Error("deleted all the same")
	}
}
