// SPDX-License-Identifier: Apache-2.0

package api

import (
	"os/exec"
	"runtime"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"github.com/portolan/portolan/ingest"
)

func scrape(t *testing.T, s *Server) (string, map[string]*dto.MetricFamily) {
	t.Helper()
	w := ask(s.Public(nil), "GET", "/metrics", "", "Host", "nac1.example:8055")
	if w.Code != 200 {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	text := w.Body.String()
	families, err := new(expfmt.TextParser).TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return text, families
}

func TestMetrics(t *testing.T) {
	s, _ := newServer(t)
	text, families := scrape(t, s)
	for _, want := range []string{
		`portolan_receive_path_packets_total{path="zc"} 0`,
		`portolan_receive_path_packets_total{path="copy"} 7`,
		`portolan_receive_path_packets_total{path="generic"} 0`,
		`portolan_receive_path_packets_total{path="udp"} 2`,
		`portolan_datagrams_total{outcome="decoded"} 8`,
		`portolan_datagrams_dropped_total{reason="short_header"} 1`,
		`portolan_problems_total{reason="set_past_end"} 1`,
		`portolan_problems_total{reason="header_cut"} 0`,
		`portolan_records_total{version="v9"} 40`,
		`portolan_records_total{version="v1"} 0`,
		`portolan_records_total{version="v5"} 0`,
		`portolan_records_total{version="v7"} 0`,
		`portolan_records_total{version="ipfix"} 0`,
		`portolan_records_total{version="sflow5"} 0`,
		`portolan_options_records_total 2`,
		`portolan_counter_samples_total 0`,
		`portolan_templates 3`,
		`portolan_waiting_sets 1`,
		`portolan_exporters_evicted_total 4`,
		`portolan_templates_evicted_total 5`,
		`portolan_waiting_sets_evicted_total 6`,
		`portolan_sides_total{outcome="external"} 35`,
		`portolan_sides_total{outcome="duplicate"} 20`,
		`portolan_sides_total{outcome="undetermined"} 5`,
		`portolan_sides_total{outcome="observed"} 18`,
		`portolan_sides_dropped_total{reason="no_port"} 2`,
		`portolan_posts_total{outcome="acknowledged"} 17`,
		`portolan_posts_total{outcome="withdrawn"} 0`,
		`portolan_posts_lost_total{reason="stale"} 1`,
		`portolan_posts_lost_total{reason="queue_full"} 0`,
		`portolan_sides_dropped_total{reason="table_full"} 0`,
		`portolan_datagrams_dropped_total{reason="empty"} 0`,
		`portolan_posts_in_flight 0`,
		`portolan_profiler_answers_total{answer="added"} 10`,
		`portolan_profiler_answers_total{answer="updated"} 0`,
		`portolan_profiler_answers_total{answer="withdrawn"} 0`,
		`portolan_profiler_answers_total{answer="duplicate"} 7`,
		`portolan_xdp_packets_total{exit="redirect"} 7`,
		`portolan_ring_drops_total{kind="rx_dropped"} 0`,
		`portolan_exporter_lost_total 0`,
		`portolan_endpoints 1`,
		`portolan_addresses 2`,
		`portolan_exporters 1`,
		`portolan_receive_path_info{interface="eth1",queue="0",path="copy",state="up"} 1`,
		`portolan_build_info{version="1.2.3",go_version="` + runtime.Version() + `"} 1`,
	} {
		if !strings.Contains(text, "\n"+want+"\n") {
			t.Errorf("no line %s", want)
		}
	}
	for line := range strings.Lines(text) {
		if labels, _, some := strings.Cut(line, "} "); some && strings.Contains(labels, `"file"`) || strings.Contains(labels, "192.0.2.") || strings.Contains(labels, "2055") {
			t.Errorf("a label that does not belong here: %s", line)
		}
	}
	if n := strings.Count(text, `portolan_receive_path_info{interface=""`); n != 1 {
		t.Errorf("%d series for the UDP sockets", n)
	}
	if families["process_resident_memory_bytes"] == nil || families["go_goroutines"] == nil {
		t.Error("no metrics of the process")
	}
}

// TestMetricsConventions holds all families, the library's among them, to what
// `promtool check metrics` asks.
func TestMetricsConventions(t *testing.T) {
	s, _ := newServer(t)
	text, families := scrape(t, s)
	for name, f := range families {
		if strings.TrimSpace(f.GetHelp()) == "" {
			t.Errorf("%s has no HELP", name)
		}
		counter := f.GetType() == dto.MetricType_COUNTER
		if counter != strings.HasSuffix(name, "_total") {
			t.Errorf("%s is a %s", name, f.GetType())
		}
	}
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("needs promtool: the families were checked by the rules above alone")
	}
	cmd := exec.Command(promtool, "check", "metrics")
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestMetricsEscapeLabels(t *testing.T) {
	s, _ := newServer(t)
	st := contractStatus()
	name := "a\"b\\c\nd"
	st.Paths = []ingest.ReceivePath{{Interface: name, Path: "copy", State: "up"}}
	s.Sensor = &sensor{st}
	_, families := scrape(t, s)
	info := families["portolan_receive_path_info"].GetMetric()
	if len(info) != 1 || info[0].GetLabel()[0].GetValue() != name {
		t.Errorf("got %v", info)
	}
}
