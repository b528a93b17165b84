// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"bytes"
	"encoding/binary"
	"maps"
	"math"
	"math/big"
	"slices"
	"unicode"
	"unicode/utf8"
)

// slowTold is what a stream's options records have told of the exporter.
type slowTold struct {
	samplers map[uint64]uint32 // rate by sampler or selector; 0: all of the stream
	names    map[uint32]string // of interfaces
	boot     uint64            // milliseconds since 1970
	hasBoot  bool
}

func newSlowTold() slowTold {
	return slowTold{samplers: make(map[uint64]uint32), names: make(map[uint32]string)}
}

// learn reads an options record: RFC 5477 section 8 for the sampling, RFC 5102
// section 5.12 for the rest. Values that are no numbers are not asked for one.
func (t *slowTold) learn(version Version, all []slowValue, news *int) (p ProblemSet) {
	var v, numbers slowValues
	for _, x := range all {
		if x.element.enterprise != 0 {
			continue
		}
		v = append(v, x)
		if len(x.bytes) <= 8 {
			numbers = append(numbers, x)
		}
	}
	p = t.learnRate(numbers, news)
	if boot, ok := numbers.number(160); ok && boot != 0 && boot <= math.MaxInt64/1_000_000 {
		t.boot, t.hasBoot = boot, true
	}
	if index, ok := slowInterface(version, all); ok {
		p |= t.learnName(index, v, news)
	}
	return p
}

// learns tells whether a record would change what is known, or brings a name
// that is not fit to print.
func (t *slowTold) learns(version Version, all []slowValue) bool {
	after := slowTold{samplers: maps.Clone(t.samplers), names: maps.Clone(t.names)}
	enough := 2
	p := after.learn(version, all, &enough)
	return p.Has(ProblemInterfaceName) || !maps.Equal(after.samplers, t.samplers) || !maps.Equal(after.names, t.names)
}

// slowInterface is the interface that a record speaks of: the last one that it
// names, in a scope of v9 (RFC 3954 section 6.1, type 2) or an element.
func slowInterface(version Version, all []slowValue) (index uint32, ok bool) {
	for _, x := range all {
		scope := x.element == slowElement{slowScopeOfV9, 2}
		element := x.element == slowElement{0, 10} || x.element == slowElement{0, 14}
		if (scope && version == V9 || element) && len(x.bytes) <= 8 {
			index, ok = uint32(slowNumber(x.bytes)), true
		}
	}
	return index, ok
}

func (t *slowTold) learnRate(v slowValues, news *int) (p ProblemSet) {
	var rate uint32
	whole := func(n uint64) uint32 { return slowRate(new(big.Int).SetUint64(n), 1) }
	interval, hasInterval := v.number(305)
	given, hasGiven := v.last(34, 50)
	likely := v.probability()
	switch {
	case hasGiven:
		rate = whole(given)
	case v.has(306):
		rate = v.packetRate()
	case v.has(309):
		rate = v.populationRate()
	case likely > 0 && likely <= 1:
		if n := math.Floor(1/likely + .5); n <= math.MaxUint32 {
			rate = uint32(n)
		}
	case hasInterval && interval != 0:
		rate = whole(interval)
	default:
		return 0
	}
	if rate == 0 {
		return p.With(ProblemSamplingRate)
	}
	sampler, _ := v.last(48, 302)
	old, known := t.samplers[sampler]
	switch {
	case known && old == rate, !known && len(t.samplers) == 64:
		return 0
	case *news == 0:
		return p.With(ProblemTooManyRecords)
	}
	*news--
	t.samplers[sampler] = rate
	return 0
}

// last is the value of whichever of the elements stands last in the record.
func (v slowValues) last(ids ...uint16) (n uint64, ok bool) {
	for _, x := range v {
		if slices.Contains(ids, x.element.id) {
			n, ok = slowNumber(x.bytes), true
		}
	}
	return n, ok
}

// probability is samplingProbability.
func (v slowValues) probability() float64 {
	switch b, _ := v.find(0, 311); len(b) {
	case 4:
		return float64(math.Float32frombits(binary.BigEndian.Uint32(b)))
	case 8:
		return math.Float64frombits(binary.BigEndian.Uint64(b))
	}
	return 0
}

// learnName takes the name of an interface, or its description.
func (t *slowTold) learnName(index uint32, v slowValues, news *int) (p ProblemSet) {
	name, at := v.find(0, 82)
	if at < 0 {
		for _, x := range v { // the first, and no other
			if x.element.id == 83 {
				name = x.bytes
				break
			}
		}
	}
	if len(name) == 0 {
		return 0
	}
	name, _, _ = bytes.Cut(name, []byte{0})
	var raw []byte
	var clean []rune
	for len(name) > 0 {
		r, n := utf8.DecodeRune(name)
		if len(raw)+n > 64 {
			break
		}
		raw = append(raw, name[:n]...)
		name = name[n:]
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			r = utf8.RuneError
			p = p.With(ProblemInterfaceName)
		}
		clean = append(clean, r)
	}
	old, known := t.names[index]
	if known && old == string(raw) {
		return 0
	}
	if *news == 0 {
		return ProblemSet(0).With(ProblemTooManyRecords)
	}
	*news--
	if known || len(t.names) < 1024 {
		t.names[index] = string(clean)
	}
	return p
}

// all is the rate of everything that the stream sends, 0 where there is none.
func (t *slowTold) all() uint32 {
	rates := map[uint32]bool{}
	for _, r := range t.samplers {
		rates[r] = true
	}
	if len(rates) != 1 {
		return 0
	}
	for r := range rates {
		return r
	}
	return 0
}
