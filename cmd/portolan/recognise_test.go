// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/portolan/portolan/ingest/capture"
	"github.com/portolan/portolan/ingest/flow"
)

// everyFormat is one good datagram of each format, by name.
func everyFormat() map[string][]byte {
	records := []flow.Record{
		flowOf(seven, protoTCP, "10.0.0.1:40000", "10.0.0.2:443"),
		flowOf(seven, protoUDP, "10.0.0.3:53124", "10.0.0.2:53"),
	}
	at := seven.UnixNano()
	v9, ipfix := flow.V9Header{ExportTime: at, Uptime: 3_600_000}, flow.IPFIXHeader{ExportTime: at}
	fixed := func(version byte, header, record int) []byte {
		b := make([]byte, header+2*record)
		b[1], b[3] = version, 2
		return b
	}
	return map[string][]byte{
		"v1":              fixed(1, 16, 48),
		"v5":              message(seven, flow.V5Header{}, records...),
		"v7":              fixed(7, 24, 52),
		"v9":              flow.AppendV9(nil, v9, records),
		"v9 templates":    flow.AppendV9Templates(nil, v9),
		"ipfix":           flow.AppendIPFIX(nil, ipfix, records),
		"ipfix templates": flow.AppendIPFIXTemplates(nil, ipfix),
		"two of ipfix":    flow.AppendIPFIX(flow.AppendIPFIXTemplates(nil, ipfix), ipfix, records),
		"sflow":           flow.AppendSFlow(nil, flow.SFlowHeader{Agent: router4.Addr().As16(), Sampling: 1}, records),
		"sflow over ipv6": flow.AppendSFlow(nil, flow.SFlowHeader{Agent: router6.Addr().As16(), Sampling: 1, Expanded: true}, records),
	}
}

// Whatever the port, a flow export is one, and what is left of it when its end is
// cut off, or what has more behind it, is not, but for v5, whose records may be
// fewer than announced and be followed by anything.
func TestPlausible(t *testing.T) {
	for name, good := range everyFormat() {
		if !plausible(good) {
			t.Errorf("%s is not plausible", name)
		}
		whole := 0
		for n := range good {
			if plausible(good[:n]) && name != "v5" {
				whole++
			}
		}
		if want := map[string]int{"two of ipfix": 1}[name]; whole != want {
			t.Errorf("%s: cut at %d places it is plausible, not at %d", name, whole, want)
		}
		if name != "v5" && name != "sflow" && name != "sflow over ipv6" && plausible(append(bytes.Clone(good), 0, 0)) {
			t.Errorf("%s is plausible with two bytes behind it", name)
		}
	}
}

func TestNotPlausible(t *testing.T) {
	all := everyFormat()
	changed := func(name string, at int, value ...byte) []byte {
		b := bytes.Clone(all[name])
		copy(b[at:], value)
		return b
	}
	// A query of a name whose identifier is a version, RFC 1035 section 4.1.1.
	query := func(id uint16) []byte {
		b := []byte{0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 7, 'p', 'r', 'i', 'n', 't', 'e', 'r', 5, 'l', 'o', 'c', 'a', 'l', 0, 0, 1, 0, 1}
		binary.BigEndian.PutUint16(b, id)
		return b
	}
	for name, b := range map[string][]byte{
		"nothing":             nil,
		"text":                []byte("hello"),
		"v5 of no records":    changed("v5", 2, 0, 0),
		"v5 of 31":            changed("v5", 2, 0, 31),
		"v1 of 25":            append(changed("v1", 2, 0, 25), make([]byte, 23*48)...),
		"v7 of 29":            append(changed("v7", 2, 0, 29), make([]byte, 27*52)...),
		"v9 without sets":     all["v9"][:20],
		"v9 of no records":    changed("v9", 2, 0, 0),
		"v9 with set 2":       changed("v9", 20, 0, 2),
		"ipfix without sets":  changed("ipfix", 2, 0, 16)[:16],
		"ipfix with set 0":    changed("ipfix", 16, 0, 0),
		"ipfix then v9":       append(bytes.Clone(all["ipfix"]), all["v9"]...),
		"sflow of an agent 3": changed("sflow", 4, 0, 0, 0, 3),
		"sflow of no agent":   changed("sflow", 4, 0, 0, 0, 0),
		"sflow of no samples": changed("sflow", 24, 0, 0, 0, 0),
		"sflow of format 0":   changed("sflow", 28, 0, 0, 0, 0),
		"sflow of format 99":  changed("sflow", 28, 0, 0, 0, 99),
		"a query 0":           query(0), "a query 1": query(1), "a query 5": query(5), "a query 7": query(7), "a query 9": query(9), "a query 10": query(10),
	} {
		if plausible(b) {
			t.Errorf("%s is plausible", name)
		}
	}
	for _, format := range []byte{1, 2, 3, 4, 5} {
		if !plausible(changed("sflow", 28, 0, 0, 0, format)) {
			t.Errorf("sflow of format %d is not plausible", format)
		}
	}
	if !plausible(changed("sflow", 28, 0, 0x10, 0, 1)) {
		t.Error("sflow of an enterprise's format is not plausible")
	}
}

func TestIsExport(t *testing.T) {
	good := everyFormat()["v5"]
	other := netip.MustParseAddrPort("192.0.2.2:4000")
	sflow := netip.MustParseAddrPort("192.0.2.2:6343")
	for _, c := range []struct {
		name     string
		from, to netip.AddrPort
		raw      bool
		payload  []byte
		want     bool
	}{
		{"v5 to the usual port", router4, sensor4, false, good, true},
		{"v5 to another port", router4, other, false, good, true},
		{"anything to the usual port", router4, sensor4, false, []byte("hello"), true},
		{"anything to the usual port of sFlow", router4, sflow, false, []byte("hello"), true},
		{"nothing to the usual port", router4, sensor4, false, nil, true},
		{"anything from the usual port", sensor4, other, false, []byte("hello"), true},
		{"anything to another port", router4, other, false, []byte("hello"), false},
		{"nothing to another port", router4, other, false, nil, false},
		{"anything raw", netip.AddrPort{}, netip.AddrPort{}, true, []byte("hello"), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := isExport(&capture.Datagram{Source: c.from, Destination: c.to, Raw: c.raw, Payload: c.payload}); got != c.want {
				t.Errorf("isExport is %t", got)
			}
		})
	}
}
