// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/portolan/portolan/netns"
)

func newDoctor() *cobra.Command {
	var output outputFlag
	var d doctor
	var namespace string
	var listen []string
	c := &cobra.Command{
		Use:   "doctor [IFACE]",
		Short: "Tell how exports can be received on this machine, and what stands in the way",
		Long: `Looks at the kernel, the privileges of this process, limits, the UDP port and
the interfaces (all but the loopback, or IFACE), and tells which rung of the
receive ladder each interface gets and why: zc (native XDP, zero-copy), copy
(native XDP), generic, or udp where AF_XDP cannot be had.

The rung is found by trying: the XDP program is attached and a socket is bound to
queue 0, and both are taken away again. Attaching makes some drivers restart the
link and traffic stop for seconds. So this is done only to veth, dummy and tun
devices and to interfaces that are set down; of the others it is told what their
driver declares. --try tries on these as well: do not use it on a link that has
to stay up. --no-try touches no interface at all.

Run it as the user, and with the capabilities, that the daemon will have.

Exit code: 0 if nothing prevents receiving by UDP, 1 if something does, 3 if
IFACE does not exist, 4 if IFACE is given and no AF_XDP rung can be had there.`,
		Args: cobra.MaximumNArgs(1),
	}
	output.add(c)
	c.Flags().StringVar(&namespace, "netns", "", "look inside the network namespace `NAME`")
	c.Flags().StringSliceVar(&listen, "listen", []string{":2055"}, "UDP `ADDR:PORT` that exports are to be received on (repeatable)")
	c.Flags().BoolVar(&d.force, "try", false, "try the rungs even where that can interrupt traffic for seconds")
	c.Flags().BoolVar(&d.never, "no-try", false, "try no rung, and touch no interface")
	c.MarkFlagsMutuallyExclusive("try", "no-try")
	c.RunE = action(func(c *cobra.Command, args []string) error {
		asJSON, err := output.json()
		if err != nil {
			return err
		}
		if len(args) > 0 {
			d.iface = args[0]
		}
		if d.listen, err = parseListens(listen); err != nil {
			return err
		}
		if err := d.runIn(namespace); err != nil {
			return err
		}
		if asJSON {
			err = writeJSON(c.OutOrStdout(), &d.report)
		} else {
			err = d.report.write(c.OutOrStdout())
		}
		return errors.Join(err, d.verdict())
	})
	return c
}

func parseListens(texts []string) (addrs []netip.AddrPort, err error) {
	for _, text := range texts {
		a, err := parseListen(text)
		if err != nil {
			return nil, failWith(exitUsage, fmt.Errorf("--listen: %w", err))
		}
		addrs = append(addrs, a)
	}
	return addrs, nil
}

// doctor is one examination.
type doctor struct {
	iface        string // the only one to look at, if not empty
	listen       []netip.AddrPort
	force, never bool

	report report
	noXDP  error  // why no interface can have AF_XDP
	noUDP  error  // why exports cannot be received by UDP
	locked uint64 // bytes that this process may lock in memory; RLIM_INFINITY is any
}

// report is all that was found.
type report struct {
	Checks     []check           `json:"checks"`
	Interfaces []interfaceReport `json:"interfaces"`
}

// check is one thing that was looked at.
type check struct {
	Section string `json:"section"` // kernel, privileges, limits, udp, interface
	Subject string `json:"subject"`
	State   state  `json:"state"`
	Text    string `json:"text"`
	Do      string `json:"do,omitempty"` // what to do about it
}

// state is what a check comes to.
type state string

const (
	good    state = "ok"
	note    state = "note"    // worth knowing
	problem state = "problem" // keeps AF_XDP or UDP from working
)

func (r *report) add(section, subject string, s state, text, do string) {
	r.Checks = append(r.Checks, check{section, subject, s, text, do})
}

// runIn examines a network namespace, by default this one.
func (d *doctor) runIn(namespace string) error {
	if namespace == "" {
		return d.run()
	}
	ns, err := netns.Named(namespace)
	if errors.Is(err, os.ErrNotExist) {
		return failWith(exitInput, err)
	}
	if err != nil {
		return startError(err)
	}
	// The thread that has been inside is thrown away; what it finds is not.
	var found error
	entered := ns.Do(func() error {
		found = d.run()
		return nil
	})
	return errors.Join(found, startError(entered), ns.Close())
}

// run examines the namespace of the calling thread, and stays on that thread.
func (d *doctor) run() error {
	links, err := d.links()
	if err != nil {
		return err
	}
	d.kernel()
	d.privileges()
	d.limits()
	for _, a := range d.listen {
		d.udpPort(a)
	}
	d.report.Interfaces = []interfaceReport{}
	for _, link := range links {
		if err := d.interfaces(link); err != nil {
			return err
		}
	}
	return nil
}

// verdict is the error that gives the exit code.
func (d *doctor) verdict() error {
	if d.iface != "" {
		if i := &d.report.Interfaces[0]; i.Rung == rungUDP {
			return failWith(exitUnsupported, fmt.Errorf("no AF_XDP can be had on %s: %s", i.Name, i.Reason))
		}
	}
	return d.noUDP
}

// write is the report for people, a line per check.
func (r *report) write(w io.Writer) error {
	var b strings.Builder
	t := newTable(&b)
	section := ""
	for _, c := range r.Checks {
		if c.Section != section && section != "" {
			t.row("", "", "") // an empty line, in the same columns as the others
		}
		section = c.Section
		text := c.Text
		if c.Do != "" {
			text += " → " + c.Do
		}
		t.row(string(c.State), c.Subject, text)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(b.String()) {
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}
