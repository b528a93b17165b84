// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/portolan/portolan/profiler"
)

// A mixed office, a hospital ward and a factory line give the devices that a
// person would name, and no conflict. The vendors come from the MAC addresses.
func TestPlaces(t *testing.T) {
	data, err := os.ReadFile("testdata/places.json")
	if err != nil {
		t.Fatal(err)
	}
	var places map[string][]struct {
		Hostname  string
		MAC       profiler.MAC
		OSType    string `json:"os_type"`
		Listening []string
		Contacted []string
		Device    string
	}
	if err := json.Unmarshal(data, &places); err != nil {
		t.Fatal(err)
	}
	vendors, err := LoadVendors("")
	if err != nil {
		t.Fatal(err)
	}
	s := builtIn(t)
	n := 0
	for place, devices := range places {
		for _, d := range devices {
			n++
			e := profiler.Endpoint{MAC: d.MAC, MACVendor: vendors.Lookup(d.MAC), Hostname: d.Hostname, OSType: d.OSType,
				Listening: seen(t, d.Listening...), Contacted: seen(t, d.Contacted...)}
			r := s.Match(&e)
			if got := Triple(r.Device); got != "<"+d.Device+">" {
				t.Errorf("%s: %s %s (%s), listening %v, contacted %v: %s by %s, want <%s>",
					place, d.MAC, d.Hostname, e.MACVendor, d.Listening, d.Contacted, got, r.Rule, d.Device)
			}
			a, _ := Accepted{}.Next(r, 1)
			if v := a.View(1+int64(Remember), profiler.Device{}, false); v.Conflict {
				t.Errorf("%s: %s %s: %s contradicts %s by %s", place, d.MAC, d.Hostname, Triple(*v.Other), d.Device, r.RivalRule)
			}
		}
	}
	if len(places) != 3 || n < 60 {
		t.Errorf("%d places with %d devices", len(places), n)
	}
}
