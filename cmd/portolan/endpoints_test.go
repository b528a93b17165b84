// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portolan/portolan/profiler"
	"github.com/portolan/portolan/profiler/api"
	"github.com/portolan/portolan/store"
)

// endpointsVerb runs `portolan endpoints ARGS`.
func endpointsVerb(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = execute(t.Context(), append([]string{"endpoints"}, args...), &out, &errs)
	return code, out.String(), errs.String()
}

// mustEndpoints is endpointsVerb where it has to work.
func mustEndpoints(t *testing.T, args ...string) string {
	t.Helper()
	code, out, errs := endpointsVerb(t, args...)
	if code != exitOK {
		t.Fatalf("endpoints %v: exit %d\n%s", args, code, errs)
	}
	return out
}

func writeTestFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const officeCSV = `mac,ip,hostname,category,family,name,tags
02:00:00:00:00:01,10.1.0.5,printer-3,Printer,HP,HP LaserJet,floor2;paper
02-00-00-00-00-01,fd00::5,,,,,
0200.0000.0002,10.1.0.6,pc-1,,,,
020000000003,,pc-2,,,,
,10.1.0.9,,,,,
`

// officeStore is a store with officeCSV imported through the command line.
func officeStore(t *testing.T) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "data")
	path := writeTestFile(t, "office.csv", officeCSV)
	out := mustEndpoints(t, "import", path, "--data", dir)
	for _, want := range []string{"5 rows: 4 added, 1 updated, 0 unchanged", "waiting for an address: 1 endpoint"} {
		if !strings.Contains(out, want) {
			t.Fatalf("import said %q, want %q in it", out, want)
		}
	}
	return dir
}

// addPorts posts listening ports 1000 to 1000+n-1 of 10.1.0.5.
func addPorts(t *testing.T, dir string, n int) {
	t.Helper()
	s, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	batch := &profiler.Batch{}
	for b, err := range s.Bindings() {
		if err != nil {
			t.Fatal(err)
		}
		if b.Addr.String() != "10.1.0.5" {
			continue
		}
		for i := range n {
			batch.Observations = append(batch.Observations, profiler.Observation{
				Binding: b.ID, Gen: b.Gen, Proto: protoTCP, Port: uint16(1000 + i),
				Role: profiler.Listening, Evidence: profiler.Seen, Exporter: [16]byte{10: 0xff, 11: 0xff, 12: 192, 14: 2, 15: 1},
				First: 1_700_000_000e9, Last: 1_700_000_060e9,
			})
		}
	}
	batch.Outcomes, batch.Posted = make([]profiler.Outcome, n), make([]int64, n)
	if err := s.Post(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
}

func TestEndpointsOfAStoreThatNobodyHasOpen(t *testing.T) {
	dir := officeStore(t)
	addPorts(t, dir, 8)

	t.Run("list", func(t *testing.T) {
		out := mustEndpoints(t, "list", "--data", dir)
		lines := strings.Split(strings.TrimSpace(out), "\n")
		if len(lines) != 5 {
			t.Fatalf("%d lines, want a header and 4 endpoints:\n%s", len(lines), out)
		}
		for _, want := range []string{"02:00:00:00:00:01", "10.1.0.5 +1", "printer-3", "Printer, HP, HP LaserJet", "tcp/1005 and 2 more", "2023-11-14T22:14:20Z"} {
			if !strings.Contains(lines[1], want) {
				t.Errorf("no %q in %q", want, lines[1])
			}
		}
		if strings.Contains(lines[1], "tcp/1006") {
			t.Errorf("more than %d ports in %q", portsInList, lines[1])
		}
		if !strings.Contains(lines[3], "waiting") {
			t.Errorf("an endpoint without an address does not show so: %q", lines[3])
		}
	})
	t.Run("list json", func(t *testing.T) {
		var list struct{ Items []profiler.Endpoint }
		if err := json.Unmarshal([]byte(mustEndpoints(t, "list", "--output", "json", "--data", dir)), &list); err != nil {
			t.Fatal(err)
		}
		if len(list.Items) != 4 || len(list.Items[0].Listening) != 8 || list.Items[3].ID != "10.1.0.9" {
			t.Errorf("got %+v", list.Items)
		}
	})
	t.Run("show", func(t *testing.T) {
		for _, name := range []string{"02:00:00:00:00:01", "02-00-00-00-00-01", "0200.0000.0001", "10.1.0.5", "fd00::5", "::ffff:10.1.0.5"} {
			out := mustEndpoints(t, "show", name, "--data", dir)
			for _, want := range []string{"10.1.0.5, fd00::5", "floor2, paper", "tcp/1000", "tcp/1007", "192.0.2.1", "seen", "2023-11-14T22:13:20Z"} {
				if !strings.Contains(out, want) {
					t.Errorf("show %s: no %q in\n%s", name, want, out)
				}
			}
		}
	})
	t.Run("list with a minimum of evidence", func(t *testing.T) {
		if out := mustEndpoints(t, "list", "--min-evidence", "seen", "--data", dir); strings.Count(out, "\n") != 2 || !strings.Contains(out, "printer-3") {
			t.Errorf("seen:\n%s", out)
		}
		if out := mustEndpoints(t, "list", "--min-evidence", "fan-in", "--data", dir); !strings.Contains(out, "the evidence fan-in or better") {
			t.Errorf("fan-in:\n%s", out)
		}
		if code, _, errs := endpointsVerb(t, "list", "--min-evidence", "faith", "--data", dir); code != exitUsage || !strings.Contains(errs, "fan-in, handshake") {
			t.Errorf("exit %d, %q", code, errs)
		}
	})
	t.Run("show json", func(t *testing.T) {
		var e map[string]any
		if err := json.Unmarshal([]byte(mustEndpoints(t, "show", "10.1.0.6", "-o", "json", "--data", dir)), &e); err != nil {
			t.Fatal(err)
		}
		if e["id"] != "02:00:00:00:00:02" || e["hostname"] != "pc-1" {
			t.Errorf("got %v", e)
		}
	})
	t.Run("show nobody", func(t *testing.T) {
		code, _, errs := endpointsVerb(t, "show", "10.9.9.9", "--data", dir)
		if code != exitRuntime || !strings.Contains(errs, "10.9.9.9") {
			t.Errorf("exit %d, %q", code, errs)
		}
	})
}

func TestExportIsImportedAsUnchanged(t *testing.T) {
	dir := officeStore(t)
	csv := mustEndpoints(t, "export", "--data", dir)
	file := filepath.Join(t.TempDir(), "copy.csv")
	if out := mustEndpoints(t, "export", file, "--data", dir); out != "" {
		t.Errorf("an export to a file printed %q", out)
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != csv {
		t.Fatalf("the file holds %q (%v), standard output got %q", got, err, csv)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(file), ".*")); err != nil || len(left) > 0 {
		t.Errorf("the export left %v (%v)", left, err)
	}
	if out := mustEndpoints(t, "import", file, "--data", dir); !strings.Contains(out, "0 added, 0 updated, 5 unchanged") {
		t.Errorf("importing the export: %q", out)
	}
	var res api.ImportResult
	if err := json.Unmarshal([]byte(mustEndpoints(t, "import", file, "-o", "json", "--data", dir)), &res); err != nil {
		t.Fatal(err)
	}
	if res != (api.ImportResult{Rows: 5, Unchanged: 5, Waiting: 1}) {
		t.Errorf("got %+v", res)
	}
}

func TestImportRefusesABadFileAsAWhole(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	path := writeTestFile(t, "bad.csv", "mac,ip\n02:00:00:00:00:01,10.1.0.5\n,010.0.0.1\n02:00:00:00:00:02,10.1.0.5\n")
	code, out, errs := endpointsVerb(t, "import", path, "--data", dir)
	if code != exitInput || out != "" {
		t.Errorf("exit %d, printed %q", code, out)
	}
	for _, want := range []string{path + ": row 3, column ip: ", path + ": row 4, column ip: ", "nothing was imported", "2 errors"} {
		if !strings.Contains(errs, want) {
			t.Errorf("no %q in\n%s", want, errs)
		}
	}
	for _, line := range strings.Split(strings.TrimSpace(errs), "\n")[:2] {
		if !strings.HasPrefix(line, path+": row ") {
			t.Errorf("the line %q does not begin with the file and the row", line)
		}
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("a bad file made a store: %v", err)
	}
	if out := mustEndpoints(t, "list", "--data", dir, "-o", "json"); strings.TrimSpace(out) != `{"items":[]}` {
		t.Errorf("list: %q", out)
	}
	code, _, errs = endpointsVerb(t, "import", filepath.Join(dir, "missing.csv"), "--data", dir)
	if code != exitInput || !strings.Contains(errs, "missing.csv") {
		t.Errorf("a file that does not exist: exit %d, %q", code, errs)
	}
}

func TestImportReadsStandardInput(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	var out, errs bytes.Buffer
	c := newCLI()
	c.SetArgs([]string{"endpoints", "import", "-", "--data", dir})
	c.SetIn(strings.NewReader("ip\n10.1.0.5\n"))
	c.SetOut(&out)
	c.SetErr(&errs)
	if err := c.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err, errs.String())
	}
	if got := out.String(); got != "standard input: 1 row: 1 added, 0 updated, 0 unchanged\n" {
		t.Errorf("got %q", got)
	}
}

func TestDeleteTellsWhatWentAndWhatWasNotThere(t *testing.T) {
	dir := officeStore(t)
	code, out, errs := endpointsVerb(t, "delete", "10.1.0.5", "02:00:00:00:00:01", "02:00:00:00:00:77", "020000000003", "--data", dir)
	if code != exitRuntime || !strings.Contains(errs, "02:00:00:00:00:77") || strings.Contains(errs, "10.1.0.5") {
		t.Errorf("exit %d, %q", code, errs)
	}
	want := "deleted 02:00:00:00:00:01 (printer-3, 10.1.0.5, fd00::5)\ndeleted 02:00:00:00:00:03 (pc-2)\n"
	if out != want {
		t.Errorf("printed %q, want %q", out, want)
	}
	if out := mustEndpoints(t, "list", "--data", dir); strings.Contains(out, "printer-3") || !strings.Contains(out, "pc-1") {
		t.Errorf("left:\n%s", out)
	}
}

func TestEndpointsSayWhichDirectory(t *testing.T) {
	t.Run("nothing here", func(t *testing.T) {
		t.Chdir(t.TempDir())
		code, _, errs := endpointsVerb(t, "list")
		if code != exitRuntime || !strings.Contains(errs, "portolan run") || !strings.Contains(errs, "--data") {
			t.Errorf("exit %d, %q", code, errs)
		}
		if _, err := os.Stat("portolan-data"); !os.IsNotExist(err) {
			t.Errorf("it made a store: %v", err)
		}
		code, _, errs = endpointsVerb(t, "list", "--data", "new", "-o", "yaml")
		if code != exitUsage || !strings.Contains(errs, "yaml") {
			t.Errorf("a bad --output: exit %d, %q", code, errs)
		}
		if _, err := os.Stat("new"); !os.IsNotExist(err) {
			t.Errorf("a bad --output made a store: %v", err)
		}
	})
	t.Run("a store here", func(t *testing.T) {
		dir := officeStore(t)
		t.Chdir(t.TempDir())
		if err := os.Rename(dir, "portolan-data"); err != nil {
			t.Fatal(err)
		}
		if out := mustEndpoints(t, "list"); !strings.Contains(out, "printer-3") {
			t.Errorf("got\n%s", out)
		}
	})
	t.Run("the environment", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "data")
		t.Setenv("PORTOLAN_DATA", dir)
		mustEndpoints(t, "list")
		if _, err := os.Stat(dir); err != nil {
			t.Errorf("no store was made: %v", err)
		}
	})
	t.Run("busy", func(t *testing.T) {
		dir := officeStore(t)
		s, err := store.Open(dir, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}()
		code, _, errs := endpointsVerb(t, "list", "--data", dir)
		if code != exitRuntime || !strings.Contains(errs, store.ErrBusy.Error()) || !strings.Contains(errs, api.SocketName) {
			t.Errorf("exit %d, %q", code, errs)
		}
	})
	t.Run("usage", func(t *testing.T) {
		for _, args := range [][]string{nil, {"bogus"}, {"show"}, {"show", "a", "b"}, {"delete"}, {"import"}, {"list", "x"}} {
			if code, _, errs := endpointsVerb(t, args...); code != exitUsage || errs == "" {
				t.Errorf("endpoints %v: exit %d, %q", args, code, errs)
			}
		}
	})
}

// TestEndpointsOfADaemon runs every verb against a daemon that has the store open.
func TestEndpointsOfADaemon(t *testing.T) {
	dir := officeStore(t)
	stop := serveStore(t, dir)
	if out := mustEndpoints(t, "list", "--data", dir); !strings.Contains(out, "printer-3") {
		t.Errorf("list:\n%s", out)
	}
	if out := mustEndpoints(t, "show", "0200.0000.0001", "--data", dir); !strings.Contains(out, "fd00::5") {
		t.Errorf("show:\n%s", out)
	}
	bad := writeTestFile(t, "bad.csv", "ip\nx\n")
	if code, _, errs := endpointsVerb(t, "import", bad, "--data", dir); code != exitInput || !strings.HasPrefix(errs, bad+": row 2, column ip: ") {
		t.Errorf("a bad import: exit %d, %q", code, errs)
	}
	good := writeTestFile(t, "good.csv", "mac,ip,hostname\n02:00:00:00:00:03,10.1.0.7,\n02:00:00:00:00:04,,pc-4\n")
	if out := mustEndpoints(t, "import", good, "--data", dir); !strings.Contains(out, "2 rows: 1 added, 1 updated") || !strings.Contains(out, "waiting for an address: 1 endpoint") {
		t.Errorf("import: %q", out)
	}
	if out := mustEndpoints(t, "delete", "10.1.0.7", "--data", dir); out != "deleted 02:00:00:00:00:03 (pc-2, 10.1.0.7)\n" {
		t.Errorf("delete: %q", out)
	}
	if code, _, errs := endpointsVerb(t, "delete", "10.1.0.7", "--data", dir); code != exitRuntime || !strings.Contains(errs, "10.1.0.7") {
		t.Errorf("deleting it again: exit %d, %q", code, errs)
	}
	fromDaemon := mustEndpoints(t, "export", "--data", dir)
	stop()
	if fromStore := mustEndpoints(t, "export", "--data", dir); fromStore != fromDaemon {
		t.Errorf("the daemon exported\n%s\nthe store\n%s", fromDaemon, fromStore)
	}
}

// serveStore answers at the socket of a data directory, as the daemon does.
func serveStore(t *testing.T, dir string) (stop func()) {
	t.Helper()
	s, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := api.ListenLocal(filepath.Join(dir, api.SocketName))
	if err != nil {
		t.Fatal(err)
	}
	server := api.NewHTTPServer(api.New(api.Config{Repository: s, Editor: editor{s}}).Local(), slog.New(slog.DiscardHandler))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l) // ends with ErrServerClosed
	}()
	var stopped bool
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		<-done
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return stop
}
