// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"bytes"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/portolan/portolan/profiler"
)

// seen makes ports of the notation of tests.
func seen(t testing.TB, specs ...string) []profiler.Port {
	t.Helper()
	var ports []profiler.Port
	for _, s := range specs {
		text, evidence, given := strings.Cut(s, "@")
		if !given {
			evidence = "fan-in"
		}
		list, err := parsePorts(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range list {
			ports = append(ports, profiler.Port{Proto: protocols[p>>16], Port: uint16(p), Evidence: evidence})
		}
	}
	return ports
}

func rulesOf(t testing.TB, text string) *Set {
	t.Helper()
	list, err := decodeRules("test.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var rules []*Rule
	for _, r := range list {
		rules = append(rules, r.Rule)
	}
	return newSet(rules, "test")
}

// The order of matches: reliability, score, demands, id.
func TestMatchOrder(t *testing.T) {
	s := rulesOf(t, `
rules:
  - {id: d, category: A, family: F, name: low, rel: 10, score: 90, when: {listening: {all: [tcp/1]}}}
  - {id: c, category: A, family: F, name: two, rel: 50, score: 40, when: {listening: {all: [tcp/1, tcp/2]}}}
  - {id: b, category: A, family: F, name: one, rel: 50, score: 40, when: {listening: {all: [tcp/1]}}}
  - {id: a, category: A, family: F, name: same, rel: 50, score: 40, when: {listening: {all: [tcp/2]}}}
  - {id: e, category: B, family: F, name: more, rel: 50, score: 30, when: {listening: {all: [tcp/3]}}, more: [{points: 20, hostname: [x*]}]}
`)
	for _, c := range []struct {
		name, device, other, rival string
		e                          profiler.Endpoint
	}{
		{"nothing", "", "", "", profiler.Endpoint{}},
		{"reliability before score", "b", "d", "", profiler.Endpoint{Listening: seen(t, "tcp/1")}},
		{"more demands, then id", "c", "a", "", profiler.Endpoint{Listening: seen(t, "tcp/1", "tcp/2")}},
		{"points", "e", "b", "b", profiler.Endpoint{Listening: seen(t, "tcp/1", "tcp/3"), Hostname: "X1"}},
		{"without points", "b", "e", "e", profiler.Endpoint{Listening: seen(t, "tcp/1", "tcp/3")}},
		{"contacted is not listening", "", "", "", profiler.Endpoint{Contacted: seen(t, "tcp/1")}},
	} {
		r := s.Match(&c.e)
		if r.Rule != c.device || r.OtherRule != c.other || r.RivalRule != c.rival {
			t.Errorf("%s: %q, other %q, rival %q; want %q, %q, %q", c.name, r.Rule, r.OtherRule, r.RivalRule, c.device, c.other, c.rival)
		}
	}
}

// Ports below the trusted evidence count neither for a rule nor against it, and
// a rule may ask for another class.
func TestOnlyTrustedEvidenceCounts(t *testing.T) {
	s := rulesOf(t, `
rules:
  - {id: usual, category: A, family: F, name: N, rel: 50, score: 40, when: {listening: {all: [tcp/1], none: [tcp/9]}}}
  - {id: strict, category: B, family: F, name: N, rel: 60, score: 40, evidence: handshake, when: {listening: {all: [tcp/1]}}}
  - {id: lax, category: C, family: F, name: N, rel: 10, score: 40, evidence: seen, when: {listening: {all: [tcp/1]}}}
`)
	for evidence, want := range map[string]string{"": "", "seen": "lax", "class": "lax", "peer": "lax", "service": "usual",
		"symmetric": "usual", "fan-in": "usual", "handshake": "strict", "exporter": "strict", "hearsay": ""} {
		e := profiler.Endpoint{Listening: []profiler.Port{{Proto: "tcp", Port: 1, Evidence: evidence}, {Proto: "tcp", Port: 9, Evidence: "class"}}}
		if r := s.Match(&e); r.Rule != want {
			t.Errorf("evidence %q: %q, want %q", evidence, r.Rule, want)
		}
	}
	e := profiler.Endpoint{Listening: seen(t, "tcp/1", "tcp/9")}
	if r := s.Match(&e); r.Rule != "lax" {
		t.Errorf("a port of none: %q", r.Rule)
	}
}

// genEndpoint makes endpoints out of the ports, vendors and names that the
// rules ask for, so that many of them match several.
func genEndpoint(s *Set) *rapid.Generator[profiler.Endpoint] {
	var ports []port
	for p := range s.at {
		ports = append(ports, p)
	}
	slices.Sort(ports)
	list := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) profiler.Port {
		p := rapid.SampledFrom(ports).Draw(t, "port")
		e := profiler.Evidence(rapid.IntRange(int(profiler.Seen), int(profiler.Exporter)).Draw(t, "evidence"))
		return profiler.Port{Proto: protocols[p>>16], Port: uint16(p), Evidence: e.String()}
	}), 0, 12)
	return rapid.Custom(func(t *rapid.T) profiler.Endpoint {
		return profiler.Endpoint{
			Listening: list.Draw(t, "listening"),
			Contacted: list.Draw(t, "contacted"),
			MACVendor: rapid.SampledFrom([]string{"", "HP Inc.", "Siemens AG", "Cisco Systems, Inc", "Apple, Inc."}).Draw(t, "vendor"),
			Hostname:  rapid.SampledFrom([]string{"", "laptop-1", "nvr-2", "hmi-3", "ap-4"}).Draw(t, "hostname"),
			OSType:    rapid.SampledFrom([]string{"", "Windows 11", "Linux"}).Draw(t, "os"),
		}
	})
}

// The result depends neither on the order of the ports nor on that of the rules,
// and is the greatest of all that match, by the plain definition.
func TestMatchIsDeterministic(t *testing.T) {
	s := builtIn(t)
	gen := genEndpoint(s)
	rapid.Check(t, func(t *rapid.T) {
		e := gen.Draw(t, "endpoint")
		want := s.Match(&e)
		seed := rapid.Uint64().Draw(t, "seed")
		r := rand.New(rand.NewPCG(seed, 1))
		shuffled := e
		shuffled.Listening, shuffled.Contacted = slices.Clone(e.Listening), slices.Clone(e.Contacted)
		for _, list := range [][]profiler.Port{shuffled.Listening, shuffled.Contacted} {
			r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		}
		rules := slices.Clone(s.Rules())
		r.Shuffle(len(rules), func(i, j int) { rules[i], rules[j] = rules[j], rules[i] })
		if got := newSet(rules, "shuffled").Match(&shuffled); got != want {
			t.Fatalf("shuffled: %+v, want %+v", got, want)
		}
		if got := matchPlainly(s, &e); got != want {
			t.Fatalf("plainly: %+v, got %+v", got, want)
		}
	})
}

// matchPlainly is Match without its shortcuts: all hits, sorted.
func matchPlainly(s *Set, e *profiler.Endpoint) Result {
	var in room
	v, t := s.look(e, &in), traitsOf(e)
	var hits []hit
	for _, r := range s.rules {
		if n := r.score(&v, &t); n > 0 {
			hits = append(hits, hit{r, n})
		}
	}
	slices.SortFunc(hits, func(a, b hit) int {
		if a.before(b) {
			return -1
		}
		return 1
	})
	var r Result
	if len(hits) > 0 {
		hits[0].rule.explain(&v, &t)
	}
	for i, h := range hits {
		d := h.device()
		if i == 0 {
			r.Device, r.Rule = d, h.rule.ID
			continue
		}
		if r.OtherRule == "" && !same(d, r.Device) {
			r.Other, r.OtherRule = d, h.rule.ID
		}
		if r.RivalRule == "" && !kin(d.Category, r.Device.Category) && h.rule.score(&v, &t) > 0 {
			r.Rival, r.RivalRule = d, h.rule.ID
		}
	}
	return r
}

// A match that rests on what the best one names contradicts nothing; one that
// stands on its own does.
func TestRival(t *testing.T) {
	s := rulesOf(t, `
rules:
  - {id: nvr, category: Recorder, family: F, name: NVR, rel: 90, score: 60, when: {contacted: {all: [tcp/554]}, listening: {any: [tcp/8000, tcp/80]}, vendor: [Hik*]}, also: [udp/53]}
  - {id: cam, category: Camera, family: F, name: Camera, rel: 80, score: 60, when: {listening: {any: [tcp/8000, tcp/80]}, vendor: [Hik*]}}
  - {id: dns, category: Server, family: F, name: DNS, rel: 70, score: 60, when: {listening: {all: [udp/53]}}}
  - {id: pc, category: Computer, family: F, name: PC, rel: 60, score: 60, when: {listening: {any: [tcp/80, tcp/135, tcp/445], min: 2}}}
`)
	for _, c := range []struct{ ports, other, rival string }{
		{"tcp/80", "cam", ""}, {"udp/53 tcp/80", "cam", ""}, {"tcp/80 tcp/135", "cam", ""}, {"tcp/80 tcp/135 tcp/445", "cam", "pc"},
	} {
		e := profiler.Endpoint{MACVendor: "Hik", Listening: seen(t, strings.Fields(c.ports)...), Contacted: seen(t, "tcp/554")}
		if r := s.Match(&e); r.Rule != "nvr" || r.OtherRule != c.other || r.RivalRule != c.rival {
			t.Errorf("%s: %s, other %s, rival %q", c.ports, r.Rule, r.OtherRule, r.RivalRule)
		}
	}
}

// A set with more ports than fit in place matches all the same.
func TestMatchManyPorts(t *testing.T) {
	var b strings.Builder
	b.WriteString("rules:\n")
	for i := range 40 {
		b.WriteString("  - {id: r" + string(rune('a'+i/26)) + string(rune('a'+i%26)) + ", category: A, family: F, name: N, rel: 50, score: 40, when: {listening: {any: [tcp/")
		first := 1000 + 64*i
		b.WriteString(itoa(first) + "-" + itoa(first+63) + "]}}}\n")
	}
	s := rulesOf(t, b.String())
	e := profiler.Endpoint{Listening: seen(t, "tcp/"+itoa(1000+64*39+63))}
	if r := s.Match(&e); r.Rule != "rbn" {
		t.Errorf("%q", r.Rule)
	}
}

func itoa(n int) string { return strings.TrimPrefix(port(n).String(), "tcp/") }

func TestStory(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	s := builtIn(t)
	e := profiler.Endpoint{ID: "00:11:22:33:44:55", MACVendor: "HP Inc.", Listening: seen(t, "tcp/9100", "tcp/631")}
	s.Story(log, &e)
	a, _ := Accepted{}.Next(s.Match(&e), 1)
	a.View(1, profiler.Device{}, false).Story(log, e.ID)
	for _, want := range []string{
		`msg="match <Printer, HP, HP Printer>" endpoint=00:11:22:33:44:55 rule=printer-hp rel=92 score=90`,
		`msg="match <Printer, Generic, Network Printer>"`,
		`msg="best match <Printer, HP, HP Printer>" endpoint=00:11:22:33:44:55 rule=printer-hp rel=92 score=90`,
		`msg="profiled to <Printer, HP, HP Printer>" endpoint=00:11:22:33:44:55 rel=92 score=90 conflict=false other="<Printer, Generic, Network Printer>"`,
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the log has no\n%s\nbut\n%s", want, out.String())
		}
	}
	out.Reset()
	s.Story(log, &profiler.Endpoint{ID: "x"})
	View{}.Story(log, "x")
	if got := out.String(); !strings.Contains(got, `msg="no match" endpoint=x`) || !strings.Contains(got, `msg="not profiled"`) {
		t.Error(got)
	}
	quiet := slog.New(slog.NewTextHandler(&out, nil))
	out.Reset()
	s.Story(quiet, &e)
	if out.Len() > 0 {
		t.Error("a story is told although debug is off")
	}
}

func busyEndpoint(t testing.TB) profiler.Endpoint {
	e := profiler.Endpoint{MACVendor: "Super Micro Computer, Inc.", Hostname: "app-17.example.org", OSType: "Ubuntu 24.04"}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 50 {
		p := profiler.Port{Proto: "tcp", Port: uint16(20000 + r.IntN(40000)), Evidence: "fan-in"}
		if i < 4 {
			p.Port = []uint16{22, 80, 443, 8080}[i]
		}
		e.Listening = append(e.Listening, p)
	}
	return e
}

// Regular expressions take their scratch from a pool, which the race detector
// makes forget at random; the rules that have one are left out.
func TestMatchAllocatesNothing(t *testing.T) {
	var list []*Rule
	for _, r := range builtIn(t).Rules() {
		if !slices.ContainsFunc(r.when.hostname, func(p pattern) bool { return p.re != nil }) {
			list = append(list, r)
		}
	}
	s, e := newSet(list, ""), busyEndpoint(t)
	if n := testing.AllocsPerRun(100, func() { s.Match(&e) }); n > 0 || len(list) < 80 {
		t.Errorf("%v allocations with %d rules", n, len(list))
	}
}

func BenchmarkMatch(b *testing.B) {
	s, e := builtIn(b), busyEndpoint(b)
	b.ReportAllocs()
	for b.Loop() {
		s.Match(&e)
	}
}

func BenchmarkLoad(b *testing.B) {
	data := map[string][]byte{}
	entries, err := dictionary.ReadDir("fingerprints")
	if err != nil {
		b.Fatal(err)
	}
	for _, e := range entries {
		if data[e.Name()], err = dictionary.ReadFile("fingerprints/" + e.Name()); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		for name, text := range data {
			if _, err := decodeRules(name, text); err != nil {
				b.Fatal(err)
			}
		}
	}
}
