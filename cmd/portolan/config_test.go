// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// checkConfig runs check-config and returns its exit code and everything it printed.
func checkConfig(t *testing.T, args ...string) (int, string) {
	t.Helper()
	var out bytes.Buffer
	code := execute(t.Context(), append([]string{"check-config"}, args...), &out, &out)
	return code, out.String()
}

func TestBadConfigurationNamesFileLineAndKey(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"unknown key", "listen: [\":2055\"]\nintervall: 24h\n", `:2:1: unknown key "intervall"`},
		{"key twice", "interval: 24h\ninterval: 25h\n", `:2:1: interval: `},
		{"no YAML", "interval: 24h\nlisten: [\n", ":2:9: listen: "},
		{"no mapping", "- a\n- b\n", ":1:1: expected lines of the form key: value"},
		{"list for one value", "data: [a, b]\n", ":1:7: data: one value is expected"},
		{"mapping for a value", "data:\n  dir: x\n", ": data: a plain value is expected"},
		{"missing value", "interval:\n", ": interval: a value is missing"},
		{"interval under an hour", "interval: 59m\n", ":1:11: interval: the reprofile interval must be at least 1h"},
		{"interval of zero", "interval: 0\n", ":1:11: interval: "},
		{"interval that is none", "interval: daily\n", `:1:11: interval: "daily" is not a duration`},
		{"prefix too long", "exporters: [192.0.2.0/33]\n", ": exporters: \"192.0.2.0/33\" is not a prefix"},
		{"nobody may send", "exporters: []\n", ": exporters: an empty list would let nobody send"},
		{"mapped prefix", "exporters: [\"::ffff:0.0.0.0/95\"]\n", "is not a prefix"},
		{"port", "listen: [\":x\"]\n", `: listen: ":x" is not ADDR:PORT`},
		{"level in between", "log_level: INFO+3\n", `: log_level: "INFO+3" is not debug`},
		{"tag", "http: !!str none\n", ": http: a plain value is expected"},
		{"host bits", "exporters: [192.0.2.1/24]\n", "did you mean 192.0.2.0/24?"},
		{"rung", "interfaces: [eth9]\nrequire: fast\n", `:2:10: require: unknown rung "fast"`},
		{"rung without an interface", "require: copy\n", ": require: it needs an interface"},
		{"none and a name", "interfaces: [none, eth9]\n", "none does not go with other names"},
		{"address", "listen: [\"2055\"]\n", `: listen: "2055" is not ADDR:PORT`},
		{"ports", "ports: some\n", `: ports: "some" is neither inferred nor all`},
		{"log level", "log_level: loud\n", `: log_level: "loud" is not debug`},
		{"forgets too soon", "forget: 47h\n", ":1:9: forget: ports must be kept for at least 48h"},
		{"forgets at once", "forget: 0\n", `: forget: "0" is neither a duration, such as 720h, nor never`},
		{"discover", "discover: [10.0.0.1/8]\n", ": discover: 10.0.0.1/8 has host bits set"},
		{"discover limit", "discover_limit: -1\n", `: discover_limit: "-1" is not a number`},
		{"two documents", "data: a\n---\ndata: b\n", "2 YAML documents"},
		{"alias", "data: &a x\nhttp: *a\n", ": data: a plain value is expected"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := tempFile(t, c.text)
			code, out := checkConfig(t, "--config", file)
			if code != exitInput || !strings.Contains(out, file) || !strings.Contains(out, c.want) {
				t.Errorf("exit code %d\n%swant 3 and %q", code, out, c.want)
			}
		})
	}
	if code, out := checkConfig(t, "--config", "/no/such/file"); code != exitInput || !strings.Contains(out, "/no/such/file") {
		t.Errorf("exit code %d\n%s", code, out)
	}
}

func TestAllErrorsAreToldAtOnce(t *testing.T) {
	_, out := checkConfig(t, "--config", tempFile(t, "interval: 1m\nlog_level: loud\nexporters: [x]\n"))
	for _, key := range []string{"interval", "log_level", "exporters"} {
		if !strings.Contains(out, key+": ") {
			t.Errorf("%s is not among\n%s", key, out)
		}
	}
}

func TestUsageErrors(t *testing.T) {
	for _, args := range [][]string{
		{"run", "--ports", "some"},
		{"run", "--interval", "10m"},
		{"run", "--listen", "nowhere"},
		{"run", "--no-such-flag"},
		{"run", "extra"},
		{"no-such-verb"},
		{"status", "--output", "xml"},
		{"version", "--output", "xml"},
	} {
		var out bytes.Buffer
		if code := execute(t.Context(), args, &out, &out); code != exitUsage || out.Len() == 0 {
			t.Errorf("portolan %v: exit code %d\n%s", args, code, &out)
		}
	}
}

// Flag before environment before file before default.
func TestPrecedence(t *testing.T) {
	file := tempFile(t, "# a comment\n\"interval\": 2h\ndata: /file\nhttp: none\nlisten:\n  - 192.0.2.1:2055\n  - :9995\nexporters: 192.0.2.7\n")
	t.Setenv("PORTOLAN_DATA", "/environment")
	t.Setenv("PORTOLAN_INTERVAL", "3h")
	code, out := checkConfig(t, "--config", file, "--interval", "4h", "--output", "json")
	if code != exitOK {
		t.Fatalf("exit code %d\n%s", code, out)
	}
	var got map[string]struct {
		Value any
		From  string
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string][2]string{
		"interval":  {"4h", "--interval"},
		"data":      {"/environment", "PORTOLAN_DATA"},
		"http":      {"none", file + ":4:7"},
		"ports":     {"inferred", "default"},
		"log_level": {"info", "default"},
	} {
		if g := got[key]; g.Value != want[0] || g.From != want[1] {
			t.Errorf("%s: %+v, want %v", key, g, want)
		}
	}
	if l, ok := got["listen"].Value.([]any); !ok || len(l) != 2 {
		t.Errorf("listen: %+v", got["listen"])
	}
}

func TestDefaultsAreThoseOfTheContract(t *testing.T) {
	_, out := checkConfig(t, "--output", "json")
	for _, want := range []string{`":2055"`, `"./portolan-data"`, `"127.0.0.1:8055"`, `"24h"`} {
		if !strings.Contains(out, want) {
			t.Errorf("%s is not among the defaults\n%s", want, out)
		}
	}
}
