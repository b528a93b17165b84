// SPDX-License-Identifier: Apache-2.0

package profiler

import (
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParseMAC(t *testing.T) {
	want := MAC{0xaa, 0xbb, 0xcc, 0x0d, 0xee, 0xff}
	for _, s := range []string{"aa:bb:cc:0d:ee:ff", "AA-BB-CC-0D-EE-FF", "aabb.cc0d.eeff", "AABBCC0DEEFF"} {
		m, err := ParseMAC(s)
		if err != nil || m != want {
			t.Errorf("%s: %v, %v", s, m, err)
		}
		if m.String() != "aa:bb:cc:0d:ee:ff" {
			t.Errorf("%s prints as %s", s, m)
		}
	}
	for _, s := range []string{"", "aa", "000000000000", "ff:ff:ff:ff:ff:ff", "01:80:c2:00:00:00", "aa:bb:cc:dd:ee:fg",
		"aa:bb:cc-dd:ee:ff", "aabb:ccdd:eeff", "aa:bb:cc:dd:ee:ff:00:11", "aa bb cc dd ee ff", "０a0000000000"} {
		if m, err := ParseMAC(s); !errors.Is(err, ErrMAC) || !m.IsZero() {
			t.Errorf("%q: %v, %v", s, m, err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		m := MAC(rapid.SliceOfN(rapid.Byte(), 6, 6).Draw(t, "mac"))
		m[0] &^= 1
		if m.IsZero() {
			return
		}
		if back, err := ParseMAC(m.String()); err != nil || back != m {
			t.Fatalf("%v: %v, %v", m, back, err)
		}
	})
}

func TestEndpointJSON(t *testing.T) {
	at := time.Date(2026, 11, 23, 7, 0, 0, 0, time.UTC)
	e := Endpoint{
		MAC:       MAC{0, 0x11, 0x22, 0x33, 0x44, 0x55},
		Addresses: []netip.Addr{netip.MustParseAddr("fd00::5"), netip.MustParseAddr("10.1.0.9"), netip.MustParseAddr("10.1.0.5")},
		Hostname:  "printer-3", StaticIP: true,
		Device: &Device{Category: "Printer"},
		Listening: []Port{
			{Proto: "udp", Port: 515}, {Proto: "47", Port: 0}, {Proto: "tcp", Port: 9100}, {Proto: "tcp", Port: 515},
		},
		AddedAt: at,
	}
	e.Listening[2] = NewPort(6, 9100, &PortState{First: at.UnixNano(), Last: at.UnixNano(), Evidence: FanIn, Exporter: netip.MustParseAddr("192.0.2.1").As16()})
	e.Finish()
	got, err := json.Marshal(&e)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"id":"00:11:22:33:44:55","mac":"00:11:22:33:44:55","ip":"10.1.0.5","addresses":["10.1.0.5","10.1.0.9","fd00::5"],` +
		`"hostname":"printer-3","static_ip":true,"device":{"category":"Printer"},"conflict":false,` +
		`"fingerprint":{"host":{"ports":["515","9100"]}},` +
		`"listening":[{"proto":"tcp","port":515},` +
		`{"proto":"tcp","port":9100,"service":"pdl-datastream","evidence":"fan-in","exporter":"192.0.2.1","first_seen":"2026-11-23T07:00:00Z","last_seen":"2026-11-23T07:00:00Z"},` +
		`{"proto":"udp","port":515},{"proto":"47","port":0}],"contacted":[],"added_at":"2026-11-23T07:00:00Z"}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	byIP := Endpoint{Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")}}
	byIP.Finish()
	if byIP.ID != "10.0.0.1" || byIP.Waiting {
		t.Errorf("endpoint by IP: %+v", byIP)
	}
	waiting := Endpoint{MAC: e.MAC}
	waiting.Finish()
	if !waiting.Waiting || waiting.IP.IsValid() {
		t.Errorf("endpoint without address: %+v", waiting)
	}
}

func TestProtoName(t *testing.T) {
	for p, want := range map[uint8]string{1: "icmp", 6: "tcp", 17: "udp", 58: "icmp6", 132: "sctp", 0: "0", 47: "47", 255: "255"} {
		if got := ProtoName(p); got != want || protoNumber(got) != int(p) {
			t.Errorf("%d is %q, back to %d", p, got, protoNumber(got))
		}
	}
}

func TestDecide(t *testing.T) {
	const h = int64(time.Hour)
	o := func(last int64, e Evidence) Observation {
		return Observation{Binding: 7, Gen: 1, Proto: 6, Port: 443, Evidence: e, First: last - 5, Last: last, Exporter: [16]byte{15: byte(e)}}
	}
	base := o(1000*h, Seen)
	pair := PairInterval(24*time.Hour, &base)
	held := &PortState{First: 900 * h, Last: 1000 * h, Posted: 1000 * h, Evidence: Service, Exporter: [16]byte{15: byte(Service)}}
	cases := []struct {
		name  string
		have  *PortState
		ports int
		o     Observation
		want  Outcome
		state PortState
	}{
		{"unknown", nil, 0, o(1000*h, Seen), Added, PortState{First: 1000*h - 5, Last: 1000 * h, Posted: 1000 * h, Evidence: Seen, Exporter: [16]byte{15: 1}}},
		{"unknown, last free place", nil, MaxPorts - 1, o(1000*h, Seen), Added, PortState{First: 1000*h - 5, Last: 1000 * h, Posted: 1000 * h, Evidence: Seen, Exporter: [16]byte{15: 1}}},
		{"unknown, no place", nil, MaxPorts, o(1000*h, Seen), OverLimit, PortState{}},
		{"known, no place needed", held, MaxPorts, o(1000*h+pair, Service), Updated, PortState{First: 900 * h, Last: 1000*h + pair, Posted: 1000*h + pair, Evidence: Service, Exporter: [16]byte{15: byte(Service)}}},
		{"again at once", held, 1, o(1000*h, Service), Duplicate, *held},
		{"just within the interval", held, 1, o(1000*h+pair-1, Service), Duplicate, *held},
		{"interval over", held, 1, o(1000*h+pair, Service), Updated, PortState{First: 900 * h, Last: 1000*h + pair, Posted: 1000*h + pair, Evidence: Service, Exporter: [16]byte{15: byte(Service)}}},
		{"stronger evidence", held, 1, o(1000*h+1, Exporter), Updated, PortState{First: 900 * h, Last: 1000*h + 1, Posted: 1000*h + 1, Evidence: Exporter, Exporter: [16]byte{15: byte(Exporter)}}},
		{"weaker evidence, over", held, 1, o(1000*h+pair, Seen), Updated, PortState{First: 900 * h, Last: 1000*h + pair, Posted: 1000*h + pair, Evidence: Service, Exporter: [16]byte{15: byte(Service)}}},
		{"weaker evidence, within", held, 1, o(1000*h+1, Seen), Duplicate, *held},
		{"clock set back", held, 1, o(800*h, Service), Updated, PortState{First: 800*h - 5, Last: 1000 * h, Posted: 800 * h, Evidence: Service, Exporter: [16]byte{15: byte(Service)}}},
		{"a little out of order", held, 1, o(1000*h-int64(time.Second), Service), Duplicate, *held},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			state, got := Decide(c.have, c.ports, &c.o, 24*time.Hour)
			if got != c.want || state != c.state {
				t.Errorf("%s, %+v; want %s, %+v", got, state, c.want, c.state)
			}
		})
	}
}

// TestDecideProperties: for any order of observations, repeating the last one
// is a duplicate, the range of times only widens and evidence only grows.
func TestDecideProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var have *PortState
		interval := time.Duration(rapid.Int64Range(int64(MinInterval), int64(48*time.Hour)).Draw(t, "interval"))
		for range rapid.IntRange(1, 20).Draw(t, "n") {
			o := Observation{
				Binding: rapid.Uint32().Draw(t, "binding"), Port: 443, Proto: 6,
				Evidence: Evidence(rapid.IntRange(int(Seen), int(Exporter)).Draw(t, "evidence")),
				Last:     rapid.Int64Range(1, int64(1000*time.Hour)).Draw(t, "last"),
			}
			o.First = o.Last - rapid.Int64Range(0, int64(time.Hour)).Draw(t, "age")
			next, out := Decide(have, 0, &o, interval)
			switch {
			case have == nil && out != Added, have != nil && out != Updated && out != Duplicate:
				t.Fatalf("outcome %s", out)
			case out == Duplicate && next != *have:
				t.Fatal("a duplicate changed the state")
			case have != nil && (next.First > have.First || next.Last < have.Last || next.Evidence < have.Evidence):
				t.Fatalf("%+v became %+v", *have, next)
			case out != Duplicate && (next.Posted != o.Last || next.First > o.First || next.Last < o.Last || next.Evidence < o.Evidence):
				t.Fatalf("%+v after %+v", next, o)
			}
			have = &next
			if _, again := Decide(have, 0, &o, interval); again != Duplicate {
				t.Fatalf("the same again is %s", again)
			}
		}
	})
}

func TestPairIntervalRange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := time.Duration(rapid.Int64Range(int64(MinInterval), int64(1000*time.Hour)).Draw(t, "base"))
		o := Observation{Binding: rapid.Uint32().Draw(t, "b"), Port: rapid.Uint16().Draw(t, "p"), Proto: 17}
		if i := PairInterval(base, &o); i < int64(base) || i >= int64(base)*5/4 {
			t.Fatalf("%d of %d", i, base)
		}
	})
	var spread []int64
	for p := range uint16(1000) {
		spread = append(spread, PairInterval(time.Hour, &Observation{Binding: 1, Port: p}))
	}
	slices.Sort(spread)
	if n := len(slices.Compact(spread)); n < 200 {
		t.Errorf("only %d distinct intervals", n)
	}
	if err := CheckInterval(MinInterval - 1); !errors.Is(err, ErrInterval) {
		t.Error(err)
	}
	if err := CheckInterval(MinInterval); err != nil {
		t.Error(err)
	}
}

func TestNames(t *testing.T) {
	for e := Seen; e <= Exporter; e++ {
		if back, err := ParseEvidence(e.String()); err != nil || back != e {
			t.Errorf("%s: %v, %v", e, back, err)
		}
	}
	if _, err := ParseEvidence(""); err == nil {
		t.Error("no evidence was parsed")
	}
	for o := Unanswered; o < Outcomes; o++ {
		if o.Acknowledged() != (o == Added || o == Updated || o == Duplicate || o == Withdrawn) {
			t.Errorf("%s acknowledged: %v", o, o.Acknowledged())
		}
	}
}
