// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/portolan/portolan/bpf"
	"github.com/portolan/portolan/ingest"
)

// The rungs of the receive ladder, by the names they have everywhere.
var (
	rungZeroCopy = ingest.PathZeroCopy.String()
	rungCopy     = ingest.PathCopy.String()
	rungGeneric  = ingest.PathGeneric.String()
	rungUDP      = ingest.PathUDP.String()
)

// interfaceReport is one interface.
type interfaceReport struct {
	Name      string         `json:"name"`
	Kind      string         `json:"kind"`             // as `ip -details link` names it; device for a physical one
	Driver    string         `json:"driver,omitempty"` // absent if it does not tell
	MTU       int            `json:"mtu"`
	RxQueues  int            `json:"rx_queues"` // that the device was made with
	Up        bool           `json:"up"`        // set up; the link may have no carrier
	Addresses []netip.Prefix `json:"addresses"`
	Program   *programReport `json:"xdp_program,omitempty"` // that is attached
	Features  []string       `json:"driver_features,omitempty"`
	// ZeroCopySegments is how many buffers a zero-copy frame may have, if told.
	ZeroCopySegments uint32 `json:"zero_copy_segments,omitempty"`
	// Rung is what the interface gets, absent where that was not tried, and then
	// Expected is what its driver promises, absent where the kernel cannot tell.
	Rung     string `json:"rung,omitempty"`
	Expected string `json:"expected,omitempty"`
	Tried    bool   `json:"tried"` // an AF_XDP socket was, or was to be, opened
	Reason   string `json:"reason"`
}

// programReport is the XDP program on an interface.
type programReport struct {
	ID   uint32 `json:"id"`
	Name string `json:"name,omitempty"` // absent where this process may not look
}

// links are the interfaces to look at.
func (d *doctor) links() ([]netlink.Link, error) {
	if d.iface != "" {
		link, err := netlink.LinkByName(d.iface)
		if errors.As(err, new(netlink.LinkNotFoundError)) {
			return nil, failWith(exitInput, fmt.Errorf("%w: %q (ip link shows those that exist)", ingest.ErrNoInterface, d.iface))
		}
		if err != nil {
			return nil, fmt.Errorf("look at interface %q: %w", d.iface, err)
		}
		return []netlink.Link{link}, nil
	}
	all, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list the interfaces: %w", err)
	}
	return slices.DeleteFunc(all, func(l netlink.Link) bool { return l.Attrs().Flags&net.FlagLoopback != 0 }), nil
}

// interfaces examines one interface.
func (d *doctor) interfaces(link netlink.Link) error {
	a := link.Attrs()
	r := interfaceReport{
		Name: a.Name, Kind: link.Type(), Driver: driverName(a.Name), MTU: a.MTU, RxQueues: max(a.NumRxQueues, 1),
		Up: a.Flags&net.FlagUp != 0, Addresses: []netip.Prefix{},
	}
	addrs, err := netlink.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list the addresses of %s: %w", a.Name, err)
	}
	for _, addr := range addrs {
		if ip, ok := netip.AddrFromSlice(addr.IP); ok {
			ones, _ := addr.Mask.Size()
			r.Addresses = append(r.Addresses, netip.PrefixFrom(ip.Unmap(), ones))
		}
	}
	d.facts(&r)
	d.topology(link, &r)
	d.program(a.Index, &r)
	d.rung(link, &r)
	d.report.Interfaces = append(d.report.Interfaces, r)
	return nil
}

// interfaceCheck adds a check of an interface.
func (d *doctor) interfaceCheck(r *interfaceReport, what string, s state, text, do string) {
	d.report.add("interface "+r.Name, r.Name+" "+what, s, text, do)
}

// facts tells what the interface is.
func (d *doctor) facts(r *interfaceReport) {
	kind := r.Kind
	if r.Driver != "" {
		kind = "driver " + r.Driver
	}
	text := fmt.Sprintf("%s, MTU %d, %s", kind, r.MTU, amount(uint64(r.RxQueues), "receive queue"))
	s, do := good, ""
	if r.Up {
		text += ", up"
	} else {
		s, text, do = note, text+", set down", "ip link set "+r.Name+" up"
	}
	if len(r.Addresses) == 0 {
		text += ", no address: the interface auto passes it over"
	} else {
		var all []string
		for _, p := range r.Addresses {
			all = append(all, p.String())
		}
		text += ", " + strings.Join(all, ", ")
	}
	d.interfaceCheck(r, "device", s, text, do)
	each := uint64(framesPerQueue * frameSize(r.MTU))
	if need := uint64(r.RxQueues) * each; need > d.locked && each <= d.locked && d.noXDP == nil {
		d.interfaceCheck(r, "memory", note, fmt.Sprintf("all its queues together take %s of frames, over RLIMIT_MEMLOCK (%s): the last ones get no AF_XDP socket", size(need), size(d.locked)),
			"raise it (systemd: LimitMEMLOCK=infinity) or grant CAP_IPC_LOCK")
	}
}

// topology points to the device to attach to instead, where there is a better one.
func (d *doctor) topology(link netlink.Link, r *interfaceReport) {
	a := link.Attrs()
	switch r.Kind {
	case "bond", "team", "bridge":
		members := memberNames(a.Index)
		if len(members) == 0 {
			return
		}
		d.interfaceCheck(r, "members", note, fmt.Sprintf("a %s shows a single queue", r.Kind), "attach to its members: --interface "+strings.Join(members, " --interface "))
	case "vlan", "macvlan":
		parent, err := netlink.LinkByIndex(a.ParentIndex)
		if err != nil {
			return // in another namespace
		}
		d.interfaceCheck(r, "parent", note, "packets pass the parent device first, and its program looks past up to two VLAN tags", "attach to the parent: --interface "+parent.Attrs().Name)
	}
}

// memberNames are the interfaces below a bond or bridge.
func memberNames(master int) (names []string) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil
	}
	for _, l := range links {
		if l.Attrs().MasterIndex == master {
			names = append(names, l.Attrs().Name)
		}
	}
	return names
}

// program looks for an XDP program on the interface.
func (d *doctor) program(index int, r *interfaceReport) {
	id, name, err := bpf.Attached(index)
	switch {
	case err != nil:
		d.interfaceCheck(r, "program", note, "unknown: "+err.Error(), "")
		return
	case id == 0:
		d.interfaceCheck(r, "program", good, "no XDP program is attached", "")
		return
	}
	r.Program = &programReport{id, name}
	if r.Program.ours() {
		d.interfaceCheck(r, "program", good, fmt.Sprintf("Portolan's own XDP program is attached (id %d, %s)", id, name), "")
		return
	}
	d.interfaceCheck(r, "program", problem, fmt.Sprintf("another XDP program is attached: id %d (%s)", id, orUnknown(name)),
		fmt.Sprintf("bpftool net shows whose it is; stop that program, or take it off with ip link set %s xdp off", r.Name))
}

// ours tells a program of this product by its name: a daemon is running.
func (p *programReport) ours() bool { return strings.HasPrefix(p.Name, "portolan_") }

func orUnknown(name string) string {
	if name == "" {
		return "this process may not see its name"
	}
	return name
}

// rung finds out, or tells what is to be expected, which rung the interface gets.
func (d *doctor) rung(link netlink.Link, r *interfaceReport) {
	declared, askErr := askDriver(link.Attrs().Index)
	if askErr == nil {
		r.Features, r.ZeroCopySegments = declared.features.names(), declared.segments
	}
	s, do := good, ""
	switch {
	case d.noXDP != nil:
		s, r.Rung, r.Reason = problem, rungUDP, strings.ReplaceAll(d.noXDP.Error(), "\n", "; ")
	case r.Program != nil && r.Program.ours():
		r.Reason = "Portolan is receiving here: 'portolan status' tells the rung of each queue"
	case r.Program != nil:
		s, r.Rung = problem, rungUDP
		r.Reason = fmt.Sprintf("another XDP program is attached (id %d, %s), and it is not replaced", r.Program.ID, orUnknown(r.Program.Name))
	case !d.never && (d.force || harmless(r)):
		r.Tried = true
		r.Rung, r.Reason = tryLadder(link.Attrs())
		s = map[string]state{rungGeneric: note, rungUDP: problem}[r.Rung]
		if s == "" {
			s = good
		}
	default:
		s, do = d.untried(r, declared, askErr)
	}
	what := r.Rung
	switch {
	case r.Tried:
		what += ", tried"
	case r.Rung == "" && r.Expected != "":
		what = r.Expected + " expected, not tried"
	case r.Rung == "":
		what = "not tried"
	}
	d.interfaceCheck(r, "rung", s, what+": "+r.Reason, do)
}

// untried tells what can be told without touching the interface.
func (d *doctor) untried(r *interfaceReport, declared declared, err error) (s state, do string) {
	if err != nil {
		r.Reason = "unknown: " + err.Error()
	} else {
		r.Expected, r.Reason = declared.expect(r.MTU)
	}
	if d.never {
		return note, ""
	}
	r.Reason += "; attaching can interrupt its traffic for seconds"
	return note, "portolan doctor " + r.Name + " --try does it"
}

// harmless tells that trying disturbs nobody: a device without a card behind it
// that would have to be set up anew, or one that is not in use.
func harmless(r *interfaceReport) bool {
	return !r.Up || slices.Contains([]string{"veth", "dummy", "tun", "tuntap"}, r.Kind)
}

// driverName asks the driver for its name, empty where it does not tell.
func driverName(name string) string {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	info, err := unix.IoctlGetEthtoolDrvinfo(fd, name)
	if err != nil {
		return ""
	}
	return unix.ByteSliceToString(info.Driver[:])
}
