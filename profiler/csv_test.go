// SPDX-License-Identifier: Apache-2.0

package profiler

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

func TestParseCSV(t *testing.T) {
	mac := MAC{0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0x01}
	cases := []struct {
		name, in string
		want     []Row
	}{
		{"header only", "ip\n", nil},
		{"ip only", "ip\n10.0.0.1\n", []Row{{Row: 2, IP: netip.MustParseAddr("10.0.0.1")}}},
		{"mac only, no final line end", "mac\naa:bb:cc:dd:ee:01", []Row{{Row: 2, MAC: mac}}},
		{"bom and crlf", "\xef\xbb\xbfIP,mac\r\n10.0.0.1,AA-BB-CC-DD-EE-01\r\n", []Row{{Row: 2, MAC: mac, IP: netip.MustParseAddr("10.0.0.1")}}},
		{"dots, mapped address, spaces", "mac,ip\n aabb.ccdd.ee01 , ::ffff:10.0.0.1\n", []Row{{Row: 2, MAC: mac, IP: netip.MustParseAddr("10.0.0.1")}}},
		{"dual stack", "mac,ip,hostname\naabbccddee01,10.0.0.1,a\naa:bb:cc:dd:ee:01,fd00::5,\n", []Row{
			{Row: 2, MAC: mac, IP: netip.MustParseAddr("10.0.0.1"), Hostname: "a"},
			{Row: 3, MAC: mac, IP: netip.MustParseAddr("fd00::5")}}},
		{"all columns", "tags,name,family,category,os_type,static_ip,hostname,ip,mac\nx; y;x,LaserJet,HP,Printer,JetOS,Yes,p1,10.0.0.9,aabbccddee01\n", []Row{
			{Row: 2, MAC: mac, IP: netip.MustParseAddr("10.0.0.9"), Hostname: "p1", StaticIP: Yes, OSType: "JetOS", Category: "Printer", Family: "HP", Name: "LaserJet", Tags: []string{"x", "y"}}}},
		{"empty lines and blank rows are rows", "ip,name\n\n10.0.0.1,\n,\n10.0.0.2,n\n", []Row{
			{Row: 3, IP: netip.MustParseAddr("10.0.0.1")}, {Row: 5, IP: netip.MustParseAddr("10.0.0.2"), Name: "n"}}},
		{"protected formula", "ip,hostname\n10.0.0.1,'=1+1\n10.0.0.2,'plain\n", []Row{
			{Row: 2, IP: netip.MustParseAddr("10.0.0.1"), Hostname: "=1+1"}, {Row: 3, IP: netip.MustParseAddr("10.0.0.2"), Hostname: "'plain"}}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := ParseCSV(strings.NewReader(c.in))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, got, cmpopts.EquateComparable(netip.Addr{})); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestParseCSVErrors(t *testing.T) {
	cases := []struct {
		name, in string
		want     []string // one fragment per error, in order
	}{
		{"empty file", "", []string{"row 1: the file is empty"}},
		{"unknown column", "ip,colour\n", []string{`row 1, column 2: unknown column "colour"`}},
		{"column twice", "ip,IP\n", []string{`row 1, column 2: column "ip" stands twice`}},
		{"no key column", "hostname\nx\n", []string{"row 1: neither a mac nor an ip column"}},
		{"leading zero", "ip\n010.0.0.1\n", []string{"row 2, column ip: \"010.0.0.1\" has a leading zero"}},
		{"zone", "ip\nfe80::1%eth0\n", []string{"row 2, column ip: fe80::1%eth0 has a zone"}},
		{"prefix", "ip\n10.0.0.0/8\n", []string{"is a prefix"}},
		{"not an address", "ip\nprinter\n", []string{"is not an IP address"}},
		{"unusable addresses", "ip\n0.0.0.0\n127.0.0.1\n::1\n224.0.0.1\nff02::1\n255.255.255.255\n::\n", []string{
			"row 2, column ip: 0.0.0.0 is the unspecified", "row 3, column ip: 127.0.0.1 is a loopback", "row 4, column ip: ::1 is a loopback",
			"row 5, column ip: 224.0.0.1 is a multicast", "row 6", "row 7, column ip: 255.255.255.255 is the broadcast", "row 8"}},
		{"macs", "mac\n00:00:00:00:00:00\nff:ff:ff:ff:ff:ff\n01:00:5e:00:00:01\naa:bb-cc:dd:ee:01\naabbccddeeg1\naa:bb\n", []string{
			"row 2, column mac: not a MAC", "row 3", "group", "row 5", "row 6", "row 7"}},
		{"ip twice", "ip\n10.0.0.1\n10.0.0.2\n::ffff:10.0.0.1\n", []string{"row 4, column ip: 10.0.0.1 stands in row 2 already"}},
		{"neither", "mac,ip,hostname\n,,x\n", []string{"row 2: neither a mac nor an ip"}},
		{"unclosed quote", "ip,hostname\n10.0.0.1,a\n10.0.0.2,\"b\n10.0.0.3,c\n", []string{"row 3: a quoted cell is not closed"}},
		{"bare quote, and the rows after it", "ip,hostname\n10.0.0.1,a\"b\nx,c\n", []string{"row 2: a quote inside", "row 3, column ip"}},
		{"cells", "ip,hostname\n10.0.0.1\n10.0.0.2,a,b\n", []string{"row 2: 1 cells where the header has 2", "row 3: 3 cells"}},
		{"nul", "ip,hostname\n10.0.0.1,a\x00b\n", []string{"row 2, column hostname: a NUL"}},
		{"utf-16 with mark", "\xff\xfei\x00p\x00", []string{"UTF-16"}},
		{"utf-16 without", "i\x00p\x00\n\x00", []string{"UTF-16"}},
		{"latin-1", "ip,hostname\n10.0.0.1,M\xfcller\n", []string{"not UTF-8"}},
		{"static_ip", "ip,static_ip\n10.0.0.1,maybe\n", []string{`column static_ip: "maybe"`}},
		{"hostname too long", "ip,hostname\n10.0.0.1," + strings.Repeat("a", 254) + "\n", []string{"254 bytes"}},
		{"line break in a quoted cell", "ip,hostname\n10.0.0.1,\"a\nb\"\nx,\n", []string{"row 2, column hostname: a control character", "row 3, column ip"}},
		{"direction override", "ip,hostname\n10.0.0.1,a\u202eb\n", []string{"direction"}},
		{"contradiction", "mac,ip,hostname,static_ip,tags\naabbccddee01,10.0.0.1,,,\naabbccddee01,10.0.0.2,a,1,x\naabbccddee01,10.0.0.3,b,0,y\n", []string{
			`row 4, column hostname: "b", but "a"`, "column static_ip", "column tags"}},
		{"record without end", "ip\n" + strings.Repeat("1", 70<<10), []string{"row 2: longer than 65536"}},
		{"quote open for long", "ip,name\n10.0.0.1,\"" + strings.Repeat("x,\n", 40<<10), []string{"row 2: longer than 65536"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			rows, err := ParseCSV(strings.NewReader(c.in))
			var e *CSVErrors
			if !errors.As(err, &e) {
				t.Fatalf("got %v and %d rows, want CSVErrors", err, len(rows))
			}
			if rows != nil {
				t.Errorf("rows beside an error: %v", rows)
			}
			if len(e.Errors) != len(c.want) {
				t.Fatalf("got %d errors, want %d:\n%v", len(e.Errors), len(c.want), e)
			}
			for i, w := range c.want {
				if !strings.Contains(e.Errors[i].Error(), w) {
					t.Errorf("error %d is %q, want %q in it", i, e.Errors[i].Error(), w)
				}
			}
		})
	}
}

func TestParseCSVCapsErrors(t *testing.T) {
	_, err := ParseCSV(strings.NewReader("ip\n" + strings.Repeat("x\n", 250)))
	var e *CSVErrors
	if !errors.As(err, &e) || len(e.Errors) != 100 || e.More != 150 {
		t.Fatalf("got %v", err)
	}
	if !strings.HasSuffix(err.Error(), "\nand 150 more") {
		t.Errorf("last line: %q", err.Error()[len(err.Error())-30:])
	}
}

type brokenReader struct{ err error }

func (b brokenReader) Read([]byte) (int, error) { return 0, b.err }

func TestParseCSVReadError(t *testing.T) {
	cause := errors.New("disk gone")
	_, err := ParseCSV(brokenReader{cause})
	if !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
}

// genEndpoint draws an endpoint as an import could have made it.
func genEndpoint(t *rapid.T, i int) Endpoint {
	text := rapid.StringMatching(`('|=|\+|@|-|;a|"|,|[a-zäß0-9 ]){0,8}`)
	clean := func(label string) string { return strings.TrimSpace(text.Draw(t, label)) }
	e := Endpoint{
		MAC:      MAC{2, 0, 0, 0, byte(i >> 8), byte(i)},
		Hostname: clean("hostname"), OSType: clean("os"), StaticIP: rapid.Bool().Draw(t, "static"),
	}
	if n := clean("name"); n != "" {
		e.Device = &Device{Name: n}
	}
	for k := range rapid.IntRange(0, 3).Draw(t, "addresses") {
		e.Addresses = append(e.Addresses, netip.AddrFrom4([4]byte{10, byte(k), byte(i >> 8), byte(i)}))
	}
	for tag := range strings.SplitSeq(clean("tags"), ";") {
		if tag = strings.TrimSpace(tag); tag != "" && !slices.Contains(e.Tags, tag) {
			e.Tags = append(e.Tags, tag)
		}
	}
	e.Finish()
	return e
}

// TestCSVRoundTrip: what WriteCSV writes, ParseCSV reads back to the same
// endpoints, whatever the texts look like, and no cell is a formula.
func TestCSVRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var in []Endpoint
		for i := range rapid.IntRange(0, 8).Draw(t, "n") {
			in = append(in, genEndpoint(t, i+1))
		}
		var b strings.Builder
		err := WriteCSV(&b, func(yield func(Endpoint, error) bool) {
			for _, e := range in {
				if !yield(e, nil) {
					return
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		rows, err := ParseCSV(strings.NewReader(b.String()))
		if err != nil {
			t.Fatalf("%v\n%s", err, b.String())
		}
		out := map[MAC]*Endpoint{}
		for _, r := range rows {
			e := out[r.MAC]
			if e == nil {
				e = &Endpoint{MAC: r.MAC, Hostname: r.Hostname, OSType: r.OSType, StaticIP: r.StaticIP == Yes, Tags: r.Tags}
				if r.Name != "" {
					e.Device = &Device{Name: r.Name}
				}
				out[r.MAC] = e
			}
			if r.IP.IsValid() {
				e.Addresses = append(e.Addresses, r.IP)
			}
		}
		if len(out) != len(in) {
			t.Fatalf("%d endpoints of %d", len(out), len(in))
		}
		for _, e := range in {
			got := out[e.MAC]
			got.Finish()
			if d := cmp.Diff(&e, got, cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty()); d != "" {
				t.Fatalf("%s\n%s", d, b.String())
			}
		}
	})
}

func TestWriteCSVProtects(t *testing.T) {
	for _, s := range []string{"=HYPERLINK(1)", "+1", "-1", "@x", "\tx", "\rx", "'=x", "''@"} {
		if p := protect(s); p[0] != '\'' || unprotect(p) != s {
			t.Errorf("%q protected to %q, back to %q", s, p, unprotect(p))
		}
	}
	for _, s := range []string{"", "plain", "'", "'quoted'", "a=b"} {
		if protect(s) != s || unprotect(s) != s {
			t.Errorf("%q is changed", s)
		}
	}
	cause := errors.New("read failed")
	err := WriteCSV(&strings.Builder{}, func(yield func(Endpoint, error) bool) { yield(Endpoint{}, cause) })
	if !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
}

// FuzzParseCSV: a file that is accepted has rows with a key each and no address
// twice, and is accepted again, to the same rows, when it is written out.
func FuzzParseCSV(f *testing.F) {
	f.Add("mac,ip\naa:bb:cc:dd:ee:01,10.0.0.1\n")
	f.Add("\xef\xbb\xbfip,hostname\r\n10.0.0.1,\"a \"\"b\"\"\"\r\n")
	f.Add("ip\n010.0.0.1\n")
	f.Add("ip,hostname\n10.0.0.1,\"x\n")
	f.Add("ip,tags\n\n10.0.0.1,a;b\n,\n")
	f.Fuzz(func(t *testing.T, in string) {
		rows, err := ParseCSV(strings.NewReader(in))
		if err != nil {
			if rows != nil {
				t.Fatal("rows beside an error")
			}
			return
		}
		seen := map[netip.Addr]bool{}
		var b strings.Builder
		b.WriteString("mac,ip\n")
		for i, r := range rows {
			if r.MAC.IsZero() && !r.IP.IsValid() {
				t.Fatal("a row without a key")
			}
			if i > 0 && r.Row <= rows[i-1].Row || r.Row < 2 {
				t.Fatalf("row numbers do not grow: %d", r.Row)
			}
			if r.IP.IsValid() && seen[r.IP] {
				t.Fatal("an address twice")
			}
			seen[r.IP] = true
			ip := ""
			if r.IP.IsValid() {
				ip = r.IP.String()
			}
			fmt.Fprintf(&b, "%s,%s\n", r.MAC, ip)
		}
		again, err := ParseCSV(strings.NewReader(b.String()))
		if err != nil || len(again) != len(rows) {
			t.Fatalf("%v, %d rows of %d", err, len(again), len(rows))
		}
		for i := range again {
			if again[i].MAC != rows[i].MAC || again[i].IP != rows[i].IP {
				t.Fatalf("row %d changed", i)
			}
		}
	})
}
