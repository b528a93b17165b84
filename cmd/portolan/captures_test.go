// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"flag"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/portolan/portolan/ingest/flow"
)

var updateOffline = flag.Bool("update-offline", false, "write the golden files of decode and replay anew")

// newTestRand gives the same numbers in every run.
func newTestRand() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

// golden compares got with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *updateOffline {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// answered is what one command line gave.
type answered struct {
	code           int
	stdout, stderr string
}

// offlineVerb runs a command line in this process.
func offlineVerb(t testing.TB, args ...string) answered {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := execute(t.Context(), args, &stdout, &stderr)
	return answered{code, stdout.String(), stderr.String()}
}

// sent is one UDP datagram of a capture.
type sent struct {
	at       time.Time
	from, to netip.AddrPort
	payload  []byte
}

// frame is the datagram in Ethernet.
func (s *sent) frame(t testing.TB) []byte {
	t.Helper()
	eth := &layers.Ethernet{SrcMAC: make([]byte, 6), DstMAC: make([]byte, 6), EthernetType: layers.EthernetTypeIPv4}
	udp := &layers.UDP{SrcPort: layers.UDPPort(s.from.Port()), DstPort: layers.UDPPort(s.to.Port())}
	var network interface {
		gopacket.NetworkLayer
		gopacket.SerializableLayer
	} = &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: s.from.Addr().AsSlice(), DstIP: s.to.Addr().AsSlice()}
	if s.from.Addr().Is6() {
		eth.EthernetType = layers.EthernetTypeIPv6
		network = &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolUDP, SrcIP: s.from.Addr().AsSlice(), DstIP: s.to.Addr().AsSlice()}
	}
	if err := udp.SetNetworkLayerForChecksum(network); err != nil {
		t.Fatal(err)
	}
	b := gopacket.NewSerializeBuffer()
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(b, options, eth, network, udp, gopacket.Payload(s.payload)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// writePcap writes a capture of the datagrams.
func writePcap(t testing.TB, path string, datagrams ...sent) {
	t.Helper()
	var file bytes.Buffer
	w := pcapgo.NewWriterNanos(&file)
	if err := w.WriteFileHeader(1<<16, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	for i := range datagrams {
		frame := datagrams[i].frame(t)
		info := gopacket.CaptureInfo{Timestamp: datagrams[i].at, CaptureLength: len(frame), Length: len(frame)}
		if err := w.WritePacket(info, frame); err != nil {
			t.Fatal(err)
		}
	}
	writeFile(t, path, file.Bytes())
}

func writeFile(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

var (
	seven   = time.Date(2026, 11, 23, 7, 0, 0, 0, time.UTC)
	router4 = netip.MustParseAddrPort("192.0.2.1:49152")
	router6 = netip.MustParseAddrPort("[2001:db8::1]:49152")
	sensor4 = netip.MustParseAddrPort("192.0.2.2:2055")
	sensor6 = netip.MustParseAddrPort("[2001:db8::2]:9995")
)

// flowOf is a record of a flow that lasted 1.5 s and ended 1 s before at.
func flowOf(at time.Time, proto uint8, from, to string) flow.Record {
	src, dst := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
	r := flow.Record{
		Src: src.Addr().As16(), SrcPort: src.Port(), Dst: dst.Addr().As16(), DstPort: dst.Port(), Proto: proto,
		Packets: 12, Bytes: 3400, InIf: 1, OutIf: 2,
		Start: at.Add(-2500 * time.Millisecond).UnixNano(), End: at.Add(-time.Second).UnixNano(),
	}
	if proto == protoTCP {
		r.TCPFlags = 0x1b // SYN, ACK, PSH, FIN
	}
	return r
}

// message is a v5 datagram sent at that time.
func message(at time.Time, h flow.V5Header, records ...flow.Record) []byte {
	h.ExportTime, h.Uptime = at.UnixNano(), 3_600_000
	return flow.AppendV5(nil, h, records)
}

// threeFiles writes three files into dir, by name. In the order of time:
//
//	07:00:00    a.pcap    192.0.2.1     a print job and the answer to it
//	07:00:01    a.pcap                  a DNS query: no flow export, not counted
//	07:00:30.5  b.pcap    2001:db8::1   a second print job; the header announces two records
//	07:00:45    c.dat                   a raw payload: SSH into 10.1.0.21
//	07:01:00    a.pcap    192.0.2.1     to an unusual port: DNS, a ping, GRE, multicast;
//	                                    seven flows were lost before it
//	07:01:30    a.pcap                  ten bytes to port 2055: too short for a header
func threeFiles(t testing.TB, dir string) {
	t.Helper()
	at := func(d time.Duration) time.Time { return seven.Add(d) }
	unusual := netip.AddrPortFrom(sensor4.Addr(), 9999)
	first, minute := at(0), at(time.Minute)
	gre := flowOf(minute, 47, "10.1.0.20:0", "198.51.100.7:0")
	gre.InIf, gre.OutIf = 0, 0
	writePcap(t, filepath.Join(dir, "a.pcap"),
		sent{first, router4, sensor4, message(first, flow.V5Header{Sequence: 100, Domain: 3},
			flowOf(first, protoTCP, "10.1.0.20:50000", "10.1.0.5:9100"),
			flowOf(first, protoTCP, "10.1.0.5:9100", "10.1.0.20:50000"))},
		sent{at(time.Second), router4, netip.MustParseAddrPort("192.0.2.53:53"), append([]byte{0, 5, 1, 0, 0, 1}, make([]byte, 40)...)},
		sent{minute, router4, unusual, message(minute, flow.V5Header{Sequence: 109, Domain: 3},
			flowOf(minute, protoUDP, "10.1.0.20:53124", "192.0.2.53:53"),
			flowOf(minute, 1, "10.1.0.20:0", "10.1.0.5:2048"),
			gre,
			flowOf(minute, protoUDP, "10.1.0.5:5353", "224.0.0.251:5353"))},
		sent{at(90 * time.Second), router4, sensor4, message(first, flow.V5Header{})[:10]},
	)
	half := at(30500 * time.Millisecond)
	lying := message(half, flow.V5Header{Sampling: 100, SamplingMode: 1}, flowOf(half, protoTCP, "10.1.0.5:9100", "10.1.0.21:50001"))
	lying[3] = 2
	writePcap(t, filepath.Join(dir, "b.pcap"), sent{half, router6, sensor6, lying})
	writeFile(t, filepath.Join(dir, "c.dat"), message(at(45*time.Second), flow.V5Header{},
		flowOf(at(45*time.Second), protoTCP, "10.1.0.21:22", "203.0.113.9:61000")))
}
