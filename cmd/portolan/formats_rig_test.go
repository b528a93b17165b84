// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/portolan/portolan/netns"
)

// wire is a client and a server, and the namespace where an exporter sees what
// they say. The exporter sends to a collector on that namespace's loopback.
type wire struct {
	client, server *netns.NS
	exporter       *netns.NS // the server's, or a switch between the two
	recorded       *recorder
}

// conversation is one exchange between a client's address of its own and the
// server.
type conversation struct {
	client, server netip.AddrPort
	proto          uint8
	asked          int // bytes of payload
}

// reply is what the server answers, in bytes.
func (c *conversation) reply() int { return 3 * c.asked }

var (
	server4 = netip.MustParseAddr("10.9.0.2")
	server6 = netip.MustParseAddr("fd00:9::2")
)

const pingID = 0x706f // the identifier of the echo requests

// conversations are three of TCP, three of UDP and one ping for each version of IP.
func conversations() (list []conversation) {
	for _, v := range []struct {
		client string
		server netip.Addr
		ping   uint8
	}{{"10.9.0.%d", server4, 1}, {"fd00:9::%x", server6, 58}} {
		client := func(n int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf(v.client, n)) }
		for i := range 3 {
			list = append(list,
				conversation{netip.AddrPortFrom(client(0x11+i), uint16(40000+i)), netip.AddrPortFrom(v.server, 80), protoTCP, 50 * (i + 1)},
				conversation{netip.AddrPortFrom(client(0x21+i), uint16(41000+i)), netip.AddrPortFrom(v.server, 53), protoUDP, 20 * (i + 1)})
		}
		list = append(list, conversation{netip.AddrPortFrom(client(0x31), 0), netip.AddrPortFrom(v.server, 0), v.ping, 32})
	}
	return list
}

// lanPrefixes are the addresses of one end.
func lanPrefixes(addrs ...netip.Addr) (list []netip.Prefix) {
	for _, a := range addrs {
		bits := 24
		if a.Is6() {
			bits = 64
		}
		list = append(list, netip.PrefixFrom(a, bits))
	}
	return list
}

// newWire joins client and server directly; the exporter is on the server.
func newWire(t *testing.T, port uint16) *wire {
	t.Helper()
	w := &wire{client: newNS(t), server: newNS(t)}
	w.exporter = w.server
	err := netns.Veth(w.client, "lan1", w.server, "lan2", netns.VethOptions{AddrA: clientPrefixes(), AddrB: lanPrefixes(server4, server6)})
	if err != nil {
		t.Fatal(err)
	}
	w.begin(t, port)
	return w
}

// newSwitchedWire leads from both to a namespace with the ports of a switch.
func newSwitchedWire(t *testing.T, port uint16) *wire {
	t.Helper()
	w := &wire{client: newNS(t), server: newNS(t), exporter: newNS(t)}
	err := errors.Join(
		netns.Veth(w.client, "lan1", w.exporter, "port1", netns.VethOptions{AddrA: clientPrefixes()}),
		netns.Veth(w.exporter, "port2", w.server, "lan2", netns.VethOptions{AddrB: lanPrefixes(server4, server6)}),
		// A switch in user space takes frames as they are: the checksum has to be in them.
		w.client.Do(func() error { return checksumInSoftware("lan1") }),
		w.server.Do(func() error { return checksumInSoftware("lan2") }),
		// The ports are the switch's alone.
		w.exporter.Do(func() error {
			return errors.Join(os.WriteFile("/proc/sys/net/ipv6/conf/port1/disable_ipv6", []byte("1"), 0),
				os.WriteFile("/proc/sys/net/ipv6/conf/port2/disable_ipv6", []byte("1"), 0))
		}))
	if err != nil {
		t.Fatal(err)
	}
	w.begin(t, port)
	return w
}

func clientPrefixes() []netip.Prefix {
	var addrs []netip.Addr
	for _, c := range conversations() {
		addrs = append(addrs, c.client.Addr())
	}
	return lanPrefixes(addrs...)
}

// begin starts the server and the recorder of what is exported.
func (w *wire) begin(t *testing.T, port uint16) {
	t.Helper()
	for _, ns := range []*netns.NS{w.client, w.server} {
		waitFor(t, "IPv6 addresses can be used", func() bool { return settled(t, ns) })
	}
	w.recorded = record(t, w.exporter, port)
	for _, addr := range []netip.Addr{server4, server6} {
		var web net.Listener
		var dns net.PacketConn
		err := w.server.Do(func() (err error) {
			if web, err = net.Listen("tcp", netip.AddrPortFrom(addr, 80).String()); err != nil {
				return err
			}
			dns, err = net.ListenPacket("udp", netip.AddrPortFrom(addr, 53).String())
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() { answerTCP(web) })
		wg.Go(func() { answerUDP(dns) })
		t.Cleanup(func() { web.Close(); dns.Close(); wg.Wait() })
	}
}

// settled tells that no IPv6 address of the namespace is tentative, which they
// are for a moment even without duplicate address detection.
func settled(t *testing.T, ns *netns.NS) bool {
	t.Helper()
	var table []byte
	err := ns.Do(func() (err error) {
		table, err = os.ReadFile("/proc/thread-self/net/if_inet6")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(table)) {
		// address ifindex prefix scope flags name
		if f := strings.Fields(line); len(f) == 6 {
			if flags, err := strconv.ParseUint(f[4], 16, 32); err != nil || flags&unix.IFA_F_TENTATIVE != 0 {
				return false
			}
		}
	}
	return true
}

// answerTCP answers three times what it was asked, once it was asked all.
func answerTCP(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		if question, err := io.ReadAll(c); err == nil {
			_, _ = c.Write(bytes.Repeat(question, 3))
		}
		c.Close()
	}
}

func answerUDP(c net.PacketConn) {
	buf := make([]byte, 1500)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		_, _ = c.WriteTo(bytes.Repeat(buf[:n], 3), from)
	}
}

// talk has all conversations, one after the other.
func (w *wire) talk(t *testing.T) {
	t.Helper()
	for _, c := range conversations() {
		if err := w.client.Do(func() error { return c.hold() }); err != nil {
			t.Fatalf("%v to %v: %v", c.client, c.server, err)
		}
	}
}

func (c *conversation) hold() error {
	switch c.proto {
	case protoTCP:
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(c.client), Timeout: 5 * time.Second}
		return c.exchange(d.Dial("tcp", c.server.String()))
	case protoUDP:
		d := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(c.client)}
		return c.exchange(d.Dial("udp", c.server.String()))
	}
	return c.ping()
}

// exchange asks and reads the whole answer.
func (c *conversation) exchange(conn net.Conn, err error) error {
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write(make([]byte, c.asked)); err != nil {
		return err
	}
	if t, ok := conn.(*net.TCPConn); ok {
		if err := t.CloseWrite(); err != nil {
			return err
		}
	}
	_, err = io.ReadFull(conn, make([]byte, c.reply()))
	return err
}

// ping sends one echo request and waits for its reply.
func (c *conversation) ping() error {
	network, request, reply := "ip4:icmp", byte(8), byte(0)
	if c.proto == 58 {
		network, request, reply = "ip6:ipv6-icmp", 128, 129 // the kernel makes this one's checksum
	}
	conn, err := net.ListenPacket(network, c.client.Addr().String())
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	b := append([]byte{request, 0, 0, 0, pingID >> 8, pingID & 0xff, 0, 1}, make([]byte, c.asked)...)
	if c.proto == 1 {
		binary.BigEndian.PutUint16(b[2:], internetChecksum(b))
	}
	if _, err := conn.WriteTo(b, &net.IPAddr{IP: c.server.Addr().AsSlice()}); err != nil {
		return err
	}
	for {
		n, _, err := conn.ReadFrom(b)
		if err != nil {
			return err
		}
		if n > 8 && b[0] == reply {
			return nil
		}
	}
}

// internetChecksum is RFC 1071's, of an even number of bytes.
func internetChecksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	sum = sum>>16 + sum&0xffff
	return ^uint16(sum>>16 + sum)
}

// recorder is a collector that only keeps what it receives.
type recorder struct {
	at netip.AddrPort
	mu sync.Mutex
	in []sent
}

// record receives on the namespace's loopback until the test ends. An exporter
// whose datagrams nobody receives loses every second one: the ICMP error that
// answers the first fails the sending of the next.
func record(t *testing.T, ns *netns.NS, port uint16) *recorder {
	t.Helper()
	r := &recorder{at: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)}
	var conn *net.UDPConn
	err := ns.Do(func() (err error) {
		conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(r.at))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 1<<16)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			r.mu.Lock()
			r.in = append(r.in, sent{time.Now(), from, r.at, bytes.Clone(buf[:n])})
			r.mu.Unlock()
		}
	})
	t.Cleanup(func() { conn.Close(); wg.Wait() })
	return r
}

// datagrams returns what has arrived so far.
func (r *recorder) datagrams() []sent {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.in[:len(r.in):len(r.in)]
}

// contains tells whether any of the datagrams has a text in it.
func contains(datagrams []sent, text string) bool {
	return slices.ContainsFunc(datagrams, func(d sent) bool { return bytes.Contains(d.payload, []byte(text)) })
}

// fillRing sends frames that no exporter counts, of a protocol for experiments.
// softflowd asks libpcap for no timeout, and so reads packets only once a block
// of the ring is full.
func (w *wire) fillRing(t *testing.T) {
	t.Helper()
	err := w.client.Do(func() error {
		const localExperimental = 0x88b5
		device, err := net.InterfaceByName("lan1")
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		to := &unix.SockaddrLinklayer{Protocol: localExperimental>>8 | localExperimental&0xff<<8, Ifindex: device.Index,
			Halen: 6, Addr: [8]byte{2, 0, 0, 0, 0, 2}}
		frame := make([]byte, 1400)
		for range 1500 {
			if err := unix.Sendto(fd, frame, 0, to); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// checksumInSoftware makes the kernel compute the checksums of what leaves by
// the device.
func checksumInSoftware(device string) error {
	const setTxChecksum = 0x17 // ETHTOOL_STXCSUM of linux/ethtool.h
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	value := &struct{ command, on uint32 }{setTxChecksum, 0}
	request := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}{data: unsafe.Pointer(value)}
	copy(request.name[:], device)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	runtime.KeepAlive(value)
	if errno != 0 {
		return fmt.Errorf("checksums of %s in software: %w", device, errno)
	}
	return nil
}

// openVSwitch is an Open vSwitch of its own, with a bridge in user space between
// the two ports of the wire. It lives in one directory and one namespace.
type openVSwitch struct {
	dir string
	env []string
}

func startOpenVSwitch(t *testing.T, w *wire) *openVSwitch {
	t.Helper()
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skipf("needs /dev/net/tun, for the bridge's own port: %v", err)
	}
	o := &openVSwitch{dir: t.TempDir()}
	for _, v := range []string{"RUNDIR", "LOGDIR", "DBDIR", "SYSCONFDIR"} {
		o.env = append(o.env, "OVS_"+v+"="+o.dir)
	}
	database, socket := filepath.Join(o.dir, "conf.db"), filepath.Join(o.dir, "db.sock")
	o.run(t, "ovsdb-tool", "create", database, "/usr/share/openvswitch/vswitch.ovsschema")
	o.spawn(t, w.exporter, "ovsdb-server", database, "--remote=punix:"+socket, "--unixctl="+filepath.Join(o.dir, "dbctl"))
	waitFor(t, "the database's socket", func() bool { _, err := os.Stat(socket); return err == nil })
	o.vsctl(t, "--no-wait", "init")
	o.spawn(t, w.exporter, "ovs-vswitchd", "unix:"+socket, "--unixctl="+filepath.Join(o.dir, "ctl"))
	// A flow that idles is told at once, not after ten seconds.
	o.vsctl(t, "set", "Open_vSwitch", ".", "other_config:max-idle=500")
	o.vsctl(t, "add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev", "other-config:hwaddr=02:00:00:00:00:ff",
		"--", "add-port", "br0", "port1", "--", "add-port", "br0", "port2")
	return o
}

func (o *openVSwitch) spawn(t *testing.T, ns *netns.NS, args ...string) {
	t.Helper()
	spawn(t, ns, "env", append(append([]string{}, o.env...), args...)...) // env becomes the program
}

func (o *openVSwitch) vsctl(t *testing.T, args ...string) {
	t.Helper()
	o.run(t, append([]string{"ovs-vsctl", "--timeout=10", "--db=unix:" + filepath.Join(o.dir, "db.sock")}, args...)...)
}

func (o *openVSwitch) run(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), o.env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
