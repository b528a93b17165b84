// SPDX-License-Identifier: Apache-2.0

package api

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/portolan/portolan/ingest"
)

// Rungs are the names of the receive paths for people, by their metric label.
var Rungs = map[string]string{
	"zc":      "zero-copy AF_XDP",
	"copy":    "copy-mode AF_XDP",
	"generic": "generic-mode AF_XDP",
	"udp":     "UDP sockets",
}

// sentence is "2 exporters, 84 k records/s, 0 lost, receiving by copy-mode
// AF_XDP, last record 1 s ago". Nothing in it is estimated but what it says is
// lost, which is what the exporters' sequence numbers say.
func (s *Status) sentence() string {
	if s.Ledger.Datagrams.Received == 0 {
		return "No datagrams in the " + span(max(0, s.At.Sub(s.StartedAt))) + " since the start, listening by " + s.receiving()
	}
	parts := []string{plural(uint64(s.Exporters), "exporter")}
	if s.Rate != nil {
		parts = append(parts, SI(*s.Rate)+" records/s")
	} else {
		parts = append(parts, SI(float64(s.Ledger.Records))+" records so far")
	}
	parts = append(parts, s.lost()...)
	parts = append(parts, "receiving by "+s.receiving())
	if last := s.lastSeen(); !last.IsZero() {
		parts = append(parts, "last record "+Ago(s.At.Sub(last)))
	}
	return strings.Join(parts, ", ")
}

// lost tells three losses apart that cannot be added up: what never arrived (by
// sequence numbers, in the units of each exporter's version), what the kernel dropped at a ring (in packets;
// one loss can show under two kinds, so that only the largest is sure), and
// observations that the profiler did not get.
func (s *Status) lost() []string {
	parts := []string{SI(float64(s.LostByGaps)) + " lost"}
	var ring uint64
	for _, n := range s.RingDrops {
		ring = max(ring, n)
	}
	if ring > 0 {
		parts = append(parts, SI(float64(ring))+" dropped by the kernel")
	}
	if n := sum(s.Ledger.Posts.Lost); n > 0 {
		parts = append(parts, plural(n, "observation")+" not posted")
	}
	return parts
}

func (s *Status) lastSeen() (last time.Time) {
	for i := range s.Streams {
		if t := s.Streams[i].LastSeen; t.After(last) {
			last = t
		}
	}
	return last
}

// receiving names the rungs that are up. The UDP sockets are always open, so
// beside a ring they are named only if something came by them.
func (s *Status) receiving() string {
	var rungs []string
	udp := false
	for i := range s.ReceivePath {
		p := &s.ReceivePath[i]
		name := Rungs[p.Path]
		switch {
		case p.State != "up" || name == "":
		case p.Path == "udp":
			udp = udp || p.Packets > 0
		case !slices.Contains(rungs, name):
			rungs = append(rungs, name)
		}
	}
	if len(rungs) > 0 && udp {
		rungs = append(rungs, Rungs["udp"])
	}
	if len(rungs) == 0 {
		for i := range s.ReceivePath {
			if s.ReceivePath[i].Path == "udp" && s.ReceivePath[i].State == "up" {
				return Rungs["udp"]
			}
		}
		return "nothing"
	}
	return strings.Join(rungs, " and ")
}

// silence is how long an exporter may send nothing before somebody should
// look. Routers export idle flows within a minute or so (RFC 3954 §3.2 has the
// timeouts, their usual values are 15 s and 60 s).
const silence = 5 * time.Minute

// gapsOf is the share lost on the way, one in so many, from which on somebody
// should look.
const gapsOf = 1000

// urgent lists what somebody should do something about: first what keeps the
// daemon from working, then what is lost, then what yields nothing.
func (s *Status) urgent(healthy, ready error) []string {
	var list remarks
	if healthy != nil {
		list.add("Not healthy: %s. Restart the daemon once the cause is gone.", oneLine(healthy.Error()))
	}
	if ready != nil {
		list.add("Not ready: %s.", oneLine(ready.Error()))
	}
	for i := range s.ReceivePath {
		if p := &s.ReceivePath[i]; p.State != "up" && p.State != "off" {
			list.add("%s is %s: %s.", Source(p), p.State, strings.TrimSuffix(p.Reason, "."))
		}
	}
	if l := s.Ledger.Posts.Lost; sum(l) > 0 {
		list.add("%s not posted since the start (%s).", plural(sum(l), "observation"), reasons(l))
	}
	if n := s.Ledger.Sides.Dropped["table_full"]; n > 0 {
		list.add("%s found no place in the table of posted pairs.", plural(n, "side"))
	}
	if sum(s.RingDrops) > 0 {
		list.add("The kernel dropped packets that it could not deliver (%s).", reasons(s.RingDrops))
	}
	s.gaps(&list)
	s.silent(&list)
	s.waiting(&list, true)
	switch l := &s.Ledger; {
	case s.Endpoints == 0:
		list.add("No endpoints are known, so every flow is external. Import some: portolan endpoints import FILE.csv")
	case l.Records > 0 && l.Sides.External == 2*l.Records:
		list.add("No record touches a known endpoint. Compare the flows' addresses (portolan decode) with those of portolan endpoints list.")
	}
	return list
}

// silent adds who has stopped sending.
func (s *Status) silent(list *remarks) {
	var since time.Time
	var who string
	n := 0
	for i := range s.Streams {
		e := &s.Streams[i]
		if e.LastSeen.IsZero() || s.At.Sub(e.LastSeen) < silence {
			continue
		}
		if n++; e.LastSeen.After(since) {
			since, who = e.LastSeen, e.Exporter
		}
	}
	switch {
	case n == 1:
		list.add("Exporter %s has sent nothing for %s.", who, span(s.At.Sub(since)))
	case n > 1:
		list.add("%d exporters have sent nothing for over %s; the latest to fall silent is %s.", n, span(silence), who)
	}
}

// remarks lists what is worth knowing and may well be somebody else's doing: a
// stray datagram on an open port is no reason for an alarm.
func (s *Status) remarks() []string {
	var list remarks
	for i := range s.ReceivePath {
		if p := &s.ReceivePath[i]; p.State == "off" {
			list.add("%s has no AF_XDP, so its datagrams come by the UDP sockets: %s.", Source(p), strings.TrimSuffix(p.Reason, "."))
		}
	}
	s.waiting(&list, false)
	s.clocks(&list)
	if d := s.Ledger.Datagrams.Dropped; sum(d) > 0 {
		list.add("%s could not be decoded (%s).", plural(sum(d), "datagram"), reasons(d))
	}
	if p := s.Ledger.Problems; sum(p) > 0 {
		list.add("Decoded datagrams had something wrong in them (%s).", reasons(p))
	}
	return list
}

type remarks []string

func (r *remarks) add(format string, args ...any) { *r = append(*r, fmt.Sprintf(format, args...)) }

// Source names a receive path for people.
func Source(p *ingest.ReceivePath) string {
	switch {
	case p.Interface != "" && p.Queue != nil:
		return fmt.Sprintf("%s queue %d", p.Interface, *p.Queue)
	case p.Interface != "":
		return p.Interface
	case p.Listen != "":
		return "UDP " + p.Listen
	}
	return "a source"
}

// reasons is "queue_full 3, stale 1", the largest first.
func reasons(m map[string]uint64) string {
	var parts []string
	for _, n := range slices.SortedFunc(maps.Keys(m), func(a, b string) int {
		return cmp.Or(cmp.Compare(m[b], m[a]), strings.Compare(a, b))
	}) {
		if m[n] > 0 {
			parts = append(parts, n+" "+SI(float64(m[n])))
		}
	}
	return strings.Join(parts, ", ")
}

func sum(m map[string]uint64) (n uint64) {
	for _, v := range m {
		n += v
	}
	return n
}

func plural(n uint64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return SI(float64(n)) + " " + what + "s"
}

// SI is a count or a rate for people: whole below 10,000, else with three
// significant digits at most and a prefix: 84210 is "84.2 k", 84000 "84 k".
func SI(v float64) string {
	if v < 9_999.5 {
		if v > 0 && v < 10 && v != math.Trunc(v) {
			return strconv.FormatFloat(v, 'f', 1, 64)
		}
		return strconv.FormatFloat(math.Round(v), 'f', -1, 64)
	}
	for _, p := range []string{"k", "M", "G", "T"} {
		v /= 1000
		if v >= 999.5 && p != "T" {
			continue
		}
		digits := 0
		if v < 9.995 {
			digits = 2
		} else if v < 99.95 {
			digits = 1
		}
		number := strconv.FormatFloat(v, 'f', digits, 64)
		if digits > 0 {
			number = strings.TrimRight(strings.TrimRight(number, "0"), ".")
		}
		return number + " " + p
	}
	return ""
}

// Ago is how long ago something was, for people: "1 s ago". The future, as a
// clock that was set back makes it, is "now".
func Ago(d time.Duration) string {
	if d < time.Second {
		return "now"
	}
	return span(d) + " ago"
}

// span is a duration in its largest whole unit.
func span(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", d/time.Hour)
	}
	return fmt.Sprintf("%d days", d/(24*time.Hour))
}
