// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command portolan-bench sends NetFlow to test and measure collectors with. It
// owns nothing but its flags: what they do is in package bench. It is a
// binary of its own, so that no load generator is ever part of the product.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// Exit codes, the same as portolan's.
const (
	exitRuntime = 1
	exitUsage   = 2
)

// usageError is a wrong flag or argument.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:]))
}

// run returns the exit code.
func run(ctx context.Context, args []string) int {
	cmd := command()
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "portolan-bench:", err)
	if errors.As(err, new(usageError)) {
		return exitUsage
	}
	return exitRuntime
}

func command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "portolan-bench",
		Short: "Send NetFlow to test and measure collectors with",
		Args:  arguments(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			return usageError{errors.New("which? send, live, day, score or version; --help tells more")}
		},
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	cmd.AddCommand(sendCommand(), liveCommand(), dayCommand(), scoreCommand(), versionCommand())
	return cmd
}

// arguments makes what check refuses a usage error.
func arguments(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{err}
		}
		return nil
	}
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "portolan-bench", version())
			return err
		},
	}
}

// version is what the Go tool has recorded in the binary.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	text := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			text += " " + s.Value
		}
	}
	return text + " " + info.GoVersion
}
