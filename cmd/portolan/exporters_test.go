// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/portolan/portolan/netns"
	"github.com/portolan/portolan/profiler"
)

// TestRealExporters is the main job end to end: curl, dig and iperf3 talk
// between two namespaces, a real exporter watches them and exports NetFlow v5 over
// a second cable into Portolan's AF_XDP socket, and the ports of the server, which is
// imported only after its traffic, appear everywhere within two seconds.
func TestRealExporters(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: it makes network namespaces and runs exporters in them")
	}
	for _, e := range []struct {
		name  string
		tools []string
		start func(t *testing.T, o *realOffice) (flush func())
	}{
		{"softflowd", []string{"softflowd", "softflowctl"}, startSoftflowd},
		{"pmacctd", []string{"pmacctd"}, startPmacctd},
	} {
		t.Run(e.name, func(t *testing.T) {
			for _, tool := range append(e.tools, "curl", "dig", "iperf3") {
				if _, err := exec.LookPath(tool); err != nil {
					t.Skipf("needs %s: %v", tool, err)
				}
			}
			o := newRealOffice(t)
			p := startRun(t, "--netns", o.collector.Path(), "--interface", "collect0")
			flush := e.start(t, o)
			o.talk(t)
			p.mustRun(t, "endpoints", "import", tempFile(t, "mac,ip,hostname\n02:00:00:00:00:02,10.9.0.2,server\n02:00:00:00:00:01,10.9.0.1,client\n"), "--data", p.data)
			flush()
			checkPorts(t, p)
		})
	}
}

// checkPorts waits for the server's ports in the API, each within two seconds of
// the arrival of the datagram that showed it; the command line and the metrics
// agree.
func checkPorts(t *testing.T, p *running) {
	t.Helper()
	want := []string{"tcp/80", "tcp/5201", "udp/53"}
	visible := map[string]bool{}
	var server profiler.Endpoint
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("visible: %v", visible)
		}
	})
	waitFor(t, "the server's ports", func() bool {
		var list struct{ Items []profiler.Endpoint }
		p.get(t, "/api/v1/endpoints", &list)
		i := slices.IndexFunc(list.Items, func(e profiler.Endpoint) bool { return e.Hostname == "server" })
		if i < 0 {
			return false
		}
		server = list.Items[i]
		for _, port := range server.Listening {
			name := portName(port)
			if late := time.Since(port.FirstSeen); !visible[name] && late > 2*time.Second {
				t.Errorf("%s was visible %s after its datagram", name, late)
			}
			visible[name] = true
		}
		return containsAll(portNames(server.Listening), want)
	})
	for _, port := range server.Listening {
		if port.Evidence == "seen" || port.Evidence == "class" || port.Exporter.String() != "192.0.2.1" || port.FirstSeen.IsZero() || port.LastSeen.IsZero() {
			t.Errorf("port %+v", port)
		}
	}
	// No port is open that is only a client's: on neither side.
	if got := portNames(server.Listening); len(got) != len(want) {
		t.Errorf("the server listens on %v, want %v", got, want)
	}
	var client profiler.Endpoint
	p.get(t, "/api/v1/endpoints/02:00:00:00:00:01", &client)
	if len(client.Listening) != 0 {
		t.Errorf("the client listens on %v", portNames(client.Listening))
	}
	shown := p.mustRun(t, "endpoints", "show", "02:00:00:00:00:02", "--data", p.data, "--output", "json")
	var same profiler.Endpoint
	if err := json.Unmarshal([]byte(shown), &same); err != nil {
		t.Fatal(err)
	}
	if got := portNames(same.Listening); !containsAll(got, want) {
		t.Errorf("endpoints show: %v", got)
	}
	byCopy, byUDP := p.metric(t, `portolan_receive_path_packets_total{path="copy"}`), p.metric(t, `portolan_receive_path_packets_total{path="udp"}`)
	if decoded := p.metric(t, `portolan_datagrams_total{outcome="decoded"}`); byCopy < decoded || byUDP != 0 {
		t.Errorf("decoded %v, by copy %v, by udp %v", decoded, byCopy, byUDP)
	}
	// A port is visible before the answer to its post is in the books.
	waitFor(t, "the posts to be acknowledged in the books", func() bool {
		acknowledged := p.metric(t, `portolan_posts_total{outcome="acknowledged"}`)
		observed := p.metric(t, `portolan_sides_total{outcome="observed"}`)
		return float64(len(want)) <= acknowledged && acknowledged <= observed
	})
}

// realOffice is two hosts, and the namespace that their flows are exported to.
type realOffice struct {
	client, server, collector *netns.NS
}

func newRealOffice(t *testing.T) *realOffice {
	t.Helper()
	o := &realOffice{newNS(t), newNS(t), newNS(t)}
	prefix := netip.MustParsePrefix
	for _, err := range []error{
		netns.Veth(o.client, "lan1", o.server, "lan2", netns.VethOptions{AddrA: []netip.Prefix{prefix("10.9.0.1/24")}, AddrB: []netip.Prefix{prefix("10.9.0.2/24")}}),
		netns.Veth(o.server, "export0", o.collector, "collect0", netns.VethOptions{AddrA: []netip.Prefix{prefix("192.0.2.1/24")}, AddrB: []netip.Prefix{prefix("192.0.2.2/24")}}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	o.serve(t)
	return o
}

// serve opens a web server, a DNS server and iperf3 on the server.
func (o *realOffice) serve(t *testing.T) {
	t.Helper()
	var web net.Listener
	var dns net.PacketConn
	err := o.server.Do(func() (err error) {
		if web, err = net.Listen("tcp", "10.9.0.2:80"); err != nil {
			return err
		}
		dns, err = net.ListenPacket("udp", "10.9.0.2:53")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello") })}
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Serve(web) })
	wg.Go(func() { answerDNS(dns) })
	t.Cleanup(func() { server.Close(); dns.Close(); wg.Wait() })
	spawn(t, o.server, "iperf3", "-s", "-B", "10.9.0.2")
}

// answerDNS answers every query with its own question and no records.
func answerDNS(c net.PacketConn) {
	buf := make([]byte, 1500)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		if n > 12 {
			buf[2], buf[3] = buf[2]|0x80, 0 // an answer, no error
			buf[11] = 0                     // without the additional section
			if end := bytes.IndexByte(buf[12:n], 0); end >= 0 {
				n = 12 + end + 5
			}
			_, _ = c.WriteTo(buf[:n], from)
		}
	}
}

// talk makes the client use all that is served.
func (o *realOffice) talk(t *testing.T) {
	t.Helper()
	for _, args := range [][]string{
		{"curl", "-sf", "-o", "/dev/null", "--max-time", "5", "http://10.9.0.2/"},
		{"dig", "+tries=2", "+time=2", "+noedns", "@10.9.0.2", "portolan.example"},
		{"iperf3", "-c", "10.9.0.2", "-n", "1M", "-b", "20M", "--connect-timeout", "3000"},
	} {
		var out bytes.Buffer
		deadline := time.Now().Add(10 * time.Second)
		for {
			out.Reset()
			cmd := exec.Command(args[0], args[1:]...)
			cmd.Stdout, cmd.Stderr = &out, &out
			err := o.client.Start(cmd)
			if err == nil {
				err = cmd.Wait()
			}
			if err == nil {
				break
			}
			if time.Now().After(deadline) { // iperf3's server may not be up yet
				t.Fatalf("%v: %v\n%s", args, err, out.String())
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
}

func startSoftflowd(t *testing.T, o *realOffice) func() {
	dir := t.TempDir()
	control := filepath.Join(dir, "ctl")
	cmd := spawn(t, o.server, "softflowd", "-d", "-i", "lan2", "-v", "5", "-n", "192.0.2.2:2055", "-p", filepath.Join(dir, "pid"), "-c", control)
	waitForCapture(t, cmd)
	waitFor(t, "softflowd's control socket", func() bool { _, err := os.Stat(control); return err == nil })
	return func() {
		if out, err := exec.Command("softflowctl", "-c", control, "expire-all").CombinedOutput(); err != nil {
			t.Fatalf("softflowctl: %v\n%s", err, out)
		}
	}
}

func startPmacctd(t *testing.T, o *realOffice) func() {
	conf := tempFile(t, `daemonize: false
pcap_interface: lan2
aggregate: src_host, dst_host, src_port, dst_port, proto, tos
plugins: nfprobe
nfprobe_receiver: 192.0.2.2:2055
nfprobe_version: 5
nfprobe_timeouts: expint=1:tcp=2:tcp.fin=2:tcp.rst=2:udp=2:general=2
`)
	cmd := spawn(t, o.server, "pmacctd", "-f", conf)
	waitForCapture(t, cmd)
	return func() {} // it exports by itself two seconds after a flow's last packet
}

// waitForCapture waits until an exporter captures, which none of them tells. Its
// packet socket does: libpcap opens it for no protocol and binds it to all of
// them (3) on the device last.
func waitForCapture(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	waitFor(t, cmd.Path+" captures", func() bool {
		packets, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/packet", cmd.Process.Pid))
		if err != nil {
			return false
		}
		for line := range strings.Lines(string(packets)) {
			// sk RefCnt Type Proto Iface R Rmem User Inode
			if f := strings.Fields(line); len(f) > 5 && f[3] == "0003" && f[4] != "0" && f[5] == "1" {
				return true
			}
		}
		return false
	})
}

// spawn starts a program in a namespace and ends it with the test.
func spawn(t *testing.T, ns *netns.NS, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(name, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := ns.Start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		timer := time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		timer.Stop()
		if t.Failed() {
			t.Logf("%s: %s", name, out.String())
		}
	})
	return cmd
}

// running is a `portolan run` inside this process.
type running struct {
	data string
	url  string
	out  *lockedBuffer
	stop func() int
}

// startRun starts the daemon with a store of its own and waits until it serves.
func startRun(t *testing.T, args ...string) *running {
	t.Helper()
	p := &running{data: t.TempDir(), out: new(lockedBuffer)}
	ctx, cancel := context.WithCancel(context.Background())
	code := make(chan int, 1)
	go func() {
		code <- execute(ctx, append([]string{"run", "--data", p.data, "--http", "127.0.0.1:0"}, args...), p.out, p.out)
	}()
	p.stop = sync.OnceValue(func() int { cancel(); return <-code })
	t.Cleanup(func() {
		if c := p.stop(); c != 0 {
			t.Errorf("run ended with %d:\n%s", c, p.out)
		}
	})
	url := regexp.MustCompile(`http://\S+/`)
	waitFor(t, "the daemon's banner", func() bool {
		select {
		case c := <-code:
			code <- c
			t.Fatalf("run ended with %d:\n%s", c, p.out)
		default:
		}
		p.url = url.FindString(p.out.String())
		return p.url != ""
	})
	return p
}

// mustRun runs another verb and returns what it printed.
func (p *running) mustRun(t *testing.T, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	if code := execute(t.Context(), args, &out, &errs); code != 0 {
		t.Fatalf("portolan %v: exit code %d\n%s%s", args, code, &out, &errs)
	}
	return out.String()
}

// get reads JSON from the API.
func (p *running) get(t *testing.T, path string, v any) {
	t.Helper()
	if err := json.Unmarshal(p.read(t, path), v); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

func (p *running) read(t *testing.T, path string) []byte {
	t.Helper()
	res, err := http.Get(strings.TrimSuffix(p.url, "/") + path)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v\n%s", path, res.Status, err, body)
	}
	return body
}

// metric reads one sample of /metrics, 0 where it is absent.
func (p *running) metric(t *testing.T, sample string) float64 {
	t.Helper()
	for line := range strings.Lines(string(p.read(t, "/metrics"))) {
		if rest, ok := strings.CutPrefix(line, sample+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			return v
		}
	}
	return 0
}

// lockedBuffer collects what a daemon prints while a test reads it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// waitFor polls until a condition holds, for ten seconds at most.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func newNS(t *testing.T) *netns.NS {
	t.Helper()
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns
}

// tempFile makes a file of its own for the test.
func tempFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func portNames(ports []profiler.Port) (names []string) {
	for _, p := range ports {
		names = append(names, portName(p))
	}
	return names
}

func portName(p profiler.Port) string { return fmt.Sprintf("%s/%d", p.Proto, p.Port) }

func containsAll(have, want []string) bool {
	return !slices.ContainsFunc(want, func(w string) bool { return !slices.Contains(have, w) })
}
