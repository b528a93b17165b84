// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gopacket/gopacket/macs"

	"github.com/portolan/portolan/profiler"
)

func mac(t testing.TB, s string) profiler.MAC {
	t.Helper()
	m, err := profiler.ParseMAC(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestVendorLookup(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vendors.csv")
	file := "prefix,vendor\n# ours\n00:1b:c5,Divided\n001BC5000,\"Converging Systems,  Inc. \"\n0055DA0,Shinko\n52-54-00,QEMU\n00000c,Local Cisco\n"
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	local, err := LoadVendors(path)
	if err != nil {
		t.Fatal(err)
	}
	none, err := LoadVendors("")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ mac, local, none string }{
		{"00:1b:c5:00:01:02", "Converging Systems, Inc.", ""}, // 36 bits before 24
		{"00:1b:c5:00:11:02", "Divided", ""},                  // the next 36-bit block
		{"00:55:da:0f:ff:ff", "Shinko", ""},                   // 28 bits
		{"00:55:da:10:00:00", "", ""},
		{"52:54:00:12:34:56", "QEMU", ""}, // locally administered, but named
		{"5a:11:22:33:44:55", "", ""},     // locally administered
		{"00:00:0c:01:02:03", "Local Cisco", "Cisco Systems, Inc"},
		{"00:40:8c:01:02:03", "Axis Communications AB", "Axis Communications AB"},
		{"00:00:16:00:00:01", "DU PONT PIXEL SYSTEMS .", "DU PONT PIXEL SYSTEMS ."},
	} {
		if got := local.Lookup(mac(t, c.mac)); got != c.local {
			t.Errorf("%s with a local file: %q, want %q", c.mac, got, c.local)
		}
		if got := none.Lookup(mac(t, c.mac)); got != c.none {
			t.Errorf("%s: %q, want %q", c.mac, got, c.none)
		}
	}
	if got := none.Lookup(profiler.MAC{}); got != "" {
		t.Errorf("an unknown MAC is of %q", got)
	}
}

func TestVendorFileOfTheRegistry(t *testing.T) {
	v, err := readVendors(strings.NewReader("\ufeffRegistry,Assignment,Organization Name,Organization Address\n" +
		"MA-S,70B3D5DF9,\"Korea Power Exchange\",\"Naju\"\nMA-M,C4954D6,\"Marantec\",\"Marienfeld\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := v.Lookup(mac(t, "70:b3:d5:df:91:23")); got != "Korea Power Exchange" {
		t.Errorf("36 bits: %q", got)
	}
	if got := v.Lookup(mac(t, "c4:95:4d:61:23:45")); got != "Marantec" {
		t.Errorf("28 bits: %q", got)
	}
}

func TestVendorFileErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":                                    "names of the columns",
		"mac,maker\n":                         "prefix and vendor are needed",
		"prefix,vendor\n00:11:22,A\n0011,B\n": "line 3",
		"prefix,vendor\nzz:11:22,A\n":         "no prefix of a MAC",
		"prefix,vendor\n00:11:22\n":           "wrong number of fields",
	} {
		if _, err := readVendors(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	if _, err := LoadVendors(filepath.Join(t.TempDir(), "missing")); !errors.Is(err, ErrVendors) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

func TestLocallyAdministered(t *testing.T) {
	for text, want := range map[string]bool{"02:00:00:00:00:01": true, "da:a1:19:00:00:01": true, "52:54:00:00:00:01": true, "00:50:56:00:00:01": false, "3c:5a:b4:00:00:01": false} {
		if got := LocallyAdministered(mac(t, text)); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
	if localMAC.holds(profiler.MAC{}) || globalMAC.holds(profiler.MAC{}) || !anyMAC.holds(profiler.MAC{}) {
		t.Error("a MAC that is not known is neither local nor global")
	}
}

// A pattern that fits no vendor of the registry is most likely misspelt.
func TestEveryVendorPatternFitsAVendor(t *testing.T) {
	names := map[string]bool{}
	for _, n := range macs.ValidMACPrefixMap {
		names[tidy(n)] = true
	}
	all := slices.Collect(maps.Keys(names))
	check := func(r *Rule, patterns []pattern) {
		for i := range patterns {
			p := &patterns[i]
			if !slices.ContainsFunc(all, p.match) {
				t.Errorf("%s: %s: no vendor is called %s", r.Origin, r.ID, p.text)
			}
		}
	}
	for _, r := range builtIn(t).Rules() {
		check(r, r.when.vendor)
		for i := range r.more {
			check(r, r.more[i].vendor)
		}
	}
}
