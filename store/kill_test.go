// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/portolan/portolan/profiler"
)

// childDir names the store of a child of TestKill, in its environment.
const childDir = "PORTOLAN_TEST_STORE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := postForEver(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// postForEver posts ever more ports of one endpoint after another, and prints
// the number of each post that was acknowledged.
func postForEver(dir string) error {
	s, err := Open(dir, Options{})
	if err != nil {
		return err
	}
	if _, err := s.Import(rowsOf(100), ImportOptions{}); err != nil {
		return err
	}
	for n := int(s.Counts().Ports); ; n++ {
		b := &profiler.Batch{Observations: []profiler.Observation{numbered(n)}}
		if err := s.Post(context.Background(), b); err != nil {
			return err
		}
		if b.Outcomes[0] != profiler.Added {
			return fmt.Errorf("post %d is %s", n, b.Outcomes[0])
		}
		fmt.Println(n)
	}
}

func numbered(n int) profiler.Observation {
	return profiler.Observation{Binding: uint32(n%100 + 1), Gen: 1, Port: uint16(n/100 + 1), Proto: 6, Evidence: profiler.Seen, First: 1, Last: 1}
}

// TestKill: a process that is killed at any moment has lost no post that it
// acknowledged, and has at most the one more that it was about to acknowledge.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	acked := 0
	for cycle := range 5 {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), childDir+"="+dir)
		child.Stderr = os.Stderr
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			last, err := strconv.Atoi(lines.Text())
			if err != nil {
				t.Fatal(err)
			}
			acked = last + 1
			if n == 100+37*cycle {
				_ = child.Process.Kill()
			}
		}
		if err := child.Wait(); err == nil || child.ProcessState.Exited() {
			t.Fatalf("the child ended by itself: %v", err)
		}
		s, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		verify(t, s)
		if have := int(s.Counts().Ports); have < acked || have > acked+1 {
			t.Errorf("cycle %d: %d ports of %d acknowledged", cycle, have, acked)
		}
		for n := range acked {
			want(t, posted(t, s, numbered(n)), profiler.Duplicate)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
