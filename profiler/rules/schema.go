// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"errors"
	"fmt"
	"slices"

	"github.com/goccy/go-yaml/ast"

	"github.com/portolan/portolan/profiler"
)

// Bounds of one file.
const (
	maxFile  = 1 << 20 // bytes
	maxRules = 10000
	maxPorts = 256 // in one list of a condition
)

// fileRule is a rule as a file states it, or only that a rule is switched off.
type fileRule struct {
	*Rule
	off     bool
	builtIn bool
}

// decodeRules reads one file. The error joins all that is wrong, each with
// file, line and column.
func decodeRules(file string, data []byte) ([]fileRule, error) {
	d := &decoder{file: file}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s: a file of more than %d bytes", file, maxFile)
	}
	body := d.parse(data)
	if body == nil {
		return nil, errors.Join(d.errs...)
	}
	var list []fileRule
	origin := map[string]string{}
	d.mapping(body, fields{"rules": func(n ast.Node) {
		d.list(n, func(n ast.Node) {
			r := d.rule(n)
			switch first, twice := origin[r.ID]; {
			case len(list) == maxRules:
				d.errorf(n, "more than %d rules", maxRules)
			case twice && r.ID != "":
				d.errorf(n, "the id %s stands already at %s", r.ID, first)
			default:
				origin[r.ID] = r.Origin
				list = append(list, r)
			}
		})
	}})
	if len(d.errs) > 0 {
		return nil, errors.Join(d.errs...)
	}
	return list, nil
}

func (d *decoder) rule(n ast.Node) fileRule {
	r := fileRule{Rule: &Rule{Origin: d.at(n), evidence: Trusted}}
	has := d.mapping(n, fields{
		"id":       d.id(&r.ID),
		"off":      d.yes(&r.off),
		"category": d.into(&r.Device.Category),
		"family":   d.into(&r.Device.Family),
		"name":     d.into(&r.Device.Name),
		"rel":      d.number(&r.Device.Rel, 1, 100),
		"score":    d.number(&r.Device.Score, 1, 100),
		"evidence": d.evidence(&r.evidence),
		"when":     func(n ast.Node) { d.condition(n, &r.when, nil) },
		"more": func(n ast.Node) {
			d.list(n, func(n ast.Node) {
				var b bonus
				d.condition(n, &b.condition, &b.points)
				r.more = append(r.more, b)
			})
		},
		"also": d.portList(&r.also, true),
		"tests": func(n ast.Node) {
			d.list(n, func(n ast.Node) { r.tests = append(r.tests, d.trial(n)) })
		},
	})
	if r.off {
		if !has["id"] || len(has) > 2 {
			d.errorf(n, "a rule that is off has an id and nothing else")
		}
		return r
	}
	for _, key := range []string{"id", "category", "family", "name", "rel", "score", "when"} {
		if !has[key] {
			d.errorf(n, "the rule has no %s", key)
		}
	}
	sum := r.Device.Score
	for i := range r.more {
		sum += r.more[i].points
	}
	if sum > 100 {
		d.errorf(n, "score and the points of more come to %d; a score is at most 100", sum)
	}
	r.finish()
	return r
}

// id reads an id: it stands in logs, addresses and commands, so it is plain.
func (d *decoder) id(id *string) func(ast.Node) {
	return func(n ast.Node) {
		*id = d.text(n)
		for _, c := range []byte(*id) {
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
				d.errorf(n, "the id %.40q has other characters than a-z, 0-9 and -", *id)
				return
			}
		}
		if *id == "" || len(*id) > 64 {
			d.errorf(n, "an id has 1 to 64 characters")
		}
	}
}

func (d *decoder) evidence(e *profiler.Evidence) func(ast.Node) {
	return func(n ast.Node) {
		got, err := profiler.ParseEvidence(d.text(n))
		if err != nil {
			d.errorf(n, "%w; from the weakest, there are seen, class, peer, service, symmetric, fan-in, handshake, exporter", err)
			return
		}
		*e = got
	}
}

// condition reads the conditions of `when`, or of an item of `more` with its
// points.
func (d *decoder) condition(n ast.Node, c *condition, points *int) {
	f := fields{
		"listening": func(n ast.Node) { d.ports(n, &c.listening) },
		"contacted": func(n ast.Node) { d.ports(n, &c.contacted) },
		"vendor":    d.patterns(&c.vendor),
		"hostname":  d.patterns(&c.hostname),
		"os_type":   d.patterns(&c.os),
		"mac": func(n ast.Node) {
			kind, ok := macKinds[d.text(n)]
			if !ok {
				d.errorf(n, "mac is local (administered locally) or global (of a vendor)")
			}
			c.mac = kind
		},
	}
	if points != nil {
		f["points"] = d.number(points, 1, 100)
	}
	has := d.mapping(n, f)
	switch {
	case points != nil && !has["points"]:
		d.errorf(n, "the item of more has no points")
	case points != nil && len(has) < 2:
		d.errorf(n, "the item of more has no condition")
	case points == nil && !c.stated():
		d.errorf(n, "when demands nothing that every endpoint could not show; it needs listening or contacted (all or any), vendor, hostname or os_type")
	}
}

func (d *decoder) ports(n ast.Node, c *portCondition) {
	before := len(d.errs)
	has := d.mapping(n, fields{
		"all":  d.portList(&c.all, false),
		"any":  d.portList(&c.any, true),
		"none": d.portList(&c.none, true),
		"min":  d.number(&c.min, 1, maxPorts),
	})
	switch {
	case !c.stated() && len(d.errs) == before:
		d.errorf(n, "the condition names no port")
	case has["min"] && c.min > len(c.any):
		d.errorf(n, "min is %d, but any has %d ports", c.min, len(c.any))
	case len(c.any) > 0:
		c.min = max(c.min, 1)
	}
}

// portList reads ports, each once. A range makes sense where one of it is enough.
func (d *decoder) portList(to *[]port, ranges bool) func(ast.Node) {
	return func(n ast.Node) {
		d.list(n, func(n ast.Node) {
			ports, err := parsePorts(d.text(n))
			switch {
			case err != nil:
				d.errorf(n, "%w", err)
				return
			case len(ports) > 1 && !ranges:
				d.errorf(n, "a range under all would demand every port of it; name the ports")
				return
			case len(*to)+len(ports) > maxPorts:
				d.errorf(n, "more than %d ports", maxPorts)
				return
			}
			for _, p := range ports {
				if slices.Contains(*to, p) {
					d.errorf(n, "%s stands twice", p)
				} else {
					*to = append(*to, p)
				}
			}
		})
	}
}

func (d *decoder) patterns(to *[]pattern) func(ast.Node) {
	return func(n ast.Node) {
		d.list(n, func(n ast.Node) {
			p, err := parsePattern(d.text(n))
			if err != nil {
				d.errorf(n, "%w", err)
				return
			}
			*to = append(*to, p)
		})
	}
}
