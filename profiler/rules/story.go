// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"context"
	"log/slog"

	"github.com/portolan/portolan/profiler"
)

// Triple is a device as logs tell it: <Category, Family, Name>.
func Triple(d profiler.Device) string {
	return "<" + d.Category + ", " + d.Family + ", " + d.Name + ">"
}

// Story logs, at debug, what Match saw: a line for each rule that matches, in
// the order of reliability, and the best one. It costs nothing while debug is
// off.
func (s *Set) Story(log *slog.Logger, e *profiler.Endpoint) {
	ctx := context.Background()
	if !log.Enabled(ctx, slog.LevelDebug) {
		return
	}
	var in room
	v, t := s.look(e, &in), traitsOf(e)
	for _, r := range s.rules {
		if n := r.score(&v, &t); n > 0 {
			log.Debug("match "+Triple(r.Device), "endpoint", e.ID, "rule", r.ID, "rel", r.Device.Rel, "score", n)
		}
	}
	best := s.Match(e)
	if best.Rule == "" {
		log.Debug("no match", "endpoint", e.ID)
		return
	}
	log.Debug("best match "+Triple(best.Device), "endpoint", e.ID, "rule", best.Rule,
		"rel", best.Device.Rel, "score", best.Device.Score)
}

// Story logs, at debug, what the endpoint is now shown as.
func (v View) Story(log *slog.Logger, endpoint string) {
	if !log.Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	if v.Device == nil {
		log.Debug("not profiled", "endpoint", endpoint)
		return
	}
	args := []any{"endpoint", endpoint, "rel", v.Device.Rel, "score", v.Device.Score, "conflict", v.Conflict}
	if v.Other != nil {
		args = append(args, "other", Triple(*v.Other))
	}
	log.Debug("profiled to "+Triple(*v.Device), args...)
}
