// SPDX-License-Identifier: Apache-2.0

package store

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/portolan/portolan/profiler"
)

// TestValuesRoundTrip: every record is read back as it was written, and one
// that is cut, extended or of another version is an error.
func TestValuesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := func(label string) uint64 { return rapid.Uint64().Draw(t, label) }
		text := rapid.String()
		addr := address(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "addr"))
		e := endpoint{id: 7, mac: profiler.MAC(addr[:6]), static: rapid.Bool().Draw(t, "static"), added: int64(n("added")), updated: int64(n("updated")),
			hostname: text.Draw(t, "h"), osType: text.Draw(t, "o"), category: text.Draw(t, "c"), family: text.Draw(t, "f"), name: text.Draw(t, "n"),
			tags: rapid.SliceOfN(text, 0, 3).Draw(t, "tags")}
		if len(e.tags) == 0 {
			e.tags = nil
		}
		b := binding{gen: uint32(n("gen")), endpoint: n("ep"), since: int64(n("since")), addr: addr}
		c := counters{n("1"), uint32(n("2")), n("3"), n("4"), n("5"), n("6")}
		p := profiler.PortState{First: int64(n("first")), Last: int64(n("last")), Posted: int64(n("posted")), Evidence: profiler.Evidence(n("ev")), Exporter: addr,
			Counterparts: uint32(n("counterparts")), Flows: n("flows"), Withdrawn: int64(n("withdrawn")), Vetoed: profiler.Evidence(n("vetoed"))}
		pc := portCount{uint32(n("pc")), int64(n("up"))}
		id := identity{uint32(n("schema")), n("id")}

		roundTrip(t, e, e.append(nil), func(v []byte) (endpoint, error) { var x endpoint; err := x.decode(7, v); return x, err })
		roundTrip(t, b, b.append(nil), func(v []byte) (binding, error) { var x binding; err := x.decode(v); return x, err })
		roundTrip(t, c, c.append(nil), func(v []byte) (counters, error) { var x counters; err := x.decode(v); return x, err })
		roundTrip(t, pc, pc.append(nil), func(v []byte) (portCount, error) { var x portCount; err := x.decode(v); return x, err })
		roundTrip(t, id, id.append(nil), func(v []byte) (identity, error) { var x identity; err := x.decode(v); return x, err })
		roundTrip(t, c.seq, appendNumber(nil, c.seq), decodeNumber)
		roundTrip(t, p, appendPortState(nil, &p), func(v []byte) (profiler.PortState, error) {
			var x profiler.PortState
			err := decodePortState(v, &x)
			return x, err
		})
	})
}

func roundTrip[T any](t *rapid.T, v T, b []byte, decode func([]byte) (T, error)) {
	got, err := decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(v, got, cmp.AllowUnexported(endpoint{}, binding{}, counters{}, portCount{}, identity{})); d != "" {
		t.Fatal(d)
	}
	cut := b[:rapid.IntRange(0, len(b)-1).Draw(t, "cut")]
	other := append([]byte{valueV2 + 1}, b[1:]...)
	for _, bad := range [][]byte{cut, append(b[:len(b):len(b)], 0), other, nil} {
		if _, err := decode(bad); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("%x: %v", bad, err)
		}
	}
}

// TestPortStateV1: a port that an earlier version wrote is still read, with
// nothing counted and nothing withdrawn; a value of one version is never taken
// for the other.
func TestPortStateV1(t *testing.T) {
	old := []byte{valueV1,
		0, 0, 0, 0, 0, 0, 0, 1, // first
		0, 0, 0, 0, 0, 0, 0, 3, // last
		0, 0, 0, 0, 0, 0, 0, 2, // posted
		6,                                                      // evidence: fan-in
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1} // exporter
	want := profiler.PortState{First: 1, Last: 3, Posted: 2, Evidence: profiler.FanIn, Exporter: address(old[26:])}
	var got profiler.PortState
	if err := decodePortState(old, &got); err != nil || got != want {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	new := appendPortState(nil, &want)
	for _, bad := range [][]byte{append([]byte{valueV2}, old[1:]...), append([]byte{valueV1}, new[1:]...)} {
		if err := decodePortState(bad, &got); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%x: %v", bad, err)
		}
	}
}

func TestPortKeys(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := portKey{rapid.Uint64().Draw(t, "e"), profiler.Role(rapid.IntRange(0, 1).Draw(t, "r")), rapid.Byte().Draw(t, "p"), rapid.Uint16().Draw(t, "n")}
		if got, err := parsePortKey(k.append(nil)); err != nil || got != k {
			t.Fatalf("%+v, %v", got, err)
		}
	})
	for _, bad := range [][]byte{nil, {keyPort}, append(make([]byte, 12), 1)} {
		if _, err := parsePortKey(bad); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%x: %v", bad, err)
		}
	}
	if got := after([]byte{'p', 1, 255}); string(got) != "p\x02" {
		t.Errorf("%x", got)
	}
	if after([]byte{255}) != nil {
		t.Error("something after everything")
	}
}
