// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portolan/portolan/ingest"
	"github.com/portolan/portolan/profiler"
	"github.com/portolan/portolan/store"
)

// memory is a repository of some endpoints in memory.
type memory struct {
	mu    sync.Mutex
	items []profiler.Endpoint
	fail  error
}

func (m *memory) Counts() store.Counts {
	m.mu.Lock()
	defer m.mu.Unlock()
	return store.Counts{Endpoints: uint64(len(m.items))}
}

func (m *memory) find(id string) int {
	return slices.IndexFunc(m.items, func(e profiler.Endpoint) bool {
		return e.ID == id || slices.ContainsFunc(e.Addresses, func(a netip.Addr) bool { return a.String() == id })
	})
}

func (m *memory) Endpoint(id string) (profiler.Endpoint, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := m.find(id); i >= 0 {
		return m.items[i], nil
	}
	return profiler.Endpoint{}, fmt.Errorf("%w: %s", store.ErrNotFound, id)
}

func (m *memory) Endpoints(after string, limit int, keep func(*profiler.Endpoint) bool) ([]profiler.Endpoint, string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return nil, "", m.fail
	}
	from := 0
	if after != "" {
		n, err := strconv.Atoi(after)
		if err != nil || n > len(m.items) {
			return nil, "", fmt.Errorf("%w: %q", store.ErrCursor, after)
		}
		from = n
	}
	to := min(len(m.items), from+limit)
	var items []profiler.Endpoint
	for _, e := range m.items[from:to] {
		if keep == nil || keep(&e) {
			items = append(items, e)
		}
	}
	if to == len(m.items) {
		return items, "", nil
	}
	return items, strconv.Itoa(to), nil
}

func (m *memory) Import(rows []profiler.Row) (ImportResult, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return ImportResult{}, m.fail
	}
	res := ImportResult{Rows: len(rows)}
	for _, r := range rows {
		e := profiler.Endpoint{MAC: r.MAC, Hostname: r.Hostname}
		if r.IP.IsValid() {
			e.Addresses = []netip.Addr{r.IP}
		}
		e.Finish()
		if i := m.find(e.ID); i >= 0 {
			m.items[i] = e
			res.Updated++
			continue
		}
		m.items = append(m.items, e)
		res.Added++
	}
	return res, nil
}

func (m *memory) Delete(id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := m.find(id)
	if i < 0 {
		return fmt.Errorf("%w: %s", store.ErrNotFound, id)
	}
	m.items = slices.Delete(m.items, i, i+1)
	return nil
}

// sensor answers a fixed status.
type sensor struct{ status ingest.Status }

func (s *sensor) Status() ingest.Status { return s.status }

var testStart = time.Date(2026, 11, 23, 6, 0, 0, 0, time.UTC)

// contractEndpoint has a value in every field of CONTRACT's endpoint.
func contractEndpoint() profiler.Endpoint {
	at := time.Date(2026, 11, 23, 7, 0, 0, 0, time.UTC)
	e := profiler.Endpoint{
		MAC:       profiler.MAC{0, 0x11, 0x22, 0x33, 0x44, 0x55},
		Addresses: []netip.Addr{netip.MustParseAddr("fd00::5"), netip.MustParseAddr("10.1.0.5")},
		Hostname:  "printer-3", StaticIP: true, MACVendor: "HP Inc.", OSType: "firmware",
		Device: &profiler.Device{Category: "Printer", Family: "HP", Name: "HP LaserJet", Rel: 100, Score: 80},
		Other:  &profiler.Device{Category: "Computer", Family: "Linux", Name: "Linux", Rel: 60, Score: 20},
		Listening: []profiler.Port{{Proto: "tcp", Port: 9100, Service: "pdl-datastream", Evidence: "fan-in", Counterparts: 6, Flows: 12,
			Exporter: netip.MustParseAddr("192.0.2.1"), FirstSeen: at, LastSeen: at.Add(5 * time.Minute)}},
		Contacted: []profiler.Port{{Proto: "udp", Port: 53, Service: "domain", Flows: 3, FirstSeen: at, LastSeen: at.Add(5 * time.Minute)}},
		AddedAt:   testStart, UpdatedAt: at.Add(5*time.Minute + time.Second),
	}
	e.Fingerprint.Host.MACVendor = []string{"HP Inc."}
	e.Finish()
	return e
}

// contractStatus has a value in every field of CONTRACT's ledger.
func contractStatus() ingest.Status {
	queue := 0
	return ingest.Status{
		Ledger: ingest.Ledger{
			Datagrams: ingest.DatagramCounts{Received: 9, Decoded: 8, Dropped: map[string]uint64{"short_header": 1}},
			Records:   40, OptionsRecords: 2, WaitingSets: 1, Problems: map[string]uint64{"set_past_end": 1},
			Sides: ingest.SideCounts{External: 35, Duplicate: 20, Undetermined: 5, Observed: 18, Dropped: map[string]uint64{"no_port": 2}},
			Posts: ingest.PostCounts{Acknowledged: 17, InFlight: 0, Lost: map[string]uint64{"stale": 1},
				Answers: map[string]uint64{"added": 10, "duplicate": 7}},
			ByPath:    map[string]uint64{"copy": 7, "udp": 2, "file": 0},
			ByVersion: map[string]uint64{"v9": 40},
		},
		Exporters: []ingest.Exporter{{Exporter: "192.0.2.1", Version: "v9", Datagrams: 9, Records: 40, Templates: 3, LastSeen: testStart.Add(time.Hour),
			Waiting: 1, WaitingSince: testStart.Add(time.Hour - 90*time.Second)}},
		Evicted: ingest.Evictions{Streams: 4, Templates: 5, Waiting: 6},
		Paths: []ingest.ReceivePath{
			{Interface: "eth1", Queue: &queue, Path: "copy", State: "up", Reason: `no zero-copy: "driver"`, Packets: 7,
				Drops: map[string]uint64{"rx_dropped": 0}, Program: map[string]uint64{"redirect": 7}},
			{Listen: "[::]:2055", Path: "udp", State: "up", Reason: "always open", Packets: 2},
			{Listen: "192.0.2.9:2056", Path: "udp", State: "up", Reason: "always open"},
		},
		XDP:       map[string]uint64{"redirect": 7, "pass_port": 3},
		RingDrops: map[string]uint64{"rx_dropped": 0},
		Addresses: 2,
	}
}

// newServer is a server of what CONTRACT shows, at a fixed time.
func newServer(t *testing.T) (*Server, *memory) {
	t.Helper()
	m := &memory{items: []profiler.Endpoint{contractEndpoint()}}
	return New(Config{
		Repository: m, Editor: m, Sensor: &sensor{contractStatus()},
		Version: "1.2.3", Started: testStart, Interval: func() time.Duration { return 24 * time.Hour }, Ports: "all",
		Hosts: []string{"portolan.example"},
		Now:   func() time.Time { return testStart.Add(time.Hour + 2*time.Second) },
	}), m
}

// ask makes one request of h.
func ask(h http.Handler, method, target, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://127.0.0.1:8055"+target, strings.NewReader(body))
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		}
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}
