// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// TestSFlowCorpus decodes the sFlow captures of real devices in the folder that
// PORTOLAN_CORPUS names. It finds as many samples as tshark did, which the list
// there tells, and the same in them as the slow decoder.
func TestSFlowCorpus(t *testing.T) {
	root := os.Getenv("PORTOLAN_CORPUS")
	if root == "" {
		t.Skip("needs captures: PORTOLAN_CORPUS names no folder")
	}
	root = filepath.Join(root, "captures")
	list, err := os.ReadFile(filepath.Join(root, "expected.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	d := NewDecoder(NewStreams(Limits{}))
	lines := strings.Split(strings.TrimSpace(string(list)), "\n")
	if !strings.HasSuffix(lines[0], "\tsflow_samples") {
		t.Fatalf("the list's columns are %q", lines[0])
	}
	files := 0
	for _, line := range lines[1:] {
		columns := strings.Split(line, "\t")
		want, err := strconv.Atoi(columns[len(columns)-1])
		if err != nil {
			t.Fatal(err)
		}
		if want == 0 {
			continue
		}
		files++
		samples := 0
		if filepath.Base(columns[0]) == "sflow_drop_1036.bin" {
			samples = 1 // of format 5, the notice of a packet that was dropped: no flow
		}
		for _, payload := range corpusPayloads(t, filepath.Join(root, columns[0]), columns[1]) {
			b, problems, drop := agreeSFlow(t, d, payload)
			// Some have been edited by hand and have bytes behind the last sample.
			if drop != NoDrop || problems&^set(ProblemTrailingBytes) != 0 {
				t.Errorf("%s: drop %q, problems %b", columns[0], drop, problems)
			}
			samples += len(b.Records) + b.CounterSamples
		}
		if samples != want {
			t.Errorf("%s: %d samples, want %d", columns[0], samples, want)
		}
	}
	if files == 0 {
		t.Error("the list has no file with samples")
	}
}

// corpusPayloads are the UDP payloads of a capture: one where it is raw.
func corpusPayloads(t *testing.T, name, kind string) (payloads [][]byte) {
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if kind == "raw" {
		return [][]byte{b}
	}
	r, err := pcapgo.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	for {
		frame, _, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			return payloads
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		p := gopacket.NewPacket(frame, r.LinkType(), gopacket.Lazy)
		if udp, ok := p.Layer(layers.LayerTypeUDP).(*layers.UDP); ok {
			payloads = append(payloads, udp.Payload)
		}
	}
}
