// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"
	"os"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// guardedFS is the file system under Pebble with the breaker in it: see there.
// It holds every operation that changes the disk, and lets reading be.
type guardedFS struct {
	vfs.FS
	b *breaker
}

// vital are the files of which a failed write leaves in doubt what is stored.
// A table that cannot be written is written again.
func vital(name string) bool {
	return strings.HasSuffix(name, ".log") || strings.Contains(name, "MANIFEST") || strings.Contains(name, "marker.")
}

// enter does not return once the store has stopped.
func (b *breaker) enter() {
	if b.armed.Load() && b.failure() != nil {
		select {}
	}
}

// leave returns err, unless that leaves the store in doubt: then it does not
// return.
func (b *breaker) leave(op, name string, err error) error {
	if err != nil && b.armed.Load() && vital(name) {
		b.fail(fmt.Errorf("cannot %s %s: %w", op, name, err))
		select {}
	}
	return err
}

func (f guardedFS) wrap(name string, file vfs.File, err error) (vfs.File, error) {
	if err := f.b.leave("create", name, err); err != nil {
		return nil, err
	}
	return guardedFile{file, f.b, name}, nil
}

// Unwrap is part of vfs.FS.
func (f guardedFS) Unwrap() vfs.FS { return f.FS }

// Create is part of vfs.FS.
func (f guardedFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f.b.enter()
	file, err := f.FS.Create(name, c)
	return f.wrap(name, file, err)
}

// ReuseForWrite is part of vfs.FS.
func (f guardedFS) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f.b.enter()
	file, err := f.FS.ReuseForWrite(old, name, c)
	return f.wrap(name, file, err)
}

// OpenReadWrite is part of vfs.FS.
func (f guardedFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f.b.enter()
	file, err := f.FS.OpenReadWrite(name, c, opts...)
	return f.wrap(name, file, err)
}

// Link is part of vfs.FS.
func (f guardedFS) Link(old, name string) error {
	f.b.enter()
	return f.FS.Link(old, name)
}

// Remove is part of vfs.FS.
func (f guardedFS) Remove(name string) error {
	f.b.enter()
	return f.FS.Remove(name)
}

// RemoveAll is part of vfs.FS.
func (f guardedFS) RemoveAll(name string) error {
	f.b.enter()
	return f.FS.RemoveAll(name)
}

// Rename is part of vfs.FS.
func (f guardedFS) Rename(old, name string) error {
	f.b.enter()
	return f.b.leave("rename", name, f.FS.Rename(old, name))
}

// MkdirAll is part of vfs.FS.
func (f guardedFS) MkdirAll(dir string, perm os.FileMode) error {
	f.b.enter()
	return f.FS.MkdirAll(dir, perm)
}

type guardedFile struct {
	vfs.File
	b    *breaker
	name string
}

func (f guardedFile) Write(p []byte) (int, error) {
	f.b.enter()
	n, err := f.File.Write(p)
	return n, f.b.leave("write", f.name, err)
}

func (f guardedFile) WriteAt(p []byte, off int64) (int, error) {
	f.b.enter()
	n, err := f.File.WriteAt(p, off)
	return n, f.b.leave("write", f.name, err)
}

func (f guardedFile) Sync() error {
	f.b.enter()
	return f.b.leave("sync", f.name, f.File.Sync())
}

func (f guardedFile) SyncData() error {
	f.b.enter()
	return f.b.leave("sync", f.name, f.File.SyncData())
}

func (f guardedFile) SyncTo(n int64) (bool, error) {
	f.b.enter()
	full, err := f.File.SyncTo(n)
	return full, f.b.leave("sync", f.name, err)
}

func (f guardedFile) Close() error {
	return f.b.leave("close", f.name, f.File.Close())
}
