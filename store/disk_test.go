// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/portolan/portolan/profiler"
)

// TestDiskFull: a file system that runs full stops the store, not the process,
// and every post that was acknowledged is there once there is room.
func TestDiskFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts a small tmpfs")
	}
	full := t.TempDir()
	if err := syscall.Mount("tmpfs", full, "tmpfs", 0, "size=32m"); err != nil {
		t.Skipf("needs root: cannot mount a tmpfs: %v", err)
	}
	// Detached, because a store that has stopped keeps its files until the
	// process ends.
	defer func() {
		if err := syscall.Unmount(full, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	dir := filepath.Join(full, "data")
	if _, err := Open(dir, Options{}); !errors.Is(err, ErrNoSpace) {
		t.Fatalf("32 MiB were enough: %v", err)
	}
	s, err := Open(dir, Options{MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Import(rowsOf(2000), ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	ballast(t, full, 4<<20)
	var acked []profiler.Observation
	b := &profiler.Batch{Observations: make([]profiler.Observation, 2000)}
	for port := uint16(1); ; port++ {
		for i := range b.Observations {
			b.Observations[i] = profiler.Observation{Binding: uint32(i + 1), Gen: 1, Port: port, Proto: 6, Evidence: profiler.Seen, First: 1, Last: 1}
		}
		if err = s.Post(t.Context(), b); err != nil {
			break
		}
		acked = append(acked, b.Observations[0], b.Observations[1999])
		if port == profiler.MaxPorts-1 {
			t.Fatalf("never full after %d posts", int(port)*2000)
		}
	}
	if !errors.Is(err, ErrFailed) {
		t.Fatal(err)
	}
	if err := s.Close(); !errors.Is(err, ErrFailed) {
		t.Error(err)
	}
	roomy := t.TempDir()
	if err := os.CopyFS(filepath.Join(roomy, "db"), os.DirFS(filepath.Join(dir, "db"))); err != nil {
		t.Fatal(err)
	}
	again, err := Open(roomy, Options{})
	if err != nil {
		t.Fatal(err)
	}
	verify(t, again)
	for _, out := range posted(t, again, acked...) {
		if out != profiler.Duplicate {
			t.Fatalf("an acknowledged post is %s", out)
		}
	}
	t.Logf("full after %d batches of 2000: %v", len(acked)/2, s.Err())
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

// ballast fills the file system under dir until about room bytes are free, so
// that the posts that follow meet its end soon on a slow machine too.
func ballast(t *testing.T, dir string, room uint64) {
	t.Helper()
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	free := fs.Bavail * uint64(fs.Bsize)
	if free <= room {
		return
	}
	if err := os.WriteFile(filepath.Join(dir, "ballast"), make([]byte, free-room), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestPatience: tables that cannot be written stop the store after a while, and
// one that can in between begins the while anew.
func TestPatience(t *testing.T) {
	b := newBreaker(slog.New(slog.DiscardHandler))
	l := b.listener()
	cause := errors.New("no space")
	l.BackgroundError(cause)
	b.background = b.background.Add(-patience - time.Second)
	l.FlushEnd(pebble.FlushInfo{})
	l.BackgroundError(cause)
	l.BackgroundError(cause)
	if err := b.failure(); err != nil {
		t.Fatalf("stopped too early: %v", err)
	}
	b.background = b.background.Add(-patience - time.Second)
	l.BackgroundError(cause)
	if err := b.failure(); !errors.Is(err, ErrFailed) || !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
}

func TestErrorLinesAreLimited(t *testing.T) {
	var out bytes.Buffer
	b := newBreaker(slog.New(slog.NewTextHandler(&out, nil)))
	for range 500 {
		b.Errorf("background error: %s", "no space")
	}
	if n := strings.Count(out.String(), "\n"); n != 10 {
		t.Errorf("%d lines", n)
	}
	b.window = b.window.Add(-time.Minute)
	b.Errorf("later")
	if !strings.Contains(out.String(), "suppressed=490") {
		t.Errorf("the rest is not counted: %s", &out)
	}
}

// TestCorruptTable: a table that is found damaged stops the store.
func TestCorruptTable(t *testing.T) {
	b := newBreaker(slog.New(slog.DiscardHandler))
	b.listener().DataCorruption(pebble.DataCorruptionInfo{Path: "000007.sst", Details: errors.New("checksum")})
	if err := b.failure(); !errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), "000007.sst") {
		t.Errorf("got %v", err)
	}
}
