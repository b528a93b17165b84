// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/portolan/portolan/profiler"
)

// openPort names a port of an address.
type openPort struct {
	ip    netip.Addr
	proto string
	port  uint16
}

// TestOpenPorts holds what replay calls open against what the packets of the same
// captures show: a server answered, a client's port, a closed one and one that
// never answered did not. What the packets leave open is not counted.
func TestOpenPorts(t *testing.T) {
	corpus := os.Getenv("PORTOLAN_CORPUS")
	if corpus == "" {
		t.Skip("PORTOLAN_CORPUS names no folder with captures whose open ports are known")
	}
	dir := filepath.Join(corpus, "openports")
	truth := readTruth(t, filepath.Join(dir, "truth.jsonl"))
	for _, c := range []struct {
		variant   string
		every     int // one capture in so many
		precision float64
		recall    float64
		macro     float64
	}{
		{"sf5", 1, .98, .90, .95},
		{"sf9", 5, .98, .90, .93},
		{"sf10", 5, .98, .90, .93},
		{"sf10b", 1, .98, .90, .95}, // both directions in a record
		{"np9", 1, .98, .90, .95},
		{"fp5", 1, .98, .90, .95},
		{"sf9s", 5, .98, .55, 0}, // one packet in ten
	} {
		t.Run(c.variant, func(t *testing.T) {
			files, err := filepath.Glob(filepath.Join(dir, "netflow", c.variant, "*.pcap"))
			if err != nil || len(files) == 0 {
				t.Fatalf("no captures: %v", err)
			}
			if testing.Short() {
				files = files[:min(len(files), 60)]
			}
			all, private := &score{}, &score{}
			byClass := map[string]*score{}
			for i, file := range files {
				if i%c.every != 0 {
					continue
				}
				want := truth[strings.TrimSuffix(filepath.Base(file), ".pcap")]
				if want == nil {
					continue
				}
				found := foundPorts(t, file)
				all.add(want, found, strings.HasSuffix(c.variant, "5"), func(netip.Addr) bool { return true })
				private.add(want, found, strings.HasSuffix(c.variant, "5"), netip.Addr.IsPrivate)
				for p, e := range found {
					if byClass[e] == nil {
						byClass[e] = &score{}
					}
					byClass[e].count(want[p])
				}
			}
			t.Logf("all     %s", all)
			t.Logf("private %s", private)
			for _, e := range slices.Sorted(mapKeys(byClass)) {
				t.Logf("%-10s right %d, wrong %d", e, byClass[e].right, byClass[e].wrong)
			}
			if !testing.Short() && (all.precision() < c.precision || all.recall() < c.recall || all.macro() < c.macro) {
				t.Errorf("want at least precision %v, recall %v, macro-F1 %v", c.precision, c.recall, c.macro)
			}
			if private.precision() < c.precision {
				t.Errorf("private addresses: want at least precision %v", c.precision)
			}
		})
	}
}

func mapKeys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// score counts what was found rightly, wrongly, and not at all.
type score struct {
	right, wrong, missed int
	f1                   []float64 // of each capture with a server
}

func (s *score) precision() float64 { return float64(s.right) / float64(max(1, s.right+s.wrong)) }
func (s *score) recall() float64    { return float64(s.right) / float64(max(1, s.right+s.missed)) }

func (s *score) macro() (mean float64) {
	for _, f := range s.f1 {
		mean += f / float64(len(s.f1))
	}
	return mean
}

func (s *score) String() string {
	return fmt.Sprintf("right %d, wrong %d, missed %d: precision %.3f, recall %.3f, macro-F1 %.3f", s.right, s.wrong, s.missed, s.precision(), s.recall(), s.macro())
}

// count takes one port that was found, by what it really is.
func (s *score) count(role string) {
	switch role {
	case "server":
		s.right++
	case "client_ephemeral", "closed", "unanswered":
		s.wrong++
	}
}

// add takes a capture. only4: the exporter tells IPv4 alone.
func (s *score) add(want map[openPort]string, found map[openPort]string, only4 bool, in func(netip.Addr) bool) {
	var one score
	servers := 0
	for p, role := range want {
		if role == "server" && in(p.ip) && (!only4 || p.ip.Is4()) {
			servers++
		}
	}
	for p := range found {
		if in(p.ip) {
			one.count(want[p])
		}
	}
	one.missed = servers - one.right
	s.right, s.wrong, s.missed = s.right+one.right, s.wrong+one.wrong, s.missed+one.missed
	if servers > 0 {
		s.f1 = append(s.f1, 2*float64(one.right)/float64(2*one.right+one.wrong+one.missed))
	}
}

// foundPorts are the ports that replay calls open, with the evidence.
func foundPorts(t *testing.T, file string) map[openPort]string {
	t.Helper()
	got := offlineVerb(t, "replay", "--internal", "0.0.0.0/0,::/0", "--output", "json", file)
	if got.code != 0 {
		t.Fatalf("%s: exit %d, %s", file, got.code, got.stderr)
	}
	var r struct{ Endpoints []profiler.Endpoint }
	if err := json.Unmarshal([]byte(got.stdout), &r); err != nil {
		t.Fatal(err)
	}
	found := map[openPort]string{}
	for _, e := range r.Endpoints {
		for _, p := range e.Listening {
			found[openPort{e.IP, p.Proto, p.Port}] = p.Evidence
		}
	}
	return found
}

// readTruth reads the roles of the ports of each capture.
func readTruth(t *testing.T, path string) map[string]map[openPort]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	truth := map[string]map[openPort]string{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var c struct {
			Capture string
			Ports   [][5]any
		}
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		ports := map[openPort]string{}
		for _, p := range c.Ports {
			ip, err := netip.ParseAddr(p[0].(string))
			if err != nil {
				t.Fatal(err)
			}
			ports[openPort{ip, p[1].(string), uint16(p[2].(float64))}] = p[3].(string)
		}
		truth[c.Capture] = ports
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return truth
}
