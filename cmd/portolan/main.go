// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command portolan charts the ports of every device on a network from the
// NetFlow that its routers send. This package owns the command line, the
// configuration and the wiring of the parts; a file here holds one verb.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	// After the first signal the second one has its default effect again.
	context.AfterFunc(ctx, stop)
	os.Exit(execute(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// The exit codes.
const (
	exitOK          = 0
	exitRuntime     = 1 // port or store busy, daemon not reachable, …
	exitUsage       = 2
	exitInput       = 3 // bad configuration or input file, interface that does not exist
	exitUnsupported = 4 // the kernel or a privilege does not allow what was demanded
)

// exitError gives an error its exit code.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// failWith marks err with an exit code; nil stays nil.
func failWith(code int, err error) error {
	if err == nil {
		return nil
	}
	return &exitError{code, err}
}

// usageErrorf is a mistake on the command line.
func usageErrorf(format string, args ...any) error {
	return failWith(exitUsage, fmt.Errorf(format, args...))
}

// execute runs one command line and returns its exit code.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c := newCLI()
	c.SetArgs(args)
	c.SetOut(stdout)
	c.SetErr(stderr)
	err := c.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	var marked *exitError
	if !errors.As(err, &marked) {
		// Not one of ours: cobra could not make sense of the command line.
		fmt.Fprintf(stderr, "portolan: %v\nRun 'portolan --help' for usage.\n", err)
		return exitUsage
	}
	fmt.Fprintf(stderr, "portolan: %v\n", err)
	return marked.code
}

// newCLI is the tree of verbs.
func newCLI() *cobra.Command {
	c := &cobra.Command{
		Use:           "portolan",
		Short:         "Charts the ports of every device on a network from NetFlow",
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		// With a function of its own an unknown verb is an error, not a request for help.
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(
		newRun(), newDemo(), newReplay(), newDecode(), newEndpoints(),
		newStatus(), newDoctor(), newCheckConfig(), newRules(), newVersion(),
	)
	return c
}

// action makes a verb's function cobra's. Errors without a code of their own
// are runtime errors.
func action(run func(c *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		err := run(c, args)
		var marked *exitError
		if err == nil || errors.As(err, &marked) {
			return err
		}
		return failWith(exitRuntime, err)
	}
}
