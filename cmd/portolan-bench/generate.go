// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/portolan/portolan/bench"
	"github.com/portolan/portolan/netns"
)

// options are the flags of both generators.
type options struct {
	workload          bench.Workload
	load              bench.Load
	prefix, namespace string
	from, to          string
}

func (o *options) bind(f *pflag.FlagSet) {
	mix := bench.Mix()
	f.StringVar(&o.to, "to", "", "address and port of the collector (required)")
	f.StringVar(&o.namespace, "netns", "", "`namespace` to send in: a name that ip netns list shows, or a path")
	f.Uint64Var(&o.load.Count, "count", 1000, "datagrams to send")
	f.IntVar(&o.load.Rate, "rate", 1000, "datagrams per second; 0 is as fast as it goes")
	f.DurationVar(&o.load.Duration, "duration", time.Minute, "stop after this time, up to "+bench.MaxDuration.String())
	f.IntVar(&o.workload.Records, "records", 30, "records in a datagram, 1 to 30")
	f.IntVar(&o.workload.Endpoints, "endpoints", 500, "internal addresses that the flows are of")
	f.StringVar(&o.prefix, "prefix", "10.0.0.0/8", "IPv4 prefix of the internal addresses")
	f.IntVar(&o.workload.NonePercent, "none", mix.NonePercent, "percentage of records without an internal side")
	f.IntVar(&o.workload.BothPercent, "both", mix.BothPercent, "percentage of records with two internal sides")
	f.IntVar(&o.workload.Services, "services", 1000, "ports that are served, from 1 on")
	f.IntVar(&o.workload.Clients, "clients", 28232, "ports that clients use, from 32768 on")
	f.Uint64Var(&o.workload.Seed, "seed", 0, "makes other flows of the same kind")
}

// parse turns text flags into values.
func (o *options) parse() (to netip.AddrPort, ns *netns.NS, err error) {
	if o.workload.Prefix, err = netip.ParsePrefix(o.prefix); err != nil {
		return to, nil, usageError{fmt.Errorf("--prefix: %w", err)}
	}
	for flag, n := range map[string]int{
		"records": o.workload.Records, "endpoints": o.workload.Endpoints, "services": o.workload.Services, "clients": o.workload.Clients,
	} {
		if n == 0 { // which a Workload takes for its default
			return to, nil, usageError{fmt.Errorf("--%s: 0 is too few", flag)}
		}
	}
	if to, err = addrPort("to", o.to); err != nil {
		return to, nil, err
	}
	if err := errors.Join(o.workload.Check(), o.load.Check()); err != nil {
		return to, nil, usageError{err}
	}
	if o.namespace != "" {
		ns, err = netns.Named(o.namespace)
	}
	return to, ns, err
}

func addrPort(flag, text string) (netip.AddrPort, error) {
	if text == "" {
		return netip.AddrPort{}, usageError{fmt.Errorf("--%s ADDR:PORT is needed", flag)}
	}
	a, err := netip.ParseAddrPort(text)
	if err != nil {
		return a, usageError{fmt.Errorf("--%s: %w", flag, err)}
	}
	return a, nil
}

func sendCommand() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "send --to ADDR:PORT",
		Short: "Send NetFlow v5 from a UDP socket",
		Args:  arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			to, ns, err := o.parse()
			if err != nil {
				return err
			}
			defer closeNS(ns)
			g, err := bench.NewUDP(bench.UDPConfig{Workload: o.workload, NS: ns, Dst: to})
			if err != nil {
				return err
			}
			return generate(cmd, g, o.load)
		},
	}
	o.bind(cmd.Flags())
	return cmd
}

func liveCommand() *cobra.Command {
	var o options
	var device, mac string
	var cpus []int
	cmd := &cobra.Command{
		Use:   "live --interface NAME --dst-mac MAC --from ADDR:PORT --to ADDR:PORT",
		Short: "Send NetFlow v5 from inside the kernel into a veth pair, some million datagrams a second",
		Long: `Send NetFlow v5 from inside the kernel, through one end of a veth pair. Any
other device is refused. The other end has to have an XDP program in native mode,
or generic receive offload on (ethtool -K DEVICE gro on). It needs root.`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			from, err := addrPort("from", o.from)
			if err != nil {
				return err
			}
			dst, err := net.ParseMAC(mac)
			if err != nil {
				return usageError{fmt.Errorf("--dst-mac: %w", err)}
			}
			if device == "" {
				return usageError{errors.New("--interface is needed: the end of a veth pair to send through")}
			}
			to, ns, err := o.parse()
			if err != nil {
				return err
			}
			defer closeNS(ns)
			g, err := bench.NewLive(bench.LiveConfig{
				Workload: o.workload, NS: ns, Interface: device, DstMAC: dst, Src: from, Dst: to, CPUs: cpus,
			})
			if err != nil {
				return err
			}
			return generate(cmd, g, o.load)
		},
	}
	o.bind(cmd.Flags())
	f := cmd.Flags()
	f.StringVar(&device, "interface", "", "end of a veth pair to send through (required)")
	f.StringVar(&mac, "dst-mac", "", "hardware address of the other end (required)")
	f.StringVar(&o.from, "from", "", "address and port to send from (required)")
	f.IntSliceVar(&cpus, "cpu", nil, "CPUs to send on")
	return cmd
}

func closeNS(ns *netns.NS) {
	if ns != nil {
		ns.Close()
	}
}

// generate runs a generator and says what came of it, also where it was interrupted.
func generate(cmd *cobra.Command, g bench.Generator, l bench.Load) (err error) {
	defer func() { err = errors.Join(err, g.Close()) }()
	r, err := g.Run(cmd.Context(), l)
	fmt.Fprintf(cmd.OutOrStdout(), "sent %d datagrams, %d records, in %v: %.0f datagrams/s, %.0f records/s\n",
		r.Sent, r.Records, r.Elapsed.Round(time.Microsecond), r.Rate(), r.Rate()*float64(max(r.Records, 1))/float64(max(r.Sent, 1)))
	if r.Refused > 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "nobody listens there: refused %d times\n", r.Refused)
	}
	if cmd.Context().Err() != nil {
		return errors.New("interrupted")
	}
	return err
}
