// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"strings"
	"time"

	"github.com/portolan/portolan/ingest"
)

// units are what the sequence numbers of a version count, and so what a loss of
// it is told in. v1 has none.
var units = map[string]string{"v5": "flow", "v7": "flow", "v9": "message", "ipfix": "record", "sflow5": "datagram"}

// Loss is what an exporter sent and what never arrived, "12 flows"; a dash where
// its version does not tell.
func Loss(e *ingest.Exporter) string {
	unit, told := units[e.Version]
	if !told {
		return "-"
	}
	return plural(e.Lost, unit)
}

// Name is what an exporter's stream is called in a sentence.
func Name(e *ingest.Exporter) string {
	name := e.Exporter
	if name == "" {
		name = "without an address"
	}
	if e.Domain != 0 {
		return fmt.Sprintf("%s (%s, domain %d)", name, e.Version, e.Domain)
	}
	return fmt.Sprintf("%s (%s)", name, e.Version)
}

// skewed is how far an exporter's clock may be off before somebody should know:
// by this a flow's time is wrong, and so may be whose address it was.
const skewed = 2 * time.Second

// Waiting says that an exporter's data cannot be decoded yet and since when,
// empty where it can: "waiting for template since …".
func Waiting(e *ingest.Exporter, now time.Time) string {
	if e.Waiting == 0 {
		return ""
	}
	return fmt.Sprintf("waiting for template since %s (%s, %s)",
		e.WaitingSince.UTC().Format(time.RFC3339), Ago(now.Sub(e.WaitingSince)), plural(uint64(e.Waiting), "data set"))
}

// Notes are what else is to know of an exporter beyond its counts, a few words
// each: that it is only remembered, how it samples, and whether its clock is off.
func Notes(e *ingest.Exporter) (list []string) {
	if e.LastSeen.IsZero() && e.Templates > 0 {
		list = append(list, "nothing since the start")
	}
	if len(e.Sampling) > 0 && e.Sampling[len(e.Sampling)-1] > 1 { // 1 in 1 is all
		rates := make([]string, len(e.Sampling))
		for i, r := range e.Sampling {
			rates[i] = fmt.Sprintf("1 in %d", r)
		}
		list = append(list, "sampled "+strings.Join(rates, ", "))
	}
	if off := skew(e); off != "" {
		list = append(list, "clock "+off)
	}
	return list
}

// skew is by how much the exporter's clock is off, "12 s ahead", empty where that
// is little or not known.
func skew(e *ingest.Exporter) string {
	if e.SkewMilliseconds == nil {
		return ""
	}
	switch d := time.Duration(*e.SkewMilliseconds) * time.Millisecond; {
	case d > skewed:
		return span(d) + " ahead"
	case d < -skewed:
		return span(-d) + " behind"
	}
	return ""
}

// patience is how long a template may be awaited before that is urgent. Routers
// repeat their templates every minute to every half an hour.
const patience = 10 * time.Minute

// waiting adds who waits for a template: what arrives of it cannot be decoded.
// Urgent are those that have waited for long, remarks the others.
func (s *Status) waiting(list *remarks, urgent bool) {
	var first *ingest.Exporter
	n := 0
	for i := range s.Streams {
		e := &s.Streams[i]
		if e.Waiting == 0 || s.At.Sub(e.WaitingSince) > patience != urgent {
			continue
		}
		if n++; first == nil || e.WaitingSince.Before(first.WaitingSince) {
			first = e
		}
	}
	if n == 0 {
		return
	}
	others := ""
	if n > 1 {
		others = fmt.Sprintf(", and %s with it", plural(uint64(n-1), "other"))
	}
	list.add("Exporter %s%s: waiting for template since %s (%s). An exporter sends its templates every few minutes, and what needs them is kept until then: wait, or lower its template refresh.",
		Name(first), others, first.WaitingSince.UTC().Format(time.RFC3339), Ago(s.At.Sub(first.WaitingSince)))
}

// clocks adds whose clock is off.
func (s *Status) clocks(list *remarks) {
	n, who := 0, ""
	for i := range s.Streams {
		if off := skew(&s.Streams[i]); off != "" {
			if n++; n == 1 {
				who = fmt.Sprintf("%s is %s", Name(&s.Streams[i]), off)
			}
		}
	}
	switch {
	case n == 1:
		list.add("The clock of exporter %s: set it by NTP.", who)
	case n > 1:
		list.add("The clocks of %d exporters are off, or this machine's is; that of %s: set them by NTP.", n, who)
	}
}

// gaps adds what never arrived, in each of the units that it is told in.
func (s *Status) gaps(list *remarks) {
	lost, came := map[string]uint64{}, map[string]uint64{}
	for i := range s.Streams {
		e := &s.Streams[i]
		unit := units[e.Version]
		lost[unit] += e.Lost
		if unit == "flow" || unit == "record" {
			came[unit] += e.Records + e.OptionsRecords
		} else {
			came[unit] += e.Datagrams
		}
	}
	var parts []string
	for _, unit := range []string{"flow", "message", "record", "datagram"} {
		if lost[unit] > 0 && lost[unit] >= came[unit]/gapsOf {
			parts = append(parts, plural(lost[unit], unit))
		}
	}
	if len(parts) > 0 {
		list.add("The exporters' sequence numbers say that %s never arrived.", strings.Join(parts, " and "))
	}
}
