// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/portolan/portolan/profiler"
	"github.com/portolan/portolan/profiler/api"
	"github.com/portolan/portolan/store"
)

// repository is the endpoints, wherever they are: behind the daemon's socket or
// in a store that this process has opened. A name of an endpoint is its MAC in
// any notation or one of its addresses; the errors for one that is not there
// wrap store.ErrNotFound.
type repository interface {
	// Endpoints walks all endpoints; with a least evidence those that listen on
	// such a port, and of their listening ports only those. After an error it ends.
	Endpoints(ctx context.Context, least profiler.Evidence) iter.Seq2[profiler.Endpoint, error]
	Endpoint(ctx context.Context, name string) (profiler.Endpoint, error)
	// Import brings in a file that has been found good, all of it or nothing.
	Import(ctx context.Context, f *endpointsFile) (api.ImportResult, error)
	Delete(ctx context.Context, name string) error
	// Export writes all endpoints as CSV. After an error w can have part of them.
	Export(ctx context.Context, w io.Writer) error
	Close() error
}

// dataNamed tells whether the user has named the data directory.
func dataNamed(c *cobra.Command) bool {
	_, env := os.LookupEnv("PORTOLAN_DATA")
	return env || c.Flags().Changed("data")
}

// openRepository asks the daemon of a data directory, or opens the store there
// where none is running. It creates a store only where the user has named the
// directory: `endpoints list` in the wrong place should not leave one behind.
func openRepository(dir string, named bool) (repository, error) {
	client, err := api.Dial(dir)
	if err == nil {
		return daemonRepository{client}, nil
	}
	if !errors.Is(err, api.ErrNotRunning) {
		return nil, err
	}
	if !named {
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("no daemon answers and there is no store in %s: start the daemon here with 'portolan run', "+
				"or give --data DIR, the data directory of the one that is running or of a store to open or create", dir)
		}
	}
	s, err := store.Open(dir, store.Options{})
	if errors.Is(err, store.ErrBusy) {
		return nil, fmt.Errorf("%w (but nobody answers at %s: a daemon that is starting or stopping, or a verb like this one)",
			err, filepath.Join(dir, api.SocketName))
	}
	if err != nil {
		return nil, err
	}
	return openedStore{s}, nil
}

// daemonRepository is the endpoints of a running daemon.
type daemonRepository struct{ *api.Client }

func (d daemonRepository) Import(ctx context.Context, f *endpointsFile) (api.ImportResult, error) {
	return d.Client.Import(ctx, f.reader())
}

func (d daemonRepository) Close() error {
	d.Client.Close()
	return nil
}

// openedStore is the endpoints of a store that nobody else has open.
type openedStore struct{ *store.Store }

// storePage is how many endpoints are held at a time while all are walked.
const storePage = 500

func (s openedStore) Endpoints(ctx context.Context, least profiler.Evidence) iter.Seq2[profiler.Endpoint, error] {
	var keep func(*profiler.Endpoint) bool
	if least != profiler.NoEvidence {
		keep = func(e *profiler.Endpoint) bool { return e.Least(least) }
	}
	return func(yield func(profiler.Endpoint, error) bool) {
		for after := ""; ; {
			items, next, err := s.Store.Endpoints(after, storePage, keep)
			if err = errors.Join(err, ctx.Err()); err != nil {
				yield(profiler.Endpoint{}, err)
				return
			}
			for i := range items {
				if !yield(items[i], nil) {
					return
				}
			}
			if after = next; after == "" {
				return
			}
		}
	}
}

func (s openedStore) Endpoint(_ context.Context, name string) (profiler.Endpoint, error) {
	return s.Store.Endpoint(name)
}

func (s openedStore) Import(_ context.Context, f *endpointsFile) (api.ImportResult, error) {
	return editor(s).Import(f.rows)
}

func (s openedStore) Delete(_ context.Context, name string) error { return s.Store.Delete(name) }

func (s openedStore) Export(ctx context.Context, w io.Writer) error {
	return profiler.WriteCSV(w, s.Endpoints(ctx, profiler.NoEvidence))
}
