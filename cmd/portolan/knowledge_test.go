// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portolan/portolan/profiler"
	"github.com/portolan/portolan/store"
)

const scaleRule = `rules:
  - id: scale
    category: Scale
    family: Kitchen
    name: Kitchen Scale
    rel: 99
    score: 90
    when: {listening: {all: [tcp/40101]}}
    tests: [{listening: [tcp/40101]}]
`

// TestLoadKnowledge: a folder adds to the built-in rules, its file of vendors
// need not be there, and what is wrong is told with file and line.
func TestLoadKnowledge(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	builtIn, err := loadKnowledge("")
	if err != nil || len(builtIn.rules.Rules()) < 80 {
		t.Fatalf("%v", err)
	}
	write("mine.yaml", scaleRule)
	k, err := loadKnowledge(dir)
	if err != nil || len(k.rules.Rules()) != len(builtIn.rules.Rules())+1 {
		t.Fatalf("%v", err)
	}
	write(vendorsName, "prefix,vendor\n02:00:00,Ours\n")
	if k, err = loadKnowledge(dir); err != nil || k.vendors.Lookup(profiler.MAC{2, 0, 0, 0, 0, 1}) != "Ours" {
		t.Errorf("%v", err)
	}
	write(vendorsName, "nothing\n")
	if _, err = loadKnowledge(dir); err == nil || !strings.Contains(err.Error(), vendorsName) {
		t.Errorf("a bad file of vendors: %v", err)
	}
	code, out := checkConfig(t, "--rules", filepath.Join(dir, "none"))
	if code != exitUsage || !strings.Contains(out, "--rules") {
		t.Errorf("exit code %d\n%s", code, out)
	}
}

// TestReloadRules: rules that are bad leave those that there are.
func TestReloadRules(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "mine.yaml")
	if err := os.WriteFile(path, []byte(scaleRule), 0o600); err != nil {
		t.Fatal(err)
	}
	k, err := loadKnowledge(dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.TempDir(), store.Options{Rules: k.rules})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	var out bytes.Buffer
	d := &daemon{config: &config{knowledge: k}, store: s, log: slog.New(slog.NewTextHandler(&out, nil))}
	if err := os.WriteFile(path, []byte("rules: 5\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.reload(); err == nil || s.Rules() != k.rules {
		t.Errorf("bad rules: %v, %s", err, s.Rules().Version())
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := d.reload(); err != nil || s.Rules().Version() == k.rules.Version() {
		t.Errorf("%v, still %s", err, s.Rules().Version())
	}
}
