// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spf13/cobra"

	"github.com/portolan/portolan/ingest"
	"github.com/portolan/portolan/ingest/capture"
	"github.com/portolan/portolan/ingest/flow"
	"github.com/portolan/portolan/profiler"
	"github.com/portolan/portolan/store"
)

func newReplay() *cobra.Command {
	var output outputFlag
	var f replayFlags
	c := &cobra.Command{
		Use:   "replay FILE…",
		Short: "Run captures through the whole path and print what it learned",
		Long: `Run the flow exports in captures and raw export files through the same path as
the daemon's, on the time of the capture, and print the books, the exporters and
the endpoints with their ports and devices. Files are merged by time; the same files give the
same bytes every time, and nothing is kept.

Endpoints are those of --endpoints, and every address inside --internal from the
record on in which it is first seen (multicast, broadcast and the unspecified
address, which no single device has, are not). With neither flag, the private
prefixes are internal: 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 and fc00::/7.
Link-local addresses are not among them, because two devices on two links can
have the same one.`,
		Args: cobra.MinimumNArgs(1),
	}
	output.add(c)
	c.Flags().StringVar(&f.endpoints, "endpoints", "", "the endpoints, a CSV `FILE`")
	c.Flags().StringSliceVar(&f.internal, "internal", nil, "addresses in `CIDR`,… are endpoints when first seen")
	c.Flags().StringVar(&f.interval, "interval", profiler.DefaultInterval.String(), "how long a port is not posted again, at least 1h")
	c.Flags().StringVar(&f.rules, "rules", "", "`DIR` with rules (*.yaml) and vendors.csv beside the built-in ones")
	c.Flags().StringVar(&f.ports, "ports", "inferred", "which ports count: inferred (which side serves), all (every port seen)")
	c.RunE = action(func(c *cobra.Command, paths []string) error {
		asJSON, err := output.json()
		if err != nil {
			return err
		}
		f.internalSet = c.Flags().Changed("internal")
		r, err := f.replay()
		if err != nil {
			return err
		}
		result, err := r.run(c.Context(), paths)
		if err != nil {
			return err
		}
		if result.Ledger.Datagrams.Received == 0 {
			fmt.Fprintf(c.ErrOrStderr(), "portolan: no flow export was found in %s (%s skipped)\n",
				strings.Join(paths, ", "), amount(result.skipped, "other UDP datagram"))
		}
		out := bufio.NewWriterSize(c.OutOrStdout(), outputBuffer)
		if asJSON {
			err = writeJSON(out, result)
		} else {
			err = writeReplay(out, result)
		}
		return errors.Join(err, out.Flush())
	})
	return c
}

// replayFlags are the flags as given.
type replayFlags struct {
	endpoints   string
	internal    []string
	internalSet bool
	interval    string
	ports       string
	rules       string
}

// privatePrefixes are internal where nothing else is said: RFC 1918 and RFC 4193.
var privatePrefixes = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("fc00::/7"),
}

// replay checks the flags and reads the endpoints file.
func (f *replayFlags) replay() (*replay, error) {
	var conf config
	if err := applyPorts(&conf, []string{f.ports}); err != nil {
		return nil, usageErrorf("--ports: %w", err)
	}
	if err := applyInterval(&conf, []string{f.interval}); err != nil {
		return nil, usageErrorf("--interval: %w", err)
	}
	if err := applyRules(&conf, []string{f.rules}); err != nil {
		return nil, failWith(exitInput, fmt.Errorf("--rules: %w", err))
	}
	r := &replay{infer: conf.ports == "inferred", interval: conf.interval, knowledge: conf.knowledge, known: map[[16]byte]struct{}{}}
	for _, s := range f.internal {
		p, err := parsePrefix(strings.TrimSpace(s))
		if err != nil {
			return nil, usageErrorf("--internal: %w", err)
		}
		if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
		}
		r.internal = append(r.internal, p)
	}
	switch {
	case f.internalSet && len(r.internal) == 0:
		return nil, usageErrorf("--internal needs a prefix, such as 10.0.0.0/8")
	case !f.internalSet && f.endpoints == "":
		r.internal = privatePrefixes
	}
	return r, failWith(exitInput, r.readEndpoints(f.endpoints))
}

// replay is one run of the verb.
type replay struct {
	infer     bool
	interval  time.Duration
	knowledge knowledge
	internal  []netip.Prefix
	rows      []profiler.Row        // of the endpoints file, until they are in the store
	known     map[[16]byte]struct{} // addresses that are endpoints

	store   *store.Store
	path    *ingest.Offline
	now     atomic.Int64   // the time of the capture, for the store's clock
	flushed time.Time      // since when posts gather
	fresh   []profiler.Row // what becomes an endpoint with the message at hand
	failed  error          // why it could not
	result  replayResult
}

// replayResult is what the verb prints.
type replayResult struct {
	Ledger    ingest.Ledger       `json:"ledger"`
	Exporters []ingest.Exporter   `json:"exporters"`
	Endpoints []profiler.Endpoint `json:"endpoints"`

	files       int
	skipped     uint64 // UDP datagrams that are no flow exports
	first, last time.Time
}

// readEndpoints reads the endpoints file, if there is one. The error has every
// mistake in a line of its own.
func (r *replay) readEndpoints(path string) error {
	if path == "" {
		return nil
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if r.rows, err = profiler.ParseCSV(file); err != nil {
		return fmt.Errorf("%s:\n%w", path, err)
	}
	for i := range r.rows {
		if a := r.rows[i].IP; a.IsValid() {
			r.known[a.As16()] = struct{}{}
		}
	}
	return nil
}

// run replays the files. The error names every file that cannot be read, or not
// to its end: half of a capture gives no half result.
func (r *replay) run(ctx context.Context, paths []string) (*replayResult, error) {
	readers, err := openCaptures(paths)
	if err != nil {
		return nil, err
	}
	defer closeCaptures(readers)
	r.result.files = len(paths)

	dir, err := os.MkdirTemp("", "portolan-replay-")
	if err != nil {
		return nil, fmt.Errorf("cannot make a directory for the endpoint set: %w", err)
	}
	defer os.RemoveAll(dir)
	// Pebble stays in memory; the endpoint set is mapped and so needs a disk.
	r.store, err = store.Open(dir, store.Options{
		FS: vfs.NewMem(), Interval: r.interval,
		Rules: r.knowledge.rules, Vendors: r.knowledge.vendors, ProfileOnCall: true,
		Now: func() time.Time { return time.Unix(0, r.now.Load()) },
	})
	if err != nil {
		return nil, err
	}
	err = r.feed(ctx, capture.Merge(headerTime, readers...))
	if err = errors.Join(err, r.store.Close()); err != nil {
		return nil, err
	}
	return &r.result, nil
}

// feed runs all datagrams through the path and reads the result out of it.
func (r *replay) feed(ctx context.Context, files *capture.Merged) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() { // a store that has failed would be offered its posts for ever
		select {
		case err := <-r.store.Failed():
			cancel(err)
		case <-ctx.Done():
		}
	}()
	var err error
	r.path, err = ingest.NewOffline(ingest.Config{Set: r.store.Live(), Sink: r.store, Interval: r.interval, Discover: r.discover, Infer: r.infer})
	if err != nil {
		return err
	}
	defer r.path.Close()
	if err := r.all(ctx, files); err != nil {
		return err
	}
	if err := r.store.Profile(); err != nil {
		return err
	}
	s := r.path.Status()
	r.result.Ledger, r.result.Exporters = s.Ledger, s.Exporters
	r.result.Endpoints, _, err = r.store.Endpoints("", 0, nil)
	return err
}

// all takes the datagrams of all files in the order of their times.
func (r *replay) all(ctx context.Context, files *capture.Merged) error {
	var unread []error
	for {
		d, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			unread = append(unread, err)
			continue
		}
		if err := r.datagram(ctx, &d); err != nil {
			return err
		}
	}
	if len(unread) > 0 {
		return unreadable(unread)
	}
	if err := r.add(r.rows); err != nil { // if there was no datagram
		return err
	}
	if err := r.path.End(ctx, time.Unix(0, r.now.Load())); err != nil {
		return interrupted(ctx)
	}
	return nil
}

// datagram takes a datagram down the path.
func (r *replay) datagram(ctx context.Context, d *capture.Datagram) error {
	if !isExport(d) {
		r.result.skipped++
		return nil
	}
	if err := r.at(ctx, d.Time); err != nil {
		return err
	}
	if err := r.add(r.rows); err != nil { // those of the file are there from the beginning
		return err
	}
	r.rows = nil
	err := r.path.Datagram(ctx, time.Unix(0, r.now.Load()), exporterOf(d), d.Payload)
	if r.failed != nil {
		return r.failed
	}
	if err != nil || ctx.Err() != nil {
		return interrupted(ctx)
	}
	return nil
}

func interrupted(ctx context.Context) error {
	return fmt.Errorf("the replay was interrupted: %w", context.Cause(ctx))
}

// linger is how long posts gather, in the time of the capture: what the daemon's
// batcher does, and as there it is what keeps commits from being many. It has to
// be short against the reprofile interval, because a pair whose post is on its
// way is not posted again.
const linger = 20 * time.Millisecond

// at sets the clock to the time of a datagram, and has posted before what has
// waited long enough by then. One without a time, which only can be where
// nothing before it had one, is at the beginning of time.
func (r *replay) at(ctx context.Context, t time.Time) error {
	if t.IsZero() {
		t = time.Unix(0, 0)
	}
	if wait := t.Sub(r.flushed); wait >= linger || wait < 0 {
		if err := r.flush(ctx); err != nil {
			return err
		}
		r.flushed = t
	}
	r.now.Store(t.UnixNano())
	if r.result.first.IsZero() || t.Before(r.result.first) {
		r.result.first = t.UTC()
	}
	if t.After(r.result.last) {
		r.result.last = t.UTC()
	}
	return nil
}

// flush posts what has gathered, and has the devices follow.
func (r *replay) flush(ctx context.Context) error {
	if err := r.path.Flush(ctx); err != nil {
		return interrupted(ctx)
	}
	return r.store.Profile()
}

// discover makes endpoints of the internal addresses in records that the path is
// about to look up.
func (r *replay) discover(records []flow.Record) {
	r.fresh = r.fresh[:0]
	for i := range records {
		r.see(&records[i].Src)
		r.see(&records[i].Dst)
	}
	if err := r.add(r.fresh); err != nil && r.failed == nil {
		r.failed = err
	}
}

// see notes an address that is internal and was not seen before. Addresses that
// no single device has are nobody's.
func (r *replay) see(addr *[16]byte) {
	if _, ok := r.known[*addr]; ok {
		return
	}
	a := netip.AddrFrom16(*addr).Unmap()
	if a.IsUnspecified() || a.IsMulticast() || a == broadcast {
		return
	}
	for _, p := range r.internal {
		if p.Contains(a) {
			r.known[*addr] = struct{}{}
			r.fresh = append(r.fresh, profiler.Row{IP: a})
			return
		}
	}
}

// broadcast is the limited broadcast address, RFC 919 section 7.
var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// add brings endpoints into the store, at the time of the capture.
func (r *replay) add(rows []profiler.Row) error {
	if len(rows) == 0 {
		return nil
	}
	_, err := r.store.Import(rows, store.ImportOptions{})
	return err
}
