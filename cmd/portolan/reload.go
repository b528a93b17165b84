// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// reload reads the configuration again and takes over what a running daemon can
// change. A configuration with a mistake, or one that something refuses, leaves
// all as it was. What needs a restart is told.
func (d *daemon) reload() error {
	d.changing.Lock()
	defer d.changing.Unlock()
	if d.current == nil {
		d.current = d.config
	}
	next, err := d.nextConfig()
	if err != nil {
		return err
	}
	now := *d.current
	now.values = maps.Clone(now.values)
	var changed []any
	var undo []func() error
	for _, c := range d.changes() {
		was, is := now.values[c.key], next.values[c.key]
		if slices.Equal(was.text, is.text) {
			continue
		}
		if err := c.apply(next); err != nil {
			err = fmt.Errorf("%s: %s: %w", is.origin, c.key, err)
			for _, back := range slices.Backward(undo) {
				err = errors.Join(err, back())
			}
			return err
		}
		former := *d.current
		undo = append(undo, func() error { return c.apply(&former) })
		c.adopt(&now, next)
		now.values[c.key] = is
		changed = append(changed, c.key, shown(was)+" → "+shown(is))
	}
	now.knowledge = next.knowledge
	now.again = next.again
	d.current = &now
	d.adoptRules(next.knowledge)
	if len(changed) > 0 {
		d.log.Info("the configuration has changed", changed...)
	} else {
		d.log.Info("the configuration was read again; no setting that can change while running is another")
	}
	if keys := d.needRestart(next); len(keys) > 0 {
		d.log.Warn("settings have changed that need a restart; until then the former ones hold", "settings", strings.Join(keys, ", "))
	}
	return nil
}

// nextConfig reads the configuration again. Where it came from nowhere, as in the
// demo, the folder of rules is all there is to read.
func (d *daemon) nextConfig() (*config, error) {
	if d.current.again != nil {
		return d.current.again()
	}
	next := *d.current
	var err error
	next.knowledge, err = loadKnowledge(next.knowledge.dir)
	return &next, err
}

// change is a setting that can change while the daemon runs.
type change struct {
	key   string
	apply func(c *config) error // makes it what it is in c
	adopt func(now, next *config)
}

// changes are all there are, those first that can be refused.
func (d *daemon) changes() []change {
	return []change{
		{"exporters", func(c *config) error { return d.sensor.SetExporters(c.exporters) },
			func(now, next *config) { now.exporters = next.exporters }},
		{"discover", func(c *config) error { return d.sensor.SetInternal(c.discover) },
			func(now, next *config) { now.discover = next.discover }},
		{"interval", d.setInterval, func(now, next *config) { now.interval = next.interval }},
		{"forget", func(c *config) error { return d.store.SetForget(c.forget) },
			func(now, next *config) { now.forget = next.forget }},
		{"discover_limit", func(c *config) error { d.most.Store(int64(c.most)); return nil },
			func(now, next *config) { now.most = next.most }},
		{"log_level", func(c *config) error {
			if d.config.level != nil {
				d.config.level.Set(c.logLevel)
			}
			return nil
		}, func(now, next *config) { now.logLevel = next.logLevel }},
		// The rules themselves are read again whatever the setting says.
		{"rules", func(*config) error { return nil }, func(*config, *config) {}},
	}
}

// setInterval tells the store first, which answers what the sensor asks.
func (d *daemon) setInterval(c *config) error {
	if err := d.store.SetInterval(c.interval); err != nil {
		return err
	}
	return d.sensor.SetInterval(c.interval)
}

// needRestart are the settings that are another in next, and were not taken over.
func (d *daemon) needRestart(next *config) (keys []string) {
	for _, s := range settings {
		if !slices.Equal(d.current.values[s.key].text, next.values[s.key].text) {
			keys = append(keys, s.key)
		}
	}
	return keys
}

// shown is a value as the log shows it.
func shown(v value) string {
	if text := strings.Join(v.text, ","); text != "" {
		return text
	}
	return "none"
}

// admit makes endpoints of discovered addresses.
func (d *daemon) admit(addrs []netip.Addr) (added, refused int, err error) {
	return d.store.Discover(addrs, int(d.most.Load()))
}
