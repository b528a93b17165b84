// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/spf13/cobra"

	"github.com/portolan/portolan/bench"
	"github.com/portolan/portolan/ingest/flow"
	"github.com/portolan/portolan/profiler"
)

// Files of a day.
const (
	dayCapture   = "day.pcap"
	dayEndpoints = "endpoints.csv"
	dayTruth     = "truth.jsonl"
)

func dayCommand() *cobra.Command {
	var c bench.DayConfig
	var dir, version string
	cmd := &cobra.Command{
		Use:   "day --out DIR",
		Short: "Write a day of a made network as NetFlow, with the ports that really listen",
		Long: `Write a day of a made network into a directory: day.pcap, the datagrams of its
exporters to port 2055; endpoints.csv, its devices; truth.jsonl, what really
listens on them, which score compares with what replay found. The same flags give
the same bytes.`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" {
				return usageError{errors.New("--out is needed: a directory to write to")}
			}
			versions := map[string]flow.Version{"v5": flow.V5, "v9": flow.V9, "ipfix": flow.IPFIX}
			var known bool
			if c.Version, known = versions[version]; !known {
				return usageError{fmt.Errorf("--format: %q is none of v5, v9 and ipfix", version)}
			}
			if c.Endpoints == 0 || c.Sampling == 0 || c.Duration == 0 { // which are the defaults
				return usageError{errors.New("--endpoints, --sampling and --duration: 0 is too few")}
			}
			d, err := bench.NewDay(c)
			if err != nil {
				return usageError{err}
			}
			return writeDay(cmd.OutOrStdout(), d, dir)
		},
	}
	f := cmd.Flags()
	f.StringVar(&dir, "out", "", "`directory` to write to, which is made (required)")
	f.IntVar(&c.Endpoints, "endpoints", 400, "devices, 40 to 200,000")
	f.IntVar(&c.Sampling, "sampling", 1, "the exporters see one packet in N")
	f.DurationVar(&c.Duration, "duration", 24*time.Hour, "how long it lasts, from midnight on")
	f.Uint64Var(&c.Seed, "seed", 0, "makes another day of the same kind")
	f.StringVar(&version, "format", "v5", "v5, v9 or ipfix")
	f.BoolVar(&c.Calm, "calm", false, "without scans")
	f.BoolVar(&c.Moves, "moves", false, "addresses pass from one device to another")
	return cmd
}

func writeDay(out io.Writer, d *bench.Day, dir string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	var datagrams, bytes int
	begin := time.Now()
	err := errors.Join(
		writeFile(filepath.Join(dir, dayEndpoints), func(w io.Writer) error { return writeEndpoints(w, d) }),
		writeFile(filepath.Join(dir, dayCapture), func(w io.Writer) (err error) {
			datagrams, bytes, err = writeCapture(w, d)
			return err
		}),
		writeFile(filepath.Join(dir, dayTruth), func(w io.Writer) error { return bench.WriteTruth(w, d) }),
	)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%d datagrams, %d MB, of %d endpoints in %v\n", datagrams, bytes>>20, len(d.Endpoints()), time.Since(begin).Round(time.Millisecond))
	return err
}

func writeEndpoints(w io.Writer, d *bench.Day) error {
	return profiler.WriteCSV(w, func(yield func(profiler.Endpoint, error) bool) {
		for _, r := range d.Endpoints() {
			e := profiler.Endpoint{MAC: r.MAC, IP: r.IP, Hostname: r.Hostname, OSType: r.OSType}
			if r.IP.IsValid() {
				e.Addresses = []netip.Addr{r.IP}
			}
			if !yield(e, nil) {
				return
			}
		}
	})
}

func writeFile(path string, write func(io.Writer) error) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriterSize(f, 1<<20)
	return errors.Join(write(w), w.Flush())
}

// writeCapture writes the datagrams as frames of Ethernet from their exporters.
func writeCapture(out io.Writer, d *bench.Day) (datagrams, bytes int, err error) {
	w := pcapgo.NewWriterNanos(out)
	if err := w.WriteFileHeader(1<<16, layers.LinkTypeEthernet); err != nil {
		return 0, 0, err
	}
	eth := layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, EthernetType: layers.EthernetTypeIPv4}
	ip := layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, DstIP: netip.MustParseAddr("192.0.2.250").AsSlice()}
	udp := layers.UDP{SrcPort: 50000, DstPort: 2055}
	if err := udp.SetNetworkLayerForChecksum(&ip); err != nil {
		return 0, 0, err
	}
	buffer := gopacket.NewSerializeBuffer()
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	for {
		g, ok := d.Next()
		if !ok {
			return datagrams, bytes, nil
		}
		ip.SrcIP = g.Exporter.AsSlice()
		if err := gopacket.SerializeLayers(buffer, options, &eth, &ip, &udp, gopacket.Payload(g.Payload)); err != nil {
			return datagrams, bytes, err
		}
		frame := buffer.Bytes()
		if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: g.At, CaptureLength: len(frame), Length: len(frame)}, frame); err != nil {
			return datagrams, bytes, err
		}
		datagrams++
		bytes += len(frame)
	}
}

func scoreCommand() *cobra.Command {
	var truth string
	var why, list bool
	cmd := &cobra.Command{
		Use:   "score --truth DIR/truth.jsonl REPLAY.json",
		Short: "Compare the ports that replay found in a day with those that listen",
		Args:  arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if truth == "" {
				return usageError{errors.New("--truth is needed: the truth.jsonl of the day")}
			}
			config, ports, err := readFile(truth, bench.ReadTruth)
			if err != nil {
				return err
			}
			_, found, err := readFile(args[0], readReplay)
			if err != nil {
				return err
			}
			s := bench.Score(ports, found)
			if _, err := s.WriteTo(cmd.OutOrStdout()); err != nil {
				return err
			}
			if list {
				printMissed(cmd.OutOrStdout(), s)
			}
			if why {
				return printFalse(cmd.OutOrStdout(), config, s)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&truth, "truth", "", "`file` with the truth of the day (required)")
	f.BoolVar(&why, "why", false, "make the day again and tell what the false ports were used for")
	f.BoolVar(&list, "missed", false, "list what was missed")
	return cmd
}

func readFile[A, B any](path string, read func(io.Reader) (A, B, error)) (a A, b B, err error) {
	f, err := os.Open(path)
	if err != nil {
		return a, b, err
	}
	defer f.Close()
	a, b, err = read(bufio.NewReader(f))
	if err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return a, b, err
}

// readReplay reads what replay printed as JSON.
func readReplay(r io.Reader) (_ struct{}, found []bench.DayFound, err error) {
	var replay struct {
		Endpoints []struct {
			MAC       profiler.MAC
			IP        netip.Addr
			Listening []profiler.Port
		}
	}
	if err := json.NewDecoder(r).Decode(&replay); err != nil {
		return struct{}{}, nil, fmt.Errorf("not the JSON of replay: %w", err)
	}
	for _, e := range replay.Endpoints {
		for _, p := range e.Listening {
			if proto, ok := map[string]uint8{"tcp": 6, "udp": 17}[p.Proto]; ok {
				found = append(found, bench.DayFound{Addr: e.IP, MAC: e.MAC, Proto: proto, Port: p.Port, Evidence: p.Evidence})
			}
		}
	}
	return struct{}{}, found, nil
}

func printMissed(w io.Writer, s *bench.DayScore) {
	for i := range s.Missed {
		m := &s.Missed[i]
		fmt.Fprintf(w, "missed %v %s %s/%d of a %s: %s, %s, %d answers to %d hosts, %d to scans\n",
			m.Addr, m.MAC, profiler.ProtoName(m.Proto), m.Port, m.Role, m.Kind, m.Use(), m.Answers, m.Clients, m.Probes)
	}
}

// printFalse tells what false ports were used for, and how many for what.
func printFalse(w io.Writer, c bench.DayConfig, s *bench.DayScore) error {
	why, err := bench.Explain(c, s.False)
	if err != nil {
		return err
	}
	for _, f := range s.False {
		fmt.Fprintf(w, "false %v %s %s/%d by %s:%s\n", f.Addr, f.MAC, profiler.ProtoName(f.Proto), f.Port, f.Evidence, uses(why[f]))
	}
	return nil
}

// uses lists habits, the most frequent first.
func uses(counts map[string]int) (text string) {
	names := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), strings.Compare(a, b))
	})
	for _, n := range names {
		text += fmt.Sprintf(" %s ×%d", n, counts[n])
	}
	if text == "" {
		return " nothing"
	}
	return text
}
