// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"bytes"
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unicode"
	"unicode/utf8"
)

const (
	// maxSamplers is how many samplers of a stream are remembered.
	maxSamplers = 64
	// maxInterfaces is how many interface names of a stream are remembered.
	maxInterfaces = 1024
	// maxName is how long a name of an interface may be, in bytes.
	maxName = 64
	// maxNews is how many rates and names one datagram may change. Each costs
	// memory, so that an exporter which changes its mind with every record
	// could ask for megabytes. What is left out comes with the next announcement.
	maxNews = 48

	// v9ScopeInterface is the type of a scope field of v9 that is an
	// interface, RFC 3954 section 6.1. The others say nothing of use.
	v9ScopeInterface = 2
)

// options is what an exporter told about itself in options data: sampling
// rates, the names of its interfaces, when it started. Workers that decode
// options write, under the mutex; any worker reads the rates and the start
// without it, because every record needs them.
type options struct {
	sampling atomic.Pointer[samplingRates]
	init     atomic.Int64 // when the exporter started, Unix ns; 0: not told

	mu    sync.Mutex
	names map[uint32]string // interface names; guarded by mu
}

// samplingRates are the rates of a stream, immutable.
type samplingRates struct {
	samplers []sampler // ascending by id
	only     uint32    // the one rate that all samplers have, 0 where they differ
}

type sampler struct {
	id   uint64
	rate uint32
}

func (o *options) rates() *samplingRates { return o.sampling.Load() }

func (o *options) initTime() (int64, bool) {
	t := o.init.Load()
	return t, t != 0
}

// single is the rate that holds for records that name no sampler.
func (s *samplingRates) single() uint32 {
	if s == nil {
		return 0
	}
	return s.only
}

// sampled gives the record the rate of a sampler, unless it has its own.
func (r *Record) sampled(id uint64, s *samplingRates) {
	if s == nil || r.Sampling != 0 && r.Sampling != s.only {
		return
	}
	for i := range s.samplers {
		if s.samplers[i].id == id {
			r.Sampling = s.samplers[i].rate
			return
		}
	}
}

// packetRate is N for interval packets taken, then space packets left out.
func packetRate(interval, space uint64) uint32 {
	n, ok := divide(space, interval)
	if !ok || n >= math.MaxUint32 {
		return 0
	}
	return uint32(n + 1)
}

// populationRate is N for size packets taken out of population.
func populationRate(size, population uint64) uint32 {
	n, ok := divide(population, size)
	if !ok {
		return 0
	}
	return rate32(n)
}

// rate32 is a sampling rate, 0 where 32 bits do not hold it.
func rate32(n uint64) uint32 {
	if n > math.MaxUint32 {
		return 0
	}
	return uint32(n)
}

// divide is a/b, rounded to the nearest whole number.
func divide(a, b uint64) (n uint64, ok bool) {
	if b == 0 {
		return 0, false
	}
	n, rest := a/b, a%b
	if rest >= b-rest {
		n++
	}
	return n, true
}

// announcement is what one options record says.
type announcement struct {
	sampler                                uint64
	rate, interval, space                  uint64
	size, population                       uint64
	probability                            float64
	hasRate, hasSpace, hasSize, hasSampler bool
	hasInterface                           bool
	ifIndex                                uint32
	name                                   []byte // borrowed
	init                                   uint64
}

// optionsData takes the records of a set of options.
func (d *Decoder) optionsData(b *Batch, t *template, body []byte) (n int) {
	for len(body) >= t.size {
		size := d.measure(t, body)
		if size < 0 {
			d.problem(ProblemValuePastEnd)
			break
		}
		n++
		if d.left == 0 {
			d.problem(ProblemTooManyRecords)
		} else {
			d.left--
			b.OptionsRecords++
			a := d.announcement(t, body)
			d.problems |= b.Stream.enterOptions(&a, &d.walk.news)
		}
		body = body[size:]
	}
	return n
}

// announcement reads what is of use in the record that body begins with and
// that was measured.
func (d *Decoder) announcement(t *template, body []byte) (a announcement) {
	for i, f := range t.fields {
		at, width := int(d.walk.offsets[i]), int(d.walk.widths[i])
		v := body[at : at+width]
		switch {
		case t.version == V9 && i < t.scopes:
			if f.id == v9ScopeInterface {
				a.onInterface(v)
			}
		case f.enterprise == 0:
			a.field(f.id, v)
		}
	}
	return a
}

func (a *announcement) onInterface(v []byte) {
	if len(v) <= 8 {
		a.ifIndex, a.hasInterface = uint32(load(v)), true
	}
}

// field takes one value. Numbers of more than 8 bytes are none.
func (a *announcement) field(id uint16, v []byte) {
	switch {
	case id == ieInterfaceName:
		a.name = v
	case id == ieInterfaceDescription:
		if a.name == nil {
			a.name = v
		}
	case len(v) > 8:
	case id == ieIngressInterface || id == ieEgressInterface:
		a.onInterface(v)
	case id == ieSamplerId || id == ieSelectorId:
		a.sampler, a.hasSampler = load(v), true
	case id == ieSamplingInterval || id == ieSamplerRandomInterval:
		a.rate, a.hasRate = load(v), true
	case id == ieSamplingPacketInterval:
		a.interval = load(v)
	case id == ieSamplingPacketSpace:
		a.space, a.hasSpace = load(v), true
	case id == ieSamplingSize:
		a.size, a.hasSize = load(v), true
	case id == ieSamplingPopulation:
		a.population = load(v)
	case id == ieSamplingProbability:
		a.probability = float(v)
	case id == ieSystemInitTimeMilliseconds:
		a.init = load(v)
	}
}

// float is a float64 or float32 of the wire.
func float(v []byte) float64 {
	switch len(v) {
	case 4:
		return float64(math.Float32frombits(uint32(load(v))))
	case 8:
		return math.Float64frombits(load(v))
	}
	return 0
}

// samplingRate is the rate that the record tells; told is whether it tells one,
// ok whether that one makes sense.
func (a *announcement) samplingRate() (rate uint32, told, ok bool) {
	switch {
	case a.hasRate:
		rate = rate32(a.rate)
	case a.hasSpace:
		rate = packetRate(a.interval, a.space)
	case a.hasSize:
		rate = populationRate(a.size, a.population)
	case a.probability > 0 && a.probability <= 1:
		rate = rate32(uint64(min(1/a.probability, 1<<40) + .5))
	case a.interval != 0: // without a space: 1 in N as most mean it
		rate = rate32(a.interval)
	default:
		return 0, false, true
	}
	return rate, true, rate != 0
}

// enterOptions enters what a record says. It allocates only where that is new.
func (s *Stream) enterOptions(a *announcement, news *int) (p ProblemSet) {
	rate, told, ok := a.samplingRate()
	switch {
	case !ok:
		p = p.With(ProblemSamplingRate)
	case told:
		p |= s.learnRate(a.sampler, rate, news)
	}
	if a.hasInterface && len(a.name) > 0 {
		p |= s.learnName(a.ifIndex, a.name, news)
	}
	if t, fits := unixTime(a.init, nsPerMs); fits && t != 0 {
		s.options.init.Store(t)
	}
	return p
}

// samplerCost is about how much memory a sampler's rate takes, in bytes.
const samplerCost = 64

// learnRate enters the rate of a sampler. Rates that there is no room for are
// not kept, and no more than news, which it counts down.
func (s *Stream) learnRate(id uint64, rate uint32, news *int) ProblemSet {
	o := &s.options
	if old := o.rates(); old != nil && slices.Contains(old.samplers, sampler{id, rate}) {
		return 0
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	var known []sampler
	if old := o.rates(); old != nil {
		known = old.samplers
	}
	i, found := slices.BinarySearchFunc(known, id, func(s sampler, id uint64) int { return cmp.Compare(s.id, id) })
	switch {
	case !found && len(known) >= maxSamplers:
		return 0
	case *news == 0:
		return ProblemSet(0).With(ProblemTooManyRecords)
	case !found && !s.roomForOptions(samplerCost):
		return 0
	}
	*news--
	made := &samplingRates{only: rate}
	if found {
		made.samplers = slices.Clone(known)
		made.samplers[i].rate = rate
	} else {
		made.samplers = slices.Concat(known[:i], []sampler{{id, rate}}, known[i:])
	}
	for _, other := range made.samplers {
		if other.rate != rate {
			made.only = 0
		}
	}
	o.sampling.Store(made)
	return 0
}

// nameCost is about how much memory a name takes besides its bytes.
const nameCost = 64

// learnName enters the name of an interface, and tells where it was not fit to
// print as it came. Exporters of a fixed width fill it up with zeros; what
// follows the first one is whatever was in their buffer. It looks at no more than
// news of those that it did not know, and counts them down.
func (s *Stream) learnName(index uint32, name []byte, news *int) (p ProblemSet) {
	if i := bytes.IndexByte(name, 0); i >= 0 {
		name = name[:i]
	}
	for len(name) > maxName { // by whole characters
		_, n := utf8.DecodeLastRune(name)
		name = name[:len(name)-n]
	}
	o := &s.options
	o.mu.Lock()
	defer o.mu.Unlock()
	old, known := o.names[index]
	switch {
	case known && old == string(name):
		return 0
	case *news == 0:
		return p.With(ProblemTooManyRecords)
	}
	*news--
	fit, clean := printable(name)
	if !clean {
		p = p.With(ProblemInterfaceName)
	}
	switch {
	case known && old == fit:
		return p
	case !known && (len(o.names) >= maxInterfaces || !s.roomForOptions(len(fit)+nameCost)):
		return p
	case o.names == nil:
		o.names = map[uint32]string{}
	}
	o.names[index] = fit
	return p
}

// printable replaces what is no printable character. A name of a device gets
// into logs, pages and terminals.
func printable(b []byte) (s string, clean bool) {
	clean = utf8.Valid(b)
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			clean = false
			return '\uFFFD'
		}
		return r
	}, string(b))
	return s, clean
}

// interfaces returns the names by index, a copy.
func (o *options) interfaces() map[uint32]string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return maps.Clone(o.names)
}

// distinct lists the rates that samplers have, ascending.
func (s *samplingRates) distinct() (rates []uint32) {
	if s == nil {
		return nil
	}
	for _, x := range s.samplers {
		rates = append(rates, x.rate)
	}
	slices.Sort(rates)
	return slices.Compact(rates)
}
