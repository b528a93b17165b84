// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bench

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/portolan/portolan/ingest/flow"
	"github.com/portolan/portolan/profiler"
)

// DayConfig says which Day to make. The zero value of a field means its default.
type DayConfig struct {
	// Endpoints is how many devices there are, 40 to 200,000. Default 400.
	Endpoints int `json:"endpoints"`
	// Seed makes another day of the same kind.
	Seed uint64 `json:"seed"`
	// Start is when it begins, cut to milliseconds. People work by its hours,
	// so that a day begins at midnight. Default 2026-01-05, a Monday, 00:00 UTC.
	Start time.Time `json:"start"`
	// Duration is how long it lasts, 10 minutes to 7 days. Default 24 hours.
	Duration time.Duration `json:"duration"`
	// Sampling is N where the exporters see one packet in N at random, 1 to
	// 16,383. Default 1, which is every packet.
	Sampling int `json:"sampling"`
	// Version is the format of exporters that name none: V5 (the default), V9
	// or IPFIX.
	Version flow.Version `json:"version"`
	// Exporters are who watches. Default DefaultExporters.
	Exporters []DayExporter `json:"exporters,omitempty"`
	// Calm leaves out scans from inside and outside, whose probes make listeners
	// answer that nobody else asks.
	Calm bool `json:"calm,omitempty"`
	// Moves lets addresses pass from one device to another during the day.
	Moves bool `json:"moves"`
}

// DayDatagram is one datagram of export.
type DayDatagram struct {
	At       time.Time
	Exporter netip.Addr
	Payload  []byte // the caller's to keep
}

// Day is a network of offices, data centre, factory and branches over a day, as
// its exporters tell of it. It is a simulation of causes: devices have listening
// sockets, operating systems with their rules for client ports, and habits; what
// they say to each other becomes packets, and those become flow records by the
// rules of a router's cache. Nothing in it knows how listening ports are told
// from records, so that its truth can judge any way to do so.
//
// It streams: what is held are the devices, one timer for each habit and the
// flows that are in an exporter's cache. The same configuration makes the same
// datagrams. It is one goroutine's.
type Day struct {
	cfg        DayConfig
	random     *rand.Rand // of what happens
	seen       *rand.Rand // of what exporters make of it, so that it happens all the same
	zipf       *rand.Zipf
	start, end int64 // Unix ns

	hosts  []*host
	cells  []*cell
	holder map[uint32]*host // by address: who holds it first
	bound  map[boundPort]*service
	order  []*service // the values of bound, as they were made
	moves  []DayMove

	agenda    queue[habit]
	cache     queue[cached]
	exporters []*exporter
	ready     []DayDatagram
	inCache   int // greatest size of cache
	watched   map[boundPort]map[string]int
}

// NewDay makes a day.
func NewDay(c DayConfig) (*Day, error) {
	c = c.withDefaults()
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("day: %w", err)
	}
	d := &Day{
		cfg:    c,
		random: rand.New(rand.NewPCG(c.Seed, golden)),
		seen:   rand.New(rand.NewPCG(c.Seed, spread)),
		start:  c.Start.UnixNano(),
		holder: make(map[uint32]*host, c.Endpoints),
		bound:  make(map[boundPort]*service, 4*c.Endpoints),
	}
	d.end = d.start + int64(c.Duration)
	d.zipf = rand.NewZipf(d.random, 1.15, 6, publicSites-1)
	for i := range c.Exporters {
		d.exporters = append(d.exporters, newExporter(c, c.Exporters[i], d.start))
	}
	d.populate()
	d.settle()
	return d, nil
}

func (c DayConfig) withDefaults() DayConfig {
	c.Endpoints = cmp.Or(c.Endpoints, 400)
	c.Duration = cmp.Or(c.Duration, 24*time.Hour)
	c.Sampling = cmp.Or(c.Sampling, 1)
	c.Version = cmp.Or(c.Version, flow.V5)
	if c.Start.IsZero() {
		c.Start = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)
	}
	c.Start = c.Start.UTC().Truncate(time.Millisecond)
	if len(c.Exporters) == 0 {
		c.Exporters = DefaultExporters()
	}
	return c
}

func (c DayConfig) check() error {
	switch {
	case c.Endpoints < 40 || c.Endpoints > 200_000:
		return fmt.Errorf("%d endpoints: not in 40 to 200,000", c.Endpoints)
	case c.Duration < 10*time.Minute || c.Duration > 7*24*time.Hour:
		return fmt.Errorf("duration %v: not in 10 minutes to 7 days", c.Duration)
	case c.Sampling < 1 || c.Sampling >= 1<<14:
		return fmt.Errorf("sampling 1 in %d: not in 1 to 16,383, which is what v5 can say", c.Sampling)
	case c.Start.Year() < 1971 || c.Start.Year() > 2105:
		return errors.New("start: the formats can say 1970 to 2106")
	}
	for _, e := range c.Exporters {
		if err := e.check(c.Version); err != nil {
			return err
		}
	}
	return nil
}

// Next is the next datagram in order of time, false after the last one. The
// caches of the exporters run empty after the end of the day, for up to the
// longest timeout.
func (d *Day) Next() (DayDatagram, bool) {
	for len(d.ready) == 0 {
		now, more := d.nextTime()

		d.flush(now, !more)
		if !more {
			break
		}
		if len(d.ready) == 0 {
			d.step()
		}
	}
	if len(d.ready) == 0 {
		return DayDatagram{}, false
	}
	g := d.ready[0]
	d.ready = d.ready[1:]
	return g, true
}

// nextTime is when something happens next.
func (d *Day) nextTime() (t int64, ok bool) {
	habit, acts := d.agenda.first()
	export, ends := d.cache.first()
	switch {
	case acts && (!ends || habit <= export):
		return habit, true
	case ends:
		return export, true
	}
	return 0, false
}

// step lets it happen.
func (d *Day) step() {
	habit, acts := d.agenda.first()
	if export, ends := d.cache.first(); ends && (!acts || export < habit) {
		d.expire(export, d.cache.pop())
		return
	}
	h := d.agenda.pop()
	pause := h.do(habit)
	if next := habit + pause; pause > 0 && next < min(d.end, h.until) {
		d.agenda.push(next, h)
	}
	d.inCache = max(d.inCache, d.cache.len())
}

// habit is something that is done again and again. do gets the time and returns
// the pause until the next time in ns, 0 for never.
type habit struct {
	do    func(now int64) (pause int64)
	until int64
}

// begin starts a habit of a host some time within the pause, and no sooner than
// the host is there.
func (d *Day) begin(h *host, pause time.Duration, do func(now int64) int64) {
	d.beginAt(h, max(d.start, h.from)+d.random.Int64N(int64(pause)+1), do)
}

func (d *Day) beginAt(h *host, at int64, do func(now int64) int64) {
	if at < min(d.end, h.until) {
		d.agenda.push(max(at, d.start, h.from), habit{do: do, until: h.until})
	}
}

// every does something at random times, on average one in each pause.
func (d *Day) every(h *host, pause time.Duration, do func(now int64)) {
	d.begin(h, pause, func(now int64) int64 {
		do(now)
		return d.exp(pause)
	})
}

// steadily does something at equal pauses, as a program does.
func (d *Day) steadily(h *host, pause time.Duration, do func(now int64)) {
	d.begin(h, pause, func(now int64) int64 {
		do(now)
		return int64(pause) + d.random.Int64N(int64(pause)/100+1)
	})
}

// atWork does something at random times while people work, on average one in
// each pause of the busiest hours.
func (d *Day) atWork(h *host, pause time.Duration, do func(now int64)) {
	d.every(h, pause, func(now int64) {
		if d.random.Float64() < busy(now+h.rises) {
			do(now)
		}
	})
}

// busy is the share of people who work at a time, 0 to 1.
func busy(t int64) float64 {
	shares := [24]float64{.03, .02, .02, .02, .02, .04, .15, .5, .9, 1, 1, .9, .6, .8, 1, 1, .9, .6, .35, .25, .2, .15, .1, .05}
	const hour = int64(time.Hour)
	return shares[t/hour%24]
}

// exp is a pause between events that do not know of each other, at most ten
// times the mean.
func (d *Day) exp(mean time.Duration) int64 {
	return 1 + int64(min(d.random.ExpFloat64(), 10)*float64(mean))
}

// between is a random number from a to b.
func (d *Day) between(a, b int) int { return a + d.random.IntN(b-a+1) }

// lasting is a random time from a to b, short ones more often.
func (d *Day) lasting(a, b time.Duration) int64 {
	x := d.random.Float64()
	return int64(a) + int64(x*x*x*float64(b-a))
}

func (d *Day) chance(p float64) bool { return d.random.Float64() < p }

// Config is the configuration with its defaults.
func (d *Day) Config() DayConfig { return d.cfg }

// Endpoints are the devices for an endpoints file. A device that gets its
// address during the day has none yet.
func (d *Day) Endpoints() []profiler.Row {
	rows := make([]profiler.Row, 0, len(d.hosts))
	for _, h := range d.hosts {
		row := profiler.Row{MAC: h.mac, Hostname: h.name, OSType: h.os.String()}
		if h.from == 0 {
			row.IP = addr(h.addr)
		}
		rows = append(rows, row)
	}
	return rows
}

// Moves are the addresses that pass from one device to another, in order of time.
func (d *Day) Moves() []DayMove { return d.moves }

// DayMove is one of them: From is gone before At, To speaks from At on.
type DayMove struct {
	At       time.Time    `json:"at"`
	Addr     netip.Addr   `json:"ip"`
	From, To profiler.MAC `json:"-"`
}
