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
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/portolan/portolan/ingest/capture"
	"github.com/portolan/portolan/ingest/flow"
	"github.com/portolan/portolan/profiler"
)

func newDecode() *cobra.Command {
	var output outputFlag
	c := &cobra.Command{
		Use:   "decode FILE…",
		Short: "Print the flow records in captures and raw export files",
		Long: `Print the flow records in pcap and pcapng captures, raw export payloads and
streams of IPFIX messages, as one JSON object per line. Files are recognised by
what is in them and read in the order given. What is wrong inside a datagram is
a line on standard error, and so are the totals at the end.`,
		Args: cobra.MinimumNArgs(1),
	}
	output.add(c)
	output.value = "json"
	c.Flags().Lookup("output").DefValue = output.value
	c.RunE = action(func(c *cobra.Command, paths []string) error {
		asJSON, err := output.json()
		if err != nil {
			return err
		}
		d := newDecoding(c.ErrOrStderr())
		if asJSON {
			d.printer = newRecordJSON(c.OutOrStdout())
		} else {
			d.printer = newRecordTable(c.OutOrStdout())
		}
		err = d.run(c.Context(), paths)
		if errors.Is(err, syscall.EPIPE) {
			return nil // the reader, head or less, has seen enough
		}
		return err
	})
	return c
}

// recordPrinter writes the records of one message after the other. Errors are
// those of the writer behind it.
type recordPrinter interface {
	print(b *flow.Batch) error
	Flush() error
}

// decoding is one run of the verb. All files share its templates.
type decoding struct {
	printer    recordPrinter
	problemsTo io.Writer
	streams    *flow.Streams
	decoder    *flow.Decoder
	arrival    int64 // of the last datagram that has a time, Unix nanoseconds

	datagrams, skipped, printed, options, counters uint64
	problems                                       uint64
}

func newDecoding(problemsTo io.Writer) *decoding {
	streams := flow.NewStreams(flow.Limits{})
	d := &decoding{problemsTo: problemsTo, streams: streams, decoder: flow.NewDecoder(streams)}
	d.decoder.Patient = true
	return d
}

// run decodes all files. One that cannot be read does not keep the others from
// being decoded; the error names every such file.
func (d *decoding) run(ctx context.Context, paths []string) error {
	var errs []error
	for _, path := range paths {
		unread, err := d.file(ctx, path)
		if err != nil {
			return err
		}
		if unread != nil {
			errs = append(errs, unread)
		}
	}
	if err := d.printer.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(d.problemsTo, d.summary(len(paths)))
	if len(errs) > 0 {
		return unreadable(errs)
	}
	return nil
}

// file decodes one file. unread is why it could not be read to its end; err is
// what ends the whole run.
func (d *decoding) file(ctx context.Context, path string) (unread, err error) {
	r, err := capture.Open(path)
	if err != nil {
		return err, nil
	}
	defer closeCaptures([]*capture.Reader{r})
	for {
		g, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil, nil
		case err != nil:
			return err, nil
		}
		if err := d.datagram(&g); err != nil {
			return nil, err
		}
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("decode was interrupted: %w", err)
		}
	}
}

// datagram prints the records of one datagram, and those of former ones that
// waited for a template of it, and what is wrong with it.
func (d *decoding) datagram(g *capture.Datagram) error {
	if !isExport(g) {
		d.skipped++
		return nil
	}
	d.datagrams++
	if !g.Time.IsZero() {
		d.arrival = g.Time.UnixNano()
	}
	if drop := d.decoder.Begin(exporterOf(g), d.arrival, g.Payload); drop != flow.NoDrop {
		d.problem(g, drop)
		return nil
	}
	for b := d.decoder.Next(); b != nil; b = d.decoder.Next() {
		d.printed += uint64(len(b.Records))
		d.options += uint64(b.OptionsRecords)
		d.counters += uint64(b.CounterSamples)
		if err := d.printer.print(b); err != nil {
			return err
		}
	}
	problems := d.decoder.Problems()
	for p := range flow.Problem(flow.Problems) {
		if problems.Has(p) {
			d.problem(g, p)
		}
	}
	return nil
}

// problem tells one thing that is wrong. That standard error cannot be written
// is nothing that could be told.
func (d *decoding) problem(g *capture.Datagram, reason fmt.Stringer) {
	d.problems++
	fmt.Fprintf(d.problemsTo, "%s datagram %d: %s\n", g.File, g.Index, reason)
}

func (d *decoding) summary(files int) string {
	s := fmt.Sprintf("%s: %s, %s, %s, %s, %s", amount(uint64(files), "file"), amount(d.datagrams, "datagram"),
		amount(d.printed, "record"), amount(d.options, "options record"), amount(d.counters, "counter sample"), amount(d.problems, "problem"))
	if n := uint64(d.streams.Waiting()); n > 0 {
		s += fmt.Sprintf("; %s for a template", setsWait(n))
	}
	if d.skipped > 0 {
		s += fmt.Sprintf("; %s skipped", amount(d.skipped, "other UDP datagram"))
	}
	return s
}

// recordTable writes records in columns, for people. Columns are as wide as
// the widest cell of so many rows, so that a file of any length streams.
type recordTable struct {
	table
	out  *bufio.Writer
	rows int
}

const tableRows = 1000

func newRecordTable(w io.Writer) *recordTable {
	out := bufio.NewWriterSize(w, outputBuffer)
	return &recordTable{table: newTable(out), out: out}
}

// Flush writes what has gathered.
func (p *recordTable) Flush() error {
	if err := p.table.Flush(); err != nil {
		return err
	}
	return p.out.Flush()
}

func (p *recordTable) print(b *flow.Batch) error {
	exporter := "-"
	if a := exporterAddr(b); !a.IsUnspecified() {
		exporter = a.String()
	}
	for i := range b.Records {
		if p.rows%tableRows == 0 {
			if err := p.table.Flush(); err != nil {
				return err
			}
			p.row("START", "DURATION", "PROTO", "SOURCE", "DESTINATION", "FLAGS", "PACKETS", "BYTES", "EXPORTER")
		}
		p.rows++
		p.record(&b.Records[i], exporter)
	}
	return nil
}

// record is one row; what the record does not have is a dash.
func (p *recordTable) record(r *flow.Record, exporter string) {
	has := func(f flow.Fields) bool { return r.Present&f == f }
	shown := func(f flow.Fields, v any) string {
		if !has(f) {
			return "-"
		}
		return fmt.Sprint(v)
	}
	start, duration, flags := "-", "-", "-"
	if has(flow.HasStart) {
		start = string(appendTime(nil, r.Start))
	}
	if has(flow.HasStart|flow.HasEnd) && r.End >= r.Start {
		duration = time.Duration(r.End - r.Start).Round(time.Millisecond).String()
	}
	if r.Proto == protoTCP && has(flow.HasTCPFlags) {
		flags = tcpFlags(r.TCPFlags)
	}
	p.row(start, duration, shown(flow.HasProto, profiler.ProtoName(r.Proto)),
		shown(flow.HasSrc, sideOf(r.Src, r.SrcPort, r.Proto)), shown(flow.HasDst, sideOf(r.Dst, r.DstPort, r.Proto)),
		flags, shown(flow.HasPackets, r.Packets), shown(flow.HasBytes, r.Bytes), exporter)
}

// sideOf is one end of a record, with the port where there is one.
func sideOf(addr [16]byte, port uint16, proto uint8) string {
	a := netip.AddrFrom16(addr).Unmap()
	if port == 0 && !hasPorts(proto) {
		return a.String()
	}
	return netip.AddrPortFrom(a, port).String()
}

// tcpFlags shows the flags as letters in the order of the header, RFC 9293
// section 3.1, with a dot for each that is not set.
func tcpFlags(flags uint8) string {
	b := []byte("CEUAPRSF")
	for i := range b {
		if flags<<i&0x80 == 0 {
			b[i] = '.'
		}
	}
	return string(b)
}
