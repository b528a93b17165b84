// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bufio"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// found is what a decoder finds in a file of the corpus, taken alone.
type found struct {
	records                  int
	sourcePorts, targetPorts int // records that have one
	sumSources, sumTargets   uint64
}

// readExpected reads expected.tsv of the corpus: file, kind, messages, src4,
// src6, dst4, dst6, srcport, dstport, sum_srcport, sum_dstport, sflow_samples.
func readExpected(t *testing.T, path string) map[string]found {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	all := map[string]found{}
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
		all[cells[0]] = found{int(n[3] + n[4]), int(n[7]), int(n[8]), n[9], n[10]}
	}
	return all
}

// TestCorpus decodes real exporters' datagrams, where a collection of them is
// at hand, and compares files of v5 alone with another decoder's account.
func TestCorpus(t *testing.T) {
	corpus := os.Getenv("PORTOLAN_CORPUS")
	if corpus == "" {
		t.Skip("needs a collection of captures: set PORTOLAN_CORPUS to the directory that holds captures/")
	}
	root := filepath.Join(corpus, "captures")
	expected := readExpected(t, filepath.Join(root, "expected.tsv"))
	files, compared := 0, 0
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		files++
		got := offlineVerb(t, "decode", path)
		if got.code != 0 && got.code != 3 {
			t.Errorf("%s: exit %d, %s", name, got.code, got.stderr)
		}
		if r := offlineVerb(t, "replay", "--output", "json", path); r.code != got.code || (r.code != 0) != (r.stdout == "") {
			t.Errorf("%s: decode exits %d and replay %d, %s", name, got.code, r.code, r.stderr)
		}
		onlyV5 := strings.Count(got.stdout, "\n") == strings.Count(got.stdout, `"version":"v5"`)
		if want, ok := expected[name]; ok && got.stdout != "" && onlyV5 {
			compared++
			compareV5(t, name, got, want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if compared == 0 {
		t.Error("no file of v5 was compared with the other decoder")
	}
	t.Logf("%d files, %d of them of v5 and compared", files, compared)
}

// compareV5 compares the number of records and what their ports add up to.
func compareV5(t *testing.T, name string, got answered, want found) {
	t.Helper()
	var have found
	for line := range strings.Lines(got.stdout) {
		have.records++
		have.sourcePorts++ // every v5 record has the fields, if only as 0
		have.targetPorts++
		have.sumSources += numberIn(line, `"src_port":`)
		have.sumTargets += numberIn(line, `"dst_port":`)
	}
	t.Logf("%s: %d records, ports add up to %d and %d", name, have.records, have.sumSources, have.sumTargets)
	if have != want {
		t.Errorf("%s: have %+v, the other decoder %+v\n%s", name, have, want, got.stderr)
	}
}

// numberIn is the number that follows a key, 0 where the key is not there.
func numberIn(line, key string) uint64 {
	_, rest, _ := strings.Cut(line, key)
	end := strings.IndexAny(rest, ",}")
	n, _ := strconv.ParseUint(rest[:max(end, 0)], 10, 64)
	return n
}
