// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/portolan/portolan/ingest/capture"
	"github.com/portolan/portolan/profiler"
)

// corpusRoot is the directory of the captures, or the test is skipped.
func corpusRoot(t *testing.T) string {
	t.Helper()
	corpus := os.Getenv("PORTOLAN_CORPUS")
	if corpus == "" {
		t.Skip("needs a collection of captures: set PORTOLAN_CORPUS to the directory that holds captures/")
	}
	return filepath.Join(corpus, "captures")
}

// account counts what a file holds, in address and port fields rather than in
// records: a record that has both an IPv4 and an IPv6 source counts in both.
// Options records are in it.
type account struct {
	src4, src6, dst4, dst6           int
	srcPorts, dstPorts               int
	sumSrcPorts, sumDstPorts, sflows uint64
}

// readAccounts reads expected.tsv: file, kind, messages, src4, src6, dst4,
// dst6, srcport, dstport, sum_srcport, sum_dstport, sflow_samples.
func readAccounts(t *testing.T, path string) map[string]account {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	all := map[string]account{}
	lines := bufio.NewScanner(file)
	lines.Scan() // the names of the columns
	for lines.Scan() {
		cells := strings.Split(lines.Text(), "\t")
		n := make([]uint64, len(cells))
		for i := 2; i < len(cells); i++ {
			if n[i], err = strconv.ParseUint(cells[i], 10, 64); err != nil {
				t.Fatalf("%s: %v", lines.Text(), err)
			}
		}
		if len(cells) != 12 {
			t.Fatalf("%q has %d columns, not 12", lines.Text(), len(cells))
		}
		all[cells[0]] = account{int(n[3]), int(n[4]), int(n[5]), int(n[6]), int(n[7]), int(n[8]), n[9], n[10], n[11]}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// row is a record as decode prints it.
type row struct {
	Exporter             string
	Domain               uint32
	Version              string
	Src, Dst             *netip.Addr
	SrcPort              *uint64 `json:"src_port"`
	DstPort              *uint64 `json:"dst_port"`
	Proto                string
	TCPFlags             uint64 `json:"tcp_flags"`
	Packets, Bytes       uint64
	Start, End           time.Time
	InIf                 uint64 `json:"in_if"`
	OutIf                uint64 `json:"out_if"`
	SrcMAC               string `json:"src_mac"`
	DstMAC               string `json:"dst_mac"`
	VLAN                 uint64
	Sampling             uint64
	Direction, Initiator string
}

// decodeRows runs the verb and reads its lines. An exit code other than 0 is an
// error: all files of the corpus can be read.
func decodeRows(t *testing.T, paths ...string) ([]row, answered) {
	t.Helper()
	got := offlineVerb(t, append([]string{"decode"}, paths...)...)
	if got.code != 0 {
		t.Errorf("decode %s: exit %d, %s", paths, got.code, got.stderr)
	}
	var rows []row
	for line := range strings.Lines(got.stdout) {
		var r row
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%s: %v in %s", paths, err, line)
		}
		rows = append(rows, r)
	}
	return rows, got
}

// unlike are the files of which decode finds another number of records with a
// source address than the other decoder, with the number it finds and why that
// is the right one. A file that agrees must not be here.
var unlike = map[string]struct {
	records int
	reason  string
}{
	"akvorado+akvorado/outlet/flow/decoder/netflow/testdata/data+templates.pcap": {21,
		"the first set, of 11 records, stands before its template in the same datagram and is decoded once that has come"},
	"influxdata+telegraf/plugins/inputs/netflow/testcases/issue_14370/message.bin": {2,
		"the last set is 2 bytes longer than its message, but the one record in it is whole, and Telegraf's case expects it"},
	"logstash-plugins+logstash-codec-netflow/spec/codecs/netflow9_test_invalid01.dat": {2,
		"the header counts 2 where there are 3 templates and 3 records; the other decoder stops after 2 sets"},
	"pmacct+pmacct/tests/112-IPFIXv10-CISCO-options-map-reassignment/traffic-00.pcap": {9,
		"the exporter sends the data from another port than their template, which is the exporter's and not the port's"},
}

// TestFormatsCorpus decodes each file of the corpus alone. An obvious walk over
// its sets has to come to the other decoder's account, field by field; decode
// has to print as many records with a source address as the walk finds. So a
// difference between decode and the other decoder has one of two causes: the
// walk shows records that hold two source addresses, or the file stands in
// unlike with a reason of its own.
func TestFormatsCorpus(t *testing.T) {
	root := corpusRoot(t)
	expected := readAccounts(t, filepath.Join(root, "expected.tsv"))
	equal, twofold := 0, 0
	for _, name := range slices.Sorted(maps.Keys(expected)) {
		want, path := expected[name], filepath.Join(root, name)
		walked := walkFiles(t, false, path)
		rows, got := decodeRows(t, path)
		sources := withSource(rows)
		literal := want.src4 + want.src6
		if want.sflows > 0 {
			literal = int(want.sflows) - walked.otherSamples
		}
		listed, isListed := unlike[name]
		switch {
		case isListed && sources == literal:
			t.Errorf("%s: stands among the unlike files and agrees", name)
		case isListed && sources != listed.records:
			t.Errorf("%s: %d records with a source, not the %d of the table (%s)\n%s", name, sources, listed.records, listed.reason, got.stderr)
		case isListed:
			walked = walkFiles(t, true, path)
		case walked.account != want:
			t.Errorf("%s: a walk over the sets finds %+v, the other decoder %+v", name, walked.account, want)
		case sources != walked.sources:
			t.Errorf("%s: %d records with a source, the walk finds %d, the other decoder %d\n%s", name, sources, walked.sources, literal, got.stderr)
		case sources != literal:
			twofold++
			t.Logf("%s: %d records with a source, %d of them with both an IPv4 and an IPv6 one or with two layers", name, sources, literal-sources)
		default:
			equal++
		}
		if want.sflows == 0 {
			walked.compareRecords(t, name, rows)
		}
	}
	for name := range unlike {
		if _, ok := expected[name]; !ok {
			t.Errorf("%s: stands among the unlike files and is none of the corpus", name)
		}
	}
	files := len(expected)
	t.Logf("%d files: %d agree as they stand, %d where a record with two source addresses counts once, %d are explained",
		files, equal, twofold, len(unlike))
	if 100*(equal+twofold) < 95*files {
		t.Errorf("%d of %d files agree, fewer than 95 %%", equal+twofold, files)
	}
}

// withSource is how many records have a source address.
func withSource(rows []row) (n int) {
	for i := range rows {
		if rows[i].Src != nil {
			n++
		}
	}
	return n
}

// compareRecords compares the records with a source, one by one: addresses,
// protocol, flags, counters, and of all but ICMP the ports. Of ICMP some
// exporters send type and code in a port and others in a field of their own.
func (w *walk) compareRecords(t *testing.T, name string, rows []row) {
	t.Helper()
	var have []string
	for i := range rows {
		if rows[i].Src != nil {
			have = append(have, rows[i].line())
		}
	}
	slices.Sort(have)
	slices.Sort(w.lines)
	for i := range max(len(have), len(w.lines)) {
		switch {
		case i >= len(have), i >= len(w.lines):
			t.Errorf("%s: decode prints %d records with a source, the walk finds %d", name, len(have), len(w.lines))
			return
		case have[i] != w.lines[i]:
			t.Errorf("%s: decode prints\n\t%s\nand the walk finds\n\t%s", name, have[i], w.lines[i])
			return
		}
	}
}

const lineFormat = "%s > %s ports %d %s flags %x, %d packets, %d bytes"

// line is what compareRecords looks at.
func (r *row) line() string {
	ports := [2]uint64{}
	for i, p := range []*uint64{r.SrcPort, r.DstPort} {
		if p != nil && !strings.HasPrefix(r.Proto, "icmp") {
			ports[i] = *p
		}
	}
	dst := "-"
	if r.Dst != nil {
		dst = r.Dst.String()
	}
	return fmt.Sprintf(lineFormat, r.Src, dst, ports, r.Proto, r.TCPFlags, r.Packets, r.Bytes)
}

// walk reads messages in the most obvious way, after RFC 3954 and RFC 7011, and
// interprets nothing but a few elements.
type walk struct {
	account
	sources      int      // data records with a source address
	lines        []string // and what they say, see row.line
	frames       int      // data records whose only source is in a piece of the frame
	otherSamples int      // sFlow samples that are no flow
	// patient: templates serve an exporter's address, whatever its port, and
	// the sets that came before them. So has it Portolan; the other decoder
	// keeps templates to the UDP session and reads everything once.
	patient   bool
	templates map[templateName]template
	waiting   []waitingSet
}

// waitingSet is a data set without a template.
type waitingSet struct {
	of   templateName
	body []byte
}

type templateName struct {
	exporter string
	domain   uint32
	version  uint16
	id       uint16
}

type field struct {
	pen           uint32
	kind, length  uint16
	variableWidth bool
}

type template struct {
	fields  []field
	options bool
}

// walkFiles walks over files one after the other.
func walkFiles(t *testing.T, patient bool, paths ...string) *walk {
	t.Helper()
	w := &walk{patient: patient, templates: map[templateName]template{}}
	for _, path := range paths {
		r, err := capture.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		for {
			d, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			exporter := ""
			if !d.Raw && patient {
				exporter = d.Source.Addr().String()
			} else if !d.Raw {
				exporter = d.Source.String()
			}
			w.datagram(exporter, d.Payload)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func u16(b []byte) uint16 { return binary.BigEndian.Uint16(b) }
func u32(b []byte) uint32 { return binary.BigEndian.Uint32(b) }

func (w *walk) datagram(exporter string, b []byte) {
	if len(b) < 24 {
		if len(b) >= 16 && u16(b) == 10 {
			w.sets(templateName{exporter: exporter, version: 10, domain: u32(b[12:])}, b[16:])
		}
		return
	}
	switch u16(b) {
	case 5:
		for r := b[24:]; len(r) >= 48 && w.src4 < int(u16(b[2:])); r = r[48:] {
			w.record(template{fields: []field{{kind: 8}, {kind: 12}, {kind: 2}, {kind: 1}, {kind: 7}, {kind: 11}, {kind: 6}, {kind: 4}}},
				[][]byte{r[0:4], r[4:8], r[16:20], r[20:24], r[32:34], r[34:36], r[37:38], r[38:39]})
		}
	case 9:
		w.sets(templateName{exporter: exporter, version: 9, domain: u32(b[16:])}, b[20:])
	case 10:
		w.sets(templateName{exporter: exporter, version: 10, domain: u32(b[12:])}, b[16:min(len(b), int(u16(b[2:])))])
	case 0:
		if u32(b) == 5 && u32(b[4:]) == 1 && len(b) >= 28 {
			w.samples(b[28:], u32(b[24:]))
		}
	}
}

// samples counts those of an sFlow datagram of an agent with an IPv4 address.
func (w *walk) samples(b []byte, n uint32) {
	for ; n > 0 && len(b) >= 8; n-- {
		w.sflows++
		if kind := u32(b); kind == 1 || kind == 3 {
			w.sources++
		} else {
			w.otherSamples++
		}
		b = b[min(len(b), 8+int(u32(b[4:]))):]
	}
}

func (w *walk) sets(of templateName, b []byte) {
	for len(b) >= 4 && u16(b[2:]) >= 4 {
		id, end := u16(b), min(int(u16(b[2:])), len(b))
		body := b[4:end]
		b = b[end:]
		switch {
		case of.version == 9 && id == 0, of.version == 10 && id == 2:
			w.define(of, body, false)
		case of.version == 9 && id == 1, of.version == 10 && id == 3:
			w.define(of, body, true)
		case id >= 256:
			of.id = id
			if t, ok := w.templates[of]; ok {
				w.data(t, body)
			} else {
				w.waiting = append(w.waiting, waitingSet{of, bytes.Clone(body)})
			}
		}
	}
}

// define keeps the templates of a set.
func (w *walk) define(of templateName, b []byte, options bool) {
	head := 4
	if options {
		head = 6
	}
	for len(b) >= head && u16(b) >= 256 {
		of.id = u16(b)
		count := int(u16(b[2:]))
		if options && of.version == 9 {
			count = (int(u16(b[2:])) + int(u16(b[4:]))) / 4
		}
		b = b[head:]
		var fields []field
		for ; count > 0 && len(b) >= 4; count-- {
			f := field{kind: u16(b), length: u16(b[2:])}
			f.variableWidth = f.length == 65535
			b = b[4:]
			if of.version == 10 && f.kind&0x8000 != 0 && len(b) >= 4 {
				f.kind, f.pen, b = f.kind&0x7fff, u32(b), b[4:]
			}
			fields = append(fields, f)
		}
		made := template{fields, options}
		w.templates[of] = made
		if w.patient {
			w.waiting = slices.DeleteFunc(w.waiting, func(s waitingSet) bool {
				if s.of == of {
					w.data(made, s.body)
				}
				return s.of == of
			})
		}
	}
}

// data reads records until too few bytes are left for another.
func (w *walk) data(t template, b []byte) {
	for len(b) > 0 {
		values := make([][]byte, len(t.fields))
		before := len(b)
		for i, f := range t.fields {
			n := int(f.length)
			if f.variableWidth {
				if len(b) < 1 {
					return
				}
				n, b = int(b[0]), b[1:]
				if n == 255 {
					if len(b) < 2 {
						return
					}
					n, b = int(u16(b)), b[2:]
				}
			}
			if n > len(b) {
				return
			}
			values[i], b = b[:n], b[n:]
		}
		if len(b) == before {
			return
		}
		w.record(t, values)
	}
}

// record counts the fields of one record and puts its line together. Of an
// element that is there twice the last one is the innermost, RFC 7011 section
// 8; of an IPv4 and an IPv6 address the later one that is not zero.
func (w *walk) record(t template, values [][]byte) {
	numbers := map[uint16]uint64{}
	var src, dst netip.Addr
	address := func(a *netip.Addr, v []byte) {
		if b, ok := netip.AddrFromSlice(v); ok && (!a.IsValid() || !b.IsUnspecified()) {
			*a = b.Unmap()
		}
	}
	frame := false
	for i, f := range t.fields {
		if f.pen != 0 || len(values[i]) == 0 {
			continue
		}
		v := unsigned(values[i])
		numbers[f.kind] = v
		switch f.kind {
		case 7:
			w.srcPorts++
			w.sumSrcPorts += v
		case 8:
			w.src4++
			address(&src, values[i])
		case 11:
			w.dstPorts++
			w.sumDstPorts += v
		case 12:
			w.dst4++
			address(&dst, values[i])
		case 27:
			w.src6++
			address(&src, values[i])
		case 28:
			w.dst6++
			address(&dst, values[i])
		case 315:
			frame = true
		}
	}
	switch {
	case t.options:
	case src.IsValid():
		w.sources++
		w.lines = append(w.lines, lineOf(src, dst, numbers))
	case frame:
		w.frames++
	}
}

// lineOf is row.line of elements. Counters are those of the delta before those
// of the total, and a firewall's (231) where there are no others.
func lineOf(src, dst netip.Addr, elements map[uint16]uint64) string {
	first := func(ids ...uint16) uint64 {
		for _, id := range ids {
			if v, ok := elements[id]; ok {
				return v
			}
		}
		return 0
	}
	to, proto, flags := "-", "", uint64(0)
	if dst.IsValid() {
		to = dst.String()
	}
	number, ok := elements[4]
	if ok {
		proto = profiler.ProtoName(uint8(number))
	}
	if proto == "tcp" {
		flags = elements[6] & 0xff
	}
	ports := [2]uint64{elements[7], elements[11]}
	if strings.HasPrefix(proto, "icmp") {
		ports = [2]uint64{}
	}
	return fmt.Sprintf(lineFormat, src, to, ports, proto, flags, first(2, 86), first(1, 85, 231))
}

func unsigned(b []byte) (v uint64) {
	for _, c := range b {
		v = v<<8 | uint64(c)
	}
	return v
}

// Files of one exporter belong together: those whose names differ only in what
// stands behind "tpl", "data" and the like.
var (
	dottedTemplate = regexp.MustCompile(`\.template\b`)
	partOfFamily   = regexp.MustCompile(`(^|[-_])(opt)?(tpls?|templates?|data|options)([-_+.0-9]|$).*`)
	holdsTemplates = regexp.MustCompile(`tpl|template`)
	suffixOfName   = regexp.MustCompile(`\.(dat|pcap|dump)$`)
)

func familyOf(path string) string {
	name := suffixOfName.ReplaceAllString(filepath.Base(path), "")
	name = partOfFamily.ReplaceAllString(dottedTemplate.ReplaceAllString(name, ""), "")
	return filepath.Join(filepath.Dir(path), name)
}

// TestFormatsCorpusPairs decodes files that hold templates together with those
// that hold their data: every data set finds its template, and every record of
// it is printed.
func TestFormatsCorpusPairs(t *testing.T) {
	root := corpusRoot(t)
	families := map[string][]string{}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err == nil && suffixOfName.MatchString(path) {
			families[familyOf(path)] = append(families[familyOf(path)], path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	pairs := 0
	for _, family := range slices.Sorted(maps.Keys(families)) {
		paths := families[family]
		isTemplate := func(p string) int {
			if holdsTemplates.MatchString(filepath.Base(p)) {
				return 0
			}
			return 1
		}
		slices.SortFunc(paths, func(a, b string) int { return cmp.Or(isTemplate(a)-isTemplate(b), strings.Compare(a, b)) })
		if isTemplate(paths[0]) != 0 || isTemplate(paths[len(paths)-1]) == 0 {
			continue // templates or data alone
		}
		pairs++
		walked := walkFiles(t, true, paths...)
		rows, got := decodeRows(t, paths...)
		sources := withSource(rows)
		name, _ := filepath.Rel(root, family)
		if sources != walked.sources+walked.frames {
			t.Errorf("%s: %d records with a source, not %d and %d in frames, of %d files\n%s", name, sources, walked.sources, walked.frames, len(paths), got.stderr)
		}
		if walked.frames == 0 {
			walked.compareRecords(t, name, rows)
		}
		if waiting := waitingSets(t, paths); waiting != len(walked.waiting) {
			t.Errorf("%s: %d sets wait for a template, not %d", name, waiting, len(walked.waiting))
		}
		t.Logf("%s: %d files, %d records with a source, %d in frames, %d sets without a template", name, len(paths), walked.sources, walked.frames, len(walked.waiting))
	}
	if pairs < 25 {
		t.Errorf("%d families of files, the corpus has more", pairs)
	}
}

// waitingSets is the number of sets that still wait in the books of replay.
func waitingSets(t *testing.T, paths []string) int {
	t.Helper()
	got := offlineVerb(t, append([]string{"replay", "--output", "json"}, paths...)...)
	var books struct {
		Ledger struct {
			Waiting int `json:"waiting_sets"`
		}
	}
	if err := json.Unmarshal([]byte(got.stdout), &books); err != nil {
		t.Errorf("replay %s: exit %d, %v: %s", paths, got.code, err, got.stderr)
	}
	return books.Ledger.Waiting
}

// expectation is a record as Telegraf's test cases expect it, by the names of
// Telegraf's fields. Numbers have lost their u.
type expectation map[string]string

// readGolden reads a case's expected.out in InfluxDB's line protocol:
// measurement,tag=value field=value,field="value" time. No value of these
// files holds an escaped quote.
func readGolden(t *testing.T, path string) []expectation {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []expectation
	for line := range strings.Lines(string(text)) {
		measurement, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if !strings.HasPrefix(measurement, "netflow,") {
			continue // an options record, or an empty line
		}
		g := expectation{}
		_, tags, _ := strings.Cut(measurement, "version=")
		g["version"] = tags
		for rest != "" && rest[0] != ' ' {
			var key, value string
			key, rest, _ = strings.Cut(strings.TrimPrefix(rest, ","), "=")
			if strings.HasPrefix(rest, `"`) {
				value, rest, _ = strings.Cut(rest[1:], `"`)
			} else {
				n := strings.IndexAny(rest+" ", ", ")
				value, rest = strings.TrimSuffix(rest[:n], "u"), rest[n:]
			}
			g[key] = value
		}
		all = append(all, g)
	}
	return all
}

// unlikeGolden are values of Telegraf's that decode rightly does not print, by
// field and value: what it prints, and why that is right.
var unlikeGolden = map[[2]string]struct{ have, reason string }{
	{"protocol", "hopopt"}: {"icmp6",
		"the IPv6 header is followed by hop-by-hop options, and these by ICMPv6 (RFC 8200 section 4): options are no protocol that a flow could have"},
}

// unlikeFields says in which fields a row differs from an expected record. Of
// fields that the expected record does not have nothing is said; a number that
// decode leaves out is 0.
func (g expectation) unlikeFields(t *testing.T, r *row) (wrong []string) {
	t.Helper()
	same := func(key, have string) {
		want, ok := g[key]
		if u, is := unlikeGolden[[2]string{key, want}]; is {
			want = u.have
		}
		if ok && have != want {
			wrong = append(wrong, fmt.Sprintf("%s %s, not %s", key, have, want))
		}
	}
	number := func(have uint64, keys ...string) {
		for _, key := range keys {
			if _, ok := g[key]; ok {
				same(key, strconv.FormatUint(have, 10))
				return
			}
		}
	}
	moment := func(key string, have time.Time) {
		if _, ok := g[key]; ok {
			same(key, strconv.FormatInt(have.UnixMilli(), 10))
		}
	}
	port := func(p *uint64) uint64 {
		if p == nil {
			return 0
		}
		return *p
	}
	same("version", map[string]string{"v5": "NetFlowV5", "v9": "NetFlowV9", "ipfix": "IPFIX", "sflow5": "sFlowV5"}[r.Version])
	same("src", fmt.Sprint(r.Src))
	same("dst", fmt.Sprint(r.Dst))
	same("protocol", r.Proto)
	number(port(r.SrcPort), "src_port")
	number(port(r.DstPort), "dst_port")
	if r.Version == "sflow5" {
		number(r.Sampling, "sampling_interval")
		number(r.VLAN, "vlan_src")
		same("in_src_mac", r.SrcMAC)
		same("out_dst_mac", r.DstMAC)
		number(r.Bytes, "ipv4_total_len")
		number(r.Bytes-40, "ipv6_total_len") // that of the payload
		if g["direction"] == "ingress" {     // of the others Telegraf tells one interface twice
			number(r.InIf, "in_snmp")
			number(r.OutIf, "out_snmp")
			same("direction", r.Direction)
		}
		return wrong
	}
	if r.Proto == "tcp" {
		same("tcp_flags", strings.ReplaceAll(tcpFlags(uint8(r.TCPFlags)), "-", "."))
	}
	number(r.Bytes, "in_bytes", "in_total_bytes")
	number(r.Packets, "in_packets", "in_total_packets")
	number(r.InIf, "in_snmp")
	number(r.OutIf, "out_snmp")
	number(r.Sampling, "sampling_interval")
	number(r.VLAN, "vlan_src")
	same("in_src_mac", r.SrcMAC)
	same("out_dst_mac", r.DstMAC)
	same("direction", r.Direction)
	moment("flow_start_ms", r.Start)
	moment("flow_end_ms", r.End)
	return wrong
}

// TestFormatsCorpusGolden compares Telegraf's test cases with what they expect,
// field by field. The files of a case belong to one exporter. Of logstash's
// cases the corpus has the datagrams only; what they expect is not in it.
func TestFormatsCorpusGolden(t *testing.T) {
	root := corpusRoot(t)
	cases, err := filepath.Glob(filepath.Join(root, "influxdata+telegraf/plugins/inputs/netflow/testcases/*/expected.out"))
	if err != nil || len(cases) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	compared := 0
	for _, c := range cases {
		name := filepath.Base(filepath.Dir(c))
		paths, err := filepath.Glob(filepath.Join(filepath.Dir(c), "*.bin"))
		if err != nil {
			t.Fatal(err)
		}
		want := slices.DeleteFunc(readGolden(t, c), func(g expectation) bool { return g["src"] == "" })
		rows, got := decodeRows(t, paths...)
		if len(rows) != len(want) {
			t.Errorf("%s: %d records, not %d\n%s", name, len(rows), len(want), got.stderr)
		}
		for _, g := range want {
			i, wrong := closest(t, g, rows)
			if len(wrong) > 0 {
				t.Errorf("%s: no record for %v; the closest one has %s", name, g, wrong)
				continue
			}
			rows = slices.Delete(rows, i, i+1)
			compared++
		}
	}
	t.Logf("%d cases, %d records compared field by field", len(cases), compared)
}

// closest is the row that differs from an expected record in the fewest fields.
func closest(t *testing.T, g expectation, rows []row) (at int, wrong []string) {
	t.Helper()
	wrong = []string{"nothing, for there is none left"}
	for i := range rows {
		if w := g.unlikeFields(t, &rows[i]); i == 0 || len(w) < len(wrong) {
			at, wrong = i, w
		}
	}
	return at, wrong
}
