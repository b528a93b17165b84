// SPDX-License-Identifier: Apache-2.0

package store

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

func TestBusy(t *testing.T) {
	t.Run("disk", func(t *testing.T) {
		dir := t.TempDir()
		opened(t, dir, Options{FS: vfs.Default})
		if _, err := Open(dir, Options{}); !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), dir) {
			t.Error(err)
		}
	})
	t.Run("memory", func(t *testing.T) {
		dir, fs := t.TempDir(), vfs.NewMem()
		opened(t, dir, Options{FS: fs})
		if _, err := Open(dir, Options{FS: fs}); !errors.Is(err, ErrBusy) {
			t.Error(err)
		}
	})
}

func TestOpenRefusals(t *testing.T) {
	dir := t.TempDir()
	t.Run("no space", func(t *testing.T) {
		fs := vfs.NewMem()
		fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 63 << 20, TotalBytes: 1 << 30})
		_, err := Open(dir, Options{FS: fs})
		if !errors.Is(err, ErrNoSpace) || !strings.Contains(err.Error(), "63 MiB are free and 64 MiB are needed") {
			t.Error(err)
		}
		fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 64 << 20, TotalBytes: 1 << 30})
		opened(t, dir, Options{FS: fs})
	})
	t.Run("newer format", func(t *testing.T) {
		fs := vfs.NewMem()
		if err := opened(t, dir, Options{FS: fs}).Close(); err != nil {
			t.Fatal(err)
		}
		f, err := fs.Create(dir+"/db/marker.format-version.999999.999", vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
		if _, err := Open(dir, Options{FS: fs}); !errors.Is(err, ErrVersion) {
			t.Error(err)
		}
	})
	t.Run("newer schema", func(t *testing.T) {
		fs := vfs.NewMem()
		s := opened(t, dir, Options{FS: fs})
		next := identity{schema: schema + 1}
		if err := s.db.Set(metaIdentity, next.append(nil), pebble.Sync); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, Options{FS: fs}); !errors.Is(err, ErrVersion) {
			t.Error(err)
		}
	})
	t.Run("foreign", func(t *testing.T) {
		fs := vfs.NewMem()
		_ = fs.MkdirAll(dir+"/db", 0o700)
		db, err := pebble.Open(dir+"/db", &pebble.Options{FS: fs, Logger: newBreaker(slog.New(slog.DiscardHandler))})
		if err != nil {
			t.Fatal(err)
		}
		_ = db.Set([]byte("x"), nil, pebble.Sync)
		_ = db.Close()
		if _, err := Open(dir, Options{FS: fs}); err == nil || !strings.Contains(err.Error(), "not one of this program") {
			t.Error(err)
		}
	})
	t.Run("bad record", func(t *testing.T) {
		fs := vfs.NewMem()
		s := opened(t, dir, Options{FS: fs})
		imported(t, s, office)
		if err := s.db.Set(appendBindingKey(nil, 1), []byte{9}, pebble.Sync); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, Options{FS: fs}); !errors.Is(err, ErrCorrupt) {
			t.Error(err)
		}
	})
}

func TestReadOnly(t *testing.T) {
	dir, fs := t.TempDir(), vfs.NewMem()
	if _, err := Open(dir, Options{FS: fs, ReadOnly: true}); !errors.Is(err, ErrMissing) {
		t.Error(err)
	}
	s := opened(t, dir, Options{FS: fs})
	imported(t, s, office)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = opened(t, dir, Options{FS: fs, ReadOnly: true})
	if _, err := s.Import(nil, ImportOptions{}); !errors.Is(err, pebble.ErrReadOnly) {
		t.Error(err)
	}
	verify(t, s)
	if e, err := s.Endpoint("10.1.0.6"); err != nil || e.ID != "00:11:22:33:44:66" {
		t.Errorf("%+v, %v", e, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Endpoint("10.1.0.6"); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if err := s.SetInterval(2 * time.Hour); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
