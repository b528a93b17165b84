// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Streams knows all streams: one registry for all workers, because the messages
// of one exporter can reach several of them, and the template of a record the
// one while the record reaches the other.
//
// Who reads. Every worker looks up a message's stream, and the template of each
// of its sets, without a lock. Both tables are set-associative: a hash names a
// bucket of eight places, each an atomic pointer, and that is all there is to
// search. What a pointer leads to stays valid for whoever has loaded it: a
// Stream or a template that is replaced meanwhile is garbage only when the last
// worker is done with it, so nothing is counted and nothing can be used after
// it was freed. Templates are immutable, so a redefinition in the middle of a
// message cannot tear a record: the set is decoded wholly by the one or by the
// other.
//
// Who writes. Counters: every worker, with atomic operations, about eight per
// message. The places of the registry: only under Streams.mu, which a worker
// takes for the first message of a stream. A stream's templates and backlog:
// only under Stream.mu, which a worker takes for a template that is new or
// different and for a set without one. Streams.mu may be held while a
// Stream.mu is taken, never the other way round: learn lets go of its stream
// before it makes room in others. The lock of a stream's options is taken
// before either; who holds Streams.mu may only try it.
//
// What is bounded. The number of streams, the templates of one and of all, the
// sets that wait of one and of all: see Limits. Sums over all are atomic; what
// a stream adds to them it takes back when it leaves the registry (retire).
// Room is made first by streams that are not established, so that an
// exporter that invents domains, or an army of invented addresses, replaces
// itself. The work for one message is bounded as well: a newcomer looks at one
// bucket, a template that is one too many at some dozens of streams. A hash
// with a seed of its own per process keeps chosen ids from meeting in one bucket.
//
// Rejected: one table per worker, as a template would be known to one worker
// only; a map with a read-write lock, whose reader count all cores write to
// for every message; sync.Map, which cannot forget the least recently used
// and boxes its keys; an open-addressing table, which cannot forget without
// tombstones; exact LRU lists, which every lookup would have to write to.
type Streams struct {
	limits  Limits
	seed    [3]uint64
	mask    uint64 // number of buckets - 1
	buckets []streamBucket

	templateBytes atomic.Int64 // of all streams' templates, with their tables
	waiting       atomic.Int64 // sets that wait
	waitingBytes  atomic.Int64
	optionsBytes  atomic.Int64
	changed       atomic.Uint64
	lostBefore    atomic.Uint64 // the loss of streams that have left

	// When making room was last in vain, Unix nanoseconds.
	templatesStuck, waitingStuck, optionsStuck atomic.Int64

	evicted struct{ streams, templates, waiting atomic.Uint64 }

	mu   sync.Mutex // held to enter or remove a stream, and to make room
	hand uint64     // under mu: the bucket where room is made next
}

// Limits bound what Streams remember. A zero means the default.
type Limits struct {
	// Streams is how many are kept, rounded up to a power of two; 8,192.
	Streams int
	// Templates is how many one stream may have, rounded up to a power of two;
	// 1,024.
	Templates int
	// TemplateBytes is how much memory the templates of one stream may take,
	// and AllTemplateBytes those of all; 1 MiB and 16 MiB, which is room for
	// some 25,000 templates.
	TemplateBytes, AllTemplateBytes int64
	// Waiting is how many sets of one stream may wait for their template,
	// WaitingBytes how much memory they may take, and AllWaitingBytes those
	// of all streams; 64, 256 KiB and 8 MiB.
	Waiting                       int
	WaitingBytes, AllWaitingBytes int64
	// OptionsBytes is how much memory may be taken by what all exporters tell in
	// options: sampling rates and names of interfaces; 8 MiB.
	OptionsBytes int64
	// Age is how long a stream or a template is remembered that is not used;
	// 24 hours. WaitingAge is how long a set waits; 30 minutes.
	Age, WaitingAge time.Duration
	// Seed, if not 0, makes the same streams meet in the same buckets in every
	// run, for files; on a network nobody shall be able to choose that.
	Seed uint64
}

// orDefaults fills in what is not given.
func (l Limits) orDefaults() Limits {
	def := func(v *int64, d int64) {
		if *v <= 0 {
			*v = d
		}
	}
	places := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
		*v = max(ways, 1<<bits.Len(uint(*v-1)))
	}
	places(&l.Streams, 8192)
	places(&l.Templates, 1024)
	def(&l.TemplateBytes, 1<<20)
	def(&l.AllTemplateBytes, 16<<20)
	if l.Waiting <= 0 {
		l.Waiting = 64
	}
	def(&l.WaitingBytes, 256<<10)
	def(&l.AllWaitingBytes, 8<<20)
	def(&l.OptionsBytes, 8<<20)
	def((*int64)(&l.Age), int64(24*time.Hour))
	def((*int64)(&l.WaitingAge), int64(30*time.Minute))
	return l
}

// ways is how many places a bucket has.
const ways = 8

// streamBucket is two cache lines. A tag is a part of the hash of the stream in
// the same place: it spares looking into seven other streams. It is a hint: a
// tag and a pointer that do not belong together lead to a second look under
// the lock.
type streamBucket struct {
	tags    [ways]atomic.Uint32
	streams [ways]atomic.Pointer[Stream]
	_       [32]byte
}

// NewStreams makes an empty registry.
func NewStreams(l Limits) *Streams {
	s := &Streams{limits: l.orDefaults()}
	random := rand.Uint64
	if s.limits.Seed != 0 {
		random = rand.New(rand.NewPCG(s.limits.Seed, 0)).Uint64
	}
	s.seed = [3]uint64{random(), random(), random()}
	n := s.limits.Streams / ways
	s.mask = uint64(n - 1)
	s.buckets = make([]streamBucket, n)
	return s
}

// hash mixes an id with the seed: two folded multiplications, as in wyhash.
func (s *Streams) hash(id *StreamID) uint64 {
	a := binary.LittleEndian.Uint64(id.Exporter[:8]) ^ s.seed[0]
	b := binary.LittleEndian.Uint64(id.Exporter[8:]) ^ s.seed[1]
	c := uint64(id.Domain)<<8 | uint64(id.Version)
	hi, lo := bits.Mul64(a, b)
	hi, lo = bits.Mul64(hi^lo^s.seed[2], c^s.seed[0])
	return hi ^ lo
}

// of finds or enters the stream of a message that arrived at now, Unix
// nanoseconds.
func (s *Streams) of(id StreamID, now int64) *Stream {
	h := s.hash(&id)
	b := &s.buckets[h&s.mask]
	tag := uint32(h >> 32)
	for i := range b.tags {
		if b.tags[i].Load() != tag {
			continue
		}
		if x := b.streams[i].Load(); x != nil && x.ID == id {
			return x
		}
	}
	return s.enter(b, tag, id, now)
}

// enter adds a stream, or finds that another worker just did.
func (s *Streams) enter(b *streamBucket, tag uint32, id StreamID, now int64) *Stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range b.streams {
		if x := b.streams[i].Load(); x != nil && x.ID == id {
			return x
		}
	}
	x := &Stream{ID: id, owner: s}
	x.entered.Store(now)
	i := b.place(&id.Exporter)
	old := b.streams[i].Load()
	b.tags[i].Store(tag)
	b.streams[i].Store(x)
	if old != nil {
		s.evicted.streams.Add(1)
		s.evicted.templates.Add(uint64(old.retire()))
	}
	return x
}

// place is where a newcomer of an exporter goes: an empty place; else, where
// half of the bucket is the same exporter's, that of the least recently seen
// of those; else that of the least recently seen of those who matter least.
func (b *streamBucket) place(exporter *[16]byte) int {
	own := 0
	for i := range b.streams {
		x := b.streams[i].Load()
		if x == nil {
			return i
		}
		if x.ID.Exporter == *exporter {
			own++
		}
	}
	worst, lowest, seen := 0, uint8(255), int64(0)
	for i := range b.streams {
		x := b.streams[i].Load()
		if own >= ways/2 && x.ID.Exporter != *exporter {
			continue
		}
		if r, at := x.rank(), x.touched(); r < lowest || r == lowest && at < seen {
			worst, lowest, seen = i, r, at
		}
	}
	return worst
}

// rank orders streams by how much they matter: those that sent one message, as
// forged ones do, those that sent more, and established ones.
func (s *Stream) rank() uint8 {
	switch {
	case s.established():
		return 2
	case s.datagrams.Load() > 1:
		return 1
	}
	return 0
}

// Evictions count what had to go to make room for others.
type Evictions struct {
	// Streams that were forgotten.
	Streams uint64
	// Templates that were forgotten, those of forgotten streams included.
	Templates uint64
	// Waiting sets that will never be decoded: those of forgotten streams,
	// those that made room for others and those that waited too long.
	Waiting uint64
}

// Evicted tells what was forgotten so far.
func (s *Streams) Evicted() Evictions {
	return Evictions{s.evicted.streams.Load(), s.evicted.templates.Load(), s.evicted.waiting.Load()}
}

// Waiting is how many sets wait for their template.
func (s *Streams) Waiting() int { return int(s.waiting.Load()) }

// Changed counts the changes of templates: where it stands still, what was
// saved last is still right.
func (s *Streams) Changed() uint64 { return s.changed.Load() }

// Lost estimates what was lost on the way from all exporters, those included
// that were forgotten, in the units of their sequences.
func (s *Streams) Lost() uint64 {
	n := s.lostBefore.Load()
	for x := range s.all {
		n += x.sequence.lost()
	}
	return n
}

// all yields every stream.
func (s *Streams) all(yield func(*Stream) bool) {
	for i := range s.buckets {
		b := &s.buckets[i]
		for j := range b.streams {
			if x := b.streams[j].Load(); x != nil && !yield(x) {
				return
			}
		}
	}
}

// Expire forgets streams and templates that were not used for Limits.Age, and
// sets that waited for longer than Limits.WaitingAge. The owner calls it every
// minute or so, from a goroutine that is not a worker.
func (s *Streams) Expire(now time.Time) {
	at := now.UnixNano()
	for i := range s.buckets {
		b := &s.buckets[i]
		for j := range b.streams {
			x := b.streams[j].Load()
			if x == nil {
				continue
			}
			if at-x.touched() > int64(s.limits.Age) {
				s.remove(&b.streams[j], x)
				continue
			}
			x.expire(at)
		}
	}
}

// remove forgets a stream, unless its place has got another one.
func (s *Streams) remove(place *atomic.Pointer[Stream], x *Stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if place.CompareAndSwap(x, nil) {
		x.retire()
	}
}

// expire forgets what is too old within a stream.
func (s *Stream) expire(now int64) {
	l := &s.owner.limits
	s.mu.Lock()
	defer s.mu.Unlock()
	for p, t := range s.templates.Load().all {
		if now-t.used.Load()*nsPerSecond > int64(l.Age) {
			s.drop(p, t)
		}
	}
	s.backlog.dropOlder(s.owner, now-int64(l.WaitingAge))
}
