// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/netip"
	"strconv"
	"time"
)

// Templates are kept over a restart, because an exporter announces them only
// every few minutes, some every half an hour, and until then nothing of it can be decoded.
//
// The file is text: a line that names the format, then one line per template,
// each the CRC-32C of what follows in eight hexadecimal digits, a space, and a
// savedTemplate as JSON. It is read like the wire: whatever it says, a template
// is validated as one that came in a message is, a bad line costs that line
// only, and the limits hold.
const savedFormat = "portolan-templates 1"

// maxSavedLine is more than a line can have: MaxFields fields of 8 bytes in
// base64, and the rest.
const maxSavedLine = 8 << 10

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// savedTemplate is one line.
type savedTemplate struct {
	Exporter    string    `json:"exporter,omitempty"`
	Domain      uint32    `json:"domain"`
	Version     string    `json:"version"`
	Established bool      `json:"established,omitempty"` // its stream was
	ID          uint16    `json:"id"`
	Options     bool      `json:"options,omitempty"`
	Used        time.Time `json:"used"`
	Definition  []byte    `json:"definition"` // base64
}

// Save writes all templates, for Load.
func (s *Streams) Save(w io.Writer) error {
	out := bufio.NewWriter(w)
	fmt.Fprintln(out, savedFormat)
	for x := range s.all {
		for _, t := range x.templates.Load().all {
			line, err := json.Marshal(savedTemplate{
				Exporter: x.ID.address(), Domain: x.ID.Domain, Version: x.ID.Version.String(), Established: x.established(),
				ID: t.id, Options: t.options, Used: time.Unix(t.used.Load(), 0).UTC(), Definition: t.definition,
			})
			if err != nil {
				return fmt.Errorf("save templates: %w", err)
			}
			fmt.Fprintf(out, "%08x %s\n", crc32.Checksum(line, castagnoli), line)
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("save templates: %w", err)
	}
	return nil
}

// What can be wrong with saved templates.
var (
	// ErrTemplatesFormat: it is not a file of templates, or one of another
	// release. Nothing is loaded.
	ErrTemplatesFormat = errors.New("no file of templates of this release")
	// ErrTemplatesDamaged: some lines were not as they were saved, and are left
	// out.
	ErrTemplatesDamaged = errors.New("damaged lines are left out")
)

// Load enters the templates that Save wrote, but for those that had not been
// used for Limits.Age before now, and those of which there is one already. It
// returns how many it entered, and an error where lines were left out. Their
// streams count as not seen.
func (s *Streams) Load(r io.Reader, now time.Time) (n int, err error) {
	in := bufio.NewReaderSize(r, maxSavedLine)
	bad := 0
	for number := 0; ; number++ {
		line, err := readLine(in)
		switch {
		case errors.Is(err, io.EOF) && number > 0:
			if bad > 0 {
				return n, fmt.Errorf("load templates: %d %w", bad, ErrTemplatesDamaged)
			}
			return n, nil
		case err != nil && !errors.Is(err, io.EOF):
			return n, fmt.Errorf("load templates: %w", err)
		case number == 0 && string(line) != savedFormat:
			return 0, fmt.Errorf("load templates: %w", ErrTemplatesFormat)
		case number == 0:
			continue
		}
		id, t, ok := parseSaved(line)
		switch {
		case !ok:
			bad++
		case s.restore(id, t, now):
			n++
		}
	}
}

// readLine returns the next line, an empty one in place of one that is too long.
func readLine(in *bufio.Reader) ([]byte, error) {
	line, more, err := in.ReadLine()
	if !more {
		return line, err
	}
	for more && err == nil {
		_, more, err = in.ReadLine()
	}
	return nil, err
}

// restored is the template of a line and what is known of its stream.
type restored struct {
	*template
	established bool
}

// parseSaved validates a line.
func parseSaved(line []byte) (id StreamID, r restored, ok bool) {
	if len(line) < 10 || line[8] != ' ' {
		return id, r, false
	}
	sum, err := strconv.ParseUint(string(line[:8]), 16, 32)
	if err != nil || uint32(sum) != crc32.Checksum(line[9:], castagnoli) {
		return id, r, false
	}
	var x savedTemplate
	if json.Unmarshal(line[9:], &x) != nil || x.ID < minTemplateID {
		return id, r, false
	}
	id.Domain = x.Domain
	switch x.Version {
	case V9.String():
		id.Version = V9
	case IPFIX.String():
		id.Version = IPFIX
	default:
		return id, r, false
	}
	if x.Exporter != "" {
		a, err := netip.ParseAddr(x.Exporter)
		if err != nil || a.Zone() != "" {
			return id, r, false
		}
		id.Exporter = a.As16()
	}
	size, whole := definitionSize(id.Version, x.Options, x.Definition)
	if !whole || size != len(x.Definition) {
		return id, r, false
	}
	t, _ := parseTemplate(id.Version, x.Options, x.ID, x.Definition)
	if t == nil {
		return id, r, false
	}
	t.restored = true
	t.used.Store(x.Used.Unix())
	return id, restored{t, x.Established}, true
}

// restore enters a template of a file, unless it is too old or there is one.
func (s *Streams) restore(id StreamID, r restored, now time.Time) bool {
	used := min(r.used.Load(), now.Unix())
	if now.Unix()-used > int64(s.limits.Age/time.Second) {
		return false
	}
	r.used.Store(used)
	x := s.of(id, used*nsPerSecond)
	if !x.restore(r.template) {
		return false
	}
	if x.entered.Load() < used*nsPerSecond {
		x.entered.Store(used * nsPerSecond)
	}
	if r.established {
		x.trusted.Store(true)
	}
	s.reclaimTemplates(x, used*nsPerSecond)
	return x.template(r.id) != nil
}

// restore enters a template where the stream has none of its id.
func (s *Stream) restore(t *template) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.templates.Load().find(t.id); there != nil {
		return false
	}
	s.put(t)
	return true
}
