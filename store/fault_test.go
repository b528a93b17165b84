// SPDX-License-Identifier: Apache-2.0

package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/portolan/portolan/profiler"
)

// TestCrash: after a crash at any moment, with any part of what was not synced
// lost, everything that was acknowledged is there, and the indexes agree.
func TestCrash(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			fs := vfs.NewCrashableMem()
			dir := t.TempDir()
			s := opened(t, dir, Options{FS: fs})
			imported(t, s, office)
			type post struct {
				ip   string
				port uint16
			}
			var acked []post
			var clone *vfs.MemFS
			crashAt := rng.IntN(40)
			for i := range 40 {
				if i == crashAt {
					clone = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: int(seed % 4 * 33), RNG: rng})
					break
				}
				p := post{[]string{"10.1.0.5", "10.1.0.6", "10.1.0.7"}[rng.IntN(3)], uint16(1 + i)}
				want(t, posted(t, s, see(t, s, p.ip, p.port, t0)), profiler.Added)
				acked = append(acked, p)
				if rng.IntN(8) == 0 {
					imported(t, s, fmt.Sprintf("ip\n10.2.0.%d\n", i))
				}
				if rng.IntN(8) == 0 {
					if err := s.db.Flush(); err != nil {
						t.Fatal(err)
					}
				}
			}
			counts := s.Counts()
			s = opened(t, dir, Options{FS: clone})
			verify(t, s)
			if s.Counts() != counts {
				t.Errorf("%+v, were %+v", s.Counts(), counts)
			}
			for _, p := range acked {
				want(t, posted(t, s, see(t, s, p.ip, p.port, t0)), profiler.Duplicate)
			}
		})
	}
}

// faults injects an error into the operations that match, once it is on.
type faults struct {
	on    atomic.Bool
	match func(errorfs.Op) bool
	skip  atomic.Int64 // how many matching operations to let pass first
	hit   atomic.Bool
}

func (f *faults) inject(op errorfs.Op) error {
	if f.on.Load() && f.match(op) && f.skip.Add(-1) < 0 {
		f.hit.Store(true)
		return errorfs.ErrInjected
	}
	return nil
}

// TestWriteErrors: an error of writing stops the store and not the process,
// whatever Pebble was doing; what was acknowledged is there afterwards.
func TestWriteErrors(t *testing.T) {
	is := func(suffix string, kinds ...errorfs.OpKind) func(errorfs.Op) bool {
		return func(op errorfs.Op) bool {
			if !strings.Contains(op.Path, suffix) {
				return false
			}
			for _, k := range kinds {
				if op.Kind == k {
					return true
				}
			}
			return false
		}
	}
	cases := []struct {
		name  string
		match func(errorfs.Op) bool
		skip  int64
		flush bool // flush in between, which writes tables and the manifest and begins a log
	}{
		{"log write", is(".log", errorfs.OpFileWrite), 3, false},
		{"log sync", is(".log", errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo), 3, false},
		{"log creation at rotation", is(".log", errorfs.OpCreate, errorfs.OpReuseForWrite), 0, true},
		{"manifest write", is("MANIFEST", errorfs.OpFileWrite), 0, true},
		{"manifest sync", is("MANIFEST", errorfs.OpFileSync), 0, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			mem := vfs.NewCrashableMem()
			f := &faults{match: c.match}
			f.skip.Store(c.skip)
			dir := t.TempDir()
			s := opened(t, dir, Options{FS: errorfs.Wrap(mem, errorfs.InjectorFunc(f.inject))})
			imported(t, s, office)
			base := see(t, s, "10.1.0.5", 1, t0)
			f.on.Store(true)
			acked, err := postUntilFailure(t, s, base, c.flush)
			if !errors.Is(err, ErrFailed) {
				t.Fatalf("got %v", err)
			}
			if !f.hit.Load() {
				t.Error("no error was injected")
			}
			select {
			case told := <-s.Failed():
				if !errors.Is(told, ErrFailed) {
					t.Error(told)
				}
			default:
				t.Error("Failed is silent")
			}
			if _, open := <-s.Failed(); open {
				t.Error("told twice")
			}
			// Everything refuses now, and nothing waits.
			if _, err := s.Import(nil, ImportOptions{}); !errors.Is(err, ErrFailed) {
				t.Error(err)
			}
			if _, err := s.Endpoint("10.1.0.5"); !errors.Is(err, ErrFailed) {
				t.Error(err)
			}
			if err := s.Close(); !errors.Is(err, ErrFailed) {
				t.Error(err)
			}
			again := opened(t, dir, Options{FS: mem.CrashClone(vfs.CrashCloneCfg{})})
			verify(t, again)
			for port := range acked {
				base.Port = uint16(port + 1)
				want(t, posted(t, again, base), profiler.Duplicate)
			}
		})
	}
}

// postUntilFailure posts ports 1, 2, … one at a time and returns how many were
// acknowledged before the first error.
func postUntilFailure(t *testing.T, s *Store, o profiler.Observation, flush bool) (acked int, err error) {
	for range 2000 {
		o.Port = uint16(acked + 1)
		b := &profiler.Batch{Observations: []profiler.Observation{o}}
		if err := s.Post(t.Context(), b); err != nil {
			want(t, b.Outcomes, profiler.Unanswered)
			return acked, err
		}
		acked++
		if flush && acked == 5 {
			// Parked for good if the fault strikes inside; it must not take us along.
			go func() { _ = s.db.Flush() }()
		}
	}
	return acked, errors.New("no failure")
}

// walBlock is the size of the blocks that Pebble's log consists of.
const walBlock = 32 << 10

// TestFlippedByte: a byte that changes in the middle of the log is reported by
// Open; nothing that follows it is dropped in silence. In the last block it is
// not: there the damage looks like a write that a crash cut off, and only a
// later block would tell that it had been synced.
func TestFlippedByte(t *testing.T) {
	mem := vfs.NewCrashableMem()
	dir := t.TempDir()
	s := opened(t, dir, Options{FS: mem})
	imported(t, s, office)
	for i := range 500 {
		posted(t, s, see(t, s, "10.1.0.5", uint16(i+1), t0))
	}
	files, err := mem.List(dir + "/db")
	if err != nil {
		t.Fatal(err)
	}
	flips := 0
	for _, name := range files {
		if !strings.HasSuffix(name, ".log") {
			continue
		}
		path := dir + "/db/" + name
		for _, part := range []int{5, 25, 50, 75, 90} {
			crashed := mem.CrashClone(vfs.CrashCloneCfg{})
			data, err := crashed.UnsafeGetFileDataBuffer(path)
			if err != nil {
				t.Fatal(err)
			}
			whole := len(data) / walBlock * walBlock
			if whole < 2*walBlock {
				t.Fatalf("the log has %d bytes", len(data))
			}
			data[whole*part/100] ^= 0x10
			flips++
			s, err := Open(dir, Options{FS: crashed})
			if err == nil {
				t.Errorf("a byte flipped at %d %% of the log: the store opened with %d of 500 ports", part, s.Counts().Ports)
				_ = s.Close()
			} else if !pebble.IsCorruptionError(err) {
				t.Errorf("%d %%: %v", part, err)
			}
		}
	}
	if flips == 0 {
		t.Error("no log was found")
	}
}
