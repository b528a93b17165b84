// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/portolan/portolan/ingest"
	"github.com/portolan/portolan/profiler/api"
)

// dataDefault is the data directory where no flag names one.
func dataDefault() string {
	if dir, ok := os.LookupEnv("PORTOLAN_DATA"); ok {
		return dir
	}
	return "./portolan-data"
}

// dataFlag is --data of the verbs that talk to a daemon.
func dataFlag(c *cobra.Command) *string {
	return c.Flags().String("data", dataDefault(), "data `DIR`ectory of the daemon (PORTOLAN_DATA)")
}

func newStatus() *cobra.Command {
	var output outputFlag
	c := &cobra.Command{
		Use:   "status",
		Short: "Show what the running daemon receives and what became of it",
		Args:  cobra.NoArgs,
	}
	data := dataFlag(c)
	output.add(c)
	c.RunE = action(func(c *cobra.Command, _ []string) error {
		asJSON, err := output.json()
		if err != nil {
			return err
		}
		client, err := api.Dial(*data)
		if err != nil {
			return err
		}
		defer client.Close()
		st, err := client.Status(c.Context())
		if err != nil {
			return err
		}
		if asJSON {
			return writeJSON(c.OutOrStdout(), st)
		}
		exporters, err := client.Exporters(c.Context())
		if err != nil {
			return err
		}
		return writeStatus(c.OutOrStdout(), st, exporters)
	})
	return c
}

// writeStatus is the status for people.
func writeStatus(w io.Writer, st api.Status, exporters []ingest.Exporter) error {
	fmt.Fprintf(w, "%s\n\n", st.Sentence)
	t := newTable(w)
	t.row("RECEIVE PATH", "RUNG", "STATE", "DATAGRAMS", "WHY")
	for i := range st.ReceivePath {
		p := &st.ReceivePath[i]
		t.row(api.Source(p), p.Path, p.State, p.Packets, p.Reason)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	writeBooks(w, &st.Ledger)
	if len(exporters) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	t = newTable(w)
	t.row("EXPORTER", "DOMAIN", "VERSION", "DATAGRAMS", "RECORDS", "LOST (ESTIMATE)", "TEMPLATES", "LAST SEEN", "REMARKS")
	now := st.StartedAt.Add(time.Duration(st.Uptime * float64(time.Second))) // the daemon's clock
	for i := range exporters {
		e := &exporters[i]
		seen := ""
		if !e.LastSeen.IsZero() {
			seen = e.LastSeen.Format(time.RFC3339)
		}
		remarks := api.Notes(e)
		if w := api.Waiting(e, now); w != "" {
			remarks = append([]string{w}, remarks...)
		}
		t.row(orDash(e.Exporter), e.Domain, e.Version, e.Datagrams, e.Records, api.Loss(e), e.Templates, orDash(seen), strings.Join(remarks, "; "))
	}
	return t.Flush()
}

// writeBooks shows the three identities as sums that can be checked by hand.
func writeBooks(w io.Writer, l *ingest.Ledger) {
	fmt.Fprintf(w, "datagrams  %d received = %d decoded%s\n", l.Datagrams.Received, l.Datagrams.Decoded, terms(l.Datagrams.Dropped))
	fmt.Fprintf(w, "sides      2 × %d records = %d external + %d duplicate + %d undetermined + %d observed%s\n",
		l.Records, l.Sides.External, l.Sides.Duplicate, l.Sides.Undetermined, l.Sides.Observed, terms(l.Sides.Dropped))
	fmt.Fprintf(w, "posts      %d observed = %d acknowledged + %d in flight%s\n", l.Sides.Observed, l.Posts.Acknowledged, l.Posts.InFlight, terms(l.Posts.Lost))
	if l.OptionsRecords+l.CounterSamples+l.WaitingSets > 0 {
		fmt.Fprintf(w, "besides    %s and %s; %s for a template\n", amount(l.OptionsRecords, "options record"), amount(l.CounterSamples, "counter sample"), setsWait(l.WaitingSets))
	}
	if len(l.Problems) > 0 {
		fmt.Fprintf(w, "problems   inside decoded datagrams:%s\n", strings.TrimPrefix(terms(l.Problems), " +"))
	}
}

// terms writes the losses of an identity by reason.
func terms(m map[string]uint64) string {
	var b strings.Builder
	for _, reason := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(&b, " + %d %s", m[reason], reason)
	}
	return b.String()
}

// setsWait is how many data sets wait, as a sentence begins.
func setsWait(n uint64) string {
	if n == 1 {
		return "1 data set waits"
	}
	return fmt.Sprintf("%d data sets wait", n)
}
