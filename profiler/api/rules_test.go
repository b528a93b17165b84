// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/portolan/portolan/profiler"
	"github.com/portolan/portolan/profiler/rules"
)

// TestRules: the rules are listed as they are now, and without any as none.
func TestRules(t *testing.T) {
	s, _ := newServer(t)
	list := func() (items []map[string]any) {
		t.Helper()
		w := ask(s.Public(nil), "GET", "/api/v1/rules", "")
		var page struct{ Items []map[string]any }
		if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || w.Code != http.StatusOK || page.Items == nil {
			t.Fatalf("status %d, %v: %s", w.Code, err, w.Body)
		}
		return page.Items
	}
	if got := list(); len(got) != 0 {
		t.Errorf("%v", got)
	}
	set, err := rules.BuiltIn()
	if err != nil {
		t.Fatal(err)
	}
	s.Rules = func() *rules.Set { return set }
	got := list()
	if len(got) != len(set.Rules()) {
		t.Fatalf("%d rules of %d", len(got), len(set.Rules()))
	}
	for _, field := range []string{"id", "origin", "device", "evidence", "when", "built_in"} {
		if got[0][field] == nil {
			t.Errorf("no %s in %v", field, got[0])
		}
	}
	device, _ := got[0]["device"].(map[string]any)
	for _, field := range []string{"category", "family", "name", "rel"} {
		if device[field] == nil {
			t.Errorf("no %s in %v", field, device)
		}
	}
}

// TestEvidenceFilter: a minimum of evidence leaves out ports, and endpoints that
// have none left.
func TestEvidenceFilter(t *testing.T) {
	s, m := newServer(t)
	e := contractEndpoint()
	e.Listening = append(e.Listening, profiler.Port{Proto: "tcp", Port: 40000, Evidence: "class"})
	m.items[0] = e
	for _, tt := range []struct {
		query        string
		items, ports int
	}{{"", 1, 2}, {"?evidence=seen", 1, 2}, {"?evidence=fan-in", 1, 1}, {"?evidence=exporter", 0, 0}} {
		w := ask(s.Public(nil), "GET", "/api/v1/endpoints"+tt.query, "")
		var page List[profiler.Endpoint]
		if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || page.Items == nil {
			t.Fatalf("%v: %s", err, w.Body)
		}
		ports := 0
		for i := range page.Items {
			ports += len(page.Items[i].Listening)
		}
		if len(page.Items) != tt.items || ports != tt.ports {
			t.Errorf("%q: %d endpoints with %d ports, want %d and %d", tt.query, len(page.Items), ports, tt.items, tt.ports)
		}
	}
	if w := ask(s.Public(nil), "GET", "/api/v1/endpoints?evidence=faith", ""); w.Code != http.StatusUnprocessableEntity {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
}

// TestReload: only the local socket reloads, and a refusal says why.
func TestReload(t *testing.T) {
	s, _ := newServer(t)
	var fail error
	calls := 0
	s.Reload = func() error { calls++; return fail }
	if w := ask(s.Public(nil), "POST", "/-/reload", ""); w.Code < 400 || calls != 0 {
		t.Errorf("public: status %d, %d calls", w.Code, calls)
	}
	if w := ask(s.Local(), "POST", "/-/reload", ""); w.Code != http.StatusOK || calls != 1 {
		t.Errorf("local: status %d, %d calls: %s", w.Code, calls, w.Body)
	}
	fail = errors.New("rules.yaml:3:1: no id")
	if w := ask(s.Local(), "POST", "/-/reload", ""); w.Code != http.StatusUnprocessableEntity || !strings.Contains(w.Body.String(), "rules.yaml:3:1") {
		t.Errorf("bad rules: status %d: %s", w.Code, w.Body)
	}
}
