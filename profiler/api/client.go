// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/portolan/portolan/ingest"
	"github.com/portolan/portolan/profiler"
	"github.com/portolan/portolan/store"
)

// ErrNotRunning is wrapped where no daemon answers at the local socket.
var ErrNotRunning = errors.New("no daemon answers")

// Client talks to the daemon of one data directory through its local socket.
// Its methods may be called from any number of goroutines. Their errors wrap
// [ErrNotRunning], [store.ErrNotFound] or are a [*Problem], where one of these applies.
type Client struct {
	http http.Client
	path string
}

// Problem is a refusal by the daemon.
type Problem struct {
	Status int // HTTP status
	Detail string
}

// Error is the daemon's own words.
func (p *Problem) Error() string { return p.Detail }

// Dial returns a client of the daemon that has its data in dataDir, and an error
// that wraps [ErrNotRunning] where none answers.
func Dial(dataDir string) (*Client, error) {
	c := &Client{path: socketPath(dataDir)}
	conn, err := c.connect(context.Background())
	if err != nil {
		return nil, err
	}
	_ = conn.Close()
	c.http.Transport = &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return c.connect(ctx) },
	}
	return c, nil
}

// connect opens a connection, or says what to do.
func (c *Client) connect(ctx context.Context) (net.Conn, error) {
	conn, err := dialLocal(ctx, c.path)
	switch {
	case err == nil:
		return conn, nil
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ENOTDIR):
		return nil, fmt.Errorf("%w at %s: start it with `portolan run`, or give the --data of the one that is running", ErrNotRunning, c.path)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s may be used by the daemon's user and by root only: %w", c.path, err)
	}
	return nil, fmt.Errorf("cannot reach the daemon: %w", err)
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Status is how the daemon is.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	return s, c.get(ctx, "/api/v1/status", &s)
}

// Exporters are all exporters.
func (c *Client) Exporters(ctx context.Context) ([]ingest.Exporter, error) {
	var l List[ingest.Exporter]
	return l.Items, c.get(ctx, "/api/v1/exporters", &l)
}

// Endpoint finds one endpoint by a MAC in any notation or an IP address.
func (c *Client) Endpoint(ctx context.Context, id string) (profiler.Endpoint, error) {
	var e profiler.Endpoint
	return e, c.get(ctx, "/api/v1/endpoints/"+url.PathEscape(id), &e)
}

// Endpoints walks all endpoints, or where least is not [profiler.NoEvidence]
// those with such a port and of their listening ports only those. After an error
// it ends.
func (c *Client) Endpoints(ctx context.Context, least profiler.Evidence) iter.Seq2[profiler.Endpoint, error] {
	return func(yield func(profiler.Endpoint, error) bool) {
		for after := ""; ; {
			var page List[profiler.Endpoint]
			q := url.Values{"limit": {strconv.Itoa(maxLimit)}}
			if least != profiler.NoEvidence {
				q.Set("evidence", least.String())
			}
			if after != "" {
				q.Set("after", after)
			}
			if err := c.get(ctx, "/api/v1/endpoints?"+q.Encode(), &page); err != nil {
				yield(profiler.Endpoint{}, err)
				return
			}
			for i := range page.Items {
				if !yield(page.Items[i], nil) {
					return
				}
			}
			if after = page.Next; after == "" {
				return
			}
		}
	}
}

// Import sends an endpoints file, of 64 MiB at most. What is wrong with it is a
// [*profiler.CSVErrors], as [profiler.ParseCSV] returns it.
func (c *Client) Import(ctx context.Context, file io.Reader) (ImportResult, error) {
	var res ImportResult
	r, err := c.do(ctx, http.MethodPost, "/api/v1/endpoints/import", file)
	if err != nil {
		return res, err
	}
	defer r.Body.Close()
	return res, decode(r.Body, &res)
}

// Delete forgets an endpoint, by a MAC in any notation or an IP address.
func (c *Client) Delete(ctx context.Context, id string) error {
	r, err := c.do(ctx, http.MethodDelete, "/api/v1/endpoints/"+url.PathEscape(id), nil)
	if err != nil {
		return err
	}
	return r.Body.Close()
}

// Export writes all endpoints to w as a file that Import reads back. An error
// can leave w with part of them.
func (c *Client) Export(ctx context.Context, w io.Writer) error {
	r, err := c.do(ctx, http.MethodGet, "/api/v1/endpoints.csv", nil)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if _, err := io.Copy(w, r.Body); err != nil {
		return fmt.Errorf("the export broke off: %w", err)
	}
	return nil
}

func (c *Client) get(ctx context.Context, path string, v any) error {
	r, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	return decode(r.Body, v)
}

func decode(r io.Reader, v any) error {
	if err := json.NewDecoder(r).Decode(v); err != nil {
		return fmt.Errorf("cannot read the daemon's answer: %w", err)
	}
	return nil
}

// do makes a request and turns a refusal into an error.
func (c *Client) do(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://localhost"+path, body)
	if err != nil {
		return nil, fmt.Errorf("cannot ask the daemon: %w", err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "text/csv")
	}
	r, err := c.http.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // "Get http://localhost/…" would send people to the wrong place
		}
		return nil, fmt.Errorf("cannot ask the daemon: %w", err)
	}
	if r.StatusCode < 300 {
		return r, nil
	}
	defer r.Body.Close()
	return nil, refused(r)
}

// maxProblem bounds what is read of a refusal, in bytes.
const maxProblem = 1 << 20

func refused(r *http.Response) error {
	var p struct {
		Detail string
		More   int
		Errors []struct {
			Message string
			Value   json.RawMessage
		}
	}
	if err := json.NewDecoder(io.LimitReader(r.Body, maxProblem)).Decode(&p); err != nil || p.Detail == "" {
		return &Problem{r.StatusCode, "the daemon answered " + r.Status}
	}
	switch {
	case r.StatusCode == http.StatusNotFound:
		return fmt.Errorf("%w: %s", store.ErrNotFound, p.Detail)
	case len(p.Errors) == 0:
		return &Problem{r.StatusCode, p.Detail}
	}
	wrong := &profiler.CSVErrors{More: p.More}
	for _, e := range p.Errors {
		var at cell
		if json.Unmarshal(e.Value, &at) != nil || at.Row == 0 {
			return &Problem{r.StatusCode, p.Detail + ": " + e.Message}
		}
		wrong.Errors = append(wrong.Errors, profiler.CSVError{Row: at.Row, Column: at.Column, Message: e.Message})
	}
	return wrong
}
