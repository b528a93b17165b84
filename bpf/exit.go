// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bpf

import "fmt"

// Exit says why the program let go of a packet. Its String is the exit label of
// portolan_xdp_packets_total. The numbers are those of enum exit in steer.c.
type Exit uint8

const (
	Redirect      Exit = iota // to the AF_XDP socket of its queue
	PassNotIP                 // neither IPv4 nor IPv6
	PassVLAN                  // more than two VLAN tags
	PassShort                 // the frame ends inside a header, or before the IP packet it carries does
	PassMalformed             // a wrong IP version or header length, or lengths of IP and UDP that differ
	PassNotUDP                // another protocol
	PassNotLocal              // UDP to an address that is not ours: routed, bridged, mirrored
	PassOptions               // IPv4 options, to us
	PassFragment              // a fragment, to us; the kernel reassembles it
	PassExtension             // IPv6 extension headers other than a fragment's, to us
	PassPort                  // UDP to us, on a port we do not listen on
	Deny                      // an export from an exporter that is not on the list: dropped here
	PassLong                  // an export longer than a chunk of the UMEM holds
	PassNoSocket              // an export on a queue without an AF_XDP socket
	Exits                     // how many there are
)

var exitNames = [Exits]string{
	Redirect:      "redirect",
	PassNotIP:     "pass_not_ip",
	PassVLAN:      "pass_vlan",
	PassShort:     "pass_short",
	PassMalformed: "pass_malformed",
	PassNotUDP:    "pass_not_udp",
	PassNotLocal:  "pass_not_local",
	PassOptions:   "pass_options",
	PassFragment:  "pass_fragment",
	PassExtension: "pass_extension",
	PassPort:      "pass_port",
	Deny:          "deny",
	PassLong:      "pass_long",
	PassNoSocket:  "pass_no_socket",
}

// String gives the name that metrics use.
func (e Exit) String() string {
	if e < Exits {
		return exitNames[e]
	}
	return fmt.Sprintf("exit_%d", uint8(e))
}

// Counters are packets by Exit, since the program was loaded.
type Counters [Exits]uint64
