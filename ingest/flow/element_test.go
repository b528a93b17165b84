// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"encoding/binary"
	"encoding/csv"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"
)

// registryRow is a line of the registry's table.
type registryRow struct {
	id                        uint16
	name, dataType, semantics string
	status                    string
}

func readRegistry(t *testing.T) []registryRow {
	t.Helper()
	f, err := os.Open("registry/ipfix-information-elements.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var rows []registryRow
	for _, l := range lines[1:] {
		id, err := strconv.ParseUint(l[0], 10, 16)
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, registryRow{uint16(id), l[1], l[2], l[3], l[4]})
	}
	if len(rows) < 502 {
		t.Fatalf("the registry has %d elements; it had 502 and never takes one back", len(rows))
	}
	return rows
}

func TestElements(t *testing.T) {
	for _, c := range []struct {
		id   uint16
		name string
		typ  dataType
	}{
		{0, "", typeUnknown},
		{ieOctetDeltaCount, "octetDeltaCount", typeUnsigned64},
		{6, "tcpControlBits", typeUnsigned16},
		{7, "sourceTransportPort", typeUnsigned16},
		{8, "sourceIPv4Address", typeIPv4Address},
		{27, "sourceIPv6Address", typeIPv6Address},
		{56, "sourceMacAddress", typeMacAddress},
		{65, "", typeUnknown}, // reserved for NetFlow v9
		{82, "interfaceName", typeString},
		{89, "forwardingStatus", typeUnsigned32},
		{97, "", typeUnknown}, // reserved for NetFlow v9
		{127, "", typeUnknown},
		{150, "flowStartSeconds", typeDateTimeSeconds},
		{152, "flowStartMilliseconds", typeDateTimeMilliseconds},
		{155, "flowEndMicroseconds", typeDateTimeMicroseconds},
		{157, "flowEndNanoseconds", typeDateTimeNanoseconds},
		{239, "biflowDirection", typeUnsigned8},
		{255, "postDot1qCustomerVlanId", typeUnsigned16},
		{ieEthernetType, "ethernetType", typeUnsigned16},
		{276, "dataRecordsReliability", typeBoolean},
		{291, "basicList", typeBasicList},
		{292, "subTemplateList", typeSubTemplateList},
		{293, "subTemplateMultiList", typeSubTemplateMultiList},
		{311, "samplingProbability", typeFloat64},
		{315, "dataLinkFrameSection", typeOctetArray},
		{352, "layer2OctetDeltaCount", typeUnsigned64},
		{416, "", typeUnknown}, // withdrawn: a duplicate of 352
		{434, "mibObjectValueInteger", typeSigned32},
		{515, "ipv6ExtensionHeadersFull", typeUnsigned256},
		{533, "pathDelaySumDeltaMicroseconds", typeUnsigned64},
		{32767, "", typeUnknown},
		{65535, "", typeUnknown},
	} {
		if got := elementName(c.id); got != c.name {
			t.Errorf("element %d is named %q, not %q", c.id, got, c.name)
		}
		if got := elementType(c.id); got != c.typ {
			t.Errorf("element %d is of type %v, not %v", c.id, got, c.typ)
		}
	}
}

// TestElementsAreTheRegistrys compares the generated tables with the table that
// they come from, over all numbers that an element can have.
func TestElementsAreTheRegistrys(t *testing.T) {
	byID := map[uint16]registryRow{}
	byName := map[string]uint16{}
	for _, r := range readRegistry(t) {
		if _, twice := byID[r.id]; twice {
			t.Errorf("element %d is there twice", r.id)
		}
		if other, twice := byName[r.name]; twice {
			t.Errorf("%s is both %d and %d", r.name, other, r.id)
		}
		byID[r.id], byName[r.name] = r, r.id
		if r.status != "current" && r.status != "deprecated" {
			t.Errorf("element %d has the status %q", r.id, r.status)
		}
		switch r.semantics {
		case "", "quantity", "totalCounter", "deltaCounter", "identifier", "flags", "list", "snmpCounter", "snmpGauge":
		default:
			t.Errorf("element %d has the semantics %q", r.id, r.semantics)
		}
	}
	for id := 0; id <= 65535; id++ {
		want, assigned := byID[uint16(id)]
		if !assigned {
			want.dataType = "unknown"
		}
		if got := elementName(uint16(id)); got != want.name {
			t.Errorf("element %d is named %q, not %q: run go generate ./ingest/flow", id, got, want.name)
		}
		if got := elementType(uint16(id)).String(); got != want.dataType {
			t.Errorf("element %d is of type %s, not %s: run go generate ./ingest/flow", id, got, want.dataType)
		}
	}
}

// TestElementConstants reads the generated constants as source, because what a
// constant is called is not there when the program runs.
func TestElementConstants(t *testing.T) {
	missing := map[string]uint16{}
	for _, r := range readRegistry(t) {
		missing["ie"+strings.ToUpper(r.name[:1])+r.name[1:]] = r.id
	}
	for _, name := range []string{"elements_low.go", "elements_high.go"} {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			constant, value := spec.Names[0].Name, spec.Values[0].(*ast.BasicLit).Value
			id, known := missing[constant]
			if !known || strconv.Itoa(int(id)) != value {
				t.Errorf("%s has %s = %s, which is not the registry's", name, constant, value)
			}
			delete(missing, constant)
			return false
		})
	}
	for constant, id := range missing {
		t.Errorf("element %d has no constant %s", id, constant)
	}
}

// TestDataTypeNames holds the type names against the numbers that RFC 5610, RFC
// 6313 and RFC 9740 register.
func TestDataTypeNames(t *testing.T) {
	for typ, want := range map[dataType]string{
		0: "octetArray", 4: "unsigned64", 8: "signed64", 10: "float64", 11: "boolean",
		12: "macAddress", 13: "string", 14: "dateTimeSeconds", 17: "dateTimeNanoseconds",
		18: "ipv4Address", 19: "ipv6Address", 20: "basicList", 22: "subTemplateMultiList",
		23: "unsigned256", 24: "unknown", 255: "unknown",
	} {
		if got := typ.String(); got != want {
			t.Errorf("type %d is named %s, not %s", typ, got, want)
		}
	}
}

func TestValidWidth(t *testing.T) {
	for _, c := range []struct {
		types    []dataType
		min, max uint16
		but      []uint16 // within those bounds, and still not valid
	}{
		{[]dataType{typeOctetArray, typeString, typeUnknown}, 0, 65535, nil},
		{[]dataType{typeUnsigned8, typeSigned8, typeBoolean}, 1, 1, nil},
		{[]dataType{typeUnsigned16, typeSigned16}, 1, 2, nil},
		{[]dataType{typeUnsigned32, typeSigned32}, 1, 4, nil},
		{[]dataType{typeUnsigned64, typeSigned64}, 1, 8, nil},
		{[]dataType{typeUnsigned256}, 1, 32, nil},
		{[]dataType{typeFloat32, typeIPv4Address, typeDateTimeSeconds}, 4, 4, nil},
		{[]dataType{typeFloat64}, 4, 8, []uint16{5, 6, 7}},
		{[]dataType{typeMacAddress}, 6, 6, nil},
		{[]dataType{typeDateTimeMilliseconds, typeDateTimeMicroseconds, typeDateTimeNanoseconds}, 8, 8, nil},
		{[]dataType{typeIPv6Address}, 16, 16, nil},
		{[]dataType{typeBasicList}, 5, 65535, nil},
		{[]dataType{typeSubTemplateList}, 3, 65535, nil},
		{[]dataType{typeSubTemplateMultiList}, 1, 65535, nil},
	} {
		for _, typ := range c.types {
			for n := 0; n <= 65535; n++ {
				want := int(c.min) <= n && n <= int(c.max)
				for _, b := range c.but {
					want = want && n != int(b)
				}
				if got := typ.validWidth(uint16(n)); got != want {
					t.Fatalf("%v in %d octets: valid is %v", typ, n, got)
				}
			}
		}
	}
}

// TestReversePEN reads the field specifier of the reverse octetTotalCount:
// enterprise bit and element, length, enterprise (RFC 5103 section 6.1).
func TestReversePEN(t *testing.T) {
	spec := []byte{0x80, 0x55, 0x00, 0x04, 0x00, 0x00, 0x72, 0x79}
	id := binary.BigEndian.Uint16(spec) &^ 0x8000
	if pen := binary.BigEndian.Uint32(spec[4:]); pen != reversePEN || id != ieOctetTotalCount {
		t.Errorf("the specifier is element %d of enterprise %d", id, pen)
	}
}
