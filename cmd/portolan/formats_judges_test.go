// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// reading is one flow record as a program printed it.
type reading struct {
	Src, Dst         netip.Addr
	SrcPort, DstPort uint16 // of an ICMP message, the latter is its type and code
	Proto, Flags     uint8
	Packets, Bytes   uint64
	ReversePackets   uint64
	ReverseBytes     uint64
	In, Out          uint32
	SrcMAC, DstMAC   string
	Start, End       int64 // Unix milliseconds
}

func (r reading) String() string {
	at := func(ms int64) string { return time.UnixMilli(ms).UTC().Format("15:04:05.000") }
	return fmt.Sprintf("%d %s.%d>%s.%d flags %#x packets %d bytes %d reverse %d %d if %d>%d mac %s>%s %s-%s", r.Proto, r.Src, r.SrcPort,
		r.Dst, r.DstPort, r.Flags, r.Packets, r.Bytes, r.ReversePackets, r.ReverseBytes, r.In, r.Out, r.SrcMAC, r.DstMAC, at(r.Start), at(r.End))
}

// same is equality, but that times may differ by a millisecond: one program
// rounds where another one cuts; and that nfdump goes wrong with a flow that began
// with its exporter: an uptime of 0 is 1970 to it, and one of -1 ms, which has
// wrapped, is 2^32 ms later.
func (r reading) same(o reading) bool {
	const wrap = 1 << 32
	wrapped := false
	for _, at := range []*int64{&r.Start, &r.End} {
		if *at > o.Start+wrap/2 {
			*at -= wrap
			wrapped = true
		}
	}
	if wrapped && r.Start > r.End { // it put the two in order by what it made of them
		r.Start, r.End = r.End, r.Start
	}
	near := func(a, b int64) bool { return a-b <= 1 && b-a <= 1 || a == 0 }
	if !near(r.Start, o.Start) || !near(r.End, o.End) {
		return false
	}
	o.Start, o.End = r.Start, r.End
	return r == o
}

// sameReadings compares two multisets and shows what only one of them has.
func sameReadings(t *testing.T, who string, want, got []reading) {
	t.Helper()
	got = slices.Clone(got)
	for _, w := range want {
		if i := slices.IndexFunc(got, w.same); i >= 0 {
			got = slices.Delete(got, i, i+1)
		} else {
			t.Errorf("only %s: %v", who, w)
		}
	}
	for _, g := range got {
		t.Errorf("only portolan: %v", g)
	}
}

// readPortolan decodes a capture. Times that a record does not have are 0.
func readPortolan(t *testing.T, version, path string) (list []reading, summary string) {
	t.Helper()
	got := offlineVerb(t, "decode", path)
	if got.code != 0 {
		t.Fatalf("decode ended with %d: %s", got.code, got.stderr)
	}
	summary = strings.TrimSpace(got.stderr)
	if strings.Contains(summary, path) {
		t.Errorf("portolan found problems in what a real exporter sent: %s", summary)
	}
	for line := range strings.Lines(got.stdout) {
		var r struct {
			Exporter, Version string
			Src, Dst          netip.Addr
			SrcPort           uint16 `json:"src_port"`
			DstPort           uint16 `json:"dst_port"`
			Proto             string
			Flags             uint8 `json:"tcp_flags"`
			Packets, Bytes    uint64
			ReversePackets    uint64 `json:"reverse_packets"`
			ReverseBytes      uint64 `json:"reverse_bytes"`
			In                uint32 `json:"in_if"`
			Out               uint32 `json:"out_if"`
			SrcMAC            string `json:"src_mac"`
			DstMAC            string `json:"dst_mac"`
			Start, End        time.Time
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if r.Exporter != "127.0.0.1" || r.Version != version {
			t.Errorf("exporter %s, version %s", r.Exporter, r.Version)
		}
		if !r.Src.IsValid() && !r.Dst.IsValid() {
			continue // a frame that is not IP
		}
		milli := func(at time.Time) int64 {
			if at.IsZero() {
				return 0
			}
			return at.UnixMilli()
		}
		list = append(list, reading{r.Src, r.Dst, r.SrcPort, r.DstPort, protoNumber(t, r.Proto), r.Flags, r.Packets, r.Bytes,
			r.ReversePackets, r.ReverseBytes, r.In, r.Out, r.SrcMAC, r.DstMAC, milli(r.Start), milli(r.End)})
	}
	return list, summary
}

func protoNumber(t *testing.T, name string) uint8 {
	t.Helper()
	switch name {
	case "icmp":
		return 1
	case "tcp":
		return protoTCP
	case "udp":
		return protoUDP
	case "icmp6", "ipv6-icmp":
		return 58
	}
	t.Fatalf("protocol %q", name)
	return 0
}

// readNfdump gives the datagrams to one of nfdump's collectors, which have to be
// sent to, in a namespace of its own, and reads what that wrote.
func readNfdump(t *testing.T, collector string, datagrams []sent) (list []reading) {
	t.Helper()
	dir := t.TempDir()
	feed(t, collector, dir, datagrams)
	cmd := exec.Command("nfdump", "-N", "-o", "json", "-R", dir)
	cmd.Env = append(os.Environ(), "TZ=UTC")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("nfdump: %v\n%s", err, &errs)
	}
	var records []nfdumpRecord
	if err := json.Unmarshal(out, &records); err != nil {
		t.Fatalf("nfdump: %v\n%s", err, out)
	}
	for i := range records {
		if r := records[i].reading(t); r.Src != netip.IPv4Unspecified() { // it prints 0.0.0.0 for a frame that is not IP
			list = append(list, r)
		}
	}
	return list
}

// nfdumpRecord is what nfdump 1.7 prints of a record.
type nfdumpRecord struct {
	Src4       netip.Addr `json:"src4_addr"`
	Dst4       netip.Addr `json:"dst4_addr"`
	Src6       netip.Addr `json:"src6_addr"`
	Dst6       netip.Addr `json:"dst6_addr"`
	SrcPort    uint16     `json:"src_port"`
	DstPort    uint16     `json:"dst_port"`
	ICMPType   uint16     `json:"icmp_type"`
	ICMPCode   uint16     `json:"icmp_code"`
	Proto      uint8      `json:"proto"`
	Flags      string     `json:"tcp_flags"`
	InPackets  uint64     `json:"in_packets"`
	InBytes    uint64     `json:"in_bytes"`
	OutPackets uint64     `json:"out_packets"`
	OutBytes   uint64     `json:"out_bytes"`
	In         uint32     `json:"input_snmp"`
	Out        uint32     `json:"output_snmp"`
	SrcMAC     string     `json:"in_src_mac"`
	DstMAC     string     `json:"out_dst_mac"`
	First      string     `json:"first"`
	Last       string     `json:"last"`
}

func (n *nfdumpRecord) reading(t *testing.T) reading {
	t.Helper()
	r := reading{Src: n.Src4, Dst: n.Dst4, SrcPort: n.SrcPort, DstPort: n.DstPort, Proto: n.Proto, Packets: n.InPackets, Bytes: n.InBytes,
		ReversePackets: n.OutPackets, ReverseBytes: n.OutBytes, In: n.In, Out: n.Out, SrcMAC: n.SrcMAC, DstMAC: n.DstMAC}
	if n.Src6.IsValid() {
		r.Src, r.Dst = n.Src6, n.Dst6
	}
	if r.Proto == 1 || r.Proto == 58 { // it tells the type and the code apart
		r.DstPort = n.ICMPType<<8 | n.ICMPCode
	}
	if r.Proto == protoTCP {
		for i, letter := range "CEUAPRSF" {
			if n.Flags[i] == byte(letter) {
				r.Flags |= 0x80 >> i
			}
		}
	}
	for _, at := range []struct {
		ms   *int64
		text string
	}{{&r.Start, n.First}, {&r.End, n.Last}} {
		parsed, err := time.Parse("2006-01-02T15:04:05.000", at.text)
		if err != nil {
			t.Fatal(err)
		}
		*at.ms = parsed.UnixMilli()
	}
	return r
}

// feed starts a collector that writes into dir, sends it the datagrams and ends it.
func feed(t *testing.T, collector, dir string, datagrams []sent) {
	t.Helper()
	ns := newNS(t)
	to := datagrams[0].to
	cmd := exec.Command(collector, "-b", to.Addr().String(), "-p", fmt.Sprint(to.Port()), "-w", dir, "-t", "3600")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := ns.Start(cmd); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	waitFor(t, collector+" listens", func() bool { return queued(cmd.Process.Pid, to.Port()) == 0 })
	err := ns.Do(func() error {
		conn, err := net.Dial("udp", to.String())
		if err != nil {
			return err
		}
		defer conn.Close()
		for _, d := range append(slices.Clip(datagrams), sent{payload: nothing(datagrams[0].payload)}) {
			if _, err := conn.Write(d.payload); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	// It takes a datagram from its queue before it reads it, and gives it up if
	// it is ended in between. So what ends the queue is one that says nothing:
	// once that is taken, all before it have been read.
	waitFor(t, collector+" reads all", func() bool { return queued(cmd.Process.Pid, to.Port()) == 0 })
	// The collector looks at the signal between two datagrams. One that comes
	// just before it waits for the next datagram is not seen, the next one is.
	waitFor(t, collector+" ends", func() bool {
		select {
		case err := <-ended:
			if err != nil {
				t.Fatalf("%s: %v\n%s", collector, err, &out)
			}
			return true
		default:
			_ = cmd.Process.Signal(syscall.SIGTERM)
			return false
		}
	})
	if !strings.Contains(out.String(), "Bad Packets: 0") {
		t.Errorf("%s: %s", collector, &out)
	}
}

// nothing is a datagram of the same format, and stream, that carries nothing: the
// header alone, with a count of 0.
func nothing(datagram []byte) []byte {
	be := binary.BigEndian
	size := map[uint16]int{0: 28, 1: 16, 5: 24, 7: 24, 9: 20, 10: 16}[be.Uint16(datagram)]
	header := slices.Clone(datagram[:size])
	switch be.Uint16(header) {
	case 0: // sFlow: the number of samples
		be.PutUint32(header[24:], 0)
	case 10: // the length
		be.PutUint16(header[2:], uint16(size))
	default:
		be.PutUint16(header[2:], 0)
	}
	return header
}

// queued returns how many bytes wait at the port in the namespace of a process,
// -1 if nobody listens there.
func queued(pid int, port uint16) int {
	file, err := os.Open(fmt.Sprintf("/proc/%d/net/udp", pid))
	if err != nil {
		return -1
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		// sl local_address rem_address st tx_queue:rx_queue …
		f := strings.Fields(lines.Text())
		var tx, rx int
		if len(f) > 4 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) {
			if _, err := fmt.Sscanf(f[4], "%x:%x", &tx, &rx); err == nil {
				return rx
			}
		}
	}
	return -1
}

// readNfacctd lets nfacctd read the capture. It adds up what is alike in all that
// it prints, so that it has to print the message's number: Open vSwitch sends one
// record in each.
func readNfacctd(t *testing.T, capture string) (list []reading) {
	t.Helper()
	output := filepath.Join(t.TempDir(), "records")
	config := tempFile(t, fmt.Sprintf(`daemonize: false
pcap_savefile: %s
plugins: print
print_output: json
print_output_file: %s
print_refresh_time: 3600
aggregate: src_mac, dst_mac, src_host, dst_host, src_port, dst_port, proto, tcpflags, in_iface, out_iface, timestamp_start, timestamp_end, export_proto_seqno
timestamps_utc: true
timestamps_rfc3339: true
`, capture, output))
	if out, err := exec.CommandContext(t.Context(), "nfacctd", "-f", config).CombinedOutput(); err != nil {
		t.Fatalf("nfacctd: %v\n%s", err, out)
	}
	printed, err := os.ReadFile(output)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(printed)) {
		var r struct {
			Src     netip.Addr `json:"ip_src"`
			Dst     netip.Addr `json:"ip_dst"`
			SrcPort uint16     `json:"port_src"`
			DstPort uint16     `json:"port_dst"`
			Proto   string     `json:"ip_proto"`
			Flags   uint8      `json:"tcp_flags,string"`
			Packets uint64     `json:"packets"`
			Bytes   uint64     `json:"bytes"`
			In      uint32     `json:"iface_in"`
			Out     uint32     `json:"iface_out"`
			SrcMAC  string     `json:"mac_src"`
			DstMAC  string     `json:"mac_dst"`
			Start   time.Time  `json:"timestamp_start"`
			End     time.Time  `json:"timestamp_end"`
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		list = append(list, reading{r.Src, r.Dst, r.SrcPort, r.DstPort, protoNumber(t, r.Proto), r.Flags, r.Packets, r.Bytes, 0, 0,
			r.In, r.Out, r.SrcMAC, r.DstMAC, r.Start.UnixMilli(), r.End.UnixMilli()})
	}
	return list
}
