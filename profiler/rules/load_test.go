// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portolan/portolan/profiler"
)

func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const gate = `rules:
  - id: gate
    category: Access Control
    family: Ours
    name: Gate
    rel: 99
    score: 60
    when: {listening: {all: [tcp/7777]}}
    tests: [{listening: [tcp/7777]}, {listening: [tcp/7778], expect: miss}]
`

func TestLoadExtendsAndOverrides(t *testing.T) {
	dir := folder(t, map[string]string{
		"a.yaml": gate,
		"b.yml": `rules:
  - {id: printer-hp, category: Printer, family: Ours, name: Our Printer, rel: 92, score: 70, when: {vendor: [HP Inc*]}}
  - {id: printer-raw-only, off: true}
`,
		"notes.txt": "not a rule", ".hidden.yaml": "rules: [",
	})
	s, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	base := builtIn(t)
	if got, want := len(s.Rules()), len(base.Rules()); got != want {
		t.Errorf("%d rules: one is new and one is off, so %d are expected", got, want)
	}
	if s.Version() == base.Version() || len(s.Version()) != 16 {
		t.Errorf("versions %q and %q", s.Version(), base.Version())
	}
	for want, e := range map[string]profiler.Endpoint{
		"Gate":        {Listening: seen(t, "tcp/7777")},
		"Our Printer": {MACVendor: "HP Inc.", Listening: seen(t, "tcp/80")},
		"":            {Listening: seen(t, "tcp/9100")},
	} {
		if r := s.Match(&e); r.Device.Name != want {
			t.Errorf("%q, want %q", r.Device.Name, want)
		}
	}
	results := s.Test()
	if len(results) != 2 || !results[0].Passed || !results[1].Passed || results[0].Rule != "gate" {
		t.Errorf("the tests of the folder: %+v", results)
	}
	empty, err := Load(t.TempDir())
	if err != nil || len(empty.Rules()) != len(base.Rules()) {
		t.Errorf("an empty folder: %v", err)
	}
}

func TestTestsThatFail(t *testing.T) {
	s := rulesOf(t, `rules:
  - id: a
    category: A
    family: F
    name: N
    rel: 50
    score: 40
    when: {listening: {all: [tcp/1]}}
    tests:
      - {listening: [tcp/1, tcp/2]}
      - {listening: [tcp/1, tcp/2], expect: match}
      - {listening: [tcp/1], score: 41}
      - {listening: [tcp/1], expect: miss}
      - {listening: [tcp/2]}
      - {listening: [tcp/1@class]}
  - {id: b, category: B, family: F, name: N, rel: 60, score: 40, when: {listening: {all: [tcp/2]}}}
`)
	want := []string{
		"a match, but the best is b <B, F, N> (rel 60, score 40)", "", "score 40, not 41", "a match with score 40",
		"no match; the best is b <B, F, N> (rel 60, score 40)", "no match; the best is nothing",
	}
	for i, r := range s.Test() {
		if r.Got != want[i] || r.Passed != (want[i] == "") {
			t.Errorf("test %d: %q, want %q", i, r.Got, want[i])
		}
	}
}

// Every mistake is told with the place where it stands, and a set is made of
// files without mistakes only.
func TestLoadErrors(t *testing.T) {
	const head = "rules:\n  - id: x\n    category: A\n    family: F\n    name: N\n    rel: 50\n    score: 40\n"
	const when = "    when: {listening: {all: [tcp/1]}}\n"
	for name, c := range map[string]struct{ text, want string }{
		"syntax":             {"rules: [", "x.yaml:1:8:"},
		"two documents":      {"rules: []\n---\nrules: []\n", "2 YAML documents"},
		"no mapping":         {"- a\n", "x.yaml:1:1: lines of the form key: value"},
		"unknown key":        {head + when + "    colour: red\n", `x.yaml:9:5: unknown key "colour"; there are also, category,`},
		"unknown top key":    {"rule: []\n", `x.yaml:1:1: unknown key "rule"; there are rules`},
		"missing":            {"rules:\n  - id: x\n", "the rule has no category"},
		"range of rel":       {strings.Replace(head, "rel: 50", "rel: 101", 1) + when, `x.yaml:6:10: a whole number from 1 to 100 is expected, not "101"`},
		"score":              {strings.Replace(head, "score: 40", "score: much", 1) + when, `x.yaml:7:12: a whole number`},
		"sum":                {head + when + "    more: [{points: 61, hostname: [a]}]\n", "come to 101"},
		"port":               {head + "    when: {listening: {all: [tcp/99999]}}\n", `x.yaml:8:30: "99999" is no port number`},
		"port zero":          {head + "    when: {listening: {all: [tcp/0]}}\n", `"0" is no port number`},
		"bare port":          {head + "    when: {listening: {all: [9100]}}\n", `"9100" is no port; write it as tcp/9100`},
		"protocol":           {head + "    when: {listening: {all: [icmp/8]}}\n", "not one of tcp, udp, sctp"},
		"range under all":    {head + "    when: {listening: {all: [tcp/1-3]}}\n", "a range under all"},
		"wide range":         {head + "    when: {listening: {any: [tcp/1-65]}}\n", "spans more than 64"},
		"turned range":       {head + "    when: {listening: {any: [tcp/3-1]}}\n", "is empty"},
		"twice the port":     {head + "    when: {listening: {any: [tcp/1-3, tcp/2]}}\n", "tcp/2 stands twice"},
		"min":                {head + "    when: {listening: {any: [tcp/1], min: 2}}\n", "min is 2, but any has 1 ports"},
		"none alone":         {head + "    when: {listening: {none: [tcp/1]}}\n", "when demands nothing"},
		"mac alone":          {head + "    when: {mac: local}\n", "when demands nothing"},
		"empty list":         {head + "    when: {listening: {any: []}}\n", "an empty list says nothing"},
		"no port":            {head + "    when: {vendor: [A], listening: {}}\n", "x.yaml:8:"},
		"everything":         {head + "    when: {vendor: ['*']}\n", "matches everything"},
		"regular expression": {head + "    when: {hostname: ['/a(/']}\n", "x.yaml:8:23: the regular expression /a(/"},
		"mac":                {head + "    when: {vendor: [A], mac: random}\n", "mac is local"},
		"evidence":           {head + "    evidence: sure\n" + when, `x.yaml:8:15: unknown evidence "sure"`},
		"alias":              {head + "    when: {vendor: &a [A]}\n", "a plain value is expected"},
		"null":               {strings.Replace(head, "name: N", "name:", 1) + when, "a value is missing"},
		"id":                 {strings.Replace(head, "id: x", "id: X y", 1) + when, "other characters"},
		"twice the id":       {"rules:\n  - {id: a, off: true}\n  - {id: a, off: true}\n", "x.yaml:2:5"},
		"off":                {"rules:\n  - {id: printer-hp, off: true, rel: 5}\n", "has an id and nothing else"},
		"off what":           {"rules:\n  - {id: nowhere, off: true}\n", "there is no rule nowhere to switch off"},
		"points":             {head + when + "    more: [{hostname: [a]}]\n", "has no points"},
		"bonus of nothing":   {head + when + "    more: [{points: 5}]\n", "has no condition"},
		"test expects":       {head + when + "    tests: [{expect: luck}]\n", "expect is best, match or miss"},
		"test port":          {head + when + "    tests: [{listening: [tcp/x]}]\n", `"x" is no port number`},
		"test evidence":      {head + when + "    tests: [{listening: [tcp/1@rumour]}]\n", `unknown evidence "rumour"`},
		"test mac":           {head + when + "    tests: [{mac: zz}]\n", "not a MAC address"},
		"deep":               {"rules:\n" + strings.Repeat("[", 501), "x.yaml:2: a line of more than"},
		"long":               {"rules:\n\n" + strings.Repeat("- ", 2049), "x.yaml:3: a line of more than"},
		"big":                {strings.Repeat("#", maxFile+1), "a file of more than"},
	} {
		s, err := Load(folder(t, map[string]string{"x.yaml": c.text}))
		if s != nil || err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "x.yaml") {
			t.Errorf("%s: set %v, error %v; want %q", name, s != nil, err, c.want)
		}
	}
	if _, err := Load(filepath.Join(t.TempDir(), "nowhere")); err == nil || !strings.Contains(err.Error(), "folder of rules") {
		t.Errorf("no folder: %v", err)
	}
	dir := folder(t, map[string]string{"a.yaml": gate, "b.yaml": gate})
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "b.yaml:2:5: the id gate stands already at "+filepath.Join(dir, "a.yaml")) {
		t.Errorf("the same id in two files: %v", err)
	}
}

func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"HP Inc*", "hp inc.", true}, {"HP Inc*", "HP INC", true}, {"HP Inc*", "An HP Inc.", false},
		{"*a*b", "xaxxab", true}, {"*a*b", "xaxxabc", false}, {"a?c", "abc", true}, {"a?c", "ac", false},
		{"**x**", "x", true}, {"x*", "", false}, {"Dr*gerwerk*", "Drägerwerk AG", true},
		{"/^sw-[0-9]+$/", "SW-12", true}, {"/^sw-[0-9]+$/", "sw-x", false}, {"/core/", "a-core-b", true},
	} {
		p, err := parsePattern(c.pattern)
		if err != nil {
			t.Fatal(err)
		}
		if p.match(c.text) != c.want {
			t.Errorf("%s and %q: %v", c.pattern, c.text, !c.want)
		}
	}
	for _, c := range []struct {
		pattern, host string
		want          bool
	}{{"printer-?", "printer-3.example.org", true}, {"*.example.org", "printer-3.example.org", true}, {"printer-?", "printer-33", false}} {
		p, err := parsePattern(c.pattern)
		if err != nil {
			t.Fatal(err)
		}
		label, _, _ := strings.Cut(c.host, ".")
		if p.matchHost(c.host, label) != c.want {
			t.Errorf("%s and host %q: %v", c.pattern, c.host, !c.want)
		}
	}
}

// Whatever a file holds, it makes rules that can be matched and tested, or an
// error that names the file.
func FuzzDecodeRules(f *testing.F) {
	f.Add([]byte(gate))
	f.Add([]byte("rules:\n  - {id: a, off: true}\n"))
	f.Add([]byte("rules: &a [*a]\n"))
	f.Add([]byte("? {a: b}\n: [c]\n"))
	f.Add([]byte("rules: !!map {<<: x}\n---\n%YAML 1.2\n"))
	entries, err := dictionary.ReadDir("fingerprints")
	if err != nil {
		f.Fatal(err)
	}
	for _, e := range entries {
		data, err := dictionary.ReadFile("fingerprints/" + e.Name())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data[:min(len(data), 2000)])
	}
	e := busyEndpoint(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := decodeRules("x.yaml", data)
		if err != nil {
			if list != nil || !strings.Contains(err.Error(), "x.yaml") {
				t.Fatalf("an error that names no file: %v", err)
			}
			return
		}
		var rules []*Rule
		for _, r := range list {
			if !r.off {
				rules = append(rules, r.Rule)
			}
		}
		s := newSet(rules, "")
		s.Test()
		if r := s.Match(&e); r.Rule != "" && (r.Device.Score < 1 || r.Device.Score > 100) {
			t.Fatalf("score %d", r.Device.Score)
		}
	})
}

// The example of the manual is a good file, and its tests hold.
func TestExampleOfTheManual(t *testing.T) {
	page, err := os.ReadFile("../../docs/fingerprints.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```yaml\n")
	example, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("the page has no example")
	}
	s, err := Load(folder(t, map[string]string{"example.yaml": example}))
	if err != nil {
		t.Fatal(err)
	}
	results := s.Test()
	if len(results) != 2 {
		t.Errorf("%d tests", len(results))
	}
	for _, r := range results {
		if !r.Passed {
			t.Errorf("%s: %s", r.Origin, r.Got)
		}
	}
}
