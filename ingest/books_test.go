// SPDX-License-Identifier: Apache-2.0

//go:build linux

package ingest

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/portolan/portolan/bench"
	"github.com/portolan/portolan/store/ipset"
)

// booksRig is a sensor on a rig, with the endpoints of a workload.
type booksRig struct {
	rig      *bench.Rig
	workload bench.Workload
	sensor   *Sensor
	sink     *memorySink
	addrs    []netip.Addr // by binding id - 1
	before   bench.Counters
	live     *bench.Live
}

// gentle is a load that a receiver takes without loss: the one that is tested
// with, and a slower one for the race detector (-short).
func gentle() bench.Load {
	if testing.Short() {
		return bench.Load{Count: 4_000, Rate: 1_000}
	}
	return bench.Load{Count: 20_000, Rate: 10_000}
}

func newBooksRig(t *testing.T) *booksRig {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: it makes network namespaces, attaches XDP programs and sends from the kernel")
	}
	r := &booksRig{workload: bench.Mix(), sink: newMemorySink()}
	r.workload.Services, r.workload.Clients = 20, 100
	var err error
	if r.rig, err = bench.NewRig(bench.RigConfig{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.rig.Close(); err != nil {
			t.Error(err)
		}
	})
	if r.addrs, err = r.workload.Addresses(); err != nil {
		t.Fatal(err)
	}
	set := setOf(t)
	for i, a := range r.addrs {
		set.Change([]ipset.Change{{Addr: a.As16(), Binding: ipset.Binding{ID: uint32(i + 1), Gen: 1}}})
	}
	r.sensor, err = New(Config{
		Set: set, Sink: r.sink, Inside: r.rig.Receiver.NS.Do,
		Interfaces: []string{r.rig.Receiver.Device}, Require: RequireCopy,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.sensor.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, r.sensor) })
	r.generator(t)
	if r.before, err = r.rig.Counters(); err != nil {
		t.Fatal(err)
	}
	return r
}

// generator begins the workload, and its sequence numbers, anew.
func (r *booksRig) generator(t *testing.T) {
	t.Helper()
	var err error
	if r.live, err = bench.NewLive(r.rig.Live(r.workload, DefaultPort)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.live.Close() })
}

// send sends count datagrams as live frames and returns how many went out.
func (r *booksRig) send(t *testing.T, l bench.Load) uint64 {
	t.Helper()
	res, err := r.live.Run(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("sent %d datagrams at %.0f/s", res.Sent, res.Rate())
	return res.Sent
}

// lost is what the device took and gave to nobody.
func (r *booksRig) lost(t *testing.T) uint64 {
	t.Helper()
	c, err := r.rig.Counters()
	if err != nil {
		t.Fatal(err)
	}
	return c.Since(r.before).Lost()
}

// settle waits until everything that was sent is received or counted by the
// device, and checks the books against the device's own counters.
func (r *booksRig) settle(t *testing.T, sent uint64) (Status, uint64) {
	t.Helper()
	var lost uint64
	st := eventually(t, r.sensor, fmt.Sprintf("%d sent = received + lost in the device", sent), func(st Status) bool {
		lost = r.lost(t)
		return st.Ledger.Datagrams.Received+lost == sent && st.Ledger.Posts.InFlight == 0
	})
	checkBooks(t, &st.Ledger)
	if byPath := st.Ledger.ByPath["copy"]; byPath != st.Ledger.Datagrams.Received {
		t.Errorf("by copy %d of %d", byPath, st.Ledger.Datagrams.Received)
	}
	if st.Ledger.Datagrams.Decoded != st.Ledger.Datagrams.Received || st.Ledger.Records != 30*st.Ledger.Datagrams.Received {
		t.Errorf("%+v", st.Ledger)
	}
	// The program's count splits in what was received and what the socket had
	// no place for.
	if st.XDP["redirect"] != st.Ledger.Datagrams.Received+st.RingDrops["rx_dropped"]+st.RingDrops["rx_ring_full"] {
		t.Errorf("redirected %d, received %d, ring drops %v", st.XDP["redirect"], st.Ledger.Datagrams.Received, st.RingDrops)
	}
	return st, lost
}

// At a rate without loss every datagram is received, every record and side is
// what the workload says, and exactly the workload's pairs are posted.
func TestBooksWithoutLoss(t *testing.T) {
	r := newBooksRig(t)
	count := gentle().Count
	sent := r.send(t, gentle())
	st, lost := r.settle(t, sent)
	if sent != count || lost != 0 {
		t.Fatalf("sent %d, lost %d at a rate that was to lose nothing", sent, lost)
	}
	truth, err := r.workload.Truth(0, count)
	if err != nil {
		t.Fatal(err)
	}
	s := st.Ledger.Sides
	if s.External != truth.External || s.Duplicate+s.Observed != truth.Internal {
		t.Errorf("sides %+v, the truth is %d internal, %d external", s, truth.Internal, truth.External)
	}
	posted := map[bench.Pair]int{}
	for _, o := range r.sink.posts {
		posted[bench.Pair{Addr: r.addrs[o.Binding-1], Proto: o.Proto, Port: o.Port}]++
	}
	for p, n := range posted {
		if truth.Pairs[p] == 0 || n != 1 {
			t.Fatalf("%v was posted %d times, seen %d times", p, n, truth.Pairs[p])
		}
	}
	if len(posted) != len(truth.Pairs) {
		t.Errorf("%d pairs posted of %d", len(posted), len(truth.Pairs))
	}
	if got := st.Exporters[0].Lost; got != 0 {
		t.Errorf("a gap of %d flows was found where none was", got)
	}
}

// With the receiver held to a tenth of a core and the sender at full speed,
// datagrams are lost, and the books still add up to the last one.
func TestBooksUnderLoss(t *testing.T) {
	r := newBooksRig(t)
	worker := r.sensor.Status().Paths[0].Thread
	quota, err := bench.LimitThread(worker, 0.1)
	if errors.Is(err, bench.ErrNoQuota) {
		t.Skipf("needs a CPU quota for a thread (cgroup v1): %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	const count = 400_000
	sent := r.send(t, bench.Load{Count: count, Duration: 20 * time.Second})
	if err := quota.Close(); err != nil {
		t.Error(err)
	}
	r.settle(t, sent)
	// A few more that arrive, so that the gap shows in the exporter's sequence.
	sent += r.send(t, bench.Load{Count: 100, Rate: 1_000})
	st, lost := r.settle(t, sent)
	if lost == 0 {
		t.Errorf("nothing was lost: the test shows nothing")
	}
	if gap := st.Exporters[0].Lost; gap != 30*lost {
		t.Errorf("%d datagrams of 30 flows lost, a gap of %d flows found", lost, gap)
	}
	t.Logf("received %d, lost %d", st.Ledger.Datagrams.Received, lost)
}

// A Sink that is slower than the traffic loses posts, never datagrams; what is
// lost is counted and the pairs are posted later.
func TestBooksWithASlowSink(t *testing.T) {
	r := newBooksRig(t)
	release := make(chan struct{})
	r.sink.fail = func() error {
		select {
		case <-release:
			return nil
		default:
			return errors.New("the disk is full")
		}
	}
	count := gentle().Count // with far more pairs than the queue holds
	sent := r.send(t, gentle())
	eventually(t, r.sensor, "all received while the sink refuses", func(st Status) bool {
		return st.Ledger.Datagrams.Received+r.lost(t) == sent && st.Ledger.Posts.InFlight > 0 && st.Ledger.Posts.Lost["queue_full"] > 0
	})
	close(release)
	st, _ := r.settle(t, sent)
	if st.Ledger.Posts.Acknowledged == 0 {
		t.Errorf("%+v", st.Ledger.Posts)
	}
	// The same traffic again: every pair that was lost is posted now.
	lost := st.Ledger.Posts.Lost["queue_full"]
	r.generator(t)
	sent += r.send(t, gentle())
	r.settle(t, sent)
	truth, err := r.workload.Truth(0, count)
	if err != nil {
		t.Fatal(err)
	}
	r.sink.mu.Lock()
	defer r.sink.mu.Unlock()
	if known := len(r.sink.last); known != len(truth.Pairs) {
		t.Errorf("%d pairs are known of %d (%d were lost at first)", known, len(truth.Pairs), lost)
	}
}
