// SPDX-License-Identifier: Apache-2.0

//go:build linux

package netns

import (
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
)

func TestVethCarriesTrafficBetweenNamespaces(t *testing.T) {
	if err := Supported(); err != nil {
		t.Skipf("needs root: %v", err)
	}
	a, err := New()
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := New()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	err = Veth(a, "va", b, "vb", VethOptions{
		AddrA:  []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")},
		AddrB:  []netip.Prefix{netip.MustParsePrefix("192.0.2.2/24")},
		Queues: 2,
	})
	if err != nil {
		t.Fatal(err)
	}

	var server net.PacketConn
	if err := b.Do(func() (err error) {
		server, err = net.ListenPacket("udp", "192.0.2.2:2055")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if err := a.Do(func() error {
		c, err := net.Dial("udp", "192.0.2.2:2055")
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("hello"))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 16)
	n, from, err := server.ReadFrom(buf)
	if err != nil || string(buf[:n]) != "hello" {
		t.Fatalf("got %q, %v", buf[:n], err)
	}
	if !strings.HasPrefix(from.String(), "192.0.2.1:") {
		t.Errorf("came from %s", from)
	}

	// A child process started in the namespace sees its devices and no others.
	var out strings.Builder
	cmd := exec.Command("cat", "/proc/self/net/dev")
	cmd.Stdout = &out
	if err := b.Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "vb:") || strings.Contains(out.String(), "va:") {
		t.Errorf("devices in the namespace: %s", out.String())
	}
}

func TestNamedSaysWhatIsMissing(t *testing.T) {
	_, err := Named("portolan-no-such-namespace")
	if err == nil || !strings.Contains(err.Error(), "portolan-no-such-namespace") {
		t.Fatalf("got %v", err)
	}
}
