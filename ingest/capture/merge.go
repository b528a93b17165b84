// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"io"
	"time"
)

// Merged reads several files as one, ordered by time.
type Merged struct {
	headerTime func(payload []byte) (time.Time, bool)
	files      []merging
	given      int // index of the file whose datagram was handed out last, -1 if none
}

// merging is one file and its datagram that comes next.
type merging struct {
	reader *Reader // nil at the end
	head   Datagram
	loaded bool
}

// Merge reads the files of readers together: always the earliest of the
// datagrams that come next in each, of equally early ones that of the file given
// first. Within a file its own order stays, even where its times go back.
//
// A datagram without a time (raw payloads and IPFIX messages, mostly) gets the
// one that headerTime finds in its payload, and where that returns false, or is
// nil, the time of the datagram before it in the same file. The first of a file
// keeps the zero time then and sorts before all others.
func Merge(headerTime func(payload []byte) (time.Time, bool), readers ...*Reader) *Merged {
	m := &Merged{headerTime: headerTime, files: make([]merging, len(readers)), given: -1}
	for i, r := range readers {
		m.files[i].reader = r
	}
	return m
}

// Next returns the next datagram of all files, with its time as Merge describes.
// Its payload is valid until the next call. An error other than io.EOF ends
// only the file that it names; the others go on with the next call. io.EOF ends
// all.
func (m *Merged) Next() (Datagram, error) {
	if m.given >= 0 {
		m.files[m.given].loaded = false // only now may its buffer be used again
		m.given = -1
	}
	first := -1
	for i := range m.files {
		f := &m.files[i]
		if err := m.load(f); err != nil {
			return Datagram{}, err
		}
		if f.reader != nil && (first < 0 || f.head.Time.Before(m.files[first].head.Time)) {
			first = i
		}
	}
	if first < 0 {
		return Datagram{}, io.EOF
	}
	m.given = first
	return m.files[first].head, nil
}

// load sees to it that f has its next datagram, or no reader at its end.
func (m *Merged) load(f *merging) error {
	if f.reader == nil || f.loaded {
		return nil
	}
	before := f.head.Time
	d, err := f.reader.Next()
	if err != nil {
		f.reader = nil
		if err == io.EOF {
			return nil
		}
		return err
	}
	if d.Time.IsZero() {
		d.Time = before
		if m.headerTime != nil {
			if t, ok := m.headerTime(d.Payload); ok {
				d.Time = t.UTC()
			}
		}
	}
	f.head, f.loaded = d, true
	return nil
}
