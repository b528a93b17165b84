// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/portolan/portolan/ingest"
	"github.com/portolan/portolan/profiler"
	"github.com/portolan/portolan/store"
)

// config is a checked configuration.
type config struct {
	listen     []netip.AddrPort
	interfaces []string
	require    ingest.Requirement
	netns      string
	exporters  []netip.Prefix
	data       string
	http       string // HOST:PORT, empty for none
	ports      string
	interval   time.Duration
	forget     time.Duration // 0: never
	discover   []netip.Prefix
	most       int // discovered endpoints
	knowledge  knowledge
	logLevel   slog.Level

	values map[string]value        // what it was made of; nil: of nothing that can be read again
	again  func() (*config, error) // reads it again; nil likewise
	level  *slog.LevelVar          // of the log, which logLevel was the beginning of; nil: fixed
}

// setting is one value that can be configured, by its key in the file, by the
// environment variable PORTOLAN_KEY and, where it has one, by a flag.
type setting struct {
	key   string
	flag  string
	list  bool
	def   []string
	usage string
	apply func(c *config, values []string) error
}

// settings are all there are, in the order in which they are shown.
var settings = []setting{
	{"listen", "listen", true, []string{":2055"}, "UDP `ADDR:PORT` to receive flow exports on, of any format", applyListen},
	{"interfaces", "interface", true, nil, "receive on interface `NAME` through AF_XDP; auto: every physical one that is up and has an address; none. Attaching can interrupt a network card for seconds", applyInterfaces},
	{"require", "require", false, nil, "refuse to start below this rung: zc, copy or generic", applyRequire},
	{"netns", "netns", false, nil, "receive inside the network namespace `NAME`", applyNetns},
	{"exporters", "exporter", true, nil, "accept exports from `CIDR` only", applyExporters},
	{"data", "data", false, []string{"./portolan-data"}, "directory of the store", applyData},
	{"http", "http", false, []string{"127.0.0.1:8055"}, "`ADDR:PORT` of the page, the API and the metrics, or none", applyHTTP},
	{"ports", "ports", false, []string{"inferred"}, "which ports count: inferred (which side serves), all (every port seen)", applyPorts},
	{"interval", "interval", false, []string{"24h"}, "how long a port is not posted again, at least 1h", applyInterval},
	{"forget", "forget", false, []string{"720h"}, "after what time a port is forgotten that was not seen again, at least 48h, or never", applyForget},
	{"discover", "discover", true, nil, "addresses in `CIDR`,… become endpoints when first seen", applyDiscover},
	{"discover_limit", "discover-limit", false, []string{"100000"}, "how many endpoints can be discovered", applyDiscoverLimit},
	{"rules", "rules", false, []string{""}, "`DIR` with rules (*.yaml) and vendors.csv beside the built-in ones", applyRules},
	{"log_level", "log-level", false, []string{"info"}, "debug, info, warn or error", applyLogLevel},
}

// addSettingFlags gives a verb the flags of all settings, and --config.
func addSettingFlags(c *cobra.Command) {
	c.Flags().String("config", "", "configuration `FILE` (YAML)")
	for _, s := range settings {
		if s.list {
			c.Flags().StringSlice(s.flag, s.def, s.usage+" (repeatable)")
		} else {
			c.Flags().String(s.flag, strings.Join(s.def, ""), s.usage)
		}
	}
}

// value is what a setting was set to, and where.
type value struct {
	text   []string
	origin string // "default", "PORTOLAN_LISTEN", "--listen", "portolan.yaml:3:9"
	code   int    // exit code if it makes no sense
}

// loadConfig gathers the settings, flag before environment before file before
// default, and checks them. The error names every one that makes no sense.
func loadConfig(c *cobra.Command) (*config, map[string]value, error) {
	values := map[string]value{}
	for _, s := range settings {
		values[s.key] = value{s.def, "default", exitInput}
	}
	file, err := c.Flags().GetString("config")
	if err != nil {
		return nil, nil, err
	}
	if file == "" {
		file = os.Getenv("PORTOLAN_CONFIG")
	}
	if file != "" {
		if err := readConfigFile(file, values); err != nil {
			return nil, nil, failWith(exitInput, err)
		}
	}
	for _, s := range settings {
		name := "PORTOLAN_" + strings.ToUpper(s.key)
		if text, ok := os.LookupEnv(name); ok {
			values[s.key] = value{splitList(s, text), name, exitInput}
		}
		if f := c.Flags().Lookup(s.flag); f != nil && f.Changed {
			v := value{[]string{f.Value.String()}, "--" + s.flag, exitUsage}
			if s.list {
				v.text, err = c.Flags().GetStringSlice(s.flag)
				if err != nil {
					return nil, nil, err
				}
			}
			values[s.key] = v
		}
	}
	conf, err := checkSettings(values)
	if err != nil {
		return nil, values, err
	}
	conf.values = values
	conf.again = func() (*config, error) {
		next, _, err := loadConfig(c)
		return next, err
	}
	return conf, values, nil
}

func splitList(s setting, text string) []string {
	if !s.list {
		return []string{text}
	}
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
}

// checkSettings makes a configuration of the values, or one error of all that
// is wrong.
func checkSettings(values map[string]value) (*config, error) {
	conf := new(config)
	var errs []error
	code := exitUsage
	for _, s := range settings {
		v := values[s.key]
		if err := s.apply(conf, v.text); err != nil {
			errs = append(errs, fmt.Errorf("%s: %s: %w", v.origin, s.key, err))
			code = max(code, v.code)
		}
	}
	if conf.require != ingest.RequireNothing && len(conf.interfaces) == 0 && len(errs) == 0 {
		v := values["require"]
		errs = append(errs, fmt.Errorf("%s: require: it needs an interface to be configured", v.origin))
		code = max(code, v.code)
	}
	if len(errs) > 0 {
		return nil, failWith(code, errors.Join(errs...))
	}
	return conf, nil
}

// one is the text of a setting that is no list.
func one(values []string) string { return strings.Join(values, "") }

func applyListen(c *config, values []string) error {
	if len(values) == 0 {
		return errors.New("at least one address is needed, such as :2055")
	}
	for _, v := range values {
		a, err := parseListen(v)
		if err != nil {
			return err
		}
		c.listen = append(c.listen, a)
	}
	return nil
}

// parseListen reads ADDR:PORT, where no address means every address.
func parseListen(s string) (netip.AddrPort, error) {
	full := s
	if strings.HasPrefix(s, ":") {
		full = "[::]" + s
	}
	a, err := netip.ParseAddrPort(full)
	if err != nil {
		return a, fmt.Errorf("%q is not ADDR:PORT, such as :2055, 192.0.2.1:2055 or [2001:db8::1]:2055", s)
	}
	return a, nil
}

func applyInterfaces(c *config, values []string) error {
	if slices.Contains(values, "none") {
		if len(values) > 1 {
			return errors.New("none does not go with other names")
		}
		return nil
	}
	if slices.Contains(values, "") {
		return errors.New("an interface without a name")
	}
	c.interfaces = values
	return nil
}

func applyRequire(c *config, values []string) (err error) {
	c.require, err = ingest.ParseRequirement(one(values))
	return err
}

func applyNetns(c *config, values []string) error {
	c.netns = one(values)
	return nil
}

func applyExporters(c *config, values []string) error {
	if values != nil && len(values) == 0 {
		return errors.New("an empty list would let nobody send; leave the setting out to let everybody")
	}
	for _, v := range values {
		p, err := parsePrefix(v)
		if err != nil {
			return err
		}
		c.exporters = append(c.exporters, p)
	}
	return nil
}

// parsePrefix reads a prefix, or an address as the prefix of itself.
func parsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err == nil && p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	if err != nil || p.Addr().Is4In6() {
		return p, fmt.Errorf("%q is not a prefix, such as 192.0.2.0/24 or 2001:db8::/32", s)
	}
	if p != p.Masked() {
		return p, fmt.Errorf("%s has host bits set; did you mean %s?", s, p.Masked())
	}
	return p, nil
}

func applyData(c *config, values []string) error {
	if c.data = one(values); c.data == "" {
		return errors.New("a directory is needed")
	}
	return nil
}

func applyHTTP(c *config, values []string) error {
	s := one(values)
	if s == "none" {
		return nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return fmt.Errorf("%q is not ADDR:PORT, such as 127.0.0.1:8055, nor none", s)
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return fmt.Errorf("%q has no valid port", s)
	}
	c.http = net.JoinHostPort(host, port)
	return nil
}

func applyPorts(c *config, values []string) error {
	switch c.ports = one(values); c.ports {
	case "all", "inferred":
		return nil
	}
	return fmt.Errorf("%q is neither inferred nor all", c.ports)
}

func applyInterval(c *config, values []string) error {
	d, err := time.ParseDuration(one(values))
	if err != nil {
		return fmt.Errorf("%q is not a duration, such as 24h or 90m", one(values))
	}
	c.interval = d
	return profiler.CheckInterval(d)
}

func applyForget(c *config, values []string) error {
	if one(values) == "never" {
		return nil
	}
	d, err := time.ParseDuration(one(values))
	if err != nil || d == 0 {
		return fmt.Errorf("%q is neither a duration, such as 720h, nor never", one(values))
	}
	c.forget = d
	return store.CheckForget(d)
}

func applyDiscover(c *config, values []string) error {
	for _, v := range values {
		p, err := parsePrefix(v)
		if err != nil {
			return err
		}
		c.discover = append(c.discover, p)
	}
	if n := len(c.discover); n > ingest.MaxInternal {
		return fmt.Errorf("%d prefixes, and %d are allowed: name wider ones", n, ingest.MaxInternal)
	}
	return nil
}

func applyDiscoverLimit(c *config, values []string) error {
	n, err := strconv.ParseUint(one(values), 10, 31)
	if err != nil {
		return fmt.Errorf("%q is not a number of endpoints, such as 100000", one(values))
	}
	c.most = int(n)
	return nil
}

func applyLogLevel(c *config, values []string) error {
	err := c.logLevel.UnmarshalText([]byte(one(values)))
	if err != nil || strings.ContainsAny(one(values), "+-") { // slog knows levels in between
		return fmt.Errorf("%q is not debug, info, warn or error", one(values))
	}
	return nil
}
