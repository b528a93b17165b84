// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/portolan/portolan/ingest/flow"
	"github.com/portolan/portolan/profiler"
	"github.com/portolan/portolan/store/ipset"
)

// Config is what a sensor is made of. Set and Sink are required; the zero value
// of every other field is a working default.
type Config struct {
	// Set is where addresses are looked up, Sink where posts go.
	Set  *ipset.Live
	Sink Sink

	// Listen are the addresses of the UDP sockets. A port of 0 lets the kernel
	// choose one. Empty: [::]:2055.
	Listen []netip.AddrPort
	// Interfaces are received from through AF_XDP; "auto" means every physical
	// one that is up and has an address. Empty: UDP sockets alone.
	Interfaces []string
	// Require is the least rung that every interface must get.
	Require Requirement
	// Exporters may send; nil lets everybody.
	Exporters []netip.Prefix
	// Inside runs a function where the sockets are to be opened, such as
	// (*netns.NS).Do. nil: where the process is.
	Inside func(func() error) error

	// Interval is the reprofile interval. 0: profiler.DefaultInterval.
	Interval time.Duration
	// Infer asks of every port whether it is served or used. false: every port
	// that is seen counts.
	Infer bool
	// Pairs is how many posted pairs are remembered, 16 bytes each. 0: 4 Mi.
	Pairs int
	// ReceiveBuffer is what each UDP socket asks the kernel for, in bytes. 0: 64 MiB.
	ReceiveBuffer int
	// TemplatesFile keeps the exporters' templates over a restart. Empty: nothing
	// does. A sensor has it for itself.
	TemplatesFile string
	// Log takes the netflow log. nil: none.
	Log *slog.Logger
	// Discover gets the records of each message before their addresses are looked
	// up, which is then done in the set as Discover leaves it. Offline only; nil:
	// nobody asks. The records are borrowed.
	Discover func([]flow.Record)
	// Internal are prefixes whose addresses become endpoints when first seen, at
	// most MaxInternal. Admit then makes endpoints of addresses that nobody has,
	// and tells of how many, and how many found no room. It is called from one
	// goroutine. nil: nothing is discovered. Not Offline.
	Internal []netip.Prefix
	Admit    func([]netip.Addr) (added, refused int, err error)
	// Describe tells the debug log whose binding it is.
	Describe func(binding uint32) (mac, ip string)
	// Now is the clock of arrivals. nil: time.Now.
	Now func() time.Time
}

const defaultPairs = 4 << 20

// complete fills defaults in and refuses what cannot work.
func (c *Config) complete() error {
	if c.Set == nil || c.Sink == nil {
		return errors.New("ingest: Config needs a Set and a Sink")
	}
	if c.Interval == 0 {
		c.Interval = profiler.DefaultInterval
	}
	if err := profiler.CheckInterval(c.Interval); err != nil {
		return err
	}
	if c.Pairs == 0 {
		c.Pairs = defaultPairs
	}
	if len(c.Listen) == 0 {
		c.Listen = []netip.AddrPort{netip.AddrPortFrom(netip.IPv6Unspecified(), DefaultPort)}
	}
	if c.Inside == nil {
		c.Inside = func(fn func() error) error { return fn() }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Describe == nil {
		c.Describe = func(uint32) (string, string) { return "", "" }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return nil
}

// DefaultPort is where exporters send NetFlow by custom. Any format is received
// on any port.
const DefaultPort = 2055

// Sensor receives. Its methods may be called from any goroutine, Start and Stop
// once each.
type Sensor struct {
	config  Config
	shared  *shared
	batcher *batcher
	receive *receiver
	keeper  *keeper
	settler *settler

	changing sync.Mutex // config.Exporters, once it runs

	stopWorkers, stopBatcher chan struct{}
	cancelPosts              context.CancelFunc
	workers, posts, keeping  sync.WaitGroup
}

// New checks the configuration. The sensor does nothing until Start.
func New(c Config) (*Sensor, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	s := &Sensor{
		config:      c,
		shared:      newShared(&c, flow.Limits{}),
		stopWorkers: make(chan struct{}),
		stopBatcher: make(chan struct{}),
	}
	if err := s.newFinder(); err != nil {
		return nil, err
	}
	s.batcher = newBatcher(s.shared, c.Sink)
	s.keeper = newKeeper(s.shared, &c)
	s.settler = newSettler(s.shared, s.batcher.wake)
	return s, nil
}

// Start opens the receive paths and starts to receive. Where it returns an
// error, nothing is left open. ErrNoInterface, ErrRequirement and, from the
// system, EADDRINUSE and EACCES can be told apart with errors.Is.
func (s *Sensor) Start() error {
	r, err := openReceiver(&s.config, s.shared, s.batcher.wake)
	if err != nil {
		return err
	}
	s.receive = r
	s.keeper.load()
	for _, w := range r.workers() {
		s.batcher.queues = append(s.batcher.queues, w.queue)
	}
	s.batcher.queues = append(s.batcher.queues, s.settler.queue)
	if f := s.shared.finder; f != nil {
		for _, w := range r.workers() {
			f.rings = append(f.rings, w.found)
		}
		s.keeping.Go(func() { f.run(s.stopBatcher) })
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancelPosts = cancel
	s.posts.Go(func() { s.batcher.run(ctx, s.stopBatcher) })
	s.keeping.Go(func() { s.keeper.run(s.stopBatcher) })
	s.keeping.Go(func() { s.settler.run(s.config.Now, s.stopBatcher) })
	for _, src := range r.sources {
		s.workers.Go(func() { src.run(s.config.Now, s.stopWorkers) })
	}
	r.watch()
	return nil
}

// Stop ends receiving in the order that loses least: traffic is turned away
// from the AF_XDP rings, rings and sockets are emptied, the queues are posted.
// What the Sink has not taken when ctx ends is counted as lost.
func (s *Sensor) Stop(ctx context.Context) error {
	s.receive.turnAway()
	close(s.stopWorkers)
	s.receive.wake()
	s.workers.Wait()
	closed := s.receive.close()

	close(s.stopBatcher) // the keeper's, too
	done := make(chan struct{})
	go func() { s.posts.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
		s.cancelPosts()
		<-done
	}
	s.cancelPosts()
	s.keeping.Wait()
	return closed
}

// Addresses are the UDP sockets' addresses, with the ports that were chosen.
func (s *Sensor) Addresses() []netip.AddrPort { return s.receive.addresses() }

// Status is a snapshot of the books, the receive paths and the exporters. It
// may be called before Start and after Stop.
func (s *Sensor) Status() Status {
	if s.receive == nil {
		return status(s.shared, s.batcher, nil, s.settler)
	}
	st := status(s.shared, s.batcher, s.receive.workers(), s.settler)
	s.receive.addTo(&st)
	return st
}

// status sums what workers and batcher have published.
func status(s *shared, b *batcher, workers []*worker, settler *settler) Status {
	var t tally
	b.page.addTo(&t)
	settler.page.addTo(&t)
	for _, w := range workers {
		w.page.addTo(&t)
	}
	st := Status{
		Ledger:      t.ledger(b.inFlight(), uint64(s.streams.Waiting())),
		Exporters:   s.streams.List(),
		Evicted:     s.streams.Evicted(),
		LostByGaps:  s.streams.Lost(),
		Addresses:   s.set.Len(),
		PairsBudget: len(s.pairs.words) / 2,
		XDP:         map[string]uint64{},
		RingDrops:   map[string]uint64{},
	}
	if s.evidence != nil {
		st.Unobserved = s.evidence.Evicted()
	}
	if s.finder != nil {
		st.Discovered, st.DiscoverDrops = s.finder.added.Load(), s.finder.drops()
	}
	return st
}
