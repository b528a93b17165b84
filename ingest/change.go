// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/portolan/portolan/profiler"
)

// What can be changed while a sensor runs.

// SetInterval changes the reprofile interval at once.
func (s *Sensor) SetInterval(d time.Duration) error {
	if err := profiler.CheckInterval(d); err != nil {
		return fmt.Errorf("set the reprofile interval: %w", err)
	}
	s.shared.SetInterval(d)
	return nil
}

// newFinder makes the finder, if there is somebody who admits.
func (s *Sensor) newFinder() (err error) {
	if s.config.Admit == nil {
		if len(s.config.Internal) > 0 {
			return errNoAdmit
		}
		return nil
	}
	s.shared.finder, err = newFinder(&s.config)
	return err
}

var errNoAdmit = errors.New("ingest: Config.Internal needs Admit")

// SetInternal replaces the prefixes whose addresses become endpoints when first
// seen, at once; none ends that. Config.Admit must have been given.
func (s *Sensor) SetInternal(list []netip.Prefix) error {
	if s.shared.finder != nil {
		return s.shared.finder.setInternal(list)
	}
	if len(list) > 0 {
		return errNoAdmit
	}
	return nil
}

// SetExporters replaces the list of who may send, nil for everybody: on the
// sockets from the next burst on, and in the programs. Where a program does not
// take the list, such as because it is too long, the former stays everywhere.
func (s *Sensor) SetExporters(list []netip.Prefix) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	if s.receive == nil {
		s.config.Exporters = list
		return nil
	}
	if err := s.receive.setExporters(list); err != nil {
		err = fmt.Errorf("the list of exporters stays as it was: %w", err)
		return errors.Join(err, s.receive.setExporters(s.config.Exporters))
	}
	s.config.Exporters = list
	return nil
}

// setExporters tells the programs first, because they can refuse.
func (r *receiver) setExporters(list []netip.Prefix) error {
	for _, f := range r.ifaces {
		if f.program != nil {
			if err := f.program.SetExporters(list); err != nil {
				return fmt.Errorf("interface %s: %w", f.name, err)
			}
		}
	}
	for _, socket := range r.udp {
		socket.SetExporters(list)
	}
	return nil
}
