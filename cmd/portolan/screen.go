// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portolan/portolan/profiler"
	"github.com/portolan/portolan/profiler/api"
)

// screen keeps the demo's summary: drawn in place on a terminal, a line now and
// then elsewhere.
type screen struct {
	out     io.Writer
	daemon  *daemon
	tty     bool
	started time.Time
	drawn   int // lines of the last drawing
	first   bool
}

const (
	redraw        = time.Second
	linePeriod    = 5 * time.Second
	shownOnScreen = 8 // endpoints
	// patienceForFirst is how long the screen waits for a first port to
	// announce before it begins with none.
	patienceForFirst = 5 * time.Second
)

func newScreen(out io.Writer, d *daemon) *screen {
	s := &screen{out: out, daemon: d, started: time.Now()}
	if f, ok := out.(*os.File); ok {
		_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
		s.tty = err == nil && os.Getenv("TERM") != "dumb"
	}
	return s
}

// run draws until ctx ends.
func (s *screen) run(ctx context.Context) {
	client, err := api.Dial(s.daemon.config.data)
	if err != nil {
		fmt.Fprintf(s.out, "cannot show a summary: %v\n", err)
		return
	}
	defer client.Close()
	tick := time.NewTicker(redraw / 10)
	defer tick.Stop()
	var next time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if !s.first {
				s.announce()
			}
			if now.Before(next) || !s.first && now.Sub(s.started) < patienceForFirst {
				continue
			}
			st, err := client.Status(ctx)
			if err != nil {
				continue // the daemon is ending; its own error is reported
			}
			if s.tty {
				next = now.Add(redraw)
				s.draw(&st)
			} else {
				next = now.Add(linePeriod)
				fmt.Fprintln(s.out, st.Sentence)
			}
		}
	}
}

// announce tells of the first port that was profiled.
func (s *screen) announce() {
	if s.daemon.store.Counts().Ports == 0 {
		return
	}
	items := s.some(1)
	if len(items) == 0 {
		return
	}
	s.first = true
	e, p := items[0], items[0].Listening[0]
	fmt.Fprintf(s.out, "The first profiled port, after %.1f s: %s (%s) %s/%d\n\n", time.Since(s.started).Seconds(), e.Hostname, e.IP, p.Proto, p.Port)
}

// some returns the first endpoints that have ports.
func (s *screen) some(n int) []profiler.Endpoint {
	items, _, err := s.daemon.store.Endpoints("", n, func(e *profiler.Endpoint) bool { return len(e.Listening) > 0 })
	if err != nil {
		return nil
	}
	return items
}

// draw replaces the last drawing.
func (s *screen) draw(st *api.Status) {
	var b strings.Builder
	if s.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\x1b[J", s.drawn)
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%s\n\n", st.Sentence)
	writeBooks(&text, &st.Ledger)
	fmt.Fprintln(&text)
	t := newTable(&text)
	t.row("ENDPOINT", "ADDRESS", "PORTS SEEN")
	for _, e := range s.some(shownOnScreen) {
		t.row(e.Hostname, e.IP, portList(e.Listening, 6))
	}
	if err := t.Flush(); err != nil {
		return
	}
	s.drawn = strings.Count(text.String(), "\n")
	b.WriteString(text.String())
	fmt.Fprint(s.out, b.String())
}

// portList names up to n ports and says how many more there are.
func portList(ports []profiler.Port, n int) string {
	var names []string
	for _, p := range ports[:min(n, len(ports))] {
		names = append(names, fmt.Sprintf("%s/%d", p.Proto, p.Port))
	}
	if len(ports) > n {
		names = append(names, fmt.Sprintf("and %d more", len(ports)-n))
	}
	return strings.Join(names, " ")
}
