// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/portolan/portolan/bench"
	"github.com/portolan/portolan/netns"
)

func TestUsage(t *testing.T) {
	for _, args := range []string{
		"", "unknown", "send", "send --to nowhere", "send --to 127.0.0.1:1 --count 0", "send --to 127.0.0.1:1 extra",
		"send --to 127.0.0.1:1 --records 31", "send --to 127.0.0.1:1 --endpoints 0", "send --wrong",
		"live --from 192.0.2.1:1 --to 192.0.2.2:1 --interface x", "live --from 192.0.2.1:1 --dst-mac 02:00:00:00:00:01",
	} {
		if code := run(t.Context(), strings.Fields(args)); code != exitUsage {
			t.Errorf("%q: exit code %d, want %d", args, code, exitUsage)
		}
	}
}

func TestSendOverLoopback(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	args := "send --count 5 --records 3 --seed 9 --to " + conn.LocalAddr().String()
	if out := output(t, args); !strings.HasPrefix(out, "sent 5 datagrams, 15 records, ") {
		t.Errorf("said %q", out)
	}
	w := bench.Mix()
	w.Records, w.Seed = 3, 9
	receive(t, conn, w, 5)
}

func TestLiveAcrossARig(t *testing.T) {
	if err := netns.Supported(); err != nil {
		t.Skipf("needs root: %v", err)
	}
	rig, err := bench.NewRig(bench.RigConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer rig.Close()
	var conn net.PacketConn
	err = rig.Receiver.NS.Do(func() (err error) {
		conn, err = net.ListenPacket("udp", "192.0.2.2:2055")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	args := "live --count 20 --from 192.0.2.1:9 --to 192.0.2.2:2055 --dst-mac " + rig.Receiver.MAC.String() + " --netns " + rig.Sender.NS.Path()
	if out := output(t, args+" --interface "+rig.Sender.Device); !strings.HasPrefix(out, "sent 20 datagrams, 600 records, ") {
		t.Errorf("said %q", out)
	}
	receive(t, conn, bench.Mix(), 20)
	if code := run(t.Context(), strings.Fields(args+" --interface lo")); code != exitRuntime {
		t.Errorf("the loopback device: exit code %d, want %d", code, exitRuntime)
	}
}

func output(t *testing.T, args string) string {
	t.Helper()
	cmd := command()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetArgs(strings.Fields(args))
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// receive reads the first n datagrams of a workload.
func receive(t *testing.T, conn net.PacketConn, w bench.Workload, n uint64) {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	b := make([]byte, 2048)
	for i := range n {
		size, _, err := conn.ReadFrom(b)
		if err != nil {
			t.Fatal(err)
		}
		want, err := w.Datagram(nil, i)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b[:size], want) {
			t.Fatalf("datagram %d is % x, want % x", i, b[:size], want)
		}
	}
}
