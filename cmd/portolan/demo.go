// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/portolan/portolan/ingest"
	"github.com/portolan/portolan/ingest/flow"
	"github.com/portolan/portolan/netns"
	"github.com/portolan/portolan/profiler"
	"github.com/portolan/portolan/store"
)

func newDemo() *cobra.Command {
	var address string
	var duration time.Duration
	c := &cobra.Command{
		Use:   "demo",
		Short: "Show everything on a small office that is made up",
		Long: `Shows Portolan at work: three routers of a small office with about 500 devices
export NetFlow v5, and a daemon with a store of its own receives it.

As root, routers and receiver live in two network namespaces with a virtual
cable between them, and the receiver uses AF_XDP; the machine's own network is
not touched. Without root the same goes over loopback. Ctrl-C ends it and
removes everything.`,
		Args: cobra.NoArgs,
		RunE: action(func(c *cobra.Command, _ []string) error {
			ctx := c.Context()
			if duration > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, duration)
				defer cancel()
			}
			return demo(ctx, c, address)
		}),
	}
	c.Flags().StringVar(&address, "http", "127.0.0.1:8055", "`ADDR:PORT` of the page; a free port is taken where this one is in use")
	c.Flags().DurationVar(&duration, "for", 0, "end by itself after this `TIME`, such as 30s (0: never)")
	return c
}

// stage is where the demo happens: two namespaces with a cable, or loopback.
type stage struct {
	routers, receiver *netns.NS // nil: the machine's own
	conf              config
	from              []netip.Addr // the routers' addresses
	about             string
}

const demoDevice = "portolan0"

// newStage makes namespaces where this process may, and else takes loopback.
func newStage() (*stage, error) {
	s := &stage{conf: config{ports: "inferred", interval: profiler.DefaultInterval, logLevel: slog.LevelWarn}}
	var err error
	if s.conf.knowledge, err = loadKnowledge(""); err != nil {
		return nil, err
	}
	routers, err := netns.New()
	if err != nil {
		s.about = "over loopback, through UDP sockets (network namespaces and AF_XDP need root: sudo shows them)"
		s.conf.listen = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
		s.from = []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.3")}
		return s, nil
	}
	s.routers = routers
	if s.receiver, err = netns.New(); err != nil {
		return nil, errors.Join(err, s.close())
	}
	s.about = "in two network namespaces of its own with a virtual cable between them"
	s.from = []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3")}
	s.conf.listen = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.10:2055")}
	s.conf.interfaces = []string{demoDevice}
	cable := netns.VethOptions{AddrB: []netip.Prefix{netip.PrefixFrom(s.conf.listen[0].Addr(), 24)}}
	for _, a := range s.from {
		cable.AddrA = append(cable.AddrA, netip.PrefixFrom(a, 24))
	}
	if err := netns.Veth(s.routers, "routers0", s.receiver, demoDevice, cable); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *stage) close() error {
	var errs []error
	for _, ns := range []*netns.NS{s.routers, s.receiver} {
		if ns != nil {
			errs = append(errs, ns.Close())
		}
	}
	return errors.Join(errs...)
}

// demo runs the show until ctx ends.
func demo(ctx context.Context, c *cobra.Command, address string) (err error) {
	out := c.OutOrStdout()
	s, err := newStage()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if s.conf.data, err = os.MkdirTemp("", "portolan-demo-"); err != nil {
		return fmt.Errorf("make a directory for the demo's store: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(s.conf.data)) }()
	s.conf.http = freeAddress(address)

	fmt.Fprintf(out, "portolan demo: a small office, %s.\n", s.about)
	d, err := startDaemon(&s.conf, s.receiver, newLogger(s.conf.logLevel))
	if err != nil {
		return startError(err)
	}
	defer func() { err = errors.Join(err, d.close()) }()
	o := newOffice()
	if _, err := d.store.Import(o.rows, store.ImportOptions{}); err != nil {
		return err
	}
	fmt.Fprint(out, d.banner())
	fmt.Fprintf(out, "  try     portolan endpoints list --data %s\nCtrl-C ends the demo and removes everything.\n\n", s.conf.data)

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, 1)
	var routers sync.WaitGroup
	routers.Go(func() { failed <- s.export(ctx, o, d.sensor) })
	defer routers.Wait()
	defer cancel()
	go newScreen(out, d).run(ctx)
	select {
	case err := <-failed:
		return err
	case err := <-d.watch(ctx):
		return err
	}
}

// watch is wait as a channel.
func (d *daemon) watch(ctx context.Context) <-chan error {
	done := make(chan error, 1)
	go func() { done <- d.wait(ctx) }()
	return done
}

// freeAddress is the wanted address, or one with a free port.
func freeAddress(wanted string) string {
	l, err := net.Listen("tcp", wanted)
	if err == nil {
		l.Close()
		return wanted
	}
	host, _, err := net.SplitHostPort(wanted)
	if err != nil {
		return wanted
	}
	return net.JoinHostPort(host, "0")
}

const (
	demoTick  = 100 * time.Millisecond
	demoTalks = 25 // conversations per router and tick
)

// export sends the office's traffic from the three routers until ctx ends.
func (s *stage) export(ctx context.Context, o *demoOffice, sensor *ingest.Sensor) error {
	to := sensor.Addresses()[0]
	conns := make([]net.Conn, len(s.from))
	err := s.routers.Do(func() (err error) {
		for i, from := range s.from {
			d := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
			if conns[i], err = d.DialContext(ctx, "udp", to.String()); err != nil {
				return fmt.Errorf("the demo's router %s: %w", from, err)
			}
		}
		return nil
	})
	defer func() {
		for _, conn := range conns {
			if conn != nil {
				conn.Close()
			}
		}
	}()
	if err != nil {
		return err
	}
	booted := time.Now().Add(-time.Hour)
	sequence := make([]uint32, len(conns))
	var records []flow.Record
	var datagram []byte
	tick := time.NewTicker(demoTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			for i, conn := range conns {
				records = o.flows(records[:0], demoTalks, now)
				for len(records) > 0 {
					n := min(len(records), flow.MaxV5Records)
					datagram = flow.AppendV5(datagram[:0], flow.V5Header{
						ExportTime: now.UnixNano(), Uptime: uint32(now.Sub(booted).Milliseconds()),
						Sequence: sequence[i], Domain: uint16(i),
					}, records[:n])
					if _, err := conn.Write(datagram); err != nil {
						return fmt.Errorf("the demo's router %s: %w", s.from[i], err)
					}
					sequence[i] += uint32(n)
					records = records[n:]
				}
			}
		}
	}
}
