// SPDX-License-Identifier: Apache-2.0

package ipset

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func small() []Entry {
	var entries []Entry
	for i, text := range edges {
		entries = append(entries, Entry{ip(text), Binding{uint32(i), 7}})
	}
	return entries
}

func fileOf(t testing.TB, entries []Entry) (string, []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ip.set")
	if err := Write(path, entries); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, data
}

func refused(err error) bool {
	return errors.Is(err, ErrFormat) || errors.Is(err, ErrVersion) || errors.Is(err, ErrChecksum)
}

// overwrite replaces the file by rename, as everybody has to.
func overwrite(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := errors.Join(os.WriteFile(path+".new", data, 0o600), os.Rename(path+".new", path)); err != nil {
		t.Fatal(err)
	}
}

func TestSameBytesInAnyOrder(t *testing.T) {
	entries := append(small(), append(dense(3000, 40), dual(3000)...)...)
	before := slices.Clone(entries)
	_, want := fileOf(t, entries)
	if !slices.Equal(entries, before) {
		t.Error("Write has changed the caller's entries")
	}
	rng := rand.New(rand.NewPCG(7, 8))
	for range 5 {
		rng.Shuffle(len(entries), func(i, j int) { entries[i], entries[j] = entries[j], entries[i] })
		if _, got := fileOf(t, entries); string(got) != string(want) {
			t.Fatal("another order gave other bytes")
		}
	}
}

func TestEveryFlippedByteIsRefused(t *testing.T) {
	path, data := fileOf(t, small())
	patch := patcher(t, path)
	for i := range data {
		patch(i, data[i]^1<<(i%8))
		s, err := Open(path)
		if err == nil || s != nil || !refused(err) {
			t.Fatalf("byte %d flipped: %v, %v", i, s, err)
		}
		want := ErrChecksum
		switch {
		case i < 8:
			want = ErrFormat
		case i < 12:
			want = ErrVersion
		}
		if !errors.Is(err, want) {
			t.Fatalf("byte %d flipped: %v, want %v", i, err, want)
		}
		patch(i, data[i])
	}
	if !strings.Contains(openError(t, path, data[:100]), path) {
		t.Error("the error does not name the file")
	}
}

// patcher changes bytes in place, which is allowed here because nothing has
// mapped the file.
func patcher(t *testing.T, path string) func(at int, b ...byte) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return func(at int, b ...byte) {
		if _, err := f.WriteAt(b, int64(at)); err != nil {
			t.Fatal(err)
		}
	}
}

func openError(t *testing.T, path string, data []byte) string {
	t.Helper()
	overwrite(t, path, data)
	s, err := Open(path)
	if err == nil {
		t.Fatalf("opened: %d addresses", s.Len())
	}
	return err.Error()
}

func TestEveryLengthIsRefused(t *testing.T) {
	path, data := fileOf(t, small())
	for n := len(data) - 1; n >= 0; n-- {
		if err := os.Truncate(path, int64(n)); err != nil {
			t.Fatal(err)
		}
		if s, err := Open(path); s != nil || !errors.Is(err, ErrFormat) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
	overwrite(t, path, append(data, 0))
	if _, err := Open(path); !errors.Is(err, ErrFormat) {
		t.Errorf("a byte too long: %v", err)
	}
}

func TestOpenOther(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if _, err := Open(dir); !errors.Is(err, ErrFormat) {
		t.Errorf("directory: %v", err)
	}
	path := filepath.Join(dir, "other")
	overwrite(t, path, []byte(strings.Repeat("nonsense", 4096)))
	if _, err := Open(path); !errors.Is(err, ErrFormat) {
		t.Errorf("foreign file: %v", err)
	}
}

// seal makes the checksums right again, so that a lie reaches the structure.
func seal(data []byte) {
	if len(data) < headerSize {
		return
	}
	le := binary.LittleEndian
	copy(data, magic)
	le.PutUint32(data[8:], version)
	le.PutUint32(data[184:], crc32.Checksum(data[headerSize:], castagnoli))
	le.PutUint32(data[188:], crc32.Checksum(data[:188], castagnoli))
}

// TestSealedLies flips bytes under right checksums. What Open then accepts may
// be another set, but must not lead a lookup astray.
func TestSealedLies(t *testing.T) {
	path, data := fileOf(t, small())
	patch := patcher(t, path)
	accepted := 0
	for i := range data {
		if i >= 184 && i < headerSize {
			continue // the checksums themselves
		}
		data[i] ^= 1 << (i % 8)
		seal(data)
		patch(0, data[:headerSize]...)
		patch(i, data[i])
		honest := data[i] ^ 1<<(i%8)
		s, err := Open(path)
		if err == nil {
			accepted++
			walk(s)
			err = s.Close()
		} else if refused(err) {
			err = nil
		}
		if err != nil {
			t.Fatalf("byte %d: %v", i, err)
		}
		data[i] = honest
		patch(i, honest)
	}
	// Only IDs, generations, which bit of a cell is set, and padding are free.
	if accepted > len(data)/4 {
		t.Errorf("%d of %d lies accepted", accepted, len(data))
	}
}

// walk looks up everything near what a set may hold; a lookup that leaves the
// slices panics.
func walk(s *Set) {
	for h, w := range s.summary {
		for b := range 64 {
			if w>>b&1 != 0 {
				block := uint32(h)<<22 | uint32(b)<<16
				for low := uint32(0); low < 1<<16; low += 21 {
					s.Lookup4(block | low)
				}
			}
		}
	}
	for _, text := range edges {
		a := ip(text)
		s.Lookup(&a)
	}
	for i := range s.keys6 {
		for _, k := range s.keys6[i] {
			s.find(k)
		}
	}
}

func FuzzOpen(f *testing.F) {
	_, data := fileOf(f, small())
	f.Add(data, true)
	f.Add(data, false)
	f.Add(data[:headerSize], true)
	_, data = fileOf(f, nil)
	f.Add(data, true)
	_, data = fileOf(f, dual(50))
	f.Add(data, true)
	f.Add([]byte{}, false)
	path := filepath.Join(f.TempDir(), "ip.set")
	f.Fuzz(func(t *testing.T, data []byte, sealed bool) {
		data = slices.Clone(data)
		if sealed {
			seal(data)
		}
		overwrite(t, path, data)
		s, err := Open(path)
		if err != nil {
			if !refused(err) {
				t.Fatal(err)
			}
			return
		}
		walk(s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestCrowded: addresses that no seed spreads are refused rather than looked up
// slowly, and a bad seed is replaced.
func TestCrowded(t *testing.T) {
	t6, err := build6(sixOf(dual(100_000)))
	if err != nil || t6.probe > maxProbe+1 {
		t.Fatalf("probe %d, %v", t6.probe, err)
	}
	t.Logf("100,000 addresses: a lookup reads at most %d buckets", t6.probe)
	// A table with a single home bucket cannot hold 56 addresses near it.
	crowd := &table6{entries: sixOf(dual(56))}
	if err := crowd.arrange(); err != nil || crowd.probe <= maxProbe+1 {
		t.Errorf("56 addresses with one home: probe %d, %v", crowd.probe, err)
	}
	if err := crowd.settle(); err != nil || crowd.probe > maxProbe+1 {
		t.Errorf("not settled: probe %d log %d, %v", crowd.probe, crowd.log, err)
	}
	crowd = &table6{entries: sixOf(dual(1000))}
	if err := crowd.settle(); !errors.Is(err, errCrowded) {
		t.Errorf("a thousand addresses in four home buckets: %v", err)
	}
}

func sixOf(entries []Entry) []entry6 {
	_, six, err := split(entries)
	if err != nil {
		panic(err)
	}
	return six
}
