// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/portolan/portolan"

// mayImport is the direction of imports: which packages of ours each one may
// name. The hot path cannot touch a disk because ingest cannot name store.
var mayImport = map[string][]string{
	"netns":              {},
	"ingest/flow":        {},
	"ingest/xsk":         {},
	"ingest/udp":         {},
	"ingest/capture":     {},
	"ingest/evidence":    {"profiler"},
	"store/ipset":        {},
	"profiler":           {},
	"profiler/rules":     {"profiler"},
	"bpf":                {},
	"ingest":             {"bpf", "ingest/evidence", "ingest/flow", "ingest/udp", "ingest/xsk", "profiler", "store/ipset"},
	"store":              {"profiler", "profiler/rules", "store/ipset"},
	"profiler/api":       {"ingest", "profiler", "profiler/rules", "store"},
	"profiler/web":       {"ingest", "profiler", "profiler/api", "store"},
	"bench":              {"ingest/flow", "netns", "profiler"},
	"cmd/portolan-bench": {"bench", "ingest/flow", "netns", "profiler"},
	"cmd/portolan":       {"bpf", "ingest", "ingest/capture", "ingest/flow", "ingest/udp", "ingest/xsk", "netns", "profiler", "profiler/api", "profiler/rules", "profiler/web", "store", "store/ipset"},
}

// listed is what `go list` tells of a package.
type listed struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	Imports    []string
}

func packages(t *testing.T) []listed {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,Imports", module+"/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var list []listed
	d := json.NewDecoder(bytes.NewReader(out))
	for {
		var p listed
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}

func TestImportDirection(t *testing.T) {
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module+"/")
		allowed, known := mayImport[name]
		if !known {
			t.Errorf("package %s is not in the plan of the house", name)
			continue
		}
		for _, i := range p.Imports {
			if ours, ok := strings.CutPrefix(i, module+"/"); ok && !slices.Contains(allowed, ours) {
				t.Errorf("%s imports %s", name, ours)
			}
			if strings.HasPrefix(i, "github.com/cockroachdb/pebble/v2") && name != "store" && !strings.HasSuffix(i, "/vfs") {
				t.Errorf("%s imports %s: Pebble belongs to store", name, i)
			}
		}
	}
}

func TestEveryPackageHasOneDoc(t *testing.T) {
	for _, p := range packages(t) {
		var docs []string
		for _, f := range p.GoFiles {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, f), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if file.Doc != nil {
				docs = append(docs, f)
			}
		}
		if len(docs) != 1 {
			t.Errorf("%s has its package comment in %v", p.ImportPath, docs)
		}
	}
}

// maxLines is how long a file of source may be, so that one reads in one go.
const maxLines = 400

func TestFiles(t *testing.T) {
	root := "../.."
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == "bin" || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if ext := filepath.Ext(path); ext != ".go" && ext != ".c" || strings.Contains(path, "_bpfe") {
			return nil
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		lines := 0
		for s := bufio.NewScanner(f); s.Scan(); lines++ {
			if lines == 0 && !strings.HasPrefix(s.Text(), "// SPDX-License-Identifier: ") {
				t.Errorf("%s: its first line names no licence", path)
			}
		}
		if lines > maxLines && !strings.HasSuffix(path, "_test.go") {
			t.Errorf("%s has %d lines", path, lines)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range packages(t) {
		switch filepath.Base(p.ImportPath) {
		case "utils", "util", "common", "helpers", "manager", "misc":
			t.Errorf("%s tells nobody what it holds", p.ImportPath)
		}
	}
}
