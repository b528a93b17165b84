// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"sync/atomic"
	"unsafe"

	"github.com/portolan/portolan/ingest/flow"
	"github.com/portolan/portolan/profiler"
)

// Path is the rung of the receive ladder that a datagram came by.
type Path uint8

const (
	// PathZeroCopy: native XDP, AF_XDP in zero-copy mode.
	PathZeroCopy Path = iota
	// PathCopy: native XDP, AF_XDP in copy mode.
	PathCopy
	// PathGeneric: XDP in the kernel's generic hook, AF_XDP in copy mode.
	PathGeneric
	// PathUDP: a kernel UDP socket.
	PathUDP
	// PathFile: a capture file (replay).
	PathFile

	paths = iota
)

var pathNames = [paths]string{"zc", "copy", "generic", "udp", "file"}

// String returns the metric label.
func (p Path) String() string { return pathNames[p] }

// datagramDrop is why a received datagram was not decoded: the decoder's
// reasons, then those of the receive paths.
type datagramDrop uint8

const (
	dropBadFrame  = datagramDrop(flow.Drops) + iota // the frame's headers do not fit its bytes
	dropTruncated                                   // longer than the receive buffer
	dropDenied                                      // the exporter is not on the list

	datagramDrops = int(flow.Drops) + iota
)

func (d datagramDrop) String() string {
	switch d {
	case dropBadFrame:
		return "bad_frame"
	case dropTruncated:
		return "truncated"
	case dropDenied:
		return "denied"
	}
	return flow.Drop(d).String()
}

// fate is what became of one side of a record.
type fate uint8

const (
	fateExternal      fate = iota // its address belongs to no endpoint
	fateDuplicate                 // its pair was posted within the reprofile interval, or is on its way
	fateUndetermined              // nothing shows yet which side serves
	fateObserved                  // handed on to be posted
	fateNoPort                    // dropped: not TCP, UDP or SCTP, or port 0
	fateNoAddress                 // dropped: the record has no address for it, or ::
	fateTableFull                 // dropped: no place for its port in the evidence, or for its pair, as posts are under way in all
	fateBeforeMove                // dropped: its address belonged to another endpoint then
	fateStraddlesMove             // dropped: its address changed hands while the flow went on

	fates = iota
	// Fates from here on are drops.
	firstDroppedFate = fateNoPort
)

var fateNames = [fates]string{"external", "duplicate", "undetermined", "observed", "no_port", "no_address", "table_full", "before_move", "straddles_move"}

func (f fate) String() string { return fateNames[f] }

// loss is why an observation was never acknowledged.
type loss uint8

const (
	lossQueueFull loss = iota // the batcher did not keep up
	lossStale                 // the binding was gone or of another generation
	lossPortLimit             // the endpoint holds profiler.MaxPorts ports
	lossShutdown              // the Sink did not take it before the sensor had to stop

	losses = iota
)

var lossNames = [losses]string{"queue_full", "stale", "port_limit", "shutdown"}

func (l loss) String() string { return lossNames[l] }

// tally counts what one worker, or the batcher, did. It is plain memory: its
// owner adds to it freely and publishes it once per burst.
type tally struct {
	received [paths]uint64
	decoded  uint64
	options  uint64 // options records
	samples  uint64 // counter samples
	dropped  [datagramDrops]uint64
	problems [flow.Problems]uint64
	records  [flow.Versions]uint64
	sides    [fates]uint64
	answers  [profiler.Outcomes]uint64
	lost     [losses]uint64
}

// tallyWords is tally seen as an array, so that publishing it is one loop. The 3
// are the counts that stand alone.
const tallyWords = paths + 3 + datagramDrops + int(flow.Problems) + int(flow.Versions) + fates + profiler.Outcomes + losses

// moved counts the sides that were dropped because an address changed hands.
func (t *tally) moved() uint64 { return t.sides[fateBeforeMove] + t.sides[fateStraddlesMove] }

// words is t as the array that its fields are: they are all uint64 or arrays of it.
func (t *tally) words() *[tallyWords]uint64 { return (*[tallyWords]uint64)(unsafe.Pointer(t)) }

// The two sizes are held equal by the compiler.
var _ [tallyWords * 8]byte = [unsafe.Sizeof(tally{})]byte{}

// ledgerPage is the published half of a tally. One goroutine writes it, any
// goroutine may read it: each word alone is exact, and at rest so are all of
// them together. Pages stand on cache lines of their own, so that two workers
// never contend for one; per-word atomics instead of a lock or a seqlock keep
// the writer from ever waiting for a scrape.
type ledgerPage struct {
	_     [64]byte
	words [tallyWords]atomic.Uint64
	_     [64]byte
}

// publish stores t where scrapes read it.
func (p *ledgerPage) publish(t *tally) {
	for i, v := range t.words() {
		if p.words[i].Load() != v {
			p.words[i].Store(v)
		}
	}
}

// addTo adds the published counts to t.
func (p *ledgerPage) addTo(t *tally) {
	w := t.words()
	for i := range p.words {
		w[i] += p.words[i].Load()
	}
}

// DatagramCounts is the first identity: Received = Decoded + Σ Dropped.
type DatagramCounts struct {
	Received uint64            `json:"received"`
	Decoded  uint64            `json:"decoded"`
	Dropped  map[string]uint64 `json:"dropped"`
}

// SideCounts is the second: 2 × records = External + Duplicate + Undetermined +
// Observed + Σ Dropped.
type SideCounts struct {
	External     uint64            `json:"external"`
	Duplicate    uint64            `json:"duplicate"`
	Undetermined uint64            `json:"undetermined"`
	Observed     uint64            `json:"observed"`
	Dropped      map[string]uint64 `json:"dropped"`
}

// PostCounts is the third: observed = Acknowledged + InFlight + Σ Lost. Answers
// tells what the profiler said to those it acknowledged.
type PostCounts struct {
	Acknowledged uint64            `json:"acknowledged"`
	InFlight     uint64            `json:"in_flight"`
	Lost         map[string]uint64 `json:"lost"`
	Answers      map[string]uint64 `json:"answers"`
}

// Ledger is the books: what came in and what became of each piece of it. At
// rest its three identities hold exactly; while datagrams arrive, words read a
// moment apart can differ by what moved in between.
type Ledger struct {
	Datagrams      DatagramCounts    `json:"datagrams"`
	Records        uint64            `json:"records"`
	OptionsRecords uint64            `json:"options_records"`
	CounterSamples uint64            `json:"counter_samples"`
	WaitingSets    uint64            `json:"waiting_sets"` // now, not in all
	Problems       map[string]uint64 `json:"problems"`
	Sides          SideCounts        `json:"sides"`
	Posts          PostCounts        `json:"posts"`

	// ByPath and ByVersion split Received and Records for the metrics.
	ByPath    map[string]uint64 `json:"-"`
	ByVersion map[string]uint64 `json:"-"`
}

// ledger turns a summed tally into the books; inFlight observations and waiting
// sets are counted, not derived.
func (t *tally) ledger(inFlight, waiting uint64) Ledger {
	l := Ledger{
		WaitingSets: waiting,
		Problems:    map[string]uint64{},
		ByPath:      map[string]uint64{},
		ByVersion:   map[string]uint64{},
	}
	for p, n := range t.received {
		l.Datagrams.Received += n
		l.ByPath[Path(p).String()] = n
	}
	l.Datagrams.Decoded = t.decoded
	l.Datagrams.Dropped = named[datagramDrop](t.dropped[:])
	l.Problems = named[flow.Problem](t.problems[:])
	l.OptionsRecords, l.CounterSamples = t.options, t.samples
	for v := flow.NoVersion + 1; v < flow.Versions; v++ {
		l.Records += t.records[v]
		l.ByVersion[v.String()] = t.records[v]
	}
	l.Sides = SideCounts{
		External:     t.sides[fateExternal],
		Duplicate:    t.sides[fateDuplicate],
		Undetermined: t.sides[fateUndetermined],
		Observed:     t.sides[fateObserved],
		Dropped:      map[string]uint64{},
	}
	for f := fate(firstDroppedFate); f < fates; f++ {
		if n := t.sides[f]; n > 0 {
			l.Sides.Dropped[f.String()] = n
		}
	}
	l.Posts = PostCounts{InFlight: inFlight, Lost: named[loss](t.lost[:]), Answers: map[string]uint64{}}
	for o, n := range t.answers {
		if o := profiler.Outcome(o); o.Acknowledged() {
			l.Posts.Answers[o.String()] = n
			if o != profiler.Withdrawn { // which no side is observed for
				l.Posts.Acknowledged += n
			}
		}
	}
	return l
}

// Reasons are all the names that a Ledger's maps can have, for metrics: a series
// that begins with its first event hides it from whoever watches for increases.
type Reasons struct {
	Dropped, Problems, Versions, SidesDropped, Lost []string
}

// AllReasons lists them.
func AllReasons() (r Reasons) {
	r.Dropped = names[datagramDrop](0, datagramDrops)
	r.Problems = names[flow.Problem](0, int(flow.Problems))
	r.Versions = names[flow.Version](0, flow.Versions)
	r.SidesDropped = names[fate](int(firstDroppedFate), fates)
	r.Lost = names[loss](0, losses)
	return r
}

// names lists the values from first to n that have a name.
func names[R interface {
	~uint8
	String() string
}](first, n int) (list []string) {
	for i := first; i < n; i++ {
		if s := R(i).String(); s != "" {
			list = append(list, s)
		}
	}
	return list
}

// named gives the counts above zero their reasons' names.
func named[R interface {
	~uint8
	String() string
}](counts []uint64) map[string]uint64 {
	m := map[string]uint64{}
	for i, n := range counts {
		if n > 0 {
			m[R(i).String()] = n
		}
	}
	return m
}
