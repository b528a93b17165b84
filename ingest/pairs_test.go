// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/portolan/portolan/profiler"
	"github.com/portolan/portolan/store/ipset"
)

const pairInterval = 24 * time.Hour

// claimPair claims port of binding 1 at second now.
func claimPair(t *pairTable, port uint16, e profiler.Evidence, now uint32) (slot, claimResult) {
	key := pairKey(1, 1, protoTCP, port, profiler.Listening)
	f := finding{key: key, hash: pairHash(key), binding: ipset.Binding{ID: 1, Gen: 1}, port: port, proto: protoTCP, role: profiler.Listening, evidence: e}
	return t.claim(&f, now, pairInterval)
}

func TestPairLifeCycle(t *testing.T) {
	p := newPairTable(0)
	const now = 1_800_000_000
	must := func(what string, got, want claimResult) {
		t.Helper()
		if got != want {
			t.Fatalf("%s: %d, want %d", what, got, want)
		}
	}
	c, r := claimPair(p, 80, profiler.Seen, now)
	must("new", r, claimed)
	_, r = claimPair(p, 80, profiler.Seen, now+1)
	must("in flight", r, alreadyPosted)
	_, r = claimPair(p, 80, profiler.Seen, now+100_000)
	must("in flight for longer than the interval", r, alreadyPosted)
	p.forget(c)
	c, r = claimPair(p, 80, profiler.Seen, now+2)
	must("forgotten", r, claimed)
	p.posted(c, now+2)
	_, r = claimPair(p, 80, profiler.Seen, now+3)
	must("posted", r, alreadyPosted)

	// Stronger evidence is no duplicate, and its own answer counts.
	strong, r := claimPair(p, 80, profiler.Handshake, now+4)
	must("stronger", r, claimed)
	_, r = claimPair(p, 80, profiler.FanIn, now+5)
	must("weaker than what is in flight", r, alreadyPosted)
	p.posted(strong, now+4)

	day := uint32(pairInterval / time.Second)
	_, r = claimPair(p, 80, profiler.Seen, now+4+day)
	must("at the interval, less the second of rounding", r, alreadyPosted)
	c, r = claimPair(p, 80, profiler.Seen, now+4+day+day/4+1)
	must("after the longest interval", r, claimed)
	p.posted(c, now)
	// The clock was set back by a week: the pair is not silent until then.
	_, r = claimPair(p, 80, profiler.Seen, now-7*day)
	must("clock set back", r, claimed)
}

func TestLateAnswerDoesNotUndoAStrongerClaim(t *testing.T) {
	p := newPairTable(0)
	weak, _ := claimPair(p, 80, profiler.Seen, 100)
	strong, r := claimPair(p, 80, profiler.Handshake, 101)
	if r != claimed {
		t.Fatal("stronger evidence was held to be a duplicate of one in flight")
	}
	p.forget(weak)
	if _, r := claimPair(p, 80, profiler.Handshake, 102); r != alreadyPosted {
		t.Error("the answer to the weaker claim freed the pair")
	}
	p.posted(strong, 101)
	if _, r := claimPair(p, 80, profiler.Handshake, 102); r != alreadyPosted {
		t.Error("not posted")
	}
}

// A bucket that is full of posts under way refuses; one with posted pairs gives
// up the oldest.
func TestFullBucket(t *testing.T) {
	p := newPairTable(0)
	// Five ports of one bucket, found by their hashes.
	var ports []uint16
	for port := uint16(1); len(ports) < slotsPerBucket+1; port++ {
		if pairHash(pairKey(1, 1, protoTCP, port, profiler.Listening))&p.mask == 0 {
			ports = append(ports, port)
		}
	}
	var claims []slot
	for i, port := range ports[:slotsPerBucket] {
		c, r := claimPair(p, port, profiler.Seen, uint32(100+i))
		if r != claimed {
			t.Fatalf("slot %d: %d", i, r)
		}
		claims = append(claims, c)
	}
	if _, r := claimPair(p, ports[slotsPerBucket], profiler.Seen, 200); r != tableFull {
		t.Fatalf("a bucket of posts under way: %d", r)
	}
	for i, c := range claims {
		p.posted(c, uint32(100+(i+2)%slotsPerBucket)) // the third becomes the oldest
	}
	if _, r := claimPair(p, ports[slotsPerBucket], profiler.Seen, 200); r != claimed {
		t.Fatalf("a bucket of posted pairs: %d", r)
	}
	for i, port := range ports[:slotsPerBucket] {
		_, r := claimPair(p, port, profiler.Seen, 201)
		if want := []claimResult{alreadyPosted, alreadyPosted, claimed, alreadyPosted}[i]; r != want {
			t.Errorf("port %d: %d, want %d", i, r, want)
		}
		if r == claimed {
			break // it evicted another one
		}
	}
}

func TestKeysAreExact(t *testing.T) {
	seen := map[uint64]string{}
	for _, k := range []struct {
		name         string
		binding, gen uint32
		proto        uint8
		port         uint16
		role         profiler.Role
	}{
		{"base", 1, 1, protoTCP, 80, profiler.Listening},
		{"binding", 2, 1, protoTCP, 80, profiler.Listening},
		{"generation", 1, 2, protoTCP, 80, profiler.Listening},
		{"protocol", 1, 1, protoUDP, 80, profiler.Listening},
		{"sctp", 1, 1, protoSCTP, 80, profiler.Listening},
		{"port", 1, 1, protoTCP, 81, profiler.Listening},
		{"role", 1, 1, protoTCP, 80, profiler.Contacted},
		{"last binding", 1<<32 - 1, 1, protoTCP, 65535, profiler.Contacted},
	} {
		key := pairKey(k.binding, k.gen, k.proto, k.port, k.role)
		if other, ok := seen[key]; ok || key == 0 {
			t.Errorf("%s has the key of %q, or none", k.name, other)
		}
		seen[key] = k.name
	}
}

// Workers that share a table and meet the same pairs in any order leave every
// pair posted; at the end each is a duplicate for all of them.
func TestWorkersShareTheTable(t *testing.T) {
	const pairs, workers = 5000, 4
	p := newPairTable(4 * pairs)
	var posts atomic.Int64
	var wg sync.WaitGroup
	for w := range uint64(workers) {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(w, 7))
			for range 3 {
				for _, i := range rnd.Perm(pairs) {
					c, r := claimPair(p, uint16(i+1), profiler.Seen, 1000)
					switch {
					case r == tableFull:
						t.Error("full")
					case r != claimed:
					case rnd.IntN(10) == 0:
						p.forget(c)
					default:
						posts.Add(1)
						p.posted(c, 1000)
					}
				}
			}
		})
	}
	wg.Wait()
	for i := range pairs {
		if c, r := claimPair(p, uint16(i+1), profiler.Seen, 1001); r == claimed {
			// Forgotten by the last that held it: allowed, but then it can be posted.
			p.posted(c, 1001)
		}
		if _, r := claimPair(p, uint16(i+1), profiler.Seen, 1002); r != alreadyPosted {
			t.Fatalf("pair %d is not remembered", i)
		}
	}
	if n := posts.Load(); n < pairs*9/10 || n > pairs*11/10 {
		t.Errorf("%d posts of %d pairs", n, pairs)
	}
}
