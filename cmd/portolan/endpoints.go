// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/portolan/portolan/profiler"
	"github.com/portolan/portolan/store"
)

func newEndpoints() *cobra.Command {
	c := &cobra.Command{
		Use:   "endpoints",
		Short: "List, show, import, export and delete the known endpoints",
		Long: `Works on the endpoints of the running daemon, which it finds by its data
directory. Where no daemon is running it opens the store there itself; a
directory that is named with --data or PORTOLAN_DATA is created if need be.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usageErrorf("endpoints does nothing by itself: say list, show, import, export or delete")
		},
	}
	c.AddCommand(newEndpointsList(), newEndpointsShow(), newEndpointsImport(), newEndpointsExport(), newEndpointsDelete())
	return c
}

// onRepository makes the function of a verb cobra's: it opens the endpoints for
// it and closes them again.
func onRepository(c *cobra.Command, run func(c *cobra.Command, r repository, args []string) error) {
	data := dataFlag(c)
	c.RunE = action(func(c *cobra.Command, args []string) (err error) {
		r, err := openRepository(*data, dataNamed(c))
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, r.Close()) }()
		return run(c, r, args)
	})
}

// checkOutput refuses a bad --output before a store is opened, or even created.
func checkOutput(c *cobra.Command, output *outputFlag) {
	c.PreRunE = action(func(*cobra.Command, []string) error {
		_, err := output.json()
		return err
	})
}

func newEndpointsList() *cobra.Command {
	var output outputFlag
	var evidence string
	c := &cobra.Command{
		Use:   "list",
		Short: "List the endpoints with their devices and the ports that they listen on",
		Args:  cobra.NoArgs,
	}
	output.add(c)
	c.Flags().StringVar(&evidence, "min-evidence", "", "only ports with at least evidence `CLASS`, and endpoints that have one: "+strings.Join(profiler.EvidenceNames(), ", "))
	var least profiler.Evidence
	c.PreRunE = action(func(*cobra.Command, []string) (err error) {
		if evidence != "" {
			if least, err = profiler.ParseEvidence(evidence); err != nil {
				return usageErrorf("--min-evidence: %w", err)
			}
		}
		_, err = output.json()
		return err
	})
	onRepository(c, func(c *cobra.Command, r repository, _ []string) error {
		asJSON, err := output.json()
		if err != nil {
			return err
		}
		if asJSON {
			return writeEndpointsJSON(c.OutOrStdout(), r.Endpoints(c.Context(), least))
		}
		return writeEndpointsTable(c.OutOrStdout(), r.Endpoints(c.Context(), least), least)
	})
	return c
}

func newEndpointsShow() *cobra.Command {
	var output outputFlag
	c := &cobra.Command{
		Use:   "show ID",
		Short: "Show one endpoint with all its ports, by its MAC or one of its addresses",
		Args:  cobra.ExactArgs(1),
	}
	output.add(c)
	checkOutput(c, &output)
	onRepository(c, func(c *cobra.Command, r repository, args []string) error {
		asJSON, err := output.json()
		if err != nil {
			return err
		}
		e, err := r.Endpoint(c.Context(), args[0])
		if err != nil {
			return err
		}
		if asJSON {
			return writeJSON(c.OutOrStdout(), e)
		}
		return writeEndpoint(c.OutOrStdout(), &e)
	})
	return c
}

func newEndpointsExport() *cobra.Command {
	c := &cobra.Command{
		Use:   "export [FILE]",
		Short: "Write all endpoints as a CSV file that import reads back",
		Long: `Writes all endpoints as CSV, to standard output or to FILE. It holds what an
operator can set, not the ports. A regular FILE is replaced as a whole, or not
at all where something fails.`,
		Args: cobra.MaximumNArgs(1),
	}
	onRepository(c, func(c *cobra.Command, r repository, args []string) error {
		if len(args) == 0 || args[0] == "-" {
			return r.Export(c.Context(), c.OutOrStdout())
		}
		return exportFile(c.Context(), r, args[0])
	})
	return c
}

func newEndpointsDelete() *cobra.Command {
	c := &cobra.Command{
		Use:   "delete ID…",
		Short: "Forget endpoints with their addresses and ports, by MAC or address",
		Long: `Forgets each endpoint that is named by its MAC or one of its addresses, with its
addresses and ports, without asking. What is not found stops none of the others.`,
		Args: cobra.MinimumNArgs(1),
	}
	onRepository(c, func(c *cobra.Command, r repository, args []string) error {
		return deleteEndpoints(c.Context(), c, r, args)
	})
	return c
}

// deleteEndpoints finds all endpoints before it deletes any, so that one that is
// named twice, by its MAC and by its address, is not missing the second time.
func deleteEndpoints(ctx context.Context, c *cobra.Command, r repository, names []string) error {
	type found struct{ id, label string }
	var errs []error
	var all []found
	seen := map[string]bool{}
	for _, name := range names {
		e, err := r.Endpoint(ctx, name)
		switch {
		case errors.Is(err, store.ErrNotFound):
			errs = append(errs, err)
		case err != nil:
			return err
		case !seen[e.ID]:
			seen[e.ID] = true
			all = append(all, found{e.ID, endpointLabel(&e)})
		}
	}
	for _, f := range all {
		switch err := r.Delete(ctx, f.id); {
		case errors.Is(err, store.ErrNotFound): // somebody else was faster
			errs = append(errs, err)
			continue
		case err != nil:
			return errors.Join(append(errs, err)...)
		}
		if _, err := fmt.Fprintf(c.OutOrStdout(), "deleted %s\n", f.label); err != nil {
			return err
		}
	}
	return errors.Join(errs...)
}
