// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRulesTest(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	rule := "rules:\n  - {id: gate, category: A, family: F, name: N, rel: 99, score: 60, when: {listening: {all: [tcp/7777]}}, tests: [{listening: [tcp/%]}]}\n"
	good := write("good.yaml", strings.Replace(rule, "%", "7777", 1))
	failing := write("failing.yaml", strings.Replace(rule, "%", "7778", 1))
	broken := write("broken.yaml", strings.Replace(rule, "%", "x", 1))
	for _, c := range []struct {
		args           []string
		code           int
		stdout, stderr string
	}{
		{nil, exitOK, " rules, ", ""},
		{[]string{good}, exitOK, ", 0 failed.", ""},
		{[]string{failing}, exitRuntime, "no match", "1 of "},
		{[]string{broken}, exitInput, "", broken + `:2:`},
		{[]string{filepath.Join(dir, "missing.yaml")}, exitInput, "", "no such file"},
		{[]string{dir}, exitInput, "", "broken.yaml:2:"},
		{[]string{"--output", "xml"}, exitUsage, "", "table or json"},
	} {
		var stdout, stderr bytes.Buffer
		code := execute(t.Context(), append([]string{"rules", "test"}, c.args...), &stdout, &stderr)
		if code != c.code || !strings.Contains(stdout.String(), c.stdout) || !strings.Contains(stderr.String(), c.stderr) {
			t.Errorf("%v: %d\n%s\n%s", c.args, code, &stdout, &stderr)
		}
	}
	var stdout, stderr bytes.Buffer
	if code := execute(t.Context(), []string{"rules", "test", "-o", "json", good}, &stdout, &stderr); code != exitOK {
		t.Fatalf("%d: %s", code, &stderr)
	}
	var report rulesReport
	if err := json.Unmarshal(stdout.Bytes(), &report); err != nil {
		t.Fatal(err)
	}
	last := report.Items[len(report.Items)-1]
	if report.Rules < 80 || report.Tests < 2*80 || report.Tests != len(report.Items) || report.Failed != 0 || last.Rule != "gate" || !last.Passed {
		t.Errorf("%d rules, %d tests, %d failed, last %+v", report.Rules, report.Tests, report.Failed, last)
	}
}
