// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// setFiles are the names in the directory of the endpoint-IP set.
func setFiles(t *testing.T, dir string) []string {
	t.Helper()
	files, err := os.ReadDir(filepath.Join(dir, "ipset"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
	}
	return names
}

// TestSetFileRefused: whatever has become of the file, the store opens and the
// sensors see every address.
func TestSetFileRefused(t *testing.T) {
	damages := map[string]func(path string, data []byte) error{
		"missing":   func(path string, _ []byte) error { return os.Remove(path) },
		"empty":     func(path string, _ []byte) error { return os.WriteFile(path, nil, 0o600) },
		"truncated": func(path string, data []byte) error { return os.WriteFile(path, data[:len(data)/2], 0o600) },
		"flipped": func(path string, data []byte) error {
			data[len(data)/2] ^= 1
			return os.WriteFile(path, data, 0o600)
		},
		"of another state": func(path string, data []byte) error {
			name := filepath.Base(path)
			stale := filepath.Join(filepath.Dir(path), name[:strings.Index(name, "-")]+"-99.ipset")
			return os.Rename(path, stale)
		},
		"left by an interrupted build": func(path string, data []byte) error {
			return os.WriteFile(path+".tmp123", data[:10], 0o600)
		},
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			dir, fs := t.TempDir(), vfs.NewMem()
			s := opened(t, dir, Options{FS: fs})
			imported(t, s, office)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			files := setFiles(t, dir)
			if len(files) != 1 {
				t.Fatalf("files %v", files)
			}
			path := filepath.Join(dir, "ipset", files[0])
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := damage(path, data); err != nil {
				t.Fatal(err)
			}
			s = opened(t, dir, Options{FS: fs})
			verify(t, s)
			if now := setFiles(t, dir); len(now) != 1 || now[0] != files[0] {
				t.Errorf("files %v, want %v", now, files)
			}
			if n := s.Live().Overlay(); n != 0 {
				t.Errorf("%d addresses in memory only", n)
			}
		})
	}
}

// TestSetOfAnotherStore: a file that is whole, but of another store, is not
// taken.
func TestSetOfAnotherStore(t *testing.T) {
	dir := t.TempDir()
	s := opened(t, dir, Options{})
	imported(t, s, "ip\n10.0.0.1\n")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	old := setFiles(t, dir)
	s = opened(t, dir, Options{}) // another file system in memory: a new store
	if _, ok := lookup(s, "10.0.0.1"); ok {
		t.Error("an address of another store")
	}
	if now := setFiles(t, dir); len(now) != 1 || now[0] == old[0] {
		t.Errorf("files %v", now)
	}
}

// TestSetUnwritable: without a place for the file the set lives in memory.
func TestSetUnwritable(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ipset"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fs := vfs.NewMem()
	s := opened(t, dir, Options{FS: fs, RebuildAt: 1})
	imported(t, s, office)
	verify(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = opened(t, dir, Options{FS: fs})
	verify(t, s)
}

// TestSetRebuild: many changes are moved into a new file while the store works,
// and changes that come meanwhile are not lost.
func TestSetRebuild(t *testing.T) {
	dir := t.TempDir()
	s := opened(t, dir, Options{RebuildAt: 100})
	for n := range 20 {
		var b strings.Builder
		b.WriteString("ip\n")
		for i := range 37 {
			fmt.Fprintf(&b, "10.3.%d.%d\n", n, i+1)
		}
		imported(t, s, b.String())
		if err := s.Delete(fmt.Sprintf("10.3.%d.5", n)); err != nil {
			t.Fatal(err)
		}
		verify(t, s)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		building, rest := s.set.building, len(s.set.log)
		s.mu.Unlock()
		if !building && rest < 720 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("building %v, %d changes in memory", building, rest)
		}
	}
	verify(t, s)
	if n := len(setFiles(t, dir)); n != 1 {
		t.Errorf("%d files", n)
	}
}
