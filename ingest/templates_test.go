// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"bytes"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portolan/portolan/ingest/flow"
)

// onLoopback starts a sensor that receives on the loopback, and returns a way to
// send to it.
func onLoopback(t *testing.T, c Config) (*Sensor, net.Conn) {
	t.Helper()
	c.Set, c.Sink = setOf(t, "10.0.0.1"), newMemorySink()
	c.Listen = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("udp", s.Addresses()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return s, conn
}

func sendTo(t *testing.T, conn net.Conn, payload []byte) {
	t.Helper()
	if _, err := conn.Write(payload); err != nil {
		t.Fatal(err)
	}
}

// A restarted sensor decodes data at once, though its exporter announces no
// template again.
func TestTemplatesSurviveARestart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "templates")
	at := time.Now()
	nine := v9(at, tcp("10.0.0.1", 22, "8.8.8.8", 50000))
	h := flow.IPFIXHeader{ExportTime: at.UnixNano(), Domain: 5}
	ten := [][]byte{flow.AppendIPFIXTemplates(nil, h), flow.AppendIPFIX(nil, h, []flow.Record{tcp("10.0.0.1", 23, "8.8.8.8", 50000)})}

	s, conn := onLoopback(t, Config{TemplatesFile: file})
	sendTo(t, conn, nine[0])
	sendTo(t, conn, ten[0])
	eventually(t, s, "both exporters are known", func(st Status) bool { return len(st.Exporters) == 2 })
	stop(t, s)

	s, conn = onLoopback(t, Config{TemplatesFile: file})
	st := s.Status()
	if len(st.Exporters) != 2 || st.Exporters[0].Templates != 2 || st.Exporters[1].Templates != 2 || !st.Exporters[0].LastSeen.IsZero() {
		t.Errorf("after the restart %+v", st.Exporters)
	}
	sendTo(t, conn, nine[1])
	sendTo(t, conn, ten[1])
	st = eventually(t, s, "2 datagrams", received(2))
	checkBooks(t, &st.Ledger)
	if l := st.Ledger; l.Records != 2 || l.WaitingSets != 0 || l.Sides.Observed != 2 {
		t.Errorf("after the restart %+v", l)
	}
	stop(t, s)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if left, err := os.ReadDir(filepath.Dir(file)); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// A file that is damaged costs what is damaged, and one of something else all of
// it; the sensor works with either.
func TestDamagedTemplates(t *testing.T) {
	file := filepath.Join(t.TempDir(), "templates")
	var log bytes.Buffer
	load := func() *keeper {
		log.Reset()
		c := Config{Set: setOf(t), Sink: newMemorySink(), TemplatesFile: file, Log: slog.New(slog.NewTextHandler(&log, nil)), Now: func() time.Time { return day }}
		if err := c.complete(); err != nil {
			t.Fatal(err)
		}
		k := newKeeper(newShared(&c, flow.Limits{}), &c)
		k.load()
		return k
	}
	known := func(k *keeper) (n int) {
		for _, e := range k.streams.List() {
			n += e.Templates
		}
		return n
	}
	if k := load(); known(k) != 0 || log.Len() != 0 || k.due() {
		t.Errorf("without a file: %d, %s", known(k), &log)
	}

	k := load()
	d := flow.NewDecoder(k.streams)
	if drop := d.Begin(addr("192.0.2.1"), day.UnixNano(), v9(day)[0]); drop != flow.NoDrop {
		t.Fatal(drop)
	}
	for d.Next() != nil {
	}
	if !k.due() {
		t.Error("new templates are no reason to write")
	}
	k.save()
	if k.due() {
		t.Error("written, and due again")
	}
	if k = load(); known(k) != 2 || strings.Contains(log.String(), "WARN") || k.due() {
		t.Errorf("%d templates: %s", known(k), &log)
	}
	k.now = func() time.Time { return day.Add(refreshPeriod) }
	if !k.due() {
		t.Error("when templates were last used is not kept up")
	}

	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	bad := bytes.Clone(good)
	bad[len(bad)-3] ^= 1
	for _, c := range []struct {
		content []byte
		known   int
		log     string
	}{{bad, 1, "damaged"}, {[]byte("hello\n"), 0, "no file of templates"}, {good[:len(good)/2], 0, "damaged"}} {
		if err := os.WriteFile(file, c.content, 0o600); err != nil {
			t.Fatal(err)
		}
		if k := load(); known(k) < c.known || known(k) == 2 || !strings.Contains(log.String(), c.log) {
			t.Errorf("%q: %d templates, %s", c.content, known(k), &log)
		}
	}
}

// That templates cannot be kept is told now and then, and once when they are
// again; the file that is there stays.
func TestTemplatesThatCannotBeKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	now := day
	var log bytes.Buffer
	c := Config{Set: setOf(t), Sink: newMemorySink(), TemplatesFile: filepath.Join(dir, "templates"), Log: slog.New(slog.NewTextHandler(&log, nil)), Now: func() time.Time { return now }}
	if err := c.complete(); err != nil {
		t.Fatal(err)
	}
	k := newKeeper(newShared(&c, flow.Limits{}), &c)
	for range 10 {
		k.save()
		now = now.Add(savePeriod)
	}
	if n := strings.Count(log.String(), "cannot be kept"); n != 1 {
		t.Errorf("told %d times: %s", n, &log)
	}
	now = now.Add(warnPeriod)
	k.save()
	if n := strings.Count(log.String(), "cannot be kept"); n != 2 {
		t.Errorf("told %d times: %s", n, &log)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	k.save()
	k.save()
	if n := strings.Count(log.String(), "kept again"); n != 1 {
		t.Errorf("%s", &log)
	}
	k.load()
	if strings.Count(log.String(), "WARN") != 2 {
		t.Errorf("what was written cannot be read: %s", &log)
	}
}

// The keeper works by itself: it writes what is new within ten seconds and no
// more often, and forgets what is out of use. Time is the bubble's.
func TestKeeperRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "templates")
		c := Config{Set: setOf(t), Sink: newMemorySink(), TemplatesFile: file}
		if err := c.complete(); err != nil {
			t.Fatal(err)
		}
		k := newKeeper(newShared(&c, flow.Limits{}), &c)
		k.load()
		stop, done := make(chan struct{}), make(chan struct{})
		go func() { k.run(stop); close(done) }()
		// written tells whether the file was written since it was asked last.
		written := func() bool { return os.Remove(file) == nil }
		d := flow.NewDecoder(k.streams)
		send := func(payload []byte) {
			if drop := d.Begin(addr("192.0.2.1"), time.Now().UnixNano(), payload); drop != flow.NoDrop {
				t.Fatal(drop)
			}
			for d.Next() != nil {
			}
		}
		pass := func(d time.Duration) { time.Sleep(d); synctest.Wait() }

		pass(time.Minute)
		if written() {
			t.Error("a file of nothing was written")
		}
		messages := v9(time.Now(), tcp("10.0.0.1", 22, "8.8.8.8", 50000))
		send(messages[0])
		pass(savePeriod)
		if !written() {
			t.Error("new templates were not written within ten seconds")
		}
		send(messages[0])
		pass(savePeriod)
		if written() {
			t.Error("the same templates were written again")
		}
		pass(refreshPeriod)
		if !written() {
			t.Error("when templates were used was not written for an hour")
		}

		messages[1][19] = 9 // of a domain that has no templates
		send(messages[1])
		if k.streams.Waiting() != 1 {
			t.Fatal("nothing waits")
		}
		pass(time.Hour)
		if k.streams.Waiting() != 0 || k.streams.Evicted().Waiting != 1 {
			t.Errorf("%d sets still wait", k.streams.Waiting())
		}
		pass(25 * time.Hour)
		if n := len(k.streams.List()); n != 0 {
			t.Errorf("%d streams are not forgotten", n)
		}
		close(stop)
		<-done
		if !written() {
			t.Error("nothing was written at the stop")
		}
	})
}
