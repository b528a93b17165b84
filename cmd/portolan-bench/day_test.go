// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portolan/portolan/bench"
	"github.com/portolan/portolan/profiler"
)

func TestDayUsage(t *testing.T) {
	dir := t.TempDir()
	for _, args := range []string{
		"day", "day --out " + dir + " --format v7", "day --out " + dir + " --endpoints 0", "day --out " + dir + " --endpoints 3",
		"day --out " + dir + " --sampling 0", "day --out " + dir + " --duration 1s", "day --out " + dir + " extra", "score", "score x", "score --truth x",
	} {
		if code := run(t.Context(), strings.Fields(args)); code != exitUsage {
			t.Errorf("%q: exit code %d, want %d", args, code, exitUsage)
		}
	}
}

// TestDayAndScore writes a day, takes its own truth for what replay found, with
// one port too many and one too few, and has that told.
func TestDayAndScore(t *testing.T) {
	args := "day --endpoints 60 --duration 20m --sampling 10 --moves --format v9 --out "
	dir, again := t.TempDir(), t.TempDir()
	if out := output(t, args+dir); !strings.Contains(out, " of 60 endpoints in ") {
		t.Errorf("said %q", out)
	}
	output(t, args+again)
	for _, name := range []string{dayCapture, dayEndpoints, dayTruth} {
		a, errA := os.ReadFile(filepath.Join(dir, name))
		b, errB := os.ReadFile(filepath.Join(again, name))
		if errA != nil || errB != nil || len(a) == 0 || !bytes.Equal(a, b) {
			t.Errorf("%s: %d and %d bytes, %v, %v", name, len(a), len(b), errA, errB)
		}
	}
	rows, err := os.Open(filepath.Join(dir, dayEndpoints))
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	if list, err := profiler.ParseCSV(rows); err != nil || len(list) != 60 {
		t.Errorf("%d endpoints, %v", len(list), err)
	}

	truth := filepath.Join(dir, dayTruth)
	_, ports, err := readFile(truth, bench.ReadTruth)
	if err != nil {
		t.Fatal(err)
	}
	replay := filepath.Join(dir, "replay.json")
	if err := os.WriteFile(replay, replayOf(t, ports), 0o600); err != nil {
		t.Fatal(err)
	}
	out := output(t, "score --why --missed --truth "+truth+" "+replay)
	for _, want := range []string{" 1       1 ", "missed 10.", "false 10.0.0.4 ", "tcp/9 by fan-in: closed: "} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in:\n%s", want, out)
		}
	}
}

// replayOf is a replay that finds all services but one, and port 9 of the first
// endpoint, which is no service.
func replayOf(t *testing.T, truth []bench.DayTruth) []byte {
	t.Helper()
	type endpoint struct {
		MAC       profiler.MAC    `json:"mac"`
		IP        netip.Addr      `json:"ip"`
		Listening []profiler.Port `json:"listening"`
	}
	var list []endpoint
	missed := false
	for i := range truth {
		p := &truth[i]
		if !p.Wanted() {
			continue
		}
		if !missed {
			missed = true
			list = append(list, endpoint{p.MAC, p.Addr, []profiler.Port{{Proto: "tcp", Port: 9, Evidence: "fan-in"}}})
			continue
		}
		list = append(list, endpoint{p.MAC, p.Addr, []profiler.Port{{Proto: profiler.ProtoName(p.Proto), Port: p.Port, Evidence: "handshake"}}})
	}
	b, err := json.Marshal(map[string]any{"endpoints": list})
	if err != nil {
		t.Fatal(err)
	}
	return b
}
