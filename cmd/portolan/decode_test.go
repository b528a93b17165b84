// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portolan/portolan/ingest/flow"
)

func TestDecode(t *testing.T) {
	dir := t.TempDir()
	threeFiles(t, dir)
	var files []string
	for _, name := range []string{"a.pcap", "b.pcap", "c.dat"} {
		files = append(files, filepath.Join(dir, name))
	}
	got := offlineVerb(t, append([]string{"decode"}, files...)...)
	golden(t, "decode.jsonl", got.stdout)
	want := answered{0, got.stdout, "DIR/a.pcap datagram 4: short_header\n" +
		"DIR/b.pcap datagram 1: count_past_end\n" +
		"3 files: 5 datagrams, 8 records, 0 options records, 0 counter samples, 2 problems; 1 other UDP datagram skipped\n"}
	got.stderr = strings.ReplaceAll(got.stderr, dir, "DIR")
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(answered{})); diff != "" {
		t.Error(diff)
	}

	asTable := offlineVerb(t, append([]string{"decode", "--output", "table"}, files...)...)
	golden(t, "decode.txt", asTable.stdout)
}

// Files are decoded in the order given, whatever their times.
func TestDecodeKeepsTheOrderOfFiles(t *testing.T) {
	dir := t.TempDir()
	threeFiles(t, dir)
	got := offlineVerb(t, "decode", filepath.Join(dir, "c.dat"), filepath.Join(dir, "a.pcap"))
	lines := strings.Split(got.stdout, "\n")
	if !strings.Contains(lines[0], `"src":"10.1.0.21"`) || !strings.Contains(lines[1], `"src":"10.1.0.20"`) {
		t.Errorf("the first lines are\n%s\n%s", lines[0], lines[1])
	}
}

// Files share templates. A set that comes before its template is printed once
// that has come, with the times of its own message's header, and what never gets
// one is in the summary. Options records and counter samples are counted alone.
func TestDecodeSharesTemplates(t *testing.T) {
	t.Chdir(t.TempDir())
	h := flow.V9Header{ExportTime: seven.UnixNano(), Uptime: 3_600_000, Domain: 5}
	data := func(at time.Time, src string) []byte {
		h.ExportTime = at.UnixNano()
		return flow.AppendV9(nil, h, []flow.Record{flowOf(at, protoTCP, src, "10.1.0.5:443")})
	}
	hour := seven.Add(time.Hour)
	writeFile(t, "early.dat", data(seven, "10.1.0.1:50000"))
	writeFile(t, "templates.dat", flow.AppendV9Templates(nil, h))
	writeFile(t, "late.dat", data(hour, "10.1.0.2:50000"))
	h.Domain = 6
	writeFile(t, "other.dat", data(hour, "10.1.0.3:50000"))
	// A counter sample of nothing: sequence, source, no records.
	writeFile(t, "counters.dat", []byte{0, 0, 0, 5, 0, 0, 0, 1, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0, 1,
		0, 0, 0, 2, 0, 0, 0, 12, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 0})

	got := offlineVerb(t, "decode", "early.dat", "templates.dat", "late.dat", "other.dat", "counters.dat")
	want := "5 files: 5 datagrams, 2 records, 0 options records, 1 counter sample, 0 problems; 1 data set waits for a template\n"
	if got.code != 0 || got.stderr != want {
		t.Errorf("exit %d, %s", got.code, got.stderr)
	}
	lines := strings.Split(strings.TrimSpace(got.stdout), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines:\n%s", len(lines), got.stdout)
	}
	for i, parts := range [][]string{
		{`"domain":5,"version":"v9","src":"10.1.0.1"`, `"end":"2026-11-23T06:59:59Z"`},
		{`"domain":5,"version":"v9","src":"10.1.0.2"`, `"end":"2026-11-23T07:59:59Z"`},
	} {
		for _, part := range parts {
			if !strings.Contains(lines[i], part) {
				t.Errorf("no %s in %s", part, lines[i])
			}
		}
	}
}

func TestDecodeUnreadableFiles(t *testing.T) {
	t.Chdir(t.TempDir())
	threeFiles(t, ".")
	whole, err := os.ReadFile("a.pcap")
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, "cut.pcap", whole[:len(whole)-3])
	writeFile(t, "header.pcap", whole[:20])
	writeFile(t, "empty.pcap", nil)
	writeFile(t, "text.txt", []byte("ten to one it is no flow export\n"))
	writeFile(t, "long.txt", bytes.Repeat([]byte("text "), 20000))
	if err := os.Mkdir("directory", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		file    string
		code    int
		records int // besides the one of c.dat
		stderr  string
	}{
		{"missing.pcap", 3, 0, "missing.pcap: no such file"},
		{"directory", 3, 0, "directory: is a directory"},
		{"long.txt", 3, 0, "long.txt: not a capture"},
		{"header.pcap", 3, 0, "header.pcap: the file ends in the middle"},
		{"cut.pcap", 3, 6, "cut.pcap: packet 4: the file ends in the middle"},
		{"text.txt", 0, 0, "text.txt datagram 1: unknown_version\n"},
		{"empty.pcap", 0, 0, "empty.pcap datagram 1: empty\n"},
	} {
		t.Run(c.file, func(t *testing.T) {
			got := offlineVerb(t, "decode", c.file, "c.dat")
			if got.code != c.code || strings.Count(got.stdout, "\n") != 1+c.records || !strings.Contains(got.stderr, c.stderr) {
				t.Errorf("exit %d, stderr %q, stdout\n%s", got.code, got.stderr, got.stdout)
			}
		})
	}
	got := offlineVerb(t, "decode", "missing.pcap", "directory", "c.dat")
	if got.code != 3 || !strings.Contains(got.stderr, "missing.pcap") || !strings.Contains(got.stderr, "directory") {
		t.Errorf("not every unreadable file is named: exit %d, %s", got.code, got.stderr)
	}
}

func TestDecodeUsage(t *testing.T) {
	for _, args := range [][]string{{"decode"}, {"decode", "--output", "xml", "x"}, {"decode", "--internal", "10.0.0.0/8", "x"}} {
		if got := offlineVerb(t, args...); got.code != 2 || got.stdout != "" || got.stderr == "" {
			t.Errorf("%q: exit %d, %s", args, got.code, got.stderr)
		}
	}
}

// closedPipe takes so many bytes.
type closedPipe struct{ room int }

func (p *closedPipe) Write(b []byte) (int, error) {
	n := min(len(b), p.room)
	p.room -= n
	if n < len(b) {
		return n, syscall.EPIPE
	}
	return n, nil
}

func TestDecodeIntoAClosedPipe(t *testing.T) {
	path := manyRecords(t, 300)
	for _, format := range []string{"json", "table"} {
		for _, room := range []int{0, outputBuffer} {
			var stderr bytes.Buffer
			code := execute(t.Context(), []string{"decode", "--output", format, path}, &closedPipe{room}, &stderr)
			if code != 0 || stderr.String() != "" {
				t.Errorf("%s after %d bytes: exit %d, stderr %q", format, room, code, stderr.String())
			}
		}
	}
}

func TestDecodeToAFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skipf("needs /dev/full: %v", err)
	}
	defer full.Close()
	var stderr bytes.Buffer
	code := execute(t.Context(), []string{"decode", manyRecords(t, 1)}, full, &stderr)
	if code != 1 || !strings.Contains(stderr.String(), "no space left") {
		t.Errorf("exit %d, stderr %q", code, stderr.String())
	}
}

// contractKeys is the order of a record's fields.
var contractKeys = []string{"exporter", "domain", "version", "src", "dst", "src_port", "dst_port", "proto", "tcp_flags",
	"packets", "bytes", "start", "end", "in_if", "out_if", "src_mac", "dst_mac", "vlan", "sampling", "direction", "initiator",
	"reverse_packets", "reverse_bytes", "reverse_tcp_flags", "firewall_event"}

func TestDecodeKeys(t *testing.T) {
	dir := t.TempDir()
	threeFiles(t, dir)
	got := offlineVerb(t, "decode", filepath.Join(dir, "a.pcap"), filepath.Join(dir, "b.pcap"), filepath.Join(dir, "c.dat"))
	for line := range strings.Lines(got.stdout) {
		d := json.NewDecoder(strings.NewReader(line))
		last, depth := -1, 0
		for key := true; ; {
			token, err := d.Token()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%v in %s", err, line)
			}
			if delim, ok := token.(json.Delim); ok {
				if delim == '{' {
					depth++
				}
				continue
			}
			if token == nil {
				t.Errorf("null in %s", line)
			}
			if key {
				i := slices.Index(contractKeys, token.(string))
				if i <= last {
					t.Errorf("key %v is unknown or out of order in %s", token, line)
				}
				last = i
			}
			key = !key
		}
		if depth != 1 {
			t.Errorf("%d objects in %s", depth, line)
		}
	}
}

// manyRecords writes a capture of n datagrams with 30 records each.
func manyRecords(t testing.TB, n int) string {
	path := filepath.Join(t.TempDir(), "many.pcap")
	records := make([]flow.Record, flow.MaxV5Records)
	for i := range records {
		records[i] = flowOf(seven, protoTCP, "10.1.0.20:50000", "10.1.0.5:9100")
		records[i].SrcPort += uint16(i)
	}
	datagrams := make([]sent, n)
	for i := range datagrams {
		datagrams[i] = sent{seven, router4, sensor4, message(seven, flow.V5Header{Sequence: uint32(30 * i)}, records...)}
	}
	writePcap(t, path, datagrams...)
	return path
}

func BenchmarkDecode(b *testing.B) {
	const datagrams = 2000
	path := manyRecords(b, datagrams)
	for b.Loop() {
		if code := execute(b.Context(), []string{"decode", path}, io.Discard, io.Discard); code != 0 {
			b.Fatalf("exit %d", code)
		}
	}
	b.ReportMetric(float64(b.N)*datagrams*flow.MaxV5Records/b.Elapsed().Seconds(), "records/s")
}
