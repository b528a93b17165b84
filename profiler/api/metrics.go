// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/VictoriaMetrics/metrics"

	"github.com/portolan/portolan/ingest"
)

// serveMetrics writes everything from one snapshot, so that the identities of
// the books hold within a scrape wherever they hold at all. The counters live in
// the sensor; a second set of them, registered here, could only drift.
func (s *Server) serveMetrics(w http.ResponseWriter, _ *http.Request) {
	var page bytes.Buffer
	st := s.Sensor.Status()
	x := exposition{&page}
	x.datagrams(&st)
	x.books(&st.Ledger)
	x.templates(&st)
	x.evidence(&st)
	x.losses(&st)
	x.state(s, &st)
	writeProcess(&page)
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = w.Write(page.Bytes())
}

// exposition writes the Prometheus text format, 0.0.4. The metrics library
// writes HELP without a text and repeats it for each label, which strict
// parsers refuse; so families are written here.
type exposition struct{ w io.Writer }

// family begins a family of samples.
func (x exposition) family(name, kind, help string) {
	fmt.Fprintf(x.w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

// sample writes one value; labels are names and values in turn.
func (x exposition) sample(name string, v uint64, labels ...string) {
	var b strings.Builder
	b.WriteString(name)
	for i := 0; i+1 < len(labels); i += 2 {
		if i == 0 {
			b.WriteByte('{')
		} else {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `%s="%s"`, labels[i], escapeLabel.Replace(labels[i+1]))
	}
	if len(labels) > 0 {
		b.WriteByte('}')
	}
	fmt.Fprintf(x.w, "%s %d\n", b.String(), v)
}

var escapeLabel = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// counters writes a family of counters that differ in one label, in its order.
func (x exposition) counters(name, help, label string, values map[string]uint64) {
	x.family(name, "counter", help)
	for _, k := range slices.Sorted(maps.Keys(values)) {
		x.sample(name, values[k], label, k)
	}
}

// fromZero has a 0 for every name that has not been counted yet.
func fromZero(names []string, counted map[string]uint64) map[string]uint64 {
	all := make(map[string]uint64, len(names))
	for _, n := range names {
		all[n] = 0
	}
	maps.Copy(all, counted)
	return all
}

// single writes a family of one sample without labels.
func (x exposition) single(name, kind, help string, v uint64) {
	x.family(name, kind, help)
	x.sample(name, v)
}

func (x exposition) datagrams(st *ingest.Status) {
	l := &st.Ledger
	byPath := map[string]uint64{"zc": 0, "copy": 0, "generic": 0, "udp": 0}
	for p, n := range l.ByPath {
		if _, fixed := byPath[p]; fixed || n > 0 {
			byPath[p] = n
		}
	}
	x.counters("portolan_receive_path_packets_total", "Datagrams received, by the rung of the receive ladder that they came by.", "path", byPath)
	x.counters("portolan_datagrams_total", "Datagrams whose header was accepted. Received is this and portolan_datagrams_dropped_total.", "outcome", map[string]uint64{"decoded": l.Datagrams.Decoded})
	x.counters("portolan_datagrams_dropped_total", "Datagrams received and not decoded, by reason.", "reason", fromZero(ingest.AllReasons().Dropped, l.Datagrams.Dropped))
	x.counters("portolan_problems_total", "Things wrong inside decoded datagrams, by reason.", "reason", fromZero(ingest.AllReasons().Problems, l.Problems))
	x.counters("portolan_records_total", "Flow records decoded, by the version of the export format.", "version", fromZero(ingest.AllReasons().Versions, l.ByVersion))
	x.single("portolan_options_records_total", "counter", "Options records decoded: what exporters tell of themselves.", l.OptionsRecords)
	x.single("portolan_counter_samples_total", "counter", "Counter samples of sFlow that were decoded.", l.CounterSamples)
}

// templates are the state of the exporters' templates.
func (x exposition) templates(st *ingest.Status) {
	templates := 0
	for i := range st.Exporters {
		templates += st.Exporters[i].Templates
	}
	x.single("portolan_templates", "gauge", "Templates known, of all exporters.", uint64(templates))
	x.single("portolan_waiting_sets", "gauge", "Data sets that wait for their template.", st.Ledger.WaitingSets)
	x.single("portolan_exporters_evicted_total", "counter", "Exporters' streams that were forgotten to make room for others.", st.Evicted.Streams)
	x.single("portolan_templates_evicted_total", "counter", "Templates that were forgotten to make room for others.", st.Evicted.Templates)
	x.single("portolan_waiting_sets_evicted_total", "counter", "Data sets that were given up before their template came: it took too long, or others needed the room.", st.Evicted.Waiting)
}

// evidence is what inferring the open ports could not keep in mind.
func (x exposition) evidence(st *ingest.Status) {
	x.single("portolan_ports_unobserved_total", "counter", "Ports whose observation ended before it settled, to make room for others of their endpoint.", st.Unobserved)
}

func (x exposition) books(l *ingest.Ledger) {
	x.counters("portolan_sides_total", "Sides of records by what became of them; two sides a record, with portolan_sides_dropped_total.", "outcome", map[string]uint64{
		"external": l.Sides.External, "duplicate": l.Sides.Duplicate, "undetermined": l.Sides.Undetermined, "observed": l.Sides.Observed,
	})
	x.counters("portolan_sides_dropped_total", "Sides of records that could not be observed, by reason.", "reason", fromZero(ingest.AllReasons().SidesDropped, l.Sides.Dropped))
	x.counters("portolan_posts_total", "What the profiler has acknowledged: observations, and beside them withdrawals of ports whose evidence was vetoed.", "outcome", map[string]uint64{
		"acknowledged": l.Posts.Acknowledged, "withdrawn": l.Posts.Answers["withdrawn"],
	})
	x.counters("portolan_posts_lost_total", "Observations that the profiler did not take or never got, by reason.", "reason", fromZero(ingest.AllReasons().Lost, l.Posts.Lost))
	x.single("portolan_posts_in_flight", "gauge", "Observations made and not yet answered by the profiler.", l.Posts.InFlight)
	answers := map[string]uint64{"added": 0, "updated": 0, "duplicate": 0, "withdrawn": 0}
	maps.Copy(answers, l.Posts.Answers)
	x.counters("portolan_profiler_answers_total", "What the profiler answered to acknowledged observations.", "answer", answers)
}

func (x exposition) losses(st *ingest.Status) {
	x.counters("portolan_xdp_packets_total", "Packets seen by the XDP program, by the exit they left it by.", "exit", st.XDP)
	x.counters("portolan_ring_drops_total", "Packets that the kernel could not deliver, by kind. One loss can count under two kinds: do not sum them.", "kind", st.RingDrops)
	x.single("portolan_exporter_lost_total", "counter", "What never arrived, by the sequence numbers of all exporters together: flows (v5, v7), messages (v9), data records (IPFIX) or datagrams (sFlow). An estimate.", st.LostByGaps)
}

func (x exposition) state(s *Server, st *ingest.Status) {
	x.single("portolan_endpoints", "gauge", "Endpoints in the repository.", s.Repository.Counts().Endpoints)
	x.single("portolan_addresses", "gauge", "Addresses that belong to an endpoint.", uint64(st.Addresses))
	counts := s.Repository.Counts()
	x.single("portolan_discovered_endpoints", "gauge", "Endpoints made of an address that was seen, and named by nobody since.", counts.Discovered)
	x.single("portolan_discovered_total", "counter", "Addresses inside the discover prefixes that became endpoints.", st.Discovered)
	x.counters("portolan_discover_dropped_total", "Addresses inside the discover prefixes that did not become endpoints, each time they were found, by reason.", "reason", st.DiscoverDrops)
	x.single("portolan_ports_forgotten_total", "counter", "Ports that have aged out because they were not seen again.", counts.Forgotten)
	x.single("portolan_exporters", "gauge", "Streams of messages: an exporter's address, domain and version.", uint64(len(st.Exporters)))

	x.family("portolan_receive_path_info", "gauge", "Always 1: a source of datagrams, the rung it is on and its state. UDP sockets have no interface.")
	var seen [][]string
	for i := range st.Paths {
		p := &st.Paths[i]
		queue := ""
		if p.Queue != nil {
			queue = strconv.Itoa(*p.Queue)
		}
		labels := []string{"interface", p.Interface, "queue", queue, "path", p.Path, "state", p.State}
		// Two UDP sockets differ in their address alone, which is no label.
		if !slices.ContainsFunc(seen, func(l []string) bool { return slices.Equal(l, labels) }) {
			seen = append(seen, labels)
			x.sample("portolan_receive_path_info", 1, labels...)
		}
	}
	x.family("portolan_build_info", "gauge", "Always 1: the version of this daemon and of the Go it was built with.")
	x.sample("portolan_build_info", 1, "version", s.Version, "go_version", runtime.Version())
}

// The library adds TYPE to the metrics of the process only if told so once for
// the whole program.
func init() { metrics.ExposeMetadata(true) }

// misnamed are counters of the library whose names break the naming rules of
// Prometheus, so that `promtool check metrics` would fail for them.
var misnamed = map[string]bool{"go_cgo_calls_count": true, "go_gc_forced_count": true}

// writeProcess writes the library's metrics of the Go runtime and the process,
// with the HELP that it leaves empty and the TYPE of counters that it calls
// gauges.
func writeProcess(w io.Writer) {
	var raw bytes.Buffer
	metrics.WriteProcessMetrics(&raw)
	for line := range strings.Lines(raw.String()) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0 || misnamed[fields[0]]:
		case len(fields) >= 3 && fields[0] == "#" && misnamed[fields[2]]:
		case len(fields) == 3 && fields[1] == "HELP":
			fmt.Fprintf(w, "# HELP %s %s\n", fields[2], processHelp(fields[2]))
		case len(fields) == 4 && fields[1] == "TYPE" && strings.HasSuffix(fields[2], "_total"):
			fmt.Fprintf(w, "# TYPE %s counter\n", fields[2])
		default:
			io.WriteString(w, line)
		}
	}
}

// processHelp explains a metric of the process as far as its family does.
func processHelp(name string) string {
	for _, h := range []struct{ prefix, help string }{
		{"go_memstats_", "A field of Go's runtime.MemStats."},
		{"go_gc_", "The Go garbage collector's work; see the package runtime/metrics."},
		{"go_info", "Always 1: how this program was built."},
		{"go_", "State of the Go runtime; see the package runtime/metrics."},
		{"process_pressure_", "Time that tasks of the cgroup waited for a resource; see PSI in the kernel's manual."},
		{"process_io_", "Input and output of the process; see proc_pid_io(5)."},
		{"process_resident_", "Memory of the process that is resident; see proc_pid_status(5)."},
		{"process_virtual_", "Address space of the process; see proc_pid_status(5)."},
		{"process_cpu_", "CPU time that the process used."},
		{"process_start_time", "When the process started, in Unix seconds."},
	} {
		if strings.HasPrefix(name, h.prefix) {
			return h.help
		}
	}
	return "State of the process; see proc(5)."
}
