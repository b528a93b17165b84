// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// savedStreams has templates of four streams, one of them established, and what
// Save makes of it.
func savedStreams(t testing.TB) (*Streams, []byte) {
	s := NewStreams(Limits{})
	now := streamsStart.UnixNano()
	for _, id := range []StreamID{exporterID(1, 0, V9), exporterID(1, 5, IPFIX), {Domain: 9, Version: V9}, {Exporter: [16]byte{0x20, 1, 15: 7}, Version: IPFIX}} {
		x := s.of(id, now)
		if id.Domain == 5 {
			establish(x, streamsStart, streamsStart.Add(time.Hour))
		}
		for i := range uint16(3) {
			x.learn(plainTemplate(300+i, 3+int(i)), now)
		}
		options := plainTemplate(400, 2)
		options.options = true
		options.definition = []byte{0, 2, 0, 1, 0, 149, 0, 4, 0, 34, 0, 4} // IPFIX: domain; interval
		if id.Version == V9 {
			options.definition = []byte{0, 4, 0, 4, 0, 1, 0, 4, 0, 34, 0, 4} // system; interval
		}
		x.learn(options, now)
	}
	var b bytes.Buffer
	if err := s.Save(&b); err != nil {
		t.Fatal(err)
	}
	return s, b.Bytes()
}

// line makes a line of a file, with the right sum.
func line(json string) string {
	return fmt.Sprintf("%08x %s\n", crc32.Checksum([]byte(json), castagnoli), json)
}

func TestTemplatesAreKept(t *testing.T) {
	old, file := savedStreams(t)
	s := NewStreams(Limits{})
	n, err := s.Load(bytes.NewReader(file), streamsStart.Add(time.Hour))
	if n != 16 || err != nil {
		t.Fatalf("%d templates, %v; want 16", n, err)
	}
	for x := range old.all {
		y := s.of(x.ID, 1)
		if y.established() != x.established() {
			t.Errorf("%v: established %t", x.ID, y.established())
		}
		for _, want := range x.templates.Load().all {
			got := y.template(want.id)
			if !got.is(want.options, want.definition) || !got.restored || got.used.Load() != streamsStart.Unix() || got.version != x.ID.Version {
				t.Errorf("%v: template %d is %+v", x.ID, want.id, got)
			}
		}
	}
	for _, h := range s.List() {
		if h.Datagrams != 0 || !h.LastSeen.IsZero() || h.Templates != 4 {
			t.Errorf("as if seen: %+v", h)
		}
	}
	// Kept again, it is the same but for the order.
	var again bytes.Buffer
	if err := s.Save(&again); err != nil {
		t.Fatal(err)
	}
	a, b := strings.Split(string(file), "\n"), strings.Split(again.String(), "\n")
	slices.Sort(a)
	slices.Sort(b)
	if !slices.Equal(a, b) {
		t.Errorf("saved %s\nthen %s", file, again.String())
	}
	// What is known already stays.
	if n, err := s.Load(bytes.NewReader(file), streamsStart); n != 0 || err != nil {
		t.Errorf("%d templates were entered twice, %v", n, err)
	}
	// Streams that never come again are forgotten.
	s.Expire(streamsStart.Add(25 * time.Hour))
	if left := s.List(); len(left) != 0 {
		t.Errorf("%d streams are left", len(left))
	}
}

// After a restart the records of an exporter that has not announced its
// templates again are decoded at once, and when it does they are confirmed.
func TestDecodingGoesOnAfterARestart(t *testing.T) {
	at := streamsStart.UnixNano()
	source := exporterID(1, 0, V9).Exporter
	records := []Record{encodedTCP(), encodedUDP6()}
	for _, v := range []struct {
		name                 string
		announcement, export []byte
	}{
		{"v9", AppendV9Templates(nil, V9Header{Sequence: 1}), AppendV9(nil, V9Header{Sequence: 2}, records)},
		{"ipfix", AppendIPFIXTemplates(nil, IPFIXHeader{}), AppendIPFIX(nil, IPFIXHeader{}, records)},
	} {
		decode := func(s *Streams, datagram []byte) (records int, stream *Stream) {
			d := NewDecoder(s)
			if drop := d.Begin(source, at, datagram); drop != NoDrop {
				t.Fatalf("%s: %v", v.name, drop)
			}
			for b := d.Next(); b != nil; b = d.Next() {
				records += len(b.Records)
				stream = b.Stream
			}
			return records, stream
		}
		before := NewStreams(Limits{})
		if n, _ := decode(before, v.export); n != 0 || before.Waiting() == 0 {
			t.Errorf("%s: %d records without a template, %d sets wait", v.name, n, before.Waiting())
		}
		if n, _ := decode(before, v.announcement); n != 2 || before.Waiting() != 0 {
			t.Errorf("%s: %d records that waited, %d sets wait", v.name, n, before.Waiting())
		}
		var file bytes.Buffer
		if err := before.Save(&file); err != nil {
			t.Fatal(err)
		}
		after := NewStreams(Limits{})
		if _, err := after.Load(&file, streamsStart); err != nil {
			t.Fatal(err)
		}
		n, stream := decode(after, v.export)
		if n != 2 || after.Waiting() != 0 {
			t.Errorf("%s: %d records after a restart, %d sets wait", v.name, n, after.Waiting())
		}
		if !stream.template(256).restored {
			t.Errorf("%s: the template was announced", v.name)
		}
		changed := after.Changed()
		decode(after, v.announcement)
		if stream.template(256).restored || after.Changed() != changed {
			t.Errorf("%s: the template was not confirmed, or has changed", v.name)
		}
	}
}

func TestTemplatesAreTooOldToLoad(t *testing.T) {
	_, file := savedStreams(t)
	s := NewStreams(Limits{})
	if n, err := s.Load(bytes.NewReader(file), streamsStart.Add(24*time.Hour+time.Second)); n != 0 || err != nil || len(s.List()) != 0 {
		t.Errorf("%d templates, %d streams, %v", n, len(s.List()), err)
	}
	// A clock that was ahead when they were saved does not keep them for ever.
	before := streamsStart.Add(-time.Hour)
	if n, err := s.Load(bytes.NewReader(file), before); n != 16 || err != nil {
		t.Errorf("%d templates, %v", n, err)
	}
	s.Expire(before.Add(24*time.Hour + time.Second))
	if left := s.List(); len(left) != 0 {
		t.Errorf("%d streams are left", len(left))
	}
}

// A bad line costs itself.
func TestLoadOfDamagedLines(t *testing.T) {
	const good = `{"exporter":"192.0.2.1","domain":1,"version":"v9","id":256,"used":"2026-11-23T07:00:00Z","definition":"AAEACAAE"}`
	replaced := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("no %q", old)
		}
		return line(strings.Replace(good, old, new, 1))
	}
	for _, c := range []struct{ name, line string }{
		{"empty", "\n"},
		{"a byte flipped", strings.Replace(line(good), "AAEACAAE", "AAEACAAF", 1)},
		{"no sum", good + "\n"},
		{"a sum alone", line("")[:8] + "\n"},
		{"no JSON", line("template 256")},
		{"JSON of another kind", line("[1,2]")},
		{"an id that is none", replaced(`"id":256`, `"id":255`)},
		{"an id too high", replaced(`"id":256`, `"id":65536`)},
		{"a version without templates", replaced(`"v9"`, `"v5"`)},
		{"no version", replaced(`"v9"`, `""`)},
		{"a name for an address", replaced("192.0.2.1", "localhost")},
		{"an address with a zone", replaced("192.0.2.1", "fe80::1%eth0")},
		{"no definition", replaced("AAEACAAE", "")},
		{"a definition cut", replaced("AAEACAAE", "AAEACAA=")},
		{"bytes behind the definition", replaced("AAEACAAE", "AAEACAAEAA==")},
		{"a definition without fields", replaced("AAEACAAE", "AAA=")},
		{"a definition without bytes", replaced("AAEACAAE", "AAEACAAA")},
		{"too long", replaced("AAEACAAE", strings.Repeat("A", 3*maxSavedLine))},
	} {
		s := NewStreams(Limits{})
		other := replaced(`"id":256`, `"id":257`)
		n, err := s.Load(strings.NewReader(savedFormat+"\n"+line(good)+c.line+other), streamsStart)
		if n != 2 || !errors.Is(err, ErrTemplatesDamaged) || !strings.Contains(err.Error(), " 1 ") {
			t.Errorf("%s: %d templates, %v", c.name, n, err)
		}
	}
}

func TestLoadOfAnotherFile(t *testing.T) {
	for _, file := range []string{"", "\n", "portolan-templates 2\n", "\x7fELF", strings.Repeat("x", 100_000)} {
		n, err := NewStreams(Limits{}).Load(strings.NewReader(file), streamsStart)
		if n != 0 || !errors.Is(err, ErrTemplatesFormat) {
			t.Errorf("%.20q: %d templates, %v", file, n, err)
		}
	}
	// One without templates is fine.
	for _, file := range []string{savedFormat, savedFormat + "\n"} {
		if n, err := NewStreams(Limits{}).Load(strings.NewReader(file), streamsStart); n != 0 || err != nil {
			t.Errorf("%q: %d templates, %v", file, n, err)
		}
	}
}

func TestSaveAndLoadTellErrors(t *testing.T) {
	s, file := savedStreams(t)
	broken := errors.New("broken")
	if err := s.Save(failing{broken}); !errors.Is(err, broken) {
		t.Errorf("Save: %v", err)
	}
	for _, at := range []int{0, len(file) / 2} {
		r := io.MultiReader(bytes.NewReader(file[:at]), iotest.ErrReader(broken))
		if _, err := NewStreams(Limits{}).Load(r, streamsStart); !errors.Is(err, broken) {
			t.Errorf("Load after %d bytes: %v", at, err)
		}
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// A file with more than there may be leaves the limits as they are.
func TestLoadIsBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString(savedFormat + "\n")
	for i := range 5000 {
		b.WriteString(line(fmt.Sprintf(`{"domain":%d,"version":"ipfix","established":true,"id":%d,"used":"2026-11-23T07:00:00Z","definition":"AAEACAAE"}`, i%100, 256+i)))
	}
	s := NewStreams(Limits{Streams: 16, Templates: 8, AllTemplateBytes: 20_000})
	if _, err := s.Load(strings.NewReader(b.String()), streamsStart); err != nil {
		t.Error(err)
	}
	if got := s.templateBytes.Load(); got > 20_000 || got == 0 || len(s.List()) > 16 {
		t.Errorf("%d bytes, %d streams", got, len(s.List()))
	}
}

// FuzzLoad feeds files to Load. Once as it is, and once with
// the right sum on every line, or hardly any would be read.
func FuzzLoad(f *testing.F) {
	_, file := savedStreams(f)
	f.Add(file)
	f.Add([]byte(savedFormat + "\n" + line(`{"version":"v9","id":256,"used":"2026-11-23T07:00:00Z","definition":"AAEACAAE"}`)))
	f.Add([]byte(`{"version":"ipfix","id":256,"options":true,"used":"2026-11-23T07:00:00Z","definition":"AAIAAQCVAAQAIgAE"}`))
	f.Add([]byte(`{"exporter":"::ffff:1.2.3.4","version":"v9","id":65535,"used":"0000-01-01T00:00:00Z","definition":""}`))
	f.Add([]byte(savedFormat + "\r\n\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		summed := savedFormat + "\n"
		for l := range strings.Lines(string(in)) {
			summed += line(strings.TrimSuffix(l, "\n"))
		}
		limits := Limits{Streams: 16, Templates: 16, AllTemplateBytes: 1 << 14}
		for _, file := range []string{string(in), summed} {
			s := NewStreams(limits)
			n, _ := s.Load(strings.NewReader(file), streamsStart)
			if n > strings.Count(file, "\n")+1 {
				t.Fatalf("%d templates of %d lines", n, strings.Count(file, "\n"))
			}
			if got := s.templateBytes.Load(); got > limits.AllTemplateBytes {
				t.Fatalf("%d bytes are held", got)
			}
			// What was loaded is saved so that it is loaded again.
			var b bytes.Buffer
			if err := s.Save(&b); err != nil {
				t.Fatal(err)
			}
			kept := 0
			for _, h := range s.List() {
				kept += h.Templates
			}
			again, err := NewStreams(Limits{}).Load(&b, streamsStart)
			if again != kept || err != nil {
				t.Fatalf("%d of %d templates the second time, %v", again, kept, err)
			}
		}
	})
}
