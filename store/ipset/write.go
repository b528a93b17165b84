// SPDX-License-Identifier: Apache-2.0

package ipset

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Write makes path hold exactly these entries, or leaves it as it was: the file
// is written beside path, fsynced and renamed over it, and then the directory
// is fsynced. Entries may come in any order and are not changed; the same
// entries give the same bytes. An address given twice, or a binding whose
// generation is 0, is an error that names the address.
//
// Beside the caller's slice it takes at most 48 bytes of memory per entry. The
// file has mode 0600. A process killed in the middle leaves a file beside path;
// see [RemoveLeftovers].
func Write(path string, entries []Entry) error {
	temp, err := writeTemp(path, entries)
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil && temp != "" {
		err = errors.Join(err, os.Remove(temp))
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("write the endpoint-IP set %s: %w", path, err)
	}
	return nil
}

// writeTemp returns the name of the file that it made, also if it failed later.
func writeTemp(path string, entries []Entry) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*"+tempSuffix)
	if err != nil {
		return "", err
	}
	if err = writeTo(f, entries); err == nil {
		err = f.Sync()
	}
	return f.Name(), errors.Join(err, f.Close())
}

const tempSuffix = ".tmp"

// RemoveLeftovers deletes what a killed Write to path has left beside it. No
// Write to the same path may be under way.
func RemoveLeftovers(path string) error {
	dir, base := filepath.Split(filepath.Clean(path))
	if dir == "" {
		dir = "."
	}
	files, err := os.ReadDir(dir)
	for _, f := range files {
		if name := f.Name(); strings.HasPrefix(name, base+".") && strings.HasSuffix(name, tempSuffix) {
			err = errors.Join(err, os.Remove(filepath.Join(dir, name)))
		}
	}
	return err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// writeTo writes the head last, because it holds the checksum of the rest.
func writeTo(f *os.File, entries []Entry) error {
	four, six, err := split(entries)
	if err != nil {
		return err
	}
	t4, err := build4(four)
	if err != nil {
		return err
	}
	h := header{n4: uint64(len(four)), n6: uint64(len(six)), blocks: uint64(len(t4.groups) / 16), cells: uint64(len(t4.cells))}
	t6, err := build6(six)
	if err != nil {
		return err
	}
	h.log, h.probe, h.seed = t6.log, t6.probe, t6.seed
	h.layout()

	if _, err := f.Seek(headerSize, io.SeekStart); err != nil {
		return err
	}
	w := &writer{w: f, buf: make([]byte, 0, 1<<20)}
	w.section(raw(t4.summary[:]))
	w.section(raw(t4.rank[:]))
	w.section(raw(t4.groups))
	w.section(raw(t4.cells))
	for i := range four {
		w.binding(four[i].Binding)
	}
	w.pad(h.sec[secBind4].len)
	t6.eachSlot(func(e *entry6) { w.key(e.key) }, func() { w.key(emptyKey) })
	w.pad(h.sec[secKeys6].len)
	t6.eachSlot(func(e *entry6) { w.binding(e.Binding) }, func() { w.binding(Binding{}) })
	w.pad(h.sec[secBind6].len)
	if err := w.flush(); err != nil {
		return err
	}
	h.bodyCRC = w.crc
	_, err = f.WriteAt(h.encode(), 0)
	return err
}

// writer writes sections through a small buffer of its own, summing as it goes;
// it remembers the first error.
type writer struct {
	w   io.Writer
	buf []byte
	crc uint32
	err error
}

func (w *writer) write(b []byte) {
	if w.err != nil {
		return
	}
	w.crc = crc32.Update(w.crc, castagnoli, b)
	_, w.err = w.w.Write(b)
}

func (w *writer) flush() error {
	w.write(w.buf)
	w.buf = w.buf[:0]
	return w.err
}

func (w *writer) room(n int) {
	if cap(w.buf)-len(w.buf) < n {
		_ = w.flush() // remembered
	}
}

func (w *writer) section(b []byte) {
	_ = w.flush() // remembered
	w.write(b)
	w.pad(uint64(len(b)))
}

func (w *writer) binding(b Binding) {
	w.room(8)
	w.buf = binary.LittleEndian.AppendUint32(w.buf, b.ID)
	w.buf = binary.LittleEndian.AppendUint32(w.buf, b.Gen)
}

func (w *writer) key(k key) {
	w.room(16)
	w.buf = binary.LittleEndian.AppendUint64(w.buf, k.hi)
	w.buf = binary.LittleEndian.AppendUint64(w.buf, k.lo)
}

// pad ends a section of n bytes.
func (w *writer) pad(n uint64) {
	w.room(align)
	for ; n%align != 0; n++ {
		w.buf = append(w.buf, 0)
	}
}
