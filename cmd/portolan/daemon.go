// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/portolan/portolan/bpf"
	"github.com/portolan/portolan/ingest"
	"github.com/portolan/portolan/netns"
	"github.com/portolan/portolan/profiler/api"
	"github.com/portolan/portolan/profiler/web"
	"github.com/portolan/portolan/store"
)

// stopTime is how long the daemon takes at most to post what is left.
const stopTime = 10 * time.Second

// templatesName is the file of the exporters' templates in the data directory.
const templatesName = "templates"

// daemon is the running product: store, sensor, listeners. startDaemon makes
// it; close undoes that in the reverse order.
type daemon struct {
	config *config
	log    *slog.Logger
	store  *store.Store
	sensor *ingest.Sensor
	page   net.Listener // nil without HTTP
	failed chan error   // a listener that ended by itself
	undo   []func() error

	hup      chan os.Signal
	changing sync.Mutex   // of reload and the next
	current  *config      // config as reload has changed it; nil: it has not
	most     atomic.Int64 // discovered endpoints, at most
}

// startDaemon opens everything, in the order in which a refusal disturbs least:
// the network device is touched last.
func startDaemon(conf *config, inside *netns.NS, log *slog.Logger) (_ *daemon, err error) {
	d := &daemon{config: conf, log: log, failed: make(chan error, 2), hup: make(chan os.Signal, 1)}
	signal.Notify(d.hup, syscall.SIGHUP) // which would end the process
	d.undo = append(d.undo, func() error { signal.Stop(d.hup); return nil })
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	started := time.Now()
	if err := os.MkdirAll(conf.data, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the data directory; --data DIR chooses another: %w", err)
	}
	d.store, err = store.Open(conf.data, store.Options{Interval: conf.interval, Forget: conf.forget, Rules: conf.knowledge.rules, Vendors: conf.knowledge.vendors, Logger: log.With("log", "profiler")})
	if err != nil {
		return nil, err
	}
	d.undo = append(d.undo, d.store.Close)
	if err := d.listenPage(); err != nil {
		return nil, err
	}
	d.most.Store(int64(conf.most))
	d.sensor, err = ingest.New(ingest.Config{
		Internal: conf.discover, Admit: d.admit,
		Set: d.store.Live(), Sink: d.store,
		Listen: conf.listen, Interfaces: conf.interfaces, Require: conf.require, Exporters: conf.exporters,
		Inside: inside.Do, Interval: conf.interval, Infer: conf.ports == "inferred", TemplatesFile: filepath.Join(conf.data, templatesName), Log: log.With("log", "netflow"), Describe: d.store.Describe,
	})
	if err != nil {
		return nil, err
	}
	if err := d.sensor.Start(); err != nil {
		return nil, err
	}
	d.undo = append(d.undo, d.stopSensor)
	return d, d.serve(started)
}

// listenPage takes the HTTP port before anything else is disturbed.
func (d *daemon) listenPage() error {
	if d.config.http == "" {
		return nil
	}
	// Multipath TCP, the default of net.Listen, would escape rules that a
	// hardened unit sets for TCP.
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(context.Background(), "tcp", d.config.http)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("the HTTP port %s is in use by another process: stop it, or choose another with --http (or --http none): %w", d.config.http, err)
	}
	if err != nil {
		return fmt.Errorf("cannot listen on %s for HTTP: %w", d.config.http, err)
	}
	d.page = l
	d.undo = append(d.undo, func() error {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	return nil
}

// serve answers on the HTTP port and on the local socket.
func (d *daemon) serve(started time.Time) error {
	var hosts []string
	if host, _, err := net.SplitHostPort(d.config.http); err == nil {
		hosts = append(hosts, host)
	}
	if name, err := os.Hostname(); err == nil {
		hosts = append(hosts, name)
	}
	server := api.New(api.Config{
		Repository: d.store, Sensor: d.sensor, Rules: d.store.Rules, Reload: d.reload, Editor: editor{d.store}, Ready: d.ready, Healthy: d.healthy,
		Version: buildVersion(), Started: started, Interval: d.store.Interval, Ports: d.config.ports, Hosts: hosts,
	})
	local, err := api.ListenLocal(filepath.Join(d.config.data, api.SocketName))
	if err != nil {
		return err
	}
	d.serveOn(local, server.Local())
	if d.page != nil {
		d.serveOn(d.page, server.Public(web.Handler(server)))
	}
	return nil
}

// serveOn answers h on l until close.
func (d *daemon) serveOn(l net.Listener, h http.Handler) {
	s := api.NewHTTPServer(h, d.log)
	go func() {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			d.failed <- fmt.Errorf("the HTTP listener on %s ended: %w", l.Addr(), err)
		}
	}()
	d.undo = append(d.undo, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			return s.Close() // a client that does not let go
		}
		return nil
	})
}

// ready and healthy answer /-/ready and /-/healthy.
func (d *daemon) ready() error {
	for _, p := range d.sensor.Status().Paths {
		if p.Listen != "" && p.State != "up" {
			return fmt.Errorf("the UDP socket %s does not receive: %s", p.Listen, p.Reason)
		}
	}
	return d.healthy()
}

func (d *daemon) healthy() error { return d.store.Err() }

// wait returns when ctx ends (nil) or when something fails that the daemon
// cannot go on without. Until then SIGHUP has the configuration read again.
func (d *daemon) wait(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-d.store.Failed():
			return err
		case err := <-d.failed:
			return err
		case <-d.hup:
			if err := d.reload(); err != nil {
				d.log.Error("the configuration stays as it was", "error", err)
			}
		}
	}
}

func (d *daemon) stopSensor() error {
	limit := stopTime
	if d.store.Err() != nil {
		limit = 0 // it will take nothing more
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return d.sensor.Stop(ctx)
}

// close stops everything in the reverse order of the start.
func (d *daemon) close() error {
	var errs []error
	for i := len(d.undo) - 1; i >= 0; i-- {
		errs = append(errs, d.undo[i]())
	}
	d.undo = nil
	return errors.Join(errs...)
}

// url is where the page is, empty without HTTP.
func (d *daemon) url() string {
	if d.page == nil {
		return ""
	}
	host, port, err := net.SplitHostPort(d.page.Addr().String())
	if err != nil {
		return ""
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, port) + "/"
}

// startError gives an error of startDaemon its exit code and, where the system
// says only what happened, a sentence that says what to do.
func startError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ingest.ErrNoInterface):
		return failWith(exitInput, err)
	case errors.Is(err, ingest.ErrRequirement), errors.Is(err, bpf.ErrPrivilege), errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return failWith(exitUnsupported, err)
	}
	return failWith(exitRuntime, err)
}

// newLogger writes to standard error.
func newLogger(level slog.Leveler) *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}
