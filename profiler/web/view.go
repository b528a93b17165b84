// SPDX-License-Identifier: Apache-2.0

package web

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/portolan/portolan/ingest"
	"github.com/portolan/portolan/profiler"
	"github.com/portolan/portolan/profiler/api"
)

// viewed is what the template is given: every number and word in it is as it
// will be shown.
type viewed struct {
	Status    api.Status
	State     string // class of the sentence: good, waiting or wrong
	StateWord string // the same for who sees no colour
	Paths     []path
	Programs  []program
	Books     []book
	Streams   []stream
	More      int    // exporters beyond those shown
	Silent    string // why there are no exporters
	Endpoints []endpoint
	Unknown   bool // there are no endpoints at all
	First     bool
	Next      string
	Failure   string
}

type path struct {
	Source, Rung, State, Reason string
	Packets                     uint64
	Drops                       []count
}

type program struct {
	Interface string
	Exits     []count
}

type count struct {
	Name string
	N    uint64
}

// book is one identity of the books: a sum that can be checked by eye.
type book struct {
	Name    string
	Formula string // what Total is, where it is no count itself
	Total   uint64
	Terms   []count
	Off     uint64 // by how much the sum differs, 0 at rest
}

type stream struct {
	*ingest.Exporter
	Name    string
	Loss    string
	Waiting string // for its template, and since when
	Notes   []string
	Ago     string
}

type endpoint struct {
	profiler.Endpoint
	Others    int // addresses beyond those shown
	Listening ports
	Contacted ports
	Withdrawn ports
	Ago       string
	Updated   string // RFC 3339
}

type ports struct {
	Shown []profiler.Port
	More  int
}

// Bounds of one row; the API has the rest.
const (
	maxAddresses = 4
	maxPorts     = 24
)

// view turns one snapshot into what is shown.
func view(s api.Status, items []profiler.Endpoint) viewed {
	v := viewed{Status: s, Unknown: s.Endpoints == 0, Books: books(&s.Ledger)}
	switch {
	case s.Urgent > 0:
		v.State, v.StateWord = "wrong", "Needs attention"
	case s.Ledger.Datagrams.Received == 0:
		v.State, v.StateWord = "waiting", "Waiting for datagrams"
	case len(s.Attention) > 0:
		v.State, v.StateWord = "good", "Working, with remarks"
	default:
		v.State, v.StateWord = "good", "Working"
	}
	for i := range s.ReceivePath {
		p := &s.ReceivePath[i]
		v.Paths = append(v.Paths, path{api.Source(p), cmp.Or(api.Rungs[p.Path], p.Path), p.State, p.Reason, p.Packets, counts(p.Drops)})
		if len(p.Program) > 0 {
			v.Programs = append(v.Programs, program{p.Interface, counts(p.Program)})
		}
	}
	v.More = max(0, len(s.Streams)-shown)
	for i := range s.Streams[:len(s.Streams)-v.More] {
		e := &s.Streams[i]
		x := stream{Exporter: e, Name: cmp.Or(e.Exporter, "no address"), Loss: api.Loss(e), Waiting: api.Waiting(e, s.At), Notes: api.Notes(e)}
		if !e.LastSeen.IsZero() {
			x.Ago = api.Ago(s.At.Sub(e.LastSeen))
		}
		v.Streams = append(v.Streams, x)
	}
	if len(v.Streams) == 0 {
		v.Silent = silent(&s)
	}
	for i := range items {
		v.Endpoints = append(v.Endpoints, row(&items[i], s.At))
	}
	return v
}

// silent says why no exporter is known.
func silent(s *api.Status) string {
	if s.Ledger.Datagrams.Received > 0 {
		return "Datagrams arrive, but none of them is a flow export that can be read; the books above count why."
	}
	var at []string
	for i := range s.ReceivePath {
		if l := s.ReceivePath[i].Listen; l != "" && s.ReceivePath[i].State == "up" {
			at = append(at, "UDP "+l)
		}
	}
	where := "this machine"
	if len(at) > 0 {
		where += " at " + strings.Join(at, " or ")
	}
	return "Nothing has been received. Let a router export NetFlow, IPFIX or sFlow to " + where + "."
}

func row(e *profiler.Endpoint, now time.Time) endpoint {
	x := endpoint{Endpoint: *e, Listening: some(e.Listening), Contacted: some(e.Contacted), Withdrawn: some(e.Withdrawn)}
	if n := len(x.Addresses) - maxAddresses; n > 0 {
		x.Addresses, x.Others = x.Addresses[:maxAddresses], n
	}
	if !e.UpdatedAt.IsZero() {
		x.Ago, x.Updated = api.Ago(now.Sub(e.UpdatedAt)), e.UpdatedAt.UTC().Format(time.RFC3339)
	}
	return x
}

func some(p []profiler.Port) ports {
	if n := len(p) - maxPorts; n > 0 {
		return ports{p[:maxPorts], n}
	}
	return ports{Shown: p}
}

// books are CONTRACT's three identities.
func books(l *ingest.Ledger) []book {
	list := []book{
		{Name: "Datagrams", Formula: "received", Total: l.Datagrams.Received,
			Terms: append([]count{{"decoded", l.Datagrams.Decoded}}, counts(l.Datagrams.Dropped)...)},
		{Name: "Sides of records", Formula: "2 × " + whole(l.Records) + " records", Total: 2 * l.Records,
			Terms: append([]count{
				{"external", l.Sides.External}, {"duplicate", l.Sides.Duplicate},
				{"undetermined", l.Sides.Undetermined}, {"observed", l.Sides.Observed},
			}, counts(l.Sides.Dropped)...)},
		{Name: "Observations", Formula: "observed", Total: l.Sides.Observed,
			Terms: append([]count{{"acknowledged", l.Posts.Acknowledged}, {"in flight", l.Posts.InFlight}}, counts(l.Posts.Lost)...)},
	}
	for i := range list {
		var sum uint64
		for _, t := range list[i].Terms {
			sum += t.N
		}
		list[i].Off = max(sum, list[i].Total) - min(sum, list[i].Total)
	}
	return list
}

// counts are the counts of m that are not zero, by name.
func counts(m map[string]uint64) (list []count) {
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if m[k] > 0 {
			list = append(list, count{k, m[k]})
		}
	}
	return list
}

// whole is a number with all its digits, in groups of three, so that it can be
// added up and compared.
func whole(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// show is a text as a page may show it: characters that cannot be seen, or that
// turn the direction of writing and so make a name look like another, appear as
// their code points. What HTML would take for markup is the template's business.
func show(v any) string {
	s := fmt.Sprint(v)
	if !strings.ContainsFunc(s, unseen) {
		return s
	}
	var b strings.Builder
	for _, c := range s {
		if unseen(c) {
			fmt.Fprintf(&b, "⟨%U⟩", c)
		} else {
			b.WriteRune(c)
		}
	}
	return b.String()
}

func unseen(c rune) bool {
	return c == unicode.ReplacementChar || !unicode.IsPrint(c) || unicode.Is(unicode.Bidi_Control, c)
}
