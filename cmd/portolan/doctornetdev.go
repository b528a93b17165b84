// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/portolan/portolan/ingest/xsk"
)

// The netdev family of generic netlink: Documentation/netlink/specs/netdev.yaml
// in the kernel's source. It is there from Linux 6.3 on.
const (
	netdevFamily     = "netdev"
	netdevVersion    = 1
	netdevDeviceGet  = 1
	netdevIfindex    = 1
	netdevFeatures   = 3
	netdevZeroCopyMS = 4 // xdp-zc-max-segs
)

// driverFeatures is what a driver declares about XDP, enum netdev_xdp_act.
type driverFeatures uint64

const (
	featureBasic    driverFeatures = 1 << 0
	featureRedirect driverFeatures = 1 << 1
	featureZeroCopy driverFeatures = 1 << 3
	featureMultiBuf driverFeatures = 1 << 5
)

// featureNames are the names of the kernel's specification, by bit.
var featureNames = []string{"basic", "redirect", "ndo-xmit", "xsk-zerocopy", "hw-offload", "rx-sg", "ndo-xmit-sg"}

func (f driverFeatures) names() []string {
	names := []string{}
	for i, name := range featureNames {
		if f>>i&1 != 0 {
			names = append(names, name)
		}
	}
	return names
}

// declared is what the kernel tells of a device's driver.
type declared struct {
	features driverFeatures
	segments uint32 // that a zero-copy frame may have; 0 if not told
}

var errNoDeclaration = errors.New("the kernel does not tell what the driver can (it does from Linux 6.3 on)")

// askDriver asks the kernel what the driver of an interface of the calling
// thread's network namespace declares. Nothing is disturbed by that.
func askDriver(ifindex int) (declared, error) {
	family, err := netlink.GenlFamilyGet(netdevFamily)
	if err != nil {
		if errors.Is(err, unix.ENOENT) {
			err = errNoDeclaration
		}
		return declared{}, err
	}
	req := nl.NewNetlinkRequest(int(family.ID), 0)
	req.AddData(genlHeader{netdevDeviceGet, netdevVersion})
	req.AddData(nl.NewRtAttr(netdevIfindex, nl.Uint32Attr(uint32(ifindex))))
	messages, err := req.Execute(unix.NETLINK_GENERIC, 0)
	if err != nil {
		return declared{}, fmt.Errorf("ask the kernel what the driver can: %w", err)
	}
	for _, m := range messages {
		if d, ok := parseDeclared(m); ok {
			return d, nil
		}
	}
	return declared{}, errNoDeclaration
}

// genlHeader is struct genlmsghdr: command, version and two reserved bytes. The
// library's own type leaves those undefined, and the kernel refuses them if they
// are not 0.
type genlHeader [nl.SizeofGenlmsg]byte

func (h genlHeader) Len() int          { return len(h) }
func (h genlHeader) Serialize() []byte { return h[:] }

// parseDeclared reads an answer: the generic netlink header, then attributes.
func parseDeclared(m []byte) (d declared, ok bool) {
	if len(m) < nl.SizeofGenlmsg {
		return d, false
	}
	attrs, err := nl.ParseRouteAttr(m[nl.SizeofGenlmsg:])
	if err != nil {
		return d, false
	}
	for _, a := range attrs {
		switch a.Attr.Type &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER) {
		case netdevFeatures:
			if len(a.Value) == 8 {
				d.features, ok = driverFeatures(binary.NativeEndian.Uint64(a.Value)), true
			}
		case netdevZeroCopyMS:
			if len(a.Value) == 4 {
				d.segments = binary.NativeEndian.Uint32(a.Value)
			}
		}
	}
	return d, ok
}

// expect tells the rung that the declaration promises, and why.
func (d declared) expect(mtu int) (rung, why string) {
	names := strings.Join(d.features.names(), ", ")
	switch {
	case d.features&featureBasic == 0:
		return rungGeneric, "its driver declares no XDP"
	case d.features&featureRedirect == 0:
		return rungGeneric, fmt.Sprintf("its driver declares %s but no redirect", names)
	case mtu > pageMTU && d.features&featureMultiBuf == 0:
		return rungGeneric, fmt.Sprintf("its driver declares %s but no rx-sg, which an MTU of %d takes", names, mtu)
	case d.features&featureZeroCopy != 0 && mtu+overhead > xsk.MaxFrame(largeFrame):
		return rungCopy, fmt.Sprintf("its driver declares %s, but zero-copy takes frames of %d bytes at most", names, xsk.MaxFrame(largeFrame))
	case d.features&featureZeroCopy != 0:
		return rungZeroCopy, "its driver declares " + names
	}
	return rungCopy, fmt.Sprintf("its driver declares %s but no xsk-zerocopy", names)
}

// pageMTU is the greatest MTU whose frames fit a page with the room that XDP
// takes; above it a frame has several buffers.
const pageMTU = 3498
