// SPDX-License-Identifier: Apache-2.0

package profiler

import (
	"bytes"
	"encoding/csv"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const (
	tcp  = 6
	udp  = 17
	sctp = 132
)

func TestServices(t *testing.T) {
	for _, c := range []struct {
		proto  uint8
		port   uint16
		name   string
		listed Listed
	}{
		{tcp, 443, "https", Curated},
		{udp, 443, "https", Curated},
		{tcp, 80, "http", Curated},
		{udp, 53, "domain", Curated},
		{tcp, 9100, "pdl-datastream", Curated},
		{tcp, 104, "acr-nema", Curated},
		{tcp, 11112, "dicom", Curated},
		{tcp, 502, "mbap", Curated},
		{tcp, 8006, "proxmox", Curated}, // registered for another service
		{tcp, 9200, "elasticsearch", Curated},
		{udp, 47808, "bacnet", Curated},
		{udp, 47823, "bacnet-alt", Curated}, // not registered
		{udp, 3671, "knxnet-ip", Curated},
		{tcp, 34964, "profinet-cm", Curated},
		{tcp, 48898, "beckhoff-ads", Curated},
		{tcp, 1, "tcpmux", Registered},
		{tcp, 6063, "x11", Registered}, // the end of a range
		{tcp, 6064, "ndl-ahp-svc", Registered},
		{tcp, 11434, "ollama", Registered},
		{sctp, 36412, "s1-control", Registered},
		{sctp, 443, "https", Registered},
		{tcp, 0, "", NotListed},
		{tcp, 65535, "", NotListed},
		{udp, 65535, "", NotListed},
		{sctp, 65535, "", NotListed},
		{udp, 37777, "", NotListed},
		{1, 443, "", NotListed},
		{0, 443, "", NotListed},
		{255, 53, "", NotListed},
	} {
		if got := ServiceName(c.proto, c.port); got != c.name {
			t.Errorf("ServiceName(%d, %d) = %q, want %q", c.proto, c.port, got, c.name)
		}
		if got := Listing(c.proto, c.port); got != c.listed {
			t.Errorf("Listing(%d, %d) = %v, want %v", c.proto, c.port, got, c.listed)
		}
	}
}

func TestListedString(t *testing.T) {
	for l, want := range map[Listed]string{NotListed: "not_listed", Registered: "registered", Curated: "curated", 3: "unknown"} {
		if l.String() != want {
			t.Errorf("Listed(%d) is %q, want %q", l, l, want)
		}
	}
}

// TestServicesAreTheLists asks for every port of every protocol, so that the
// table has what the two lists have, and nothing else.
func TestServicesAreTheLists(t *testing.T) {
	type key struct {
		proto uint8
		port  uint16
	}
	type service struct {
		name   string
		listed Listed
	}
	numbers := map[string]uint8{"tcp": tcp, "udp": udp, "sctp": sctp}
	want := map[key]service{}
	for _, row := range readList(t, "service-names-port-numbers.csv") {
		low, high, ok := strings.Cut(row[1], "-")
		if !ok {
			high = low
		}
		from, err1 := strconv.ParseUint(low, 10, 16)
		to, err2 := strconv.ParseUint(high, 10, 16)
		if err1 != nil || err2 != nil || numbers[row[2]] == 0 || row[0] == "" {
			t.Fatalf("registry: %q", row)
		}
		for p := from; p <= to; p++ {
			k := key{numbers[row[2]], uint16(p)}
			if _, twice := want[k]; twice {
				t.Errorf("registry: %q is there twice", row)
			}
			want[k] = service{row[0], Registered}
		}
	}
	registered := len(want)
	if registered < 11000 {
		t.Errorf("only %d ports are registered", registered)
	}
	kinds := map[string]int{}
	seen := map[key]bool{}
	for _, row := range readList(t, "device-ports.csv") {
		port, err := strconv.ParseUint(row[1], 10, 16)
		k := key{numbers[row[0]], uint16(port)}
		if err != nil || k.proto == 0 || row[2] == "" || strings.TrimSpace(row[4]) == "" {
			t.Errorf("device ports: %q needs a transport, a port, a name and a source", row)
		}
		if len(row[2]) > 15 {
			t.Errorf("device ports: %q is longer than a service name may be", row[2])
		}
		if seen[k] {
			t.Errorf("device ports: %q is there twice", row)
		}
		if row[4] == "IANA" && want[k].name != row[2] {
			t.Errorf("device ports: %q has IANA for its source, which calls it %q", row, want[k].name)
		}
		seen[k] = true
		kinds[row[3]]++
		want[k] = service{row[2], Curated}
	}
	for _, kind := range strings.Fields("printer camera industrial building voip medical hypervisor database") {
		if kinds[kind] == 0 {
			t.Errorf("no device port is of kind %s", kind)
		}
	}
	for proto := range 256 {
		for port := range 65536 {
			w := want[key{uint8(proto), uint16(port)}]
			if name, listed := ServiceName(uint8(proto), uint16(port)), Listing(uint8(proto), uint16(port)); name != w.name || listed != w.listed {
				t.Fatalf("%d/%d is %q, %v, want %q, %v", proto, port, name, listed, w.name, w.listed)
			}
		}
		if proto == sctp {
			break
		}
	}
}

func readList(t *testing.T, name string) [][]string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("registry", name))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(bytes.NewReader(data)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return rows[1:]
}

func TestServicesAllocateNothing(t *testing.T) {
	var n int
	if got := testing.AllocsPerRun(100, func() {
		n += len(ServiceName(tcp, 443)) + len(ServiceName(udp, 65000)) + int(Listing(sctp, 2905))
	}); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

// TestServicesAreGenerated runs the generator on the lists in a folder of its
// own and compares: what is committed is what the lists say.
func TestServicesAreGenerated(t *testing.T) {
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("needs the go command: ", err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "registry"), os.DirFS("registry")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "registry", "services.bin")); err != nil {
		t.Fatal(err)
	}
	generate := exec.Command(goTool, "run", "registry/generate.go")
	generate.Dir = dir
	if out, err := generate.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, name := range []string{"registry/services.bin", "service_count.go"} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what the generator writes: run go generate ./profiler", name)
		}
	}
}

func BenchmarkListing(b *testing.B) {
	port := uint16(0)
	for b.Loop() {
		Listing(tcp, port)
		port += 257
	}
}
