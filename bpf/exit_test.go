// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bpf

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
)

func TestExitNames(t *testing.T) {
	seen := make(map[string]Exit)
	for e := range Exits {
		name := e.String()
		if !regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`).MatchString(name) {
			t.Errorf("exit %d is called %q", uint8(e), name)
		}
		if other, twice := seen[name]; twice {
			t.Errorf("exits %d and %d are both called %q", uint8(other), uint8(e), name)
		}
		seen[name] = e
	}
	if got := Exits.String(); got != "exit_14" {
		t.Errorf("a number beyond the exits prints %q", got)
	}
}

// The object says what its enum exit is; Go must mean the same.
func TestExitsAreThoseOfTheObject(t *testing.T) {
	spec, err := loadSteer()
	if err != nil {
		t.Fatal(err)
	}
	var enum *btf.Enum
	if err := spec.Types.TypeByName("exit", &enum); err != nil {
		t.Fatal(err)
	}
	if len(enum.Values) != int(Exits)+1 {
		t.Errorf("the object has %d names, Go has %d", len(enum.Values)-1, Exits)
	}
	for _, v := range enum.Values {
		if v.Name == "EXITS" {
			if v.Value != uint64(Exits) {
				t.Errorf("EXITS is %d, in Go %d", v.Value, Exits)
			}
			continue
		}
		got := Exit(v.Value).String()
		if want := strings.ToLower(strings.TrimPrefix(v.Name, "EXIT_")); got != want {
			t.Errorf("%s is called %q", v.Name, got)
		}
	}
}

// The committed object is what the committed source compiles to.
func TestGenerate(t *testing.T) {
	const version = "19.1.7"
	out, err := exec.Command("clang-19", "--version").Output()
	if err != nil || !bytes.Contains(out, []byte(version)) {
		t.Skip("needs clang-19, version "+version, err)
	}
	if _, err := exec.LookPath("llvm-strip-19"); err != nil {
		t.Skip("needs llvm-strip-19:", err)
	}
	src, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^//go:generate go (.*)$`).FindSubmatch(src)
	if line == nil {
		t.Fatal("doc.go has no go:generate line")
	}
	dir := t.TempDir()
	args := strings.Fields(string(line[1]))
	args = append(args[:2:2], append([]string{"-output-dir", dir}, args[2:]...)...)
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "GOPACKAGE=bpf", "GOFILE=doc.go")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %v: %v\n%s", args, err, out)
	}
	for _, name := range []string{"steer_bpfel.o", "steer_bpfel.go"} {
		committed, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		made, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(committed, made) {
			t.Errorf("%s is not what steer.c compiles to; run go generate ./bpf and commit it", name)
		}
		if cwd, err := os.Getwd(); err != nil || bytes.Contains(made, []byte(filepath.Dir(cwd))) {
			t.Errorf("%s holds a path of this machine: %v", name, err)
		}
	}
}
