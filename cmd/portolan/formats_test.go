// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// exporting is a program that exports, and what it is compared with.
type exporting struct {
	name    string
	tools   []string
	version string // as portolan names it
	port    uint16
	ipv6    bool
	// also is what else it exports from time to time: a text in it, and what
	// portolan's summary must not say then.
	also, lacks string
	// layer2 is how many bytes a packet counts for besides its layer 3.
	layer2 uint64
	// start starts it on the wire and returns what makes it export soon, which
	// may be nothing.
	start func(t *testing.T, w *wire) (flush func())
	judge func(t *testing.T, capture string, datagrams []sent) []reading
	// known makes a record, the judge's or portolan's, such that both are alike
	// in what the judge is known to do in its own way.
	known func(r *reading, judges bool)
}

// TestExportFormats compares what portolan decodes with what another collector
// decodes of the same datagrams, record by record, for real exporters that watch
// the same conversations in each of their formats.
func TestExportFormats(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: it makes network namespaces and runs exporters in them")
	}
	for _, e := range exportings() {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			for _, tool := range e.tools {
				if _, err := exec.LookPath(tool); err != nil {
					t.Skipf("needs %s: %v", tool, err)
				}
			}
			e.compare(t)
		})
	}
}

func (e *exporting) compare(t *testing.T) {
	makeWire := newWire
	if e.tools[0] == "ovs-vswitchd" {
		makeWire = newSwitchedWire
	}
	w := makeWire(t, e.port)
	flush := e.start(t, w)
	w.talk(t)
	datagrams, capture, got := e.await(t, w, flush)
	want := e.judge(t, capture, datagrams)
	if e.known != nil {
		for i := range want {
			e.known(&want[i], true)
		}
		for i := range got {
			e.known(&got[i], false)
		}
	}
	sameReadings(t, e.tools[1], want, got)
}

// await collects what is exported until it tells of all conversations, and
// returns it, a capture of it and what portolan reads there. An exporter takes up
// to seven seconds by its own timers.
func (e *exporting) await(t *testing.T, w *wire, flush func()) (datagrams []sent, capture string, got []reading) {
	t.Helper()
	capture = filepath.Join(t.TempDir(), "export.pcap")
	var missing []string
	var summary string
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		flush()
		if arrived := w.recorded.datagrams(); len(arrived) > len(datagrams) {
			datagrams = arrived
			writePcap(t, capture, datagrams...)
			got, summary = readPortolan(t, e.version, capture)
			missing = e.missing(got)
		}
		switch {
		case len(datagrams) > 0 && len(missing) == 0 && contains(datagrams, e.also):
			if e.lacks != "" && strings.Contains(summary, e.lacks) {
				t.Errorf("it exports %q, but portolan says %q", e.also, summary)
			}
			return datagrams, capture, got
		case t.Failed() || time.Now().After(deadline):
			t.Fatalf("portolan reads in %d datagrams: %s\n%s", len(datagrams), summary, strings.Join(missing, "\n"))
		}
	}
}

// conversations are those that the format can tell of.
func (e *exporting) conversations() (list []conversation) {
	for _, c := range conversations() {
		if e.ipv6 || c.client.Addr().Is4() {
			list = append(list, c)
		}
	}
	return list
}

// missing tells which ways of the conversations have no record, or a wrong one:
// against a judge alone, two programs that lose the same record would agree.
func (e *exporting) missing(list []reading) (missing []string) {
	for _, c := range e.conversations() {
		header := 28 // of IP and UDP
		if c.client.Addr().Is6() {
			header = 48
		}
		for _, way := range []struct {
			from, to netip.AddrPort
			payload  int
		}{{c.client, c.server, c.asked}, {c.server, c.client, c.reply()}} {
			packets, bytes, ok := counted(list, way.from, way.to, c.proto)
			want := uint64(header+way.payload) + e.layer2
			switch {
			case !ok || bytes == 0:
				missing = append(missing, fmt.Sprintf("no record of protocol %d from %v to %v", c.proto, way.from, way.to))
			case c.proto == protoUDP && (packets != 1 || bytes != want):
				missing = append(missing, fmt.Sprintf("%d packets, %d bytes from %v to %v instead of 1, %d", packets, bytes, way.from, way.to, want))
			}
		}
	}
	return missing
}

// counted returns what a record counts of one way of a conversation.
func counted(list []reading, from, to netip.AddrPort, proto uint8) (packets, bytes uint64, ok bool) {
	for _, r := range list {
		src, dst := netip.AddrPortFrom(r.Src, r.SrcPort), netip.AddrPortFrom(r.Dst, r.DstPort)
		if proto == 1 || proto == 58 { // what stands for a port is its type
			src, dst = netip.AddrPortFrom(r.Src, 0), netip.AddrPortFrom(r.Dst, 0)
		}
		switch {
		case r.Proto != proto:
		case src == from && dst == to && r.Packets > 0:
			return r.Packets, r.Bytes, true
		case src == to && dst == from && r.ReversePackets > 0:
			return r.ReversePackets, r.ReverseBytes, true
		}
	}
	return 0, 0, false
}

func exportings() (list []exporting) {
	byNfdump := func(t *testing.T, _ string, datagrams []sent) []reading { return readNfdump(t, "nfcapd", datagrams) }
	base := exporting{port: 2055, judge: byNfdump}

	for _, f := range []struct {
		name, version string
		args          []string
		ipv6          bool
		known         func(r *reading, judges bool)
	}{
		{"v5", "v5", []string{"-v", "5"}, false, nil},
		{"v9", "v9", []string{"-v", "9"}, true, ignoreICMPv6},
		{"IPFIX", "ipfix", []string{"-v", "10"}, true, swapTimes},
		{"IPFIX by Ethernet, milliseconds", "ipfix", []string{"-v", "10", "-T", "ether", "-A", "milli"}, true, nil},
		{"IPFIX bidirectional", "ipfix", []string{"-v", "10", "-b"}, true, swapTimes},
	} {
		e := base
		e.name, e.tools = "softflowd "+f.name, []string{"softflowd", "nfcapd", "nfdump", "softflowctl"}
		e.version, e.ipv6, e.known = f.version, f.ipv6, f.known
		if f.ipv6 { // the formats that have options: sampling, and the interface's name
			e.also, e.lacks = "lan2\x00\x00", " 0 options records"
		}
		e.start = func(t *testing.T, w *wire) func() { return exportSoftflowd(t, w, f.args) }
		list = append(list, e)
	}
	for _, version := range []string{"5", "9", "10"} {
		e := base
		e.name, e.tools = "pmacctd v"+version, []string{"pmacctd", "nfcapd", "nfdump"}
		e.version, e.ipv6 = "v"+version, version != "5"
		switch version {
		case "9":
			e.known = ignoreICMP
		case "10":
			e.name, e.version = "pmacctd IPFIX", "ipfix"
		}
		e.start = func(t *testing.T, w *wire) func() { return exportPmacctd(t, w, version) }
		list = append(list, e)
	}
	bySfcapd := func(t *testing.T, _ string, datagrams []sent) []reading { return readNfdump(t, "sfcapd", datagrams) }
	sflow := base
	sflow.name, sflow.version, sflow.tools = "pmacctd sFlow", "sflow5", []string{"pmacctd", "sfcapd", "nfdump"}
	sflow.port, sflow.ipv6, sflow.judge, sflow.known = 6343, true, bySfcapd, sampledFrames
	sflow.start = exportSfprobe
	list = append(list, sflow)
	for _, version := range []string{"1", "5", "7"} {
		e := base
		e.name, e.tools, e.version = "fprobe v"+version, []string{"fprobe", "nfcapd", "nfdump"}, "v"+version
		e.known = typeAsSource
		e.start = func(t *testing.T, w *wire) func() { return exportFprobe(t, w, version) }
		list = append(list, e)
	}

	ovs := base
	ovs.name, ovs.version, ovs.tools = "Open vSwitch v5", "v5", []string{"ovs-vswitchd", "nfcapd", "nfdump", "ovsdb-server"}
	ovs.layer2 = 14
	ovs.start = exportOpenVSwitch("netflow", "NetFlow", "active_timeout=1")
	list = append(list, ovs)

	ovs.name, ovs.version, ovs.tools = "Open vSwitch IPFIX", "ipfix", []string{"ovs-vswitchd", "nfacctd", "ovsdb-server"}
	ovs.layer2, ovs.ipv6 = 0, true
	// nfdump takes the totals of an interface for the counters of a flow, and
	// knows no time that is told as a distance from the export.
	ovs.judge = func(t *testing.T, capture string, _ []sent) []reading { return readNfacctd(t, capture) }
	ovs.known = ignoreICMP
	ovs.start = exportOpenVSwitch("ipfix", "IPFIX", "sampling=1", "obs_domain_id=7", "obs_point_id=9", "cache_active_timeout=1", "cache_max_flows=1000")
	list = append(list, ovs)

	ovs.name, ovs.version, ovs.tools = "Open vSwitch sFlow", "sflow5", []string{"ovs-vswitchd", "sfcapd", "nfdump", "ovsdb-server"}
	ovs.port, ovs.also, ovs.lacks = 6343, "port1", " 0 counter samples"
	ovs.judge, ovs.known = bySfcapd, sampledFrames
	ovs.start = exportOpenVSwitch("sflow", "sFlow", "agent=lo", "sampling=1", "header=128", "polling=1")
	return append(list, ovs)
}

// ignoreICMPv6: nfdump does not know the element of ICMPv6's type in v9.
func ignoreICMPv6(r *reading, _ bool) {
	if r.Proto == 58 {
		r.DstPort = 0
	}
}

// ignoreICMP: nfacctd prints no type that is not in a port, and nfdump none of v9
// that is.
func ignoreICMP(r *reading, judges bool) {
	ignoreICMPv6(r, judges)
	if r.Proto == 1 {
		r.DstPort = 0
	}
}

// typeAsSource: fprobe exports the type of an ICMP message as the source port and
// the code as the other one. nfdump knows, and prints no port that was exported.
func typeAsSource(r *reading, judges bool) {
	if !judges && r.Proto == 1 {
		r.DstPort, r.SrcPort = r.SrcPort<<8|r.DstPort, 0
	}
}

// swapTimes: nfdump 1.7.1 takes the first uptime of an IPFIX record for the last.
func swapTimes(r *reading, judges bool) {
	if judges && r.Start > r.End {
		r.Start, r.End = r.End, r.Start
	}
}

// sampledFrames: sfcapd counts the bytes of the frame, with its header and the
// frame check sequence that the exporters say they stripped. Its time is its own,
// when it received the sample. It takes the number of interfaces that a frame was
// flooded to, and the code for an interface that is none, for the index of one,
// and knows no type of ICMP.
func sampledFrames(r *reading, judges bool) {
	ignoreICMP(r, judges)
	r.Start, r.End = 0, 0
	if !judges {
		return
	}
	r.Bytes -= 14 + 4
	const none = 1<<30 - 1
	if r.Dst.IsMulticast() || r.Out == none {
		r.Out = 0
	}
	if r.In == none {
		r.In = 0
	}
}

func exportSoftflowd(t *testing.T, w *wire, args []string) func() {
	dir := t.TempDir()
	control := filepath.Join(dir, "ctl")
	args = append(args, "-d", "-i", "lan2", "-n", w.recorded.at.String(), "-p", filepath.Join(dir, "pid"), "-c", control)
	cmd := spawn(t, w.exporter, "softflowd", args...)
	waitForCapture(t, cmd)
	waitFor(t, "softflowd's control socket", func() bool { _, err := os.Stat(control); return err == nil })
	return func() {
		w.fillRing(t)
		if out, err := exec.Command("softflowctl", "-c", control, "expire-all").CombinedOutput(); err != nil {
			t.Fatalf("softflowctl: %v\n%s", err, out)
		}
	}
}

func exportPmacctd(t *testing.T, w *wire, version string) func() {
	conf := tempFile(t, fmt.Sprintf(`daemonize: false
pcap_interface: lan2
aggregate: src_host, dst_host, src_port, dst_port, proto, tos
plugins: nfprobe
nfprobe_receiver: %s
nfprobe_version: %s
nfprobe_timeouts: expint=1:tcp=1:tcp.fin=1:tcp.rst=1:udp=1:icmp=1:general=1
`, w.recorded.at, version))
	waitForCapture(t, spawn(t, w.exporter, "pmacctd", "-f", conf))
	return func() {}
}

// exportSfprobe samples every packet.
func exportSfprobe(t *testing.T, w *wire) func() {
	conf := tempFile(t, fmt.Sprintf(`daemonize: false
pcap_interface: lan2
plugins: sfprobe
sfprobe_receiver: %s
sfprobe_agentip: %s
sampling_rate: 1
`, w.recorded.at, server4))
	waitForCapture(t, spawn(t, w.exporter, "pmacctd", "-f", conf))
	return func() {}
}

func exportFprobe(t *testing.T, w *wire, version string) func() {
	// It writes its log to standard output (-l 2), and is a daemon otherwise.
	waitForCapture(t, spawn(t, w.exporter, "fprobe", "-i", "lan2", "-f", "ip", "-n", version, "-s", "1", "-d", "1", "-e", "2", "-l", "2", w.recorded.at.String()))
	return func() {}
}

func exportOpenVSwitch(column, table string, settings ...string) func(*testing.T, *wire) func() {
	return func(t *testing.T, w *wire) func() {
		o := startOpenVSwitch(t, w)
		o.vsctl(t, append([]string{"--", "set", "Bridge", "br0", column + "=@export", "--", "--id=@export", "create", table,
			fmt.Sprintf(`targets="%s"`, w.recorded.at)}, settings...)...)
		return func() {}
	}
}
