// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bpf

import (
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
)

// BenchmarkSteer prints what the program costs per frame, measured by the kernel
// over many runs of one frame, without a driver and without the redirect itself.
// The empty program's figure is the part that is the measurement's own.
func BenchmarkSteer(b *testing.B) {
	list := []netip.Prefix{netip.PrefixFrom(peer4, 32), netip.PrefixFrom(peer6, 128)}
	for _, a := range manyAddrs(0, 1000) {
		list = append(list, netip.PrefixFrom(a, 32))
	}
	v4, v6 := frame{from: peer4, to: local4, payload: 1464}, frame{from: peer6, to: local6, payload: 1464}
	tcp, dns, tagged := v4, v4, v4
	tcp.proto, dns.port, tagged.tags = 6, 53, []uint16{vlanOuter, vlan}
	for _, c := range []struct {
		name      string
		f         frame
		exporters []netip.Prefix
		frags     bool
	}{
		{"export v4", v4, nil, false},
		{"export v4 frags", v4, nil, true},
		{"export v4 two tags", tagged, nil, false},
		{"export v4 of 1000 exporters", v4, list, false},
		{"export v6", v6, nil, false},
		{"other port", dns, nil, false},
		{"TCP", tcp, nil, false},
	} {
		b.Run(c.name, func(b *testing.B) {
			config := testConfig()
			config.Exporters, config.Frags = c.exporters, c.frags
			p := loaded(b, config)
			f := c.f.bytes()
			measure(b, p.prog, f)
		})
	}
	b.Run("empty program", func(b *testing.B) {
		needRoot(b)
		empty, err := loadEmpty()
		if err != nil {
			b.Fatal(err)
		}
		defer empty.Close()
		measure(b, empty, v4.bytes())
	})
}

func measure(b *testing.B, prog *ebpf.Program, f []byte) {
	var runs, total float64
	for b.Loop() {
		const repeat = 1 << 20
		_, each, err := prog.Benchmark(f, repeat, nil)
		if err != nil {
			b.Fatal(err)
		}
		runs, total = runs+1, total+float64(each.Nanoseconds())
	}
	b.ReportMetric(total/runs, "ns/packet")
	b.ReportMetric(0, "ns/op")
}
