// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"strings"
)

// banner tells what has been started, in the words of the status: a line for
// each thing, and under it why it is as it is.
func (d *daemon) banner() string {
	var b strings.Builder
	line := func(label, what, why string) {
		fmt.Fprintf(&b, "  %-8s%s\n", label, what)
		if why != "" {
			fmt.Fprintf(&b, "  %-8s  %s\n", "", why)
		}
	}
	fmt.Fprintf(&b, "portolan %s\n", buildVersion())
	shown := map[string]bool{} // several sockets share an address
	for _, p := range d.sensor.Status().Paths {
		switch {
		case p.Queue != nil:
			line("AF_XDP", fmt.Sprintf("%s queue %d: %s", p.Interface, *p.Queue, p.Path), p.Reason)
		case p.Listen == "":
			line("AF_XDP", fmt.Sprintf("%s: %s", p.Interface, p.State), p.Reason)
		case !shown[p.Listen]:
			shown[p.Listen] = true
			line("UDP", p.Listen, p.Reason)
		}
	}
	if len(d.config.interfaces) == 0 {
		line("AF_XDP", "off", "attaching can interrupt a network card for seconds; --interface NAME turns it on, portolan doctor tells what it would get")
	}
	counts, hint := d.store.Counts(), ""
	if counts.Endpoints == 0 {
		hint = "no flow is kept until endpoints are known: portolan endpoints import FILE.csv"
	}
	line("store", fmt.Sprintf("%s: %d endpoints, %d addresses, %d ports", d.config.data, counts.Endpoints, counts.Bindings, counts.Ports), hint)
	if u := d.url(); u != "" {
		line("page", u, "")
	}
	return b.String()
}
