// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/portolan/portolan/profiler"
	"github.com/portolan/portolan/profiler/api"
)

func newEndpointsImport() *cobra.Command {
	var output outputFlag
	c := &cobra.Command{
		Use:   "import FILE.csv",
		Short: "Add or update endpoints from a CSV file (- is standard input)",
		Long: `Adds the endpoints of a CSV file and updates those that are known: all of the
file, or nothing and a list of all that is wrong with it. The first row names the
columns, any of

  mac,ip,hostname,static_ip,os_type,category,family,name,tags

in any order. Each row needs a mac or an ip; a mac may stand in several rows with
another ip in each. An empty cell leaves what is known. An endpoint without an ip
waits for one.`,
		Args: cobra.ExactArgs(1),
	}
	output.add(c)
	var file *endpointsFile
	onRepository(c, func(c *cobra.Command, r repository, _ []string) error {
		res, err := r.Import(c.Context(), file)
		if err != nil {
			return err
		}
		asJSON, err := output.json()
		if err != nil {
			return err
		}
		if asJSON {
			return writeJSON(c.OutOrStdout(), res)
		}
		return writeImport(c.OutOrStdout(), file.name, &res)
	})
	// A file that is no good is refused before anything is opened or created.
	c.PreRunE = action(func(c *cobra.Command, args []string) (err error) {
		if _, err = output.json(); err != nil {
			return err
		}
		file, err = readEndpointsFile(c, args[0])
		return err
	})
	return c
}

// endpointsFile is an endpoints file that was found good. The daemon gets its
// bytes, so that both read the same.
type endpointsFile struct {
	name string
	rows []profiler.Row
	data bytes.Buffer
}

func (f *endpointsFile) reader() io.Reader { return bytes.NewReader(f.data.Bytes()) }

// readEndpointsFile reads and checks a file. Everything that is wrong with it
// stands on standard error afterwards, one line each.
func readEndpointsFile(c *cobra.Command, path string) (*endpointsFile, error) {
	f := &endpointsFile{name: path}
	in := c.InOrStdin()
	if path == "-" {
		f.name = "standard input"
	} else {
		opened, err := os.Open(path)
		if err != nil {
			return nil, failWith(exitInput, fmt.Errorf("cannot read the endpoints file: %w", err))
		}
		defer opened.Close()
		in = opened
	}
	var err error
	f.rows, err = profiler.ParseCSV(io.TeeReader(in, &f.data))
	var wrong *profiler.CSVErrors
	switch {
	case errors.As(err, &wrong):
		return nil, refuseFile(c.ErrOrStderr(), f.name, wrong)
	case err != nil:
		return nil, failWith(exitInput, err)
	}
	return f, nil
}

// refuseFile lists what is wrong with a file.
func refuseFile(w io.Writer, name string, wrong *profiler.CSVErrors) error {
	for _, e := range wrong.Errors {
		fmt.Fprintf(w, "%s: %v\n", name, e)
	}
	n := len(wrong.Errors) + wrong.More
	rest := ""
	if wrong.More > 0 {
		rest = fmt.Sprintf(", of which the first %d are listed", len(wrong.Errors))
	}
	return failWith(exitInput, fmt.Errorf("nothing was imported: %s has %s%s", name, amount(uint64(n), "error"), rest))
}

// writeImport is the result for people.
func writeImport(w io.Writer, name string, res *api.ImportResult) error {
	_, err := fmt.Fprintf(w, "%s: %s: %d added, %d updated, %d unchanged\n", name, amount(uint64(res.Rows), "row"), res.Added, res.Updated, res.Unchanged)
	if err == nil && res.Waiting > 0 {
		_, err = fmt.Fprintf(w, "waiting for an address: %s of this file; no flow counts there until an import gives an ip\n", amount(uint64(res.Waiting), "endpoint"))
	}
	return err
}

// exportFile writes all endpoints to a file, beside it first, so that what was
// there is not lost to an export that breaks off.
func exportFile(ctx context.Context, r repository, path string) (err error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return exportInPlace(ctx, r, path)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("cannot write the endpoints file: %w", err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if err := r.Export(ctx, f); err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close(), os.Rename(f.Name(), path)); err != nil {
		return fmt.Errorf("cannot write the endpoints file: %w", err)
	}
	return nil
}

// exportInPlace writes to a device or a pipe.
func exportInPlace(ctx context.Context, r repository, path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("cannot write the endpoints file: %w", err)
	}
	return errors.Join(r.Export(ctx, f), f.Close())
}
