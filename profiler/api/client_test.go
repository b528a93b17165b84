// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/portolan/portolan/profiler"
	"github.com/portolan/portolan/store"
)

// serveLocal serves s at a local socket and returns a client and the directory.
func serveLocal(t *testing.T, s *Server) (*Client, string) {
	t.Helper()
	dir := t.TempDir()
	return serveIn(t, s, dir), dir
}

func serveIn(t *testing.T, s *Server, dir string) *Client {
	t.Helper()
	l, err := ListenLocal(filepath.Join(dir, SocketName))
	if err != nil {
		t.Fatal(err)
	}
	srv := NewHTTPServer(s.Local(), slog.New(slog.DiscardHandler))
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() {
		_ = srv.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
		if _, err := os.Lstat(filepath.Join(dir, SocketName)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the socket stays behind: %v", err)
		}
	})
	c, err := Dial(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestClient(t *testing.T) {
	s, m := newServer(t)
	c, _ := serveLocal(t, s)
	ctx := context.Background()

	status, err := c.Status(ctx)
	if err != nil || status.Version != "1.2.3" || status.Ledger.Sides.External != 35 || len(status.ReceivePath) != 3 {
		t.Errorf("status %+v, %v", status, err)
	}
	exporters, err := c.Exporters(ctx)
	if err != nil || cmp.Diff(contractStatus().Exporters, exporters) != "" {
		t.Errorf("exporters %+v, %v", exporters, err)
	}
	e, err := c.Endpoint(ctx, "00-11-22-33-44-55")
	if d := cmp.Diff(contractEndpoint(), e, cmpopts.EquateComparable(netip.Addr{})); err != nil || d != "" {
		t.Errorf("endpoint: %v\n%s", err, d)
	}
	if _, err := c.Endpoint(ctx, "a/../b"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("endpoint that is none: %v", err)
	}

	var csv strings.Builder
	csv.WriteString("mac,ip,hostname\n")
	for i := range 2500 {
		fmt.Fprintf(&csv, "02:00:00:00:%02x:%02x,10.9.%d.%d,host-%d\n", i/256, i%256, i/250, 1+i%250, i)
	}
	res, err := c.Import(ctx, strings.NewReader(csv.String()))
	if want := (ImportResult{Rows: 2500, Added: 2500}); err != nil || res != want {
		t.Fatalf("import %+v, %v", res, err)
	}
	n := 0
	for e, err := range c.Endpoints(ctx, profiler.NoEvidence) {
		if err != nil || e.ID == "" {
			t.Fatal(e, err)
		}
		n++
	}
	if n != 2501 {
		t.Errorf("%d endpoints", n)
	}
	var out bytes.Buffer
	if err := c.Export(ctx, &out); err != nil {
		t.Fatal(err)
	}
	if rows, err := profiler.ParseCSV(&out); err != nil || len(rows) != 2502 { // the printer has two addresses
		t.Errorf("export of %d rows, %v", len(rows), err)
	}
	if err := c.Delete(ctx, "10.1.0.5"); err != nil {
		t.Error(err)
	}
	if err := c.Delete(ctx, "10.1.0.5"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("deleted twice: %v", err)
	}
	m.fail = errors.New("the disk is gone")
	if err := c.Export(ctx, io.Discard); err == nil || !strings.Contains(err.Error(), "the disk is gone") {
		t.Errorf("an export that fails at once: %v", err)
	}
	for _, err := range c.Endpoints(ctx, profiler.NoEvidence) {
		if p := (*Problem)(nil); !errors.As(err, &p) || p.Status != 500 || !strings.Contains(p.Detail, "the disk is gone") {
			t.Errorf("list: %v", err)
		}
	}
}

// breaking is a repository whose second page cannot be read.
type breaking struct{ *memory }

func (b breaking) Endpoints(after string, limit int, keep func(*profiler.Endpoint) bool) ([]profiler.Endpoint, string, error) {
	if after != "" {
		return nil, "", errors.New("the disk is gone")
	}
	items, _, err := b.memory.Endpoints("", limit, keep)
	return items, "1", err
}

func TestExportBreaksOff(t *testing.T) {
	s, m := newServer(t)
	for range 500 {
		m.items = append(m.items, m.items[0])
	}
	s.Repository = breaking{m}
	c, _ := serveLocal(t, s)
	var out bytes.Buffer
	if err := c.Export(context.Background(), &out); err == nil || out.Len() == 0 {
		t.Errorf("%d bytes and %v: an export that broke off looks complete", out.Len(), err)
	}
}

func TestImportErrorsRoundTrip(t *testing.T) {
	s, m := newServer(t)
	c, _ := serveLocal(t, s)
	var many strings.Builder
	many.WriteString("ip\n")
	for range 130 {
		many.WriteString("nonsense\n")
	}
	for name, file := range map[string]string{
		"cells":  "mac,ip,hostname\n02:00:00:00:00:01,010.0.0.1,a\n02:00:00:00:00:02,10.0.0.2,b\nff:ff:ff:ff:ff:ff,10.0.0.2,c\n",
		"header": "mac,colour,ip\n02:00:00:00:00:01,red,10.0.0.1\n",
		"quote":  "mac,ip\n02:00:00:00:00:01,\"10.0.0.1\n",
		"empty":  "",
		"many":   many.String(),
		// Refused at the first row, with megabytes still to come.
		"big": "mac,colour\n" + strings.Repeat("02:00:00:00:00:01,red\n", 200_000),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.Import(context.Background(), strings.NewReader(file))
			var got *profiler.CSVErrors
			if !errors.As(err, &got) {
				t.Fatalf("got %T: %v", err, err)
			}
			_, want := profiler.ParseCSV(strings.NewReader(file))
			if d := cmp.Diff(want.Error(), got.Error()); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
	if len(m.items) != 1 {
		t.Errorf("%d endpoints: something was imported", len(m.items))
	}
}

// TestImportTooLong sends a file that is right, but for its length.
func TestImportTooLong(t *testing.T) {
	s, m := newServer(t)
	c, _ := serveLocal(t, s)
	row := []byte("10.9.9.9" + strings.Repeat(" ", 60_000) + "\n")
	file := io.MultiReader(strings.NewReader("ip\n"), bytes.NewReader(row), strings.NewReader(strings.Repeat(strings.Repeat(" ", 60_000)+"\n", maxImport/60_000)))
	_, err := c.Import(context.Background(), file)
	if p := (*Problem)(nil); !errors.As(err, &p) || p.Status != http.StatusRequestEntityTooLarge || !strings.Contains(p.Detail, "split it") {
		t.Errorf("got %v", err)
	}
	if len(m.items) != 1 {
		t.Error("something was imported")
	}
}

func TestImportProblem(t *testing.T) {
	s, _ := newServer(t)
	w := ask(s.Local(), "POST", "/api/v1/endpoints/import", "mac,ip,hostname\n02:00:00:00:00:01,010.0.0.1,a\n,,b\n", "Content-Type", "text/csv")
	if w.Code != 422 {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	golden(t, "import_errors.json", w, "application/problem+json")
	wantProblem(t, ask(s.Local(), "POST", "/api/v1/endpoints/import", "ip\n10.0.0.1\n", "Content-Type", "application/x-www-form-urlencoded"), 415, "text/csv")
	w = ask(s.Local(), "POST", "/api/v1/endpoints/import", "ip\n10.0.0.1\n", "Content-Type", "text/csv; charset=utf-8")
	if w.Code != 200 || w.Body.String() != `{"rows":1,"added":1,"updated":0,"unchanged":0,"waiting_for_address":0}`+"\n" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestNotRunning(t *testing.T) {
	dir := t.TempDir()
	_, err := Dial(dir)
	if !errors.Is(err, ErrNotRunning) || !strings.Contains(err.Error(), "portolan run") || !strings.Contains(err.Error(), dir) {
		t.Error(err)
	}
	if _, err := Dial(filepath.Join(dir, "nowhere")); !errors.Is(err, ErrNotRunning) {
		t.Error(err)
	}
}

func TestListenLocal(t *testing.T) {
	s, _ := newServer(t)
	_, dir := serveLocal(t, s)
	path := filepath.Join(dir, SocketName)
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := ListenLocal(path); !errors.Is(err, ErrRunning) {
		t.Errorf("a second daemon: %v", err)
	}
	if _, err := Dial(dir); err != nil {
		t.Errorf("the first one is gone: %v", err)
	}

	stale := filepath.Join(dir, "stale.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	again, err := ListenLocal(stale)
	if err != nil {
		t.Fatalf("a stale socket: %v", err)
	}
	_ = again.Close()

	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ListenLocal(file); err == nil {
		t.Error("took the place of a file")
	}
	if b, _ := os.ReadFile(file); string(b) != "precious" {
		t.Error("removed a file")
	}
}

// TestDeepDirectory has the socket where its path is longer than the kernel
// takes.
func TestDeepDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 100), strings.Repeat("e", 100))
	if _, err := Dial(dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("no such directory: %v", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("no daemon: %v", err)
	}
	s, _ := newServer(t)
	c := serveIn(t, s, dir)
	if st, err := c.Status(context.Background()); err != nil || st.Version != "1.2.3" {
		t.Errorf("%+v, %v", st, err)
	}
	if _, err := ListenLocal(filepath.Join(dir, SocketName)); !errors.Is(err, ErrRunning) {
		t.Errorf("a second daemon: %v", err)
	}
}

// TestPeer connects as another user, with the mode of the socket out of the way.
func TestPeer(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: to connect as another user")
	}
	s, _ := newServer(t)
	dir, err := os.MkdirTemp("", "portolan") // t.TempDir's own parent lets nobody else in
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	serveIn(t, s, dir)
	path := filepath.Join(dir, SocketName)
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(path, 0o666)); err != nil {
		t.Fatal(err)
	}
	if answer, err := getAs(65534, path); err == nil {
		t.Errorf("a stranger was answered: %q", answer)
	}
	if answer, err := getAs(0, path); err != nil || !strings.Contains(answer, "200 OK") {
		t.Errorf("root: %q, %v", answer, err)
	}
}

// getAs makes a request on a thread that belongs to uid, and to its end.
func getAs(uid int, path string) (answer string, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The thread has another user from here on; not unlocked, it ends with
		// the goroutine.
		runtime.LockOSThread()
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
			err = errno
			return
		}
		var c net.Conn
		if c, err = net.Dial("unix", path); err != nil {
			return
		}
		defer c.Close()
		if err = c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			return
		}
		if _, err = io.WriteString(c, "GET /-/healthy HTTP/1.0\r\n\r\n"); err != nil {
			return
		}
		var b []byte
		b, err = io.ReadAll(c)
		if answer = string(b); err == nil && answer == "" {
			err = io.ErrUnexpectedEOF
		}
	}()
	<-done
	return answer, err
}
