// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/portolan/portolan/profiler/rules"
)

// vendorsName is the file of vendors in a folder of rules.
const vendorsName = "vendors.csv"

// knowledge is what devices are recognised by: the built-in rules, and what a
// folder has beside them.
type knowledge struct {
	dir     string // empty: no folder
	rules   *rules.Set
	vendors *rules.Vendors
}

// loadKnowledge reads the rules and, where the folder has one, the file of vendors.
func loadKnowledge(dir string) (k knowledge, err error) {
	k.dir = dir
	if k.rules, err = rules.Load(dir); err != nil {
		return knowledge{}, err
	}
	if dir != "" {
		k.vendors, err = rules.LoadVendors(filepath.Join(dir, vendorsName))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return knowledge{}, err
		}
	}
	return k, nil
}

func applyRules(c *config, values []string) (err error) {
	c.knowledge, err = loadKnowledge(one(values))
	return err
}

// adoptRules has all endpoints matched anew in the background.
func (d *daemon) adoptRules(k knowledge) {
	d.store.SetRules(k.rules, k.vendors)
	d.log.Info("the rules were read again; all endpoints are matched anew", "folder", k.dir, "rules", len(k.rules.Rules()), "version", k.rules.Version())
}
