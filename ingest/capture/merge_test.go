// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/pcapgo"
)

// timed is a pcap file with a datagram named after the file and its number, at
// each of the given seconds.
func timed(t *testing.T, name string, seconds ...int) *Reader {
	t.Helper()
	var out bytes.Buffer
	w := pcapgo.NewWriter(&out)
	if err := w.WriteFileHeader(65535, 1); err != nil {
		t.Fatal(err)
	}
	for i, s := range seconds {
		f := ethernet(udpIn(t, router4, sensor4, fmt.Appendf(nil, "%s%d", name, i+1)))
		if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: at(s), CaptureLength: len(f), Length: len(f)}, f); err != nil {
			t.Fatal(err)
		}
	}
	return open(t, file(t, name, out.Bytes()))
}

func order(ds []Datagram) (names string) {
	for _, d := range ds {
		names += " " + string(d.Payload)
	}
	return strings.TrimSpace(names)
}

func TestMergeByTime(t *testing.T) {
	a, b, c := timed(t, "a", 0, 2, 2, 9), timed(t, "b", 1, 2, 3), timed(t, "c")
	got, err := all(t, Merge(nil, a, b, c).Next)
	if want := "a1 b1 a2 a3 b2 b3 a4"; err != io.EOF || order(got) != want {
		t.Errorf("%s, %v; want %s", order(got), err, want)
	}
	for _, d := range got {
		name := string(d.Payload)
		if filepath.Base(d.File) != name[:1] || fmt.Sprint(d.Index) != name[1:] {
			t.Errorf("%s came from %s, index %d", name, d.File, d.Index)
		}
	}

	// A file whose times go back keeps its order.
	got, _ = all(t, Merge(nil, timed(t, "a", 5, 1, 6), timed(t, "b", 4, 7)).Next)
	if want := "b1 a1 a2 a3 b2"; order(got) != want {
		t.Errorf("%s, want %s", order(got), want)
	}

	if got, err := all(t, Merge(nil).Next); len(got) != 0 || err != io.EOF {
		t.Errorf("no files: %d datagrams, %v", len(got), err)
	}
}

func TestMergeTakesTheTimeOfRawFilesFromTheirHeader(t *testing.T) {
	// The payloads begin with "@" and the second, or tell no time.
	headerTime := func(p []byte) (time.Time, bool) {
		if len(p) != 2 || p[0] != '@' {
			return time.Time{}, false
		}
		return at(int(p[1] - '0')).In(time.FixedZone("elsewhere", 3600)), true
	}
	raw := func(content string) *Reader { return open(t, file(t, "raw", []byte(content))) }
	files := func() []*Reader { return []*Reader{timed(t, "a", 1, 4), raw("@2"), raw("none"), raw("@4")} }

	got, err := all(t, Merge(headerTime, files()...).Next)
	if want := "none a1 @2 a2 @4"; err != io.EOF || order(got) != want {
		t.Errorf("%s, %v; want %s", order(got), err, want)
	}
	if d := got[2]; !d.Time.Equal(at(2)) || d.Time.Location() != time.UTC || !d.Raw {
		t.Errorf("the raw datagram has the time %v", d.Time)
	}
	got, _ = all(t, Merge(nil, files()...).Next)
	if want := "@2 none @4 a1 a2"; order(got) != want {
		t.Errorf("%s, want %s", order(got), want)
	}

	// A message that tells no time takes that of the one before in its file.
	stream := slices.Concat(ipfixMessage(16, 1), ipfixMessage(17, 2), ipfixMessage(18, 3))
	byFill := func(p []byte) (time.Time, bool) {
		if p[15] == 2 {
			return at(3), true
		}
		return time.Time{}, false
	}
	got, _ = all(t, Merge(byFill, timed(t, "a", 1, 5), open(t, file(t, "ipfix", stream))).Next)
	var sizes []int
	for _, d := range got {
		sizes = append(sizes, len(d.Payload))
	}
	if want := []int{16, 2, 17, 18, 2}; !slices.Equal(sizes, want) {
		t.Errorf("lengths %v, want %v", sizes, want)
	}
}

func TestMergeGoesOnAfterABrokenFile(t *testing.T) {
	frame := ethernet(udpIn(t, router4, sensor4, []byte("cut1")))
	cut := file(t, "cut", pcapOf(t, 1, frame, frame)[:24+16+len(frame)+20])
	m := Merge(nil, timed(t, "a", 0, 5), open(t, cut), timed(t, "b", 1))
	var names []string
	var broken error
	for {
		d, err := m.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			if broken != nil {
				t.Fatalf("told twice: %v", err)
			}
			broken = err
			continue
		}
		names = append(names, string(d.Payload))
	}
	if want := []string{"a1", "cut1", "b1", "a2"}; !slices.Equal(names, want) {
		t.Errorf("%v, want %v", names, want)
	}
	if !errors.Is(broken, ErrTruncated) || !strings.Contains(broken.Error(), cut) {
		t.Errorf("the broken file: %v", broken)
	}
}

func TestMergeDoesNotReuseABufferTooEarly(t *testing.T) {
	a, b := timed(t, "a", 0, 1, 2), timed(t, "b", 0, 1, 2)
	m := Merge(nil, a, b)
	for range 6 {
		d, err := m.Next()
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("%s%d", filepath.Base(d.File), d.Index); string(d.Payload) != want {
			t.Errorf("payload %q, want %q", d.Payload, want)
		}
	}
}
