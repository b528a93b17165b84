// SPDX-License-Identifier: Apache-2.0

package evidence

import "github.com/portolan/portolan/profiler"

// The ranks of a port: the lower, the more likely a service's. Of two ports the
// one with the lower rank is taken for the service, if nothing else is known.
const (
	listedLow       = iota // curated, below 1024
	listedHigh             // curated, 5001 to 32767: above the old and below the new ranges of clients' ports
	listedEphemeral        // curated, where some systems take clients' ports
	assigned               // IANA's, below 600
	unlisted               // any from 5001 to 9999, IANA's to 32767
	otherLow               // others to 5000: clients' ports of old and small systems
	otherMiddle            // others from 10000 to 32767
	windowsRPC             // where Windows' own services listen, from the first ports of its range
	otherHigh              // 32768 to 49151: clients' ports of Linux
	dynamic                // from 49152: clients' ports of most others
	ftpData                // TCP 20, from which a server opens connections
)

var rankTable = func() (t [2][65536]uint8) {
	for p := range 65536 {
		t[0][p], t[1][p] = rankOf(tcp, uint16(p)), rankOf(udp, uint16(p))
	}
	return t
}()

// rank is the rank of a port.
func rank(proto uint8, port uint16) uint8 {
	if proto == udp {
		return rankTable[1][port]
	}
	return rankTable[0][port]
}

func rankOf(proto uint8, p uint16) uint8 {
	listed := profiler.Listing(proto, p)
	switch {
	case proto == tcp && p == 20:
		return ftpData
	case listed == profiler.Curated && p < 1024:
		return listedLow
	case listed == profiler.Curated && p > 5000 && p < 32768:
		return listedHigh
	case listed == profiler.Curated:
		return listedEphemeral
	case listed == profiler.Registered && p < 600:
		return assigned
	case p > 5000 && p < 10000, listed == profiler.Registered && p >= 10000 && p < 32768:
		return unlisted
	case p <= 5000:
		return otherLow
	case p < 32768:
		return otherMiddle
	case proto == tcp && (p >= 49152 && p <= 49175 || p >= 49664 && p <= 49690):
		return windowsRPC
	case p < 49152:
		return otherHigh
	}
	return dynamic
}
