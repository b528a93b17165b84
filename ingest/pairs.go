// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"math/bits"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/portolan/portolan/profiler"
)

// pairTable remembers which (binding, proto, port, role) have been posted, so
// that the same pair is posted once per reprofile interval. It is a cache: the
// store's last post decides. What is forgotten (by a restart or because the
// table is small) is posted once more and answered "duplicate", so nothing has
// to be loaded, saved or warmed up.
//
// All workers read and write it at once, and the batcher answers into it:
//
//	absent ──claim──▶ in flight ──posted──▶ posted ──claim, when due──▶ in flight
//	                      └────forget────▶ absent
//
// A pair is in flight from the moment one worker has claimed it until the Sink
// has acknowledged a synced commit; only then is it posted. A lost post goes
// back to absent, for otherwise one lost batch would blind the pair for a day.
//
// A bucket is one cache line of four slots of two words, key and state. The key
// word holds the pair exactly. The state word holds state, evidence, 26 bits of
// the key's hash and the time in seconds, and is what everybody compares and
// swaps: whoever moves a slot to the claimed state owns it and may replace its
// key. Because the state word carries a part of the key's hash, a swap that was
// prepared for another key fails.
//
// Two workers that insert the same new pair in the same nanoseconds can end up
// with two slots of it. Both are posted, the second is answered "duplicate",
// and the one that is not found any more is evicted in time. That is cheaper
// than what was rejected: a lock per bucket (two atomic writes for each of the
// nine in ten lookups that only read), a 16-byte compare-and-swap (assembly),
// and a table per worker (posts everything once per worker, and forgets
// when traffic moves to another queue). Go maps and sync.Map allocate and make
// the garbage collector follow them.
//
// A full bucket evicts the pair that was posted the longest ago, and never one
// in flight.
//
// The words live outside the heap and go when nothing refers to the table any more;
// so whoever uses them last keeps it alive until then.
type pairTable struct {
	words []uint64 // buckets of 4 × {key, state}
	mask  uint64   // number of buckets - 1
}

// slotState is the two highest bits of a state word.
const (
	stateAbsent   = 0
	stateInFlight = 1
	statePosted   = 2
	stateClaimed  = 3 // owned by one worker that is replacing the key

	stateShift    = 62
	evidenceShift = 58
	evidenceMask  = 15
	tagMask       = (1<<26 - 1) << 32
	secondsMask   = 1<<32 - 1

	slotsPerBucket = 4
	bucketWords    = 2 * slotsPerBucket

	// minPairs is the least number of pairs that a table is made for.
	minPairs = 1 << 10
)

// slot is a claim: where it is and the state word that it has left there.
type slot struct {
	index uint32
	state uint64
}

// claimResult is what claim found.
type claimResult uint8

const (
	claimed claimResult = iota
	alreadyPosted
	tableFull
)

// newPairTable makes a table for at least n pairs, 16 bytes each.
func newPairTable(n int) *pairTable {
	buckets := uint64(1) << bits.Len(uint(max(n, minPairs)-1)/slotsPerBucket)
	t := &pairTable{mask: buckets - 1}
	// On the heap the table would count as in use from the beginning, and the
	// collector lets as much garbage gather as there is in use: 64 MiB of it,
	// where somebody sends what makes garbage.
	memory, err := unix.Mmap(-1, 0, int(buckets)*bucketWords*8, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil { // too little address space is left: what is dearer may fit yet
		t.words = make([]uint64, buckets*bucketWords)
		return t
	}
	t.words = unsafe.Slice((*uint64)(unsafe.Pointer(&memory[0])), buckets*bucketWords)
	runtime.AddCleanup(t, func(m []byte) { _ = unix.Munmap(m) }, memory)
	return t
}

// pairKey packs a pair into one word, exactly: 32 bits of binding, 16 of port,
// 2 of protocol (never 0, so no key is 0), 1 of role, and the 13 low bits of the
// generation. Only after 8,192 moves of one address within an interval could
// its holder be taken for an earlier one.
func pairKey(binding, gen uint32, proto uint8, port uint16, role profiler.Role) uint64 {
	return uint64(binding)<<32 | uint64(port)<<16 | uint64(protoCode[proto])<<14 | uint64(role&1)<<13 | uint64(gen&(1<<13-1))
}

// protoCode numbers the protocols that have ports; 0 is all others.
var protoCode = [256]uint8{protoTCP: 1, protoUDP: 2, protoSCTP: 3}

const (
	protoTCP  = 6
	protoUDP  = 17
	protoSCTP = 132
)

// pairHash spreads a key (the finaliser of SplitMix64).
func pairHash(key uint64) uint64 {
	key = (key ^ key>>30) * 0xbf58476d1ce4e5b9
	key = (key ^ key>>27) * 0x94d049bb133111eb
	return key ^ key>>31
}

// bucket is the cache line where a pair of that hash belongs.
func (t *pairTable) bucket(hash uint64) (first uint64, b *[bucketWords]uint64) {
	first = (hash & t.mask) * bucketWords
	return first, (*[bucketWords]uint64)(t.words[first : first+bucketWords])
}

// touch starts the load of a pair's cache line, for callers that know several
// pairs before they claim the first. The result only keeps the load alive.
func (t *pairTable) touch(hash uint64) uint64 {
	_, b := t.bucket(hash)
	word := atomic.LoadUint64(&b[0])
	runtime.KeepAlive(t)
	return word
}

// claim asks for a pair at time now (Unix seconds). It answers alreadyPosted
// where the pair is in flight, or was posted less than its interval ago, with
// at least this evidence. Otherwise the pair is in flight from now on and the
// caller has to see to it that posted or forget follows.
func (t *pairTable) claim(f *finding, now uint32, interval time.Duration) (slot, claimResult) {
	first, b := t.bucket(f.hash)
	mine := f.hash & tagMask
	next := uint64(stateInFlight)<<stateShift | uint64(f.evidence)<<evidenceShift | mine | uint64(now)
	for i := 0; i < bucketWords; i += 2 {
		if atomic.LoadUint64(&b[i]) != f.key {
			continue
		}
		s := atomic.LoadUint64(&b[i+1])
		for s&tagMask == mine && s>>stateShift != stateAbsent && s>>stateShift != stateClaimed {
			if !f.claimable(s, now, interval) {
				return slot{}, alreadyPosted
			}
			if atomic.CompareAndSwapUint64(&b[i+1], s, next) {
				return slot{uint32(first+uint64(i)) / 2, next}, claimed
			}
			s = atomic.LoadUint64(&b[i+1])
		}
	}
	c, result := t.insert(first, b, f.key, next)
	runtime.KeepAlive(t)
	return c, result
}

// claimable tells whether a pair in state s may be posted again.
func (f *finding) claimable(s uint64, now uint32, interval time.Duration) bool {
	if f.evidence > profiler.Evidence(s>>evidenceShift&evidenceMask) {
		return true // stronger evidence is no duplicate
	}
	if s>>stateShift == stateInFlight {
		return false
	}
	age := int64(now) - int64(s&secondsMask)
	// Times are whole seconds, rounded down: one second more makes sure that
	// the store, which counts nanoseconds, finds it due as well.
	if age >= 0 && age <= int64(interval/time.Second) {
		return false // the common case, without the pair's own share of jitter
	}
	o := f.observation([16]byte{}, 0)
	return profiler.Due(0, (age-1)*int64(time.Second), profiler.PairInterval(interval, &o))
}

// insert puts a new key into its bucket: into a free slot, else in the place of
// the pair that was posted the longest ago.
func (t *pairTable) insert(first uint64, b *[bucketWords]uint64, key, next uint64) (slot, claimResult) {
	for {
		victim, found := victimOf(b)
		if !found {
			return slot{}, tableFull
		}
		old := atomic.LoadUint64(&b[victim+1])
		if st := old >> stateShift; st != stateAbsent && st != statePosted {
			continue
		}
		if !atomic.CompareAndSwapUint64(&b[victim+1], old, next|stateClaimed<<stateShift) {
			continue
		}
		atomic.StoreUint64(&b[victim], key)
		atomic.StoreUint64(&b[victim+1], next)
		return slot{uint32(first+uint64(victim)) / 2, next}, claimed
	}
}

// victimOf picks the slot to take: the first absent one, else the oldest posted.
func victimOf(b *[bucketWords]uint64) (victim int, found bool) {
	oldest := uint64(1 << 32)
	for i := 0; i < bucketWords; i += 2 {
		s := atomic.LoadUint64(&b[i+1])
		switch s >> stateShift {
		case stateAbsent:
			return i, true
		case statePosted:
			if at := s & secondsMask; at < oldest {
				oldest, victim, found = at, i, true
			}
		}
	}
	return victim, found
}

// posted records that a claim was acknowledged; at is the time of the post that
// now stands, in Unix seconds. A claim that stronger evidence has overtaken in
// the meantime is left to that one's answer.
func (t *pairTable) posted(c slot, at uint32) {
	next := c.state&^(3<<stateShift|secondsMask) | statePosted<<stateShift | uint64(at)
	atomic.CompareAndSwapUint64(&t.words[2*uint64(c.index)+1], c.state, next)
	runtime.KeepAlive(t)
}

// forget gives a claim up: the pair is absent again.
func (t *pairTable) forget(c slot) {
	atomic.CompareAndSwapUint64(&t.words[2*uint64(c.index)+1], c.state, 0)
	runtime.KeepAlive(t)
}

// drop forgets a posted pair, whoever posted it.
func (t *pairTable) drop(f *finding) {
	_, b := t.bucket(f.hash)
	for i := 0; i < bucketWords; i += 2 {
		if s := atomic.LoadUint64(&b[i+1]); atomic.LoadUint64(&b[i]) == f.key && s>>stateShift == statePosted {
			atomic.CompareAndSwapUint64(&b[i+1], s, 0)
		}
	}
}
