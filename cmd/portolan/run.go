// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/portolan/portolan/netns"
)

func newRun() *cobra.Command {
	c := &cobra.Command{
		Use:   "run",
		Short: "Receive flow exports and profile the endpoints",
		Long: `Receives NetFlow v1, v5, v7 and v9, IPFIX and sFlow v5 on UDP 2055, keeps the
flows of known endpoints, and posts every new port of theirs to the profiler in
the data directory, once per reprofile interval. A format is recognised on
whatever port it comes; sFlow agents send to 6343 unless told otherwise, which
--listen :2055 --listen :6343 receives as well.

Without flags it receives through ordinary UDP sockets. --interface NAME adds
AF_XDP, on the best rung that the device allows. A setting comes from its flag,
else from the environment (PORTOLAN_LISTEN, …), else from the file that --config
names, else from the default shown below.

SIGHUP, or POST /-/reload on the socket in the data directory, reads the file
again: interval, forget, discover, discover_limit, exporters, rules and log_level
change at once, and the log says what did; what else has changed needs a restart,
and the log says so. A configuration with a mistake changes nothing.`,
		Args: cobra.NoArgs,
		RunE: action(func(c *cobra.Command, _ []string) error { return run(c) }),
	}
	addSettingFlags(c)
	return c
}

func run(c *cobra.Command) error {
	conf, _, err := loadConfig(c)
	if err != nil {
		return err
	}
	var inside *netns.NS
	if conf.netns != "" {
		inside, err = netns.Named(conf.netns)
		switch {
		case errors.Is(err, os.ErrNotExist):
			return failWith(exitInput, err)
		case err != nil:
			return startError(err)
		}
		defer inside.Close()
	}
	conf.level = new(slog.LevelVar)
	conf.level.Set(conf.logLevel)
	log := newLogger(conf.level)
	d, err := startDaemon(conf, inside, log)
	if err != nil {
		return startError(err)
	}
	if _, err := fmt.Fprint(c.OutOrStdout(), d.banner()); err != nil {
		return errors.Join(err, d.close())
	}
	failure := d.wait(c.Context())
	log.Info("stopping: posting what is left", "at_most", stopTime)
	closed := d.close()
	st := d.sensor.Status()
	log.Info("stopped", "datagrams", st.Ledger.Datagrams.Received, "records", st.Ledger.Records,
		"posts", st.Ledger.Posts.Acknowledged, "lost", st.Ledger.Posts.Lost)
	if failure != nil {
		return failure // closing reports the same again
	}
	return closed
}
