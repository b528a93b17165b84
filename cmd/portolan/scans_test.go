// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portolan/portolan/ingest/flow"
	"github.com/portolan/portolan/netns"
)

// TestRealScans: nmap scans a server in every way while softflowd watches, and
// replay lists the ports that are open and no other: not those that were tried,
// and none of the scanner's.
func TestRealScans(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: it makes network namespaces and sends raw packets in them")
	}
	for _, tool := range []string{"nmap", "softflowd", "softflowctl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s: %v", tool, err)
		}
	}
	tcpPorts := []int{22, 80, 3389, 8123, 20500, 40000, 49665}
	udpPorts := []int{53, 161, 4123, 31000, 45000}
	for i, s := range []struct {
		args   string
		probes int  // at least
		sees   bool // the scan makes every TCP port answer as a listener does
	}{
		{"-sS -p1-65535", 65535, true},
		{"-sS -p1-1024,3389,8123,20500,40000,49665 -g 53", 1024, true},
		{"-sS -p1-1024,3389,8123,20500,40000,49665 -g 40001", 1024, true},
		{"-sT -p1-65535", 65535, true},
		{"-sA -p1-10000,20500,40000,49665", 10000, false},
		{"-sF -p1-10000,20500,40000,49665", 10000, false},
		{"-sN -p1-10000,20500,40000,49665", 10000, false},
		{"-sX -p1-10000,20500,40000,49665", 10000, false},
		{"-sU -p50-60,120-165,4120-4130,31000,45000-45010", 70, false},
	} {
		t.Run(strings.ReplaceAll(s.args, " ", "_"), func(t *testing.T) {
			w := newScanWire(t, tcpPorts, udpPorts, uint16(21000+i))
			// Room for few flows makes it export while the scan goes on, rather
			// than all at once, which no receiver's buffer holds.
			flush := exportSoftflowd(t, w, []string{"-v", "5", "-m", "4096"})
			w.nmap(t, strings.Fields(s.args)...)
			flush()
			w.waitForAll(t, s.probes)
			open := w.replay(t)
			var extra, missing []string
			for _, p := range open {
				if !slices.Contains(listenNames(tcpPorts, udpPorts), p) {
					extra = append(extra, p)
				}
			}
			shown := w.answers()
			if s.sees && len(shown) < len(tcpPorts)-1 { // softflowd loses a packet at times
				t.Errorf("the flows show answers of %v, open are %v", shown, tcpPorts)
			}
			for _, p := range shown {
				if s.sees && !slices.Contains(open, p) {
					missing = append(missing, p)
				}
			}
			if len(extra) > 0 || len(missing) > 0 {
				t.Errorf("listed but closed: %d, %.20v; open but not listed: %v", len(extra), extra, missing)
			}
		})
	}
}

// listenNames are the server's ports as replay is read.
func listenNames(tcpPorts, udpPorts []int) (list []string) {
	for _, p := range tcpPorts {
		list = append(list, fmt.Sprintf("%v tcp/%d", server4, p))
	}
	for _, p := range udpPorts {
		list = append(list, fmt.Sprintf("%v udp/%d", server4, p))
	}
	return list
}

// newScanWire joins a scanner and a server that listens on the ports.
func newScanWire(t *testing.T, tcpPorts, udpPorts []int, collector uint16) *wire {
	t.Helper()
	w := &wire{client: newNS(t), server: newNS(t)}
	w.exporter = w.server
	err := netns.Veth(w.client, "lan1", w.server, "lan2", netns.VethOptions{
		AddrA: lanPrefixes(netip.MustParseAddr("10.9.0.1")), AddrB: lanPrefixes(server4)})
	if err != nil {
		t.Fatal(err)
	}
	w.recorded = recordAll(t, w.exporter, collector)
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	for _, p := range tcpPorts {
		l := listenIn(t, w.server, func() (net.Listener, error) { return net.Listen("tcp", fmt.Sprintf("%v:%d", server4, p)) })
		t.Cleanup(func() { l.Close() })
		wg.Go(func() { hold(l) })
	}
	for _, p := range udpPorts {
		c := listenIn(t, w.server, func() (net.PacketConn, error) { return net.ListenPacket("udp", fmt.Sprintf("%v:%d", server4, p)) })
		t.Cleanup(func() { c.Close() })
		wg.Go(func() { answerUDP(c) })
	}
	return w
}

func listenIn[T any](t *testing.T, ns *netns.NS, listen func() (T, error)) (l T) {
	t.Helper()
	err := ns.Do(func() (err error) {
		l, err = listen()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// hold accepts connections and lets the other end them: what the server sends
// first would be a second packet beside its SYN-ACK, if it left in time.
func hold(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, c)
		c.Close()
	}
}

// nmap scans the server.
func (w *wire) nmap(t *testing.T, args ...string) {
	t.Helper()
	var out bytes.Buffer
	args = append(args, "-n", "-Pn", "--max-retries", "1", "--min-rate", "3000", "--host-timeout", "60s", "--disable-arp-ping", server4.String())
	cmd := exec.Command("nmap", args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := w.client.Start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil || !strings.Contains(out.String(), "1 host up") {
		t.Fatalf("nmap %v: %v\n%s", args, err, &out)
	}
}

// recordAll is a recorder with room for what an exporter sends at once. Its
// buffer is beyond what the system allows to those who are not root.
func recordAll(t *testing.T, ns *netns.NS, port uint16) *recorder {
	t.Helper()
	r := &recorder{at: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)}
	conn := listenIn(t, ns, func() (net.PacketConn, error) {
		c := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
			const room = 128 << 20
			failed := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, room) })
			return errors.Join(err, failed)
		}}
		return c.ListenPacket(t.Context(), "udp4", r.at.String())
	})
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 1<<16)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			r.mu.Lock()
			r.in = append(r.in, sent{time.Now(), from.(*net.UDPAddr).AddrPort(), r.at, bytes.Clone(buf[:n])})
			r.mu.Unlock()
		}
	})
	t.Cleanup(func() { conn.Close(); wg.Wait() })
	return r
}

// waitForAll waits until all flows have arrived that v5 has numbered, of which
// there are at least as many as the scan has probes.
func (w *wire) waitForAll(t *testing.T, probes int) {
	t.Helper()
	received, numbered := 0, 0
	defer func() {
		if t.Failed() {
			t.Logf("%d of %d flows have arrived, of %d probes", received, numbered, probes)
		}
	}()
	waitFor(t, "the flows of the scan", func() bool {
		received, numbered = 0, 0
		var m flow.Message
		for _, d := range w.recorded.datagrams() {
			if m.Parse(d.payload) == 0 {
				received += m.Records()
				numbered = max(numbered, int(m.Sequence)+m.Records())
			}
		}
		return numbered >= probes && received == numbered
	})
}

// answers are the server's ports that the flows show answering a SYN, with
// nothing but the answer in the record.
func (w *wire) answers() (list []string) {
	const synAck = 0x12 // and nothing else
	var m flow.Message
	var records []flow.Record
	for _, d := range w.recorded.datagrams() {
		if m.Parse(d.payload) != 0 {
			continue
		}
		records, _ = m.Append(records[:0])
		for _, r := range records {
			if name := fmt.Sprintf("%v tcp/%d", server4, r.SrcPort); r.Src == server4.As16() && r.Proto == protoTCP &&
				r.TCPFlags == synAck && r.Packets == 1 && !slices.Contains(list, name) {
				list = append(list, name)
			}
		}
	}
	return list
}

// replay lists the listening ports of both hosts.
func (w *wire) replay(t *testing.T) (list []string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "scan.pcap")
	writePcap(t, file, w.recorded.datagrams()...)
	var out, errs bytes.Buffer
	if code := execute(t.Context(), []string{"replay", "--internal", "10.9.0.0/24", "--ports", "inferred", "--output", "json", file}, &out, &errs); code != 0 {
		t.Fatalf("replay: exit code %d\n%s", code, &errs)
	}
	var found struct {
		Ledger    struct{ Records int }
		Endpoints []struct {
			IP        netip.Addr
			Listening []struct {
				Proto string
				Port  int
			}
		}
	}
	if err := json.Unmarshal(out.Bytes(), &found); err != nil {
		t.Fatal(err)
	}
	if found.Ledger.Records == 0 {
		t.Fatal("no records were replayed")
	}
	for _, e := range found.Endpoints {
		for _, p := range e.Listening {
			list = append(list, fmt.Sprintf("%v %s/%d", e.IP, p.Proto, p.Port))
		}
	}
	t.Logf("%d datagrams, %d records, %d ports listed", len(w.recorded.datagrams()), found.Ledger.Records, len(list))
	return list
}
