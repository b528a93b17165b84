// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/portolan/portolan/ingest/flow"
)

// keeper looks after the exporters' streams, away from the workers: it has them
// forget what is out of use, and keeps their templates in a file, so that after a
// restart data is decoded at once. One goroutine owns it.
type keeper struct {
	streams *flow.Streams
	path    string // of the file; empty: none
	log     *slog.Logger
	now     func() time.Time

	saved   uint64    // the streams' count of changes when the file was last written
	savedAt time.Time // when that was
	warned  time.Time // when the log last heard that it cannot be written; zero: it can
}

const (
	// savePeriod is the shortest time between two writings of the file, and
	// expirePeriod that between two looks for what is out of use.
	savePeriod   = 10 * time.Second
	expirePeriod = time.Minute
	// refreshPeriod is after what time the file is written though no template has
	// changed: it tells when each was last used.
	refreshPeriod = time.Hour
	// warnPeriod is how often the log hears that the file cannot be written.
	warnPeriod = 10 * time.Minute
)

func newKeeper(s *shared, c *Config) *keeper {
	return &keeper{streams: s.streams, path: c.TemplatesFile, log: c.Log, now: c.Now}
}

// load reads the file, if there is one. Whatever is wrong with it costs the
// templates that cannot be read and nothing else.
func (k *keeper) load() {
	if k.path == "" {
		return
	}
	k.savedAt = k.now()
	f, err := os.Open(k.path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		k.log.Warn("the templates of the last run cannot be read; exporters send them again", "err", err)
		return
	}
	defer f.Close()
	n, err := k.streams.Load(f, k.savedAt)
	if err != nil {
		k.log.Warn("not all templates of the last run could be read; exporters send them again", "file", k.path, "read", n, "err", err)
	}
	k.saved = k.streams.Changed()
	if n > 0 {
		k.log.Info("templates of the last run loaded", "file", k.path, "templates", n)
	}
}

// run works until stop is closed, and writes the file a last time.
func (k *keeper) run(stop <-chan struct{}) {
	expire, save := time.NewTicker(expirePeriod), time.NewTicker(savePeriod)
	defer expire.Stop()
	defer save.Stop()
	for {
		select {
		case <-expire.C:
			k.streams.Expire(k.now())
		case <-save.C:
			if k.due() {
				k.save()
			}
		case <-stop:
			if k.path != "" {
				k.save()
			}
			return
		}
	}
}

// due tells whether the file is behind.
func (k *keeper) due() bool {
	return k.path != "" && (k.streams.Changed() != k.saved || k.now().Sub(k.savedAt) >= refreshPeriod)
}

// save writes the file. Where that fails, it is tried again, and what is there
// stays.
func (k *keeper) save() {
	changed, at := k.streams.Changed(), k.now()
	if err := k.write(); err != nil {
		if k.warned.IsZero() || at.Sub(k.warned) >= warnPeriod {
			k.warned = at
			k.log.Warn("the exporters' templates cannot be kept for the next start", "err", err)
		}
		return
	}
	if !k.warned.IsZero() {
		k.warned = time.Time{}
		k.log.Info("the exporters' templates are kept again", "file", k.path)
	}
	k.saved, k.savedAt = changed, at
}

// write replaces the file by one that is on the disk before it has the name.
func (k *keeper) write() (err error) {
	dir := filepath.Dir(k.path)
	temp := k.path + ".new"
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = errors.Join(k.streams.Save(f), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(temp, k.path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", k.path, err), os.Remove(temp))
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
